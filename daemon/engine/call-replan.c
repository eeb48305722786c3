/* SPDX-License-Identifier: MIT */
/*
 * retry with other inputs or another plan: what has begun stays as it was, what has not may change,
 * and the difference goes into the journal. The failed step itself may change, but not its verb:
 * its undo record was written by that verb.
 *
 * A step's undo is something of its own: it may change until it has been done, for it has not begun
 * before that. One that failed may change too, or whoever is stuck could mend nothing; only leaving
 * it out is not a change but a `skip`, which wants a reason.
 */
#include "api/args.h"
#include "daemon/engine/internal.h"
#include "daemon/plan/expand.h"

#define DIFFERENCE_MAX 2000 /* bytes of a value that the journal shows */
#define DIFFERENCES_MAX 100

typedef struct Replan {
        const Job *job;
        const JobDef *from, *to;
        json_t *changed_inputs; /* {"in.name": {"from","to"}} */
        json_t *faults, *added, *removed, *changed;
        json_t *differences; /* [{"step","key","from"?,"to"?}]: what changed in steps that stay */
} Replan;

static void replan_done(Replan *p) {
        json_decref(p->changed_inputs);
        json_decref(p->faults);
        json_decref(p->added);
        json_decref(p->removed);
        json_decref(p->changed);
        json_decref(p->differences);
}

static void fault(Replan *p, const char *step, const char *message) {
        (void) json_array_append_new(p->faults,
                                     json_pack("{s:s, s:s}", "step", step, "message", message));
}

static bool uses_changed_input(const Replan *p, const json_t *norm) {
        json_auto_t *names = NULL;
        json_t *name;
        size_t i;

        if (json_object_size(p->changed_inputs) == 0)
                return false;
        if (plan_names_used(norm, &names) < 0)
                return true;
        json_array_foreach (names, i, name) {
                if (json_object_get(p->changed_inputs, json_string_value(name)))
                        return true;
        }
        return false;
}

