/* SPDX-License-Identifier: MIT */
/*
 * The way forward: checks, then the steps in order, groups and parallel members, gates, and what a
 * failure leads to. One transition of a step a turn and job, so that each is on disk before the
 * next.
 */
#include "api/args.h"
#include "daemon/engine/turn.h"
#include "daemon/plan/expand.h"

/* What a list of steps has come to. */
typedef enum Flow { FLOW_DONE, FLOW_BUSY, FLOW_FAILED } Flow;

static Flow flow_list(Turn *t, Job *job, unsigned begin, unsigned end, bool parallel, int *ret_r);

/* 1 yes, 0 no (the step is skipped now), -errno it failed. Decided once: a step that began is not
 * asked again. */
static int step_wanted(Turn *t, Job *job, unsigned idx) {
        const char *when = args_text(job->def->steps[idx].norm, "when", NULL);
        _cleanup_error_ Error error = ERROR_INIT;
        json_auto_t *scope = NULL;
        int r;

        if (!when || job->steps[idx].begun)
                return 1;
        if (job_scope(t, job, &scope) < 0)
                return -ENOMEM;
        r = expr_eval(when, scope, &error);
        if (r < 0) {
                step_fail(job, idx, error.type, error.message, error.hint);
                return -EBADE;
        }
        if (r > 0)
                return 1;
        r = job_step_move(job, idx, STEP_EVENT_PASS_OVER);
        if (r < 0)
                return r;
        job->advance = true;
        job_tell(job, "step_skipped", (int) idx, NULL, json_pack("{s:s}", "when", when));
        return 0;
}

/* What a dry run shows of an action: its values, secrets and outputs of what did not run left out.
 */
static int step_would(Turn *t, Job *job, unsigned idx) {
        const StepDef *def = &job->def->steps[idx];
        _cleanup_error_ Error error = ERROR_INIT;
        json_auto_t *scope = NULL, *args = NULL;
        int r;

        if (job_scope(t, job, &scope) < 0)
                return -ENOMEM;
        r = plan_expand(json_object_get(def->norm, "args"), scope, &args, &error);
        if (r < 0) {
                step_fail(job, idx, error.type, error.message, error.hint);
                return 0;
        }
        job_step_note(
                job, idx, "would",
                json_pack("{s:O, s:O}", "verb", json_object_get(def->norm, "verb"), "args", args));
        step_succeed(job, idx, NULL);
        return 0;
}

static int step_begin(Turn *t, Job *job, unsigned idx) {
        const StepDef *def = &job->def->steps[idx];
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        if (def->phase == PHASE_MAIN && window_holds(job)) {
                /* A next try that may not come by itself must not be waited for. */
                job->steps[idx].again = (Deadline){0};
                job->steps[idx].dirty = true;
                return window_wait(job);
        }
        r = step_wanted(t, job, idx);
        if (r <= 0)
                return r == -EBADE ? 0 : r;
        if (def->class == VERB_GROUP) {
                job->steps[idx].started = job_now(job);
                job->steps[idx].begun = true;
                return job_step_move(job, idx, STEP_EVENT_BEGIN);
        }
        if (def->class == VERB_MARK) {
                step_succeed(job, idx, NULL);
                return 0;
        }
        if (job->dry_run && def->phase == PHASE_MAIN && !json_object_get(def->norm, "dry_run"))
                return step_would(t, job, idx);
        if (def->class == VERB_GATE) {
                r = gate_open(t, job, idx, &error);
                if (r < 0 && r != -ENOMEM && r != -EPERM) {
                        step_fail(job, idx, error.type, error.message, error.hint);
                        return 0;
                }
                return r;
        }
        r = attempt_try(t, job, idx, DIRECTION_DO);
        return r < 0 ? r : r > 0 ? 0 : job_step_move(job, idx, STEP_EVENT_BEGIN);
}

