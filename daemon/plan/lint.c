/* SPDX-License-Identifier: MIT */
/* What a plan must say beyond the types of its values. Ways back are judged in lint_undo.c. */
#include "api/args.h"
#include "daemon/plan/decode.h"

static const json_t *step_args(const StepInfo *s) {
        return json_object_get(s->norm, "args");
}

static bool is_verb(const StepInfo *s, const char *name) {
        return s->verb && streq(s->verb->spec.name, name);
}

/* A step's records stand in the job's folder under its id, beside these. */
static void lint_reserved(Decoder *d, const StepInfo *s, const Node *id) {
        static const char *const reserved[] = {"secrets", "backups"};

        if (s->phase != PHASE_MAIN && s->phase != PHASE_FINALISE)
                return;
        for (size_t i = 0; i < ELEMENTSOF(reserved); i++)
                if (streq(id->text, reserved[i]))
                        fault(d->faults, id, "bad-id", NULL,
                              "a step cannot be called '%s', a folder of the job's own", id->text);
}

static void lint_ids(Decoder *d) {
        json_auto_t *seen = json_object();

        for (size_t i = 0; i < d->n_steps; i++) {
                const Node *id = node_find(d->steps[i].node, "id");

                if (!id || id->kind != NODE_SCALAR)
                        continue;
                lint_reserved(d, &d->steps[i], id);
                if (json_object_get(seen, id->text))
                        fault(d->faults, id, "duplicate-id", NULL,
                              "the id '%s' is that of the step on line %lld already", id->text,
                              json_integer_value(json_object_get(seen, id->text)));
                else if (json_object_set_new(seen, id->text, json_integer(id->line)) < 0)
                        d->faults->oom = true;
        }
}

static void lint_undo_said(Decoder *d, const StepInfo *s) {
        const Node *undo = node_find(s->node, "undo");

        if (s->phase == PHASE_FINALISE && undo && !json_is_string(json_object_get(s->norm, "undo")))
                fault_key(d->faults, undo, "undo-place", NULL,
                          "'undo' stands in finalise, where the way back is closed");
        if (s->phase != PHASE_MAIN || !s->verb || undo || !step_args(s))
                return;
        if (verb_undo(s->norm) == UNDO_SAY)
                fault(d->faults, s->node, "undo-missing", "give it steps, or say 'undo: none'",
                      "'%s' does not know its way back, so this step must have 'undo'",
                      s->verb->spec.name);
}

static void lint_mark(Decoder *d, const StepInfo *s) {
        const Node *undo = node_find(s->node, "undo");

        if (!s->verb && undo && undo->kind == NODE_SCALAR && streq(undo->text, "none"))
                fault(d->faults, s->node, "no-verb", NULL,
                      "a step of only 'undo: none' says nothing");
        if (s->verb && s->verb->class == VERB_GATE && undo)
                fault_key(d->faults, undo, "undo-place", "let a step of its own follow: {undo: …}",
                          "a gate changes nothing that 'undo' could undo");
}

static void lint_crash(Decoder *d, const StepInfo *s) {
        const Node *on_crash = node_find(s->node, "on_crash"), *probe = node_find(s->node, "probe");
        bool wants = on_crash && streq0(on_crash->text, "probe");

        if (wants && !probe)
                fault(d->faults, on_crash, "missing-key", NULL,
                      "'on_crash: probe' needs 'probe': checks that tell whether it happened");
        if (probe && on_crash && !wants)
                fault_key(d->faults, probe, "conflicting-keys", NULL,
                          "'probe' is never asked with 'on_crash: %s'", on_crash->text);
}

static void lint_cwd(Decoder *d, const StepInfo *s) {
        const StepInfo *up = s;
        const Node *verb = s->verb ? node_find(s->node, s->verb->spec.name) : NULL;
        const char *field = is_verb(s, "git") ? "dir" : is_verb(s, "fetch") ? "to" : NULL;

        if (!field || json_object_get(step_args(s), field) || node_find(d->root, "cwd"))
                return;
        for (;;) {
                if (node_find(up->node, "cwd"))
                        return;
                if (up->parent < 0)
                        break;
                up = &d->steps[up->parent];
        }
        fault_key(d->faults, verb, "relative-path", "set 'cwd'",
                  "'%s' without '%s' works in 'cwd', and none is set", s->verb->spec.name, field);
}

