/* SPDX-License-Identifier: MIT */
/*
 * Warnings about ways back that may not work when they are needed: an undo that needs the network,
 * a removal of what an undo needs, a strategy that leaves a service down.
 */
#include "api/args.h"
#include "daemon/plan/decode.h"

static const json_t *step_args(const StepInfo *s) {
        return json_object_get(s->norm, "args");
}

static bool is_verb(const StepInfo *s, const char *name) {
        return s->verb && streq(s->verb->spec.name, name);
}

/* ---- the network ---- */

static bool asks_network(const json_t *argv) {
        static const char *const programs[] = {"curl", "wget", "npm", "pip", "apt", "apt-get"};
        static const char *const words[] = {"pull", "fetch", "clone", "install", "download"};
        json_t *word;
        size_t i;

        json_array_foreach (argv, i, word) {
                const char *text = json_string_value(word), *name = strrchr(text ? text : "", '/');

                name = name ? name + 1 : text;
                for (size_t k = 0; name && i == 0 && k < ELEMENTSOF(programs); k++)
                        if (streq(name, programs[k]))
                                return true;
                /* The command of a program ([git, -C, dir, fetch]) stands among its first words. */
                for (size_t k = 0; name && i > 0 && i < 5 && k < ELEMENTSOF(words); k++)
                        if (streq(text, words[k]))
                                return true;
        }
        return false;
}

static bool needs_network(const StepInfo *s) {
        const json_t *args = step_args(s);

        if (!s->verb)
                return false;
        return s->verb->network || (is_verb(s, "git") && json_object_get(args, "fetch")) ||
               (is_verb(s, "run") && asks_network(json_object_get(args, "argv"))) ||
               (is_verb(s, "compose") &&
                streq0(json_string_value(json_array_get(json_object_get(args, "args"), 0)),
                       "pull"));
}

static void lint_network(Decoder *d) {
        for (size_t i = 0; i < d->n_steps; i++) {
                const StepInfo *s = &d->steps[i];

                if ((s->phase == PHASE_UNDO || s->phase == PHASE_ROLLBACK) && needs_network(s))
                        warning(d->faults, s->node, "undo-needs-network",
                                "fetch it on the way forward and keep it",
                                "this way back needs the network ('%s'), which may be what failed",
                                s->verb->spec.name);
        }
}

/* ---- what an undo needs ---- */

static bool covers(const char *removed, const char *needed) {
        size_t n = strlen(removed);

        while (n > 1 && removed[n - 1] == '/')
                n--;
        return strncmp(removed, needed, n) == 0 && (!needed[n] || needed[n] == '/');
}

/* Whether a text of `value` is, or lies below, `removed`. */
static bool uses_path(const json_t *value, const char *removed) {
        const char *key;
        json_t *v;
        size_t i;

        if (json_is_string(value))
                return covers(removed, json_string_value(value));
        json_object_foreach ((json_t *) value, key, v)
                if (uses_path(v, removed))
                        return true;
        json_array_foreach (value, i, v)
                if (uses_path(v, removed))
                        return true;
        return false;
}

/* A step in front of `at` whose undo, as the plan writes it, or whose backup uses the path. */
static const StepInfo *find_user(const Decoder *d, size_t at, const char *removed) {
        for (size_t i = 0; i < at; i++) {
                const StepInfo *s = &d->steps[i];

                if (s->phase != PHASE_MAIN)
                        continue;
                if (uses_path(json_object_get(s->norm, "undo"), removed) ||
                    (is_verb(s, "backup") &&
                     uses_path(json_object_get(step_args(s), "to"), removed)))
                        return s;
        }
        return NULL;
}

static void lint_removals(Decoder *d) {
        for (size_t i = 0; i < d->n_steps; i++) {
                const json_t *paths = json_object_get(step_args(&d->steps[i]), "paths");
                json_t *path;
                size_t k;

                if (!is_verb(&d->steps[i], "remove") || d->steps[i].phase != PHASE_MAIN)
                        continue;
                json_array_foreach (paths, k, path) {
                        const StepInfo *user = find_user(d, i, json_string_value(path));

                        if (user)
                                warning(d->faults, d->steps[i].node, "remove-needed",
                                        "remove it in 'finalise', when the way back is closed",
                                        "'%s' is removed, but the way back of '%s' needs it",
                                        json_string_value(path), user->id);
                }
        }
}

/* ---- services that a strategy leaves down ---- */

typedef struct Strategy {
        const char *name;
        const json_t *norm; /* of rollbacks; NULL for `full` */
        const Node *node;
} Strategy;

/* What a list of steps does to a service: 1 up, 0 down, -1 nothing. */
static int list_effect(const json_t *steps, const char *service) {
        int effect = -1;
        json_t *step;
        size_t i;

        json_array_foreach (steps, i, step) {
                const char *verb = args_text(step, "verb", "");
                const json_t *args = json_object_get(step, "args");
                int inner = list_effect(json_object_get(args, "steps"), service);

                if (inner >= 0)
                        effect = inner;
                if (!json_has_text(json_object_get(args, "services"), service))
                        continue;
                if (streq(verb, "start") || streq(verb, "stop"))
                        effect = streq(verb, "start");
        }
        return effect;
}