static int inputs_compare(Replan *p) {
        const char *name;
        json_t *value, *before;

        json_object_foreach (p->to->inputs, name, value) {
                _cleanup_free_ char *key = strf("in.%s", name);

                before = json_object_get(p->from->inputs, name);
                if (!key)
                        return -ENOMEM;
                if (!json_equal(before, value) &&
                    json_object_set_new(p->changed_inputs, key,
                                        json_pack("{s:O*, s:O}", "from", before, "to", value)) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* What a step does: without its undo, and without the members of a group, because one that is
 * under way may get others behind those that have begun. */
static json_t *without_members(const json_t *norm) {
        json_t *copy = norm_plain(norm);

        if (json_object_get(json_object_get(copy, "args"), "steps"))
                (void) json_object_del(json_object_get(copy, "args"), "steps");
        (void) json_object_del(copy, "undo");
        return copy;
}

/* A value that is too long for the journal is left out; both plans are kept under their hashes. */
static void difference(Replan *p, const char *step, const char *key, const json_t *from,
                       const json_t *to) {
        _cleanup_free_ char *a = from ? json_dumps(from, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        _cleanup_free_ char *b = to ? json_dumps(to, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        json_t *entry = json_pack("{s:s, s:s}", "step", step, "key", key);

        if (json_array_size(p->differences) >= DIFFERENCES_MAX) {
                json_decref(entry);
                return;
        }
        if (a && strlen(a) <= DIFFERENCE_MAX)
                (void) json_object_set(entry, "from", (json_t *) from);
        if (b && strlen(b) <= DIFFERENCE_MAX)
                (void) json_object_set(entry, "to", (json_t *) to);
        (void) json_array_append_new(p->differences, entry);
}

/* Key by key, the verb's fields one by one. */
static void differences_add(Replan *p, const char *step, const char *prefix, const json_t *from,
                            const json_t *to) {
        json_auto_t *keys = json_object();
        json_t *none;
        const char *key;

        (void) json_object_update(keys, (json_t *) from);
        (void) json_object_update(keys, (json_t *) to);
        json_object_foreach (keys, key, none) {
                const json_t *a = json_object_get(from, key), *b = json_object_get(to, key);
                _cleanup_free_ char *name = strf("%s%s", prefix, key);

                if (json_equal(a, b) || (!*prefix && streq(key, "id")))
                        continue;
                if (streq(key, "args") && !*prefix)
                        differences_add(p, step, "args.", a, b);
                else if (name && !(streq(key, "steps") && *prefix && json_is_array(a)))
                        difference(p, step, name, a, b);
        }
}

static bool keeps_surroundings(const Replan *p, const json_t *from, const json_t *to) {
        static const char *const keys[] = {"cwd", "user", "env", "env_file"};

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                const json_t *a = json_object_get(from, keys[i]), *b = json_object_get(to, keys[i]);

                if (!a != !b || (a && (!json_equal(a, b) || uses_changed_input(p, a))))
                        return false;
        }
        return true;
}

/* An action's undo must find the folder, the user and the environment that its do found, also where
 * they come from the groups around it or from the plan. */
static bool surroundings_same(const Replan *p, int old, int new) {
        for (;;) {
                old = p->from->steps[old].parent;
                new = p->to->steps[new].parent;
                if (old < 0 || new < 0)
                        return old ==
                               new &&keeps_surroundings(p, p->from->plan->norm, p->to->plan->norm);
                if (!keeps_surroundings(p, p->from->steps[old].norm, p->to->steps[new].norm))
                        return false;
        }
}

static bool undoes(const json_t *undo, const json_t *norm) {
        return undo ? json_is_array(undo)
                    : verb_undo(norm) == UNDO_KNOWN || verb_undo(norm) == UNDO_MEMBERS;
}

/* 1: the undo is another one. */
static int undo_compare(Replan *p, unsigned old, unsigned new) {
        const StepDef *a = &p->from->steps[old], *b = &p->to->steps[new];
        json_auto_t *from = norm_plain(json_object_get(a->norm, "undo"));
        json_auto_t *to = norm_plain(json_object_get(b->norm, "undo"));
        const StepState *s = &p->job->steps[old];

        if ((!from && !to) || (json_equal(from, to) && !uses_changed_input(p, from)))
                return 0;
        if (s->begun && s->status == STEP_UNDONE)
                fault(p, a->id, "its undo is over and cannot change any more");
        else if (s->begun && undoes(from, a->norm) && !undoes(to, b->norm))
                fault(p, a->id,
                      "the step has begun and cannot lose its undo; a failed undo is left out by a "
                      "skip, with a reason");
        return 1;
}

/* What the engine puts among the checks by itself is no change of anybody's. */
static bool same_checks(const Replan *p) {
        return json_equal(json_object_get(p->from->plan->norm, "checks"),
                          json_object_get(p->to->plan->norm, "checks"));
}

static void step_compare(Replan *p, unsigned old, unsigned new) {
        const StepDef *a = &p->from->steps[old], *b = &p->to->steps[new];
        const StepState *s = &p->job->steps[old];
        json_auto_t *norm_a = without_members(a->norm), *norm_b = without_members(b->norm);
        bool same = json_equal(norm_a, norm_b) && !uses_changed_input(p, norm_a) &&
                    (a->class != VERB_ACTION || surroundings_same(p, (int) old, (int) new));

        if (a->phase == PHASE_CHECKS && same_checks(p))
                return;
        if (undo_compare(p, old, new) > 0 || !same) {
                json_auto_t *plain_a = norm_plain(a->norm), *plain_b = norm_plain(b->norm);

                (void) json_array_append_new(p->changed, json_string(a->id));
                differences_add(p, a->id, "", plain_a, plain_b);
        }
        if (!s->begun || same || (a->phase != PHASE_MAIN && a->phase != PHASE_FINALISE))
                return;
        if (s->status != STEP_FAILED && s->status != STEP_INTERRUPTED &&
            !(s->status == STEP_RUNNING && a->class == VERB_GROUP))
                fault(p, a->id, "the step has begun and cannot change any more");
        else if (!streq0(args_text(a->norm, "verb", NULL), args_text(b->norm, "verb", NULL)))
                fault(p, a->id, "the step has begun: its verb cannot change any more");
}

static void steps_compare(Replan *p) {
        int last = -1;

        for (unsigned i = 0; i < p->from->n_steps; i++) {
                const StepDef *def = &p->from->steps[i];
                int new = job_def_find(p->to, def->id);

                if (new < 0) {
                        (void) json_array_append_new(p->removed, json_string(def->id));
                        if (p->job->steps[i].attempts > 0 || p->job->steps[i].begun)
                                fault(p, def->id, "the step has begun and cannot be removed");
                        continue;
                }
                step_compare(p, i, (unsigned) new);
                if (!p->job->steps[i].begun) {
                        if (new < last)
                                fault(p, def->id,
                                      "a step cannot be moved before one that has begun");
                        continue;
                }
                if (new < last)
                        fault(p, def->id, "the order of steps that have begun cannot change");
                last = MAX(last, new);
        }
        for (unsigned i = 0; i < p->to->n_steps; i++) {
                if (job_def_find(p->from, p->to->steps[i].id) >= 0)
                        continue;
                if (streq(p->to->steps[i].id, STEP_RELEASE) ||
                    streq(p->to->steps[i].id, STEP_IMAGES) ||
                    (p->to->steps[i].phase == PHASE_CHECKS && same_checks(p)))
                        continue;
                (void) json_array_append_new(p->added, json_string(p->to->steps[i].id));
                if ((int) i < last && p->to->steps[i].phase == PHASE_MAIN)
                        fault(p, p->to->steps[i].id,
                              "a step cannot be added before one that has begun");
        }
}

/* The way back that is under way was chosen by its name. */
static void strategy_compare(Replan *p) {
        const char *name = args_text(p->job->facts, "strategy", NULL);
        const json_t *rollbacks = json_object_get(p->to->plan->norm, "rollbacks");

        if (name && !streq(name, "full") && !json_object_get(rollbacks, name))
                fault(p, name, "the job goes back with this strategy: it cannot be removed");
}

/* Sections of the plan beside its steps. Caller owns. */
static json_t *sections_changed(const Replan *p) {
        static const char *const apart[] = {"steps", "finalise", "checks"};
        json_auto_t *keys = json_object();
        json_t *list = json_array(), *none;
        const char *key;

        (void) json_object_update(keys, p->from->plan->norm);
        (void) json_object_update(keys, p->to->plan->norm);
        json_object_foreach (keys, key, none) {
                bool skip = false;

                for (size_t i = 0; i < ELEMENTSOF(apart); i++)
                        skip |= streq(key, apart[i]);
                if (!skip && !json_equal(json_object_get(p->from->plan->norm, key),
                                         json_object_get(p->to->plan->norm, key)))
                        (void) json_array_append_new(list, json_string(key));
        }
        return list;
}

static int make_def(const Job *job, const Call *call, JobDef **ret, Error *reterr) {
        const char *document = args_text(call->body, "document", NULL);
        json_auto_t *given = json_object(), *faults = NULL, *inputs = NULL;
        _cleanup_plan_ Plan *plan = NULL;
        const char *name;
        json_t *value;
        int r;

        if (!given)
                return error_oom(reterr);
        if (document) {
                r = plan_parse("document", document, strlen(document), &plan, &faults);
                if (r < 0) {
                        r = error_set(reterr, EINVAL, "bad-plan", "The new plan has errors");
                        error_detail(reterr, "faults", json_incref(faults));
                        return r;
                }
        } else
                plan = plan_ref(job->def->plan);
        json_object_foreach (job->def->inputs, name, value) {
                if (json_object_get(json_object_get(plan->norm, "inputs"), name))
                        (void) json_object_set(given, name, value);
        }
        (void) json_object_update(given, json_object_get(call->body, "inputs"));
        r = plan_inputs(plan, given, &inputs, reterr);
        if (r >= 0)
                r = job_def_new(plan, inputs, job_def_find(job->def, STEP_RELEASE) >= 0, ret,
                                reterr);
        if (r < 0)
                return r;
        if (!streq((*ret)->target, job->def->target))
                return error_set(reterr, EINVAL, "plan-changed-begun",
                                 "The target cannot change while a job runs");
        return 0;
}

/* Steps keep their states under their ids; the numbering may be another. */
static int take_over(Job *job, JobDef *to) {
        StepState *steps = calloc(to->n_steps + 1, sizeof(StepState));

        if (!steps)
                return -ENOMEM;
        for (unsigned i = 0; i < job->def->n_steps; i++) {
                int new = job_def_find(to, job->def->steps[i].id);

                if (new < 0) {
                        json_decref(job->steps[i].outputs);
                        json_decref(job->steps[i].result);
                        json_decref(job->steps[i].more);
                        continue;
                }
                steps[new] = job->steps[i];
                steps[new].dirty = true;
        }
        free(job->steps);
        job->steps = steps;
        job_def_unref(job->def);
        job->def = job_def_ref(to);
        job->renumbered = true;
        return 0;
}

static bool is_measured(const Replan *p, const json_t *save) {
        const json_t *before = job_def_save(p->from, args_text(save, "step", ""));

        return before && json_equal(save, before) && !uses_changed_input(p, save);
}

/* What steps that go on will keep and nobody has measured yet. Caller owns; NULL: out of memory. */
static json_t *unmeasured(const Replan *p) {
        json_t *names = json_array(), *save;
        size_t i;

        json_array_foreach ((json_t *) p->to->saves, i, save)
                if (names && !is_measured(p, save))
                        (void) json_array_append(names, json_object_get(save, "step"));
        return names;
}

/* Each before its own step begins (task.c): what came before it has to have its way first. */
static void measure_later(Job *job, const json_t *names) {
        const json_t *name;
        size_t i;

        json_array_foreach ((json_t *) names, i, name) {
                int idx = job_def_find(job->def, json_string_value(name));

                if (idx < 0 || job->steps[idx].status == STEP_DONE)
                        continue;
                job_step_note(job, (unsigned) idx, "unmeasured", json_true());
                job_fact(job, "unmeasured", json_true());
        }
}

/* Values for secrets of the plan that the job goes on with. */
static int take_secrets(const Batch *b, const Job *job, const Plan *plan, const Call *call,
                        Error *reterr) {
        const json_t *values = json_object_get(call->body, "secrets");
        int r = secrets_known(plan, values, reterr);

        return r < 0 ? r : secrets_keep(b->turn.state_dir, job->id, values, reterr);
}

/* One line for people: "step17 (args.argv), input version, added step18". Caller frees. */
static char *change_words(const Replan *p) {
        const struct {
                const char *word;
                const json_t *list;
        } lists[] = {{"", p->changed}, {"added ", p->added}, {"removed ", p->removed}};
        char *words = strdup("");
        const char *name;
        json_t *value;
        size_t k;

        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                json_array_foreach ((json_t *) lists[i].list, k, value) {
                        char *more =
                                strf("%s%s%s%s", words ? words : "", isempty(words) ? "" : ", ",
                                     lists[i].word, json_string_value(value));

                        free(words);
                        words = more;
                }
        json_object_foreach (p->changed_inputs, name, value) {
                char *more = strf("%s%sinput %s", words ? words : "", isempty(words) ? "" : ", ",
                                  name + strlen("in."));

                free(words);
                words = more;
        }
        return words;
}

static json_t *changes_of(const Replan *p) {
        _cleanup_free_ char *words = change_words(p);

        return json_pack("{s:s, s:s, s:O, s:O, s:O, s:O, s:O, s:o, s:s}", "from",
                         p->from->plan->sha256, "to", p->to->plan->sha256, "inputs",
                         p->changed_inputs, "added", p->added, "removed", p->removed, "changed",
                         p->changed, "differences", p->differences, "sections", sections_changed(p),
                         "message", words ? words : "");
}

static int replan_compare(Replan *p, Error *reterr) {
        int r;

        if (inputs_compare(p) < 0)
                return error_oom(reterr);
        steps_compare(p);
        strategy_compare(p);
        if (json_array_size(p->faults) == 0)
                return 0;
        r = error_set(reterr, EPERM, "plan-changed-begun", "Only what has not begun may change");
        error_detail(reterr, "faults", json_incref(p->faults));
        return r;
}

int call_replan(Batch *b, Job *job, const Call *call, Reply *reply) {
        bool preview = json_is_true(json_object_get(call->body, "preview"));
        _cleanup_(replan_done) Replan p = {
                .job = job,
                .from = job->def,
                .changed_inputs = json_object(),
                .faults = json_array(),
                .added = json_array(),
                .removed = json_array(),
                .changed = json_array(),
                .differences = json_array(),
        };
        _cleanup_(job_def_unrefp) JobDef *to = NULL;
        json_auto_t *later = NULL;
        int r;

        if (!preview && !json_object_get(call->body, "document") &&
            json_object_size(json_object_get(call->body, "inputs")) == 0)
                return take_secrets(b, job, job->def->plan, call, &reply->error);
        if (!p.changed_inputs || !p.faults || !p.added || !p.removed || !p.changed ||
            !p.differences)
                return error_oom(&reply->error);
        r = make_def(job, call, &to, &reply->error);
        if (r < 0)
                return r;
        p.to = to;
        r = replan_compare(&p, &reply->error);
        if (r < 0)
                return r;
        if (preview) {
                reply->body = changes_of(&p);
                return reply->body ? 1 : error_oom(&reply->error);
        }
        r = take_secrets(b, job, to->plan, call, &reply->error);
        if (r < 0)
                return r;
        job_tell(job, "plan_changed", -1, call->who, changes_of(&p));
        if (json_object_size(p.changed_inputs) > 0)
                lists_forget(job);
        later = unmeasured(&p);
        if (!later || take_over(job, to) < 0)
                return error_oom(&reply->error);
        measure_later(job, later);
        if (!to->saves && job_def_find(to, STEP_RELEASE) >= 0)
                job_fact(job, "reserved", json_true());
        return 0;
}