static Flow flow_group(Turn *t, Job *job, unsigned idx, int *ret_r) {
        const StepDef *def = &job->def->steps[idx];
        Flow flow = flow_list(t, job, idx + 1, def->end, def->parallel, ret_r);

        if (*ret_r < 0 || flow == FLOW_BUSY)
                return FLOW_BUSY;
        if (flow == FLOW_DONE)
                step_succeed(job, idx, NULL);
        else {
                *ret_r = job_step_move(job, idx, STEP_EVENT_FAIL);
                job->steps[idx].ended = job_now(job);
                job->steps[idx].order = ++job->next_order;
        }
        return flow;
}

static Flow flow_step(Turn *t, Job *job, unsigned idx, int *ret_r) {
        const StepState *s = &job->steps[idx];

        switch (s->status) {
        case STEP_DONE:
        case STEP_SKIPPED: return FLOW_DONE;
        case STEP_FAILED: return FLOW_FAILED;
        case STEP_PENDING:
                if (deadline_is_set(&s->again) && deadline_left(&s->again, t->boot_now) > 0)
                        return FLOW_BUSY;
                if (wait_find_step(job, "missing-secret", job->def->steps[idx].id))
                        return FLOW_BUSY;
                *ret_r = step_begin(t, job, idx);
                /* A group's members may begin in the same turn; everything else has moved once. */
                if (*ret_r >= 0 && s->status == STEP_RUNNING &&
                    job->def->steps[idx].class == VERB_GROUP)
                        return flow_group(t, job, idx, ret_r);
                return FLOW_BUSY;
        case STEP_RUNNING:
                return job->def->steps[idx].class == VERB_GROUP ? flow_group(t, job, idx, ret_r)
                                                                : FLOW_BUSY;
        default: return FLOW_BUSY;
        }
}

static bool member_failed(const Job *job, unsigned begin, unsigned end) {
        for (unsigned i = begin; i < end; i = job->def->steps[i].end)
                if (job->steps[i].status == STEP_FAILED)
                        return true;
        return false;
}

static bool stop_members(Turn *t, Job *job, unsigned begin, unsigned end) {
        bool busy = false;

        for (unsigned i = begin; i < end; i++) {
                StepState *s = &job->steps[i];

                /* A next try that will not come must not be waited for. */
                if (deadline_is_set(&s->again)) {
                        s->again = (Deadline){0};
                        s->dirty = true;
                }
                if (!s->in_flight)
                        continue;
                attempt_stop(t, job, i);
                busy = true;
        }
        return busy;
}

static Flow flow_parallel(Turn *t, Job *job, unsigned begin, unsigned end, int *ret_r) {
        bool busy = false;

        for (unsigned i = begin; i < end && *ret_r >= 0; i = job->def->steps[i].end)
                if (!member_failed(job, begin, end) && flow_step(t, job, i, ret_r) == FLOW_BUSY)
                        busy = true;
        if (member_failed(job, begin, end))
                return stop_members(t, job, begin, end) ? FLOW_BUSY : FLOW_FAILED;
        return busy ? FLOW_BUSY : FLOW_DONE;
}

static Flow flow_list(Turn *t, Job *job, unsigned begin, unsigned end, bool parallel, int *ret_r) {
        if (parallel)
                return flow_parallel(t, job, begin, end, ret_r);
        for (unsigned i = begin; i < end && *ret_r >= 0; i = job->def->steps[i].end) {
                Flow flow = flow_step(t, job, i, ret_r);

                if (flow != FLOW_DONE)
                        return flow;
        }
        return FLOW_DONE;
}

/* The step that failed, not the groups around it; the first that was not merely stopped. */
static int failed_step(const Job *job, Phase phase) {
        int stopped = -ENOENT;
        unsigned begin, end;

        job_def_range(job->def, phase, &begin, &end);
        for (unsigned i = begin; i < end; i++) {
                if (job->steps[i].status != STEP_FAILED || job->def->steps[i].class == VERB_GROUP)
                        continue;
                if (!job->steps[i].stop_wanted)
                        return (int) i;
                if (stopped < 0)
                        stopped = (int) i;
        }
        return stopped;
}