/* What runs nothing itself has nothing to verify or to try again: a key there would be ignored, and
 * the plan would seem to check what it does not. An `undo` has a meaning: a mark is its undo, a
 * group's stands for its members'; a gate's is told by lint_mark. */
static void lint_unused(Decoder *d, const StepInfo *s) {
        static const char *const unused[] = {"verify", "retry", "probe", "on_crash", "dry_run"};
        bool group = s->verb && s->verb->class == VERB_GROUP;
        bool gate = s->verb && s->verb->class == VERB_GATE;

        if (s->verb && !group && !gate)
                return;
        for (size_t i = 0; i < ELEMENTSOF(unused); i++) {
                const Node *n = node_find(s->node, unused[i]);

                if (n)
                        fault_key(d->faults, n, "unused-key",
                                  group ? "write it at the members, or let a check follow"
                                        : "let a step of its own follow",
                                  "'%s' has no meaning for %s, which runs nothing itself",
                                  unused[i],
                                  group  ? "a group"
                                  : gate ? "a gate"
                                         : "a step of only 'undo'");
        }
}

/* The same for steps that stand aside of the way forward: in undo, in rollbacks, in dry_run, in
 * hooks. They share their attempt's limits, and a dry run does none of them but dry_run itself. */
static void lint_aside(Decoder *d, const StepInfo *s) {
        static const char *const unused[] = {"dry_run", "limits", "probe", "on_crash"};
        bool hook = s->phase == PHASE_HOOK;

        if (s->phase == PHASE_MAIN || s->phase == PHASE_FINALISE)
                return;
        for (size_t i = 0; i < (hook ? ELEMENTSOF(unused) : 2); i++) {
                const Node *n = node_find(s->node, unused[i]);

                if (n && !(hook && streq(unused[i], "limits")))
                        fault_key(d->faults, n, "unused-key", NULL,
                                  "'%s' has no meaning for a step that stands aside", unused[i]);
        }
}

static bool is_output_of(const VerbInfo *verb, const char *name) {
        const char *const *lists[] = {verb->outputs, step_outputs};

        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                for (const char *const *o = lists[i]; o && *o; o++)
                        if (streq(*o, name))
                                return true;
        return false;
}

/* What is saved must not stand in the place of what every such step tells. */
static void lint_save(Decoder *d, const StepInfo *s) {
        const Node *verb = s->verb ? node_find(s->node, s->verb->spec.name) : NULL;
        const Node *save = verb && verb->kind == NODE_MAP ? node_find(verb, "save") : NULL;

        for (size_t i = 0; save && save->kind == NODE_MAP && i < save->n_items; i++)
                if (is_output_of(s->verb, save->items[i]->key))
                        fault_key(d->faults, save->items[i], "bad-id", "choose another name",
                                  "'%s' is an output of '%s' already", save->items[i]->key,
                                  s->verb->spec.name);
}

static void lint_steps(Decoder *d) {
        for (size_t i = 0; i < d->n_steps; i++) {
                lint_undo_said(d, &d->steps[i]);
                lint_mark(d, &d->steps[i]);
                lint_crash(d, &d->steps[i]);
                lint_cwd(d, &d->steps[i]);
                lint_unused(d, &d->steps[i]);
                lint_save(d, &d->steps[i]);
                lint_aside(d, &d->steps[i]);
        }
}

/* ---- sections ---- */

static void lint_format(Decoder *d, const json_t *norm) {
        const Node *n = node_find(d->root, "format");
        const json_t *format = json_object_get(norm, "format");

        if (n && format && json_integer_value(format) != 1)
                fault(d->faults, n, "unknown-format", "write 'format: 1'",
                      "the format is %s, but this updd knows format 1 only", n->text);
}

static void lint_bound(Decoder *d, const Node *n, const char *type) {
        int64_t ms;

        if (!n || n->kind != NODE_SCALAR)
                return;
        if (streq(type, "int") ? !*n->text || strspn(n->text, "-0123456789") != strlen(n->text)
                               : duration_parse(n->text, &ms) < 0)
                fault(d->faults, n, "wrong-type", NULL, "'%s' is '%s', expected %s %s", n->key,
                      n->text, streq(type, "int") ? "an" : "a", type);
}