/* What undoing one step with a strategy does to a service. */
static int undo_effect(const Strategy *strategy, const StepInfo *s, const char *service) {
        const json_t *instead = json_object_get(json_object_get(strategy->norm, "instead"), s->id);
        const json_t *undo = instead ? instead : json_object_get(s->norm, "undo");

        if (json_has_text(json_object_get(strategy->norm, "keep"), s->id))
                return -1;
        if (undo)
                return list_effect(undo, service);
        if (!json_has_text(json_object_get(step_args(s), "services"), service))
                return -1;
        /* The undo of a stop starts what ran; the undo of a start stops it. */
        return is_verb(s, "stop") ? 1 : is_verb(s, "start") ? 0 : -1;
}

static int do_effect(const StepInfo *s, const char *service) {
        if (!json_has_text(json_object_get(step_args(s), "services"), service))
                return -1;
        return is_verb(s, "start") ? 1 : is_verb(s, "stop") ? 0 : -1;
}

/* Whether the service, up at first, is down after going back from behind step `last`. */
static bool left_down(const Decoder *d, const Strategy *strategy, const char *service,
                      size_t last) {
        const json_t *then = json_object_get(strategy->norm, "then");
        int up = 1, effect;

        for (size_t i = 0; i <= last; i++)
                if (d->steps[i].phase == PHASE_MAIN &&
                    (effect = do_effect(&d->steps[i], service)) >= 0)
                        up = effect;
        for (size_t i = last + 1; i-- > 0;)
                if (d->steps[i].phase == PHASE_MAIN &&
                    (effect = undo_effect(strategy, &d->steps[i], service)) >= 0)
                        up = effect;
        effect = list_effect(then, service);
        return (effect >= 0 ? effect : up) == 0;
}

static bool is_touched(const Decoder *d, const char *service) {
        for (size_t i = 0; i < d->n_steps; i++)
                if (d->steps[i].phase == PHASE_MAIN && do_effect(&d->steps[i], service) == 0)
                        return true;
        return false;
}

static void lint_strategy(Decoder *d, const Strategy *strategy, const char *service) {
        for (size_t i = 0; i < d->n_steps; i++) {
                if (d->steps[i].phase != PHASE_MAIN || !left_down(d, strategy, service, i))
                        continue;
                warning(d->faults, strategy->node, "left-down",
                        "let 'then' start it, or do not keep the step that stops it",
                        "the strategy '%s' leaves the service '%s' down when it goes back from "
                        "'%s'",
                        strategy->name, service, d->steps[i].id);
                return;
        }
}

/* Each pair of strategy and service costs steps squared: a plan beyond any person's is let be. */
enum { STEPS_JUDGED = 1000, WORK_JUDGED = 50 * 1000 * 1000 };

static bool is_beyond(const Decoder *d, const json_t *norm) {
        size_t pairs = json_object_size(json_object_get(norm, "services")) *
                       (json_object_size(json_object_get(norm, "rollbacks")) + 1);

        return d->n_steps > STEPS_JUDGED || pairs * d->n_steps * d->n_steps > WORK_JUDGED;
}

static void lint_strategies(Decoder *d, const json_t *norm) {
        const Node *rollbacks = node_find(d->root, "rollbacks");
        const json_t *entries = json_object_get(norm, "rollbacks");
        const char *service;
        json_t *info;

        json_object_foreach (json_object_get(norm, "services"), service, info) {
                Strategy full = {"full", json_object_get(entries, "full"),
                                 node_find(d->root, "steps")};

                if (!is_touched(d, service))
                        continue;
                lint_strategy(d, &full, service);
                for (size_t i = 0; rollbacks && i < rollbacks->n_items; i++) {
                        const Node *n = rollbacks->items[i];
                        Strategy other = {n->key, json_object_get(entries, n->key), n};

                        if (!streq(n->key, "full"))
                                lint_strategy(d, &other, service);
                }
        }
}

/* The steps of an undo are one attempt, in which one follows another. */
static void lint_parallel(Decoder *d) {
        for (size_t i = 0; i < d->n_steps; i++) {
                const StepInfo *s = &d->steps[i];

                if ((s->phase == PHASE_UNDO || s->phase == PHASE_ROLLBACK) &&
                    is_verb(s, "parallel"))
                        warning(d->faults, s->node, "parallel-in-undo",
                                "write 'group', or let one 'run' start them side by side",
                                "what goes back is carried out one after another, also in a "
                                "'parallel'");
        }
}

void lint_ways_back(Decoder *d, const json_t *norm) {
        /* A plan with errors would give warnings that its repair takes away again. */
        if (d->faults->n_errors > 0 || is_beyond(d, norm))
                return;
        lint_network(d);
        lint_parallel(d);
        lint_removals(d);
        lint_strategies(d, norm);
}