static int hold(Job *job, int idx, const char *why, bool with_skip) {
        const char *message =
                args_text(json_object_get(job->steps[idx].result, "error"), "message", "");
        json_t *more = json_pack("{s:s, s:s, s:[s,s*]}", "why", why, "message", message, "can",
                                 "retry", with_skip ? "skip" : NULL);

        if (!wait_open(job, "retry-or-skip", idx, 0, more))
                return -ENOMEM;
        job_decide(job, idx, NULL, why);
        return 0;
}

static void failure_note(Job *job, int idx) {
        job_fact(job, "failure",
                 json_pack("{s:s, s:s}", "step", job->def->steps[idx].id, "direction", "do"));
}

/* Why the strategy that on_failure chose cannot be begun by itself. NULL: it can. Caller frees. */
static char *choice_refused(const Turn *t, const Job *job, const Choice *choice) {
        _cleanup_error_ Error error = ERROR_INIT;
        const json_t *strategy = NULL;

        if (!choice->strategy)
                return strf("holding: on_failure says hold (%s)", choice->stretch);
        if (strategy_loses_data(job, choice->strategy) && !choice->named)
                return strf("holding: strategy %s would lose data and on_failure does not name it",
                            choice->strategy);
        if (strategy_find(job, choice->strategy, &strategy) < 0 ||
            strategy_allowed(t, job, strategy, &error) >= 0)
                return NULL;
        return strf("holding: strategy %s cannot be taken: %s", choice->strategy,
                    error.message ? error.message : "its `when` does not hold");
}

/* Whoever is told of the failure hears of a job that waits, with what can be done about it. */
static int hold_failure(Turn *t, Job *job, int idx, const char *why) {
        int r = hold(job, idx, why, true);

        if (r >= 0 && job->state == JOB_RUNNING)
                r = job_enter(t, job, JOB_EVENT_PARK);
        if (r >= 0)
                hooks_queue(job, "failed");
        return r;
}

static bool waits_for_people(const Job *job) {
        json_t *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait)
                if (!streq(args_text(wait, "kind", ""), "window"))
                        return true;
        return false;
}

static int decide_failure(Turn *t, Job *job) {
        int idx = failed_step(job, PHASE_MAIN);
        _cleanup_free_ char *why = NULL;
        Choice choice;

        if (idx < 0 || waits_for_people(job))
                return 0;
        /* What waits for a window will not begin any more, and the way back needs none. */
        waits_close_all(job, "a step failed");
        failure_note(job, idx);
        if (job->dry_run)
                return job_enter(t, job, JOB_EVENT_DRY_RUN_FAILED);
        choice = strategy_for(job, (unsigned) idx);
        why = choice_refused(t, job, &choice);
        if (why || !choice.strategy)
                return why ? hold_failure(t, job, idx, why) : -ENOMEM;
        why = strf("rolling back with strategy %s: step %s failed (on_failure: %s)",
                   choice.strategy, job->def->steps[idx].id, choice.stretch);
        return why ? back_begin(t, job, JOB_EVENT_STEP_FAILED, choice.strategy, why, NULL)
                   : -ENOMEM;
}

static int succeed(Turn *t, Job *job) {
        int64_t ms = INT64_C(7) * 24 * 3600 * 1000;
        json_auto_t *scope = NULL, *norm = NULL;

        if (!job->dry_run) {
                if (job_scope(t, job, &scope) < 0)
                        return -ENOMEM;
                if (plan_expand(job->def->plan->norm, scope, &norm, NULL) < 0 ||
                    args_ms(norm, "way_back", ms, &ms, NULL) < 0)
                        ms = INT64_C(7) * 24 * 3600 * 1000;
                job->way_back = deadline_in(ms);
                job->way_back_open = true;
        }
        job_fact(job, "failure", NULL);
        job_fact(job, "decided", NULL);
        return job_enter(t, job, JOB_EVENT_STEPS_DONE);
}

