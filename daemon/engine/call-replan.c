/* SPDX-License-Identifier: MIT */
/*
 * retry with other inputs or another plan: what has begun stays as it was, what has not may change,
 * and the difference goes into the journal. The failed step itself may change, but not its verb:
 * its undo record was written by that verb.
 */
#include "api/args.h"
#include "daemon/engine/internal.h"
#include "daemon/plan/expand.h"

typedef struct Replan {
        const Job *job;
        const JobDef *from, *to;
        json_t *changed_inputs; /* {"in.name": {"from","to"}} */
        json_t *faults, *added, *removed, *changed;
} Replan;

static void replan_done(Replan *p) {
        json_decref(p->changed_inputs);
        json_decref(p->faults);
        json_decref(p->added);
        json_decref(p->removed);
        json_decref(p->changed);
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

/* A group that is under way may get other members behind those that have begun. */
static json_t *without_members(const json_t *norm) {
        json_t *copy = json_deep_copy(norm);

        if (json_object_get(json_object_get(copy, "args"), "steps"))
                (void) json_object_del(json_object_get(copy, "args"), "steps");
        return copy;
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

static void step_compare(Replan *p, unsigned old, unsigned new) {
        const StepDef *a = &p->from->steps[old], *b = &p->to->steps[new];
        const StepState *s = &p->job->steps[old];
        json_auto_t *norm_a = without_members(a->norm), *norm_b = without_members(b->norm);
        bool same = json_equal(norm_a, norm_b) && !uses_changed_input(p, norm_a) &&
                    (a->class != VERB_ACTION || surroundings_same(p, (int) old, (int) new));

        if (!same)
                (void) json_array_append_new(p->changed, json_string(a->id));
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
                if (!p->job->steps[i].begun)
                        continue;
                if (new < last)
                        fault(p, def->id, "the order of steps that have begun cannot change");
                last = MAX(last, new);
        }
        for (unsigned i = 0; i < p->to->n_steps; i++) {
                if (job_def_find(p->from, p->to->steps[i].id) >= 0)
                        continue;
                (void) json_array_append_new(p->added, json_string(p->to->steps[i].id));
                if ((int) i < last && p->to->steps[i].phase == PHASE_MAIN)
                        fault(p, p->to->steps[i].id,
                              "a step cannot be added before one that has begun");
        }
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
                r = job_def_new(plan, inputs, ret, reterr);
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

/* Values for secrets of the plan that the job goes on with. */
static int take_secrets(const Batch *b, const Job *job, const Plan *plan, const Call *call,
                        Error *reterr) {
        const json_t *values = json_object_get(call->body, "secrets");
        int r = secrets_known(plan, values, reterr);

        return r < 0 ? r : secrets_keep(b->turn.state_dir, job->id, values, reterr);
}

int call_replan(Batch *b, Job *job, const Call *call, Error *reterr) {
        _cleanup_(replan_done) Replan p = {
                .job = job,
                .from = job->def,
                .changed_inputs = json_object(),
                .faults = json_array(),
                .added = json_array(),
                .removed = json_array(),
                .changed = json_array(),
        };
        _cleanup_(job_def_unrefp) JobDef *to = NULL;
        int r;

        if (!json_object_get(call->body, "document") &&
            json_object_size(json_object_get(call->body, "inputs")) == 0)
                return take_secrets(b, job, job->def->plan, call, reterr);
        if (!p.changed_inputs || !p.faults || !p.added || !p.removed || !p.changed)
                return error_oom(reterr);
        r = make_def(job, call, &to, reterr);
        if (r < 0)
                return r;
        p.to = to;
        if (inputs_compare(&p) < 0)
                return error_oom(reterr);
        steps_compare(&p);
        if (json_array_size(p.faults) > 0) {
                r = error_set(reterr, EPERM, "plan-changed-begun",
                              "Only what has not begun may change");
                error_detail(reterr, "faults", json_incref(p.faults));
                return r;
        }
        r = take_secrets(b, job, to->plan, call, reterr);
        if (r < 0)
                return r;
        job_tell(job, "plan_changed", -1, call->who,
                 json_pack("{s:s, s:s, s:O, s:O, s:O, s:O}", "from", job->def->plan->sha256, "to",
                           to->plan->sha256, "inputs", p.changed_inputs, "added", p.added,
                           "removed", p.removed, "changed", p.changed));
        return take_over(job, to) < 0 ? error_oom(reterr) : 0;
}