static void lint_input(Decoder *d, const Node *n) {
        const char *type = node_find_text(n, "type");
        static const char *const bounds[] = {"min", "max"};

        type = type ? type : "string";
        if (streq(type, "enum") && !node_find(n, "values"))
                fault(d->faults, n, "missing-key", NULL, "an input of type enum needs 'values'");
        for (size_t i = 0; i < ELEMENTSOF(bounds); i++) {
                const Node *bound = node_find(n, bounds[i]);

                if (streq(type, "int") || streq(type, "duration"))
                        lint_bound(d, bound, type);
                else if (bound)
                        fault_key(d->faults, bound, "conflicting-keys", NULL,
                                  "'%s' is for inputs of type int or duration, not %s", bounds[i],
                                  type);
        }
}

static void lint_service(Decoder *d, const Node *n) {
        static const char *const kinds[] = {"unit", "compose", "command"};
        const Node *by = node_find(n, "by");
        size_t count = 0;

        if (streq(n->key, "all"))
                fault_key(d->faults, n, "bad-id", NULL,
                          "a service cannot be called 'all', which stands for every service");
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                count += node_find(n, kinds[i]) != NULL;
        if (count > 1 && !by)
                fault(d->faults, n, "missing-key", NULL,
                      "'by' must say which of unit, compose and command counts");
        if (by && by->kind == NODE_SCALAR && !strstr(by->text, "${") && !node_find(n, by->text))
                fault(d->faults, by, "missing-key", NULL, "'by' is '%s', which is missing here",
                      by->text);
}

static void lint_database(Decoder *d, const Node *n) {
        const Node *password = node_find(n, "password");
        const char *url = node_find_text(n, "url");

        if (password && url && startswith(url, "sqlite:"))
                fault_key(d->faults, password, "unused-key", NULL,
                          "'password' has no meaning for SQLite, which knows none");
}

static void lint_section(Decoder *d, const char *section, void (*lint)(Decoder *, const Node *)) {
        const Node *n = node_find(d->root, section);

        for (size_t i = 0; n && n->kind == NODE_MAP && i < n->n_items; i++)
                if (n->items[i]->kind == NODE_MAP)
                        lint(d, n->items[i]);
}

static void lint_inputs(Decoder *d) {
        const Node *n = node_find(d->root, "inputs");

        if (n && n->n_items > INPUTS_MAX)
                fault_key(d->faults, n, "too-many", NULL, "a plan has at most %d inputs, not %zu",
                          INPUTS_MAX, n->n_items);
        lint_section(d, "inputs", lint_input);
}

static void lint_strategy_names(Decoder *d) {
        static const char *const taken[] = {"hold", "rollback", "continue", "none"};
        const Node *n = node_find(d->root, "rollbacks");

        for (size_t i = 0; n && n->kind == NODE_MAP && i < n->n_items; i++)
                for (size_t k = 0; k < ELEMENTSOF(taken); k++)
                        if (streq(n->items[i]->key, taken[k]))
                                fault_key(d->faults, n->items[i], "bad-id", NULL,
                                          "a strategy cannot be called '%s', a word of its own",
                                          taken[k]);
}

/* Inside a maintenance window nobody may be there: a gate must have a deadline and an end to it,
 * unless the window's own end goes back. */
static void lint_window(Decoder *d, const json_t *norm) {
        const json_t *window = json_object_get(norm, "window");

        if (!window || streq(args_text(window, "at_end", "hold"), "rollback"))
                return;
        for (size_t i = 0; i < d->n_steps; i++) {
                const StepInfo *s = &d->steps[i];

                if (is_verb(s, "confirm") &&
                    (!json_object_get(step_args(s), "within") ||
                     streq(args_text(step_args(s), "on_timeout", "hold"), "hold")))
                        warning(d->faults, s->node, "unattended-gate",
                                "give it 'within' and 'on_timeout: rollback', or the window "
                                "'at_end: "
                                "rollback'",
                                "this gate stands inside a maintenance window: when nobody "
                                "attends, the job waits and the window closes on it");
        }
}

void lint_plan(Decoder *d, const json_t *norm) {
        lint_format(d, norm);
        lint_ids(d);
        lint_steps(d);
        lint_inputs(d);
        lint_section(d, "services", lint_service);
        lint_section(d, "databases", lint_database);
        lint_strategy_names(d);
        lint_window(d, norm);
}