int forward_advance(Turn *t, Job *job, Error *reterr) {
        unsigned begin, end;
        int r = 0;
        Flow flow;

        job_def_range(job->def, PHASE_MAIN, &begin, &end);
        flow = flow_list(t, job, begin, end, false, &r);
        if (r < 0)
                return r;
        if (flow == FLOW_FAILED)
                r = decide_failure(t, job);
        else if (flow == FLOW_DONE && job->state == JOB_RUNNING)
                r = succeed(t, job);
        return r;
}

static int start(Turn *t, Job *job) {
        int r;

        job->started = job_now(job);
        r = job_enter(t, job, JOB_EVENT_CHECKS_PASSED);
        if (r >= 0)
                hooks_queue(job, "started");
        return r;
}

/* Before the first check: every secret must resolve. 1 the job waits. */
static int secrets_wanted(Turn *t, Job *job) {
        _cleanup_error_ Error unreadable = ERROR_INIT;
        _cleanup_free_ char *why = NULL;
        json_auto_t *missing = NULL;
        int r;

        if (json_object_size(json_object_get(job->def->plan->norm, "secrets")) == 0)
                return 0;
        r = secrets_missing(t, job, &missing, &unreadable);
        if (r < 0 || json_array_size(missing) == 0)
                return r;
        why = secrets_why(&unreadable, "secrets are missing; the job begins once they are there");
        if (!why)
                return -ENOMEM;
        return wait_open(job, "missing-secret", -1, 0,
                         json_pack("{s:O, s:s, s:[s]}", "secrets", missing, "why", why, "can",
                                   "retry"))
                       ? 1
                       : -ENOMEM;
}

int queued_advance(Turn *t, Job *job, Error *reterr) {
        unsigned begin, end;
        int r;

        job_def_range(job->def, PHASE_CHECKS, &begin, &end);
        if (begin < end && job->steps[begin].status == STEP_FAILED) {
                failure_note(job, (int) begin);
                job_tell(job, "checks_refused", (int) begin, NULL, NULL);
                /* The window may have closed on them. */
                waits_close_all(job, "the checks refused");
                return job_enter(t, job, JOB_EVENT_CHECKS_REFUSED);
        }
        if (window_holds(job))
                return window_wait(job);
        if (begin < end && job->steps[begin].status == STEP_DONE) {
                job_tell(job, "checks_passed", (int) begin, NULL, NULL);
                return start(t, job);
        }
        if (begin < end && job->steps[begin].status != STEP_PENDING)
                return 0;
        /* "after" names the job whose finalise steps come first. */
        if (json_object_get(job->facts, "after") || t->running >= t->max_jobs)
                return 0;
        r = secrets_wanted(t, job);
        if (r != 0)
                return r < 0 ? r : 0;
        t->running++;
        if (begin == end)
                return start(t, job);
        r = attempt_try(t, job, begin, DIRECTION_DO);
        if (r < 0)
                return r;
        return r > 0 ? 0 : job_step_move(job, begin, STEP_EVENT_BEGIN);
}

int finalise_advance(Turn *t, Job *job, Error *reterr) {
        unsigned begin, end;
        int r = 0, idx;
        Flow flow;

        if (!job->finalising)
                return 0;
        job_def_range(job->def, PHASE_FINALISE, &begin, &end);
        flow = flow_list(t, job, begin, end, false, &r);
        if (r < 0 || flow == FLOW_BUSY)
                return r;
        if (flow == FLOW_DONE) {
                job->finalising = false;
                if (end > begin)
                        job_tell(job, "finalise_done", -1, NULL, NULL);
                return 0;
        }
        idx = failed_step(job, PHASE_FINALISE);
        if (idx < 0 || json_array_size(job->waits) > 0)
                return 0;
        failure_note(job, idx);
        r = hold(job, idx, "a finalise step failed; the job stays succeeded", true);
        hooks_queue(job, "waiting");
        return r;
}
