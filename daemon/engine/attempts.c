/* SPDX-License-Identifier: MIT */
/*
 * Beginning and ending attempts, as decisions: what is recorded before updd-step may start, and
 * what an end means for its step. Starting processes and looking at folders is watch.c's work.
 */
#include "api/args.h"
#include "daemon/engine/turn.h"
#include "daemon/plan/expand.h"

#define MAX_RERUNS 50 /* a step that keeps being interrupted is not rerun for ever */

static json_t *error_json(const char *type, const char *message, const char *hint) {
        return json_pack("{s:s, s:s, s:s*}", "type", type, "message", message, "hint", hint);
}

void step_fail(Job *job, unsigned idx, const char *type, const char *message, const char *hint) {
        StepState *s = &job->steps[idx];
        json_t *result = json_pack("{s:s, s:s, s:s, s:o}", "state", "failed", "phase", "do",
                                   "reason", "error", "error", error_json(type, message, hint));

        json_decref(s->result);
        s->result = result;
        s->ended = job_now(job);
        if (job_step_move(job, idx, STEP_EVENT_FAIL) < 0)
                return;
        s->order = ++job->next_order;
        job->advance = true;
        job_tell(job, "step_failed", (int) idx, NULL, json_pack("{s:s}", "message", message));
}

void step_succeed(Job *job, unsigned idx, json_t *outputs) {
        StepState *s = &job->steps[idx];
        json_auto_t *owned = outputs;
        int64_t now = job_now(job);

        if (job_step_move(job, idx, STEP_EVENT_SUCCEED) < 0)
                return;
        if (owned) {
                json_decref(s->outputs);
                s->outputs = TAKE(owned);
        }
        if (s->started == 0)
                s->started = now;
        s->ended = now;
        s->begun = true;
        s->order = ++job->next_order;
        job->advance = true;
        job_tell(job, "step_done", (int) idx, NULL, NULL);
}

bool job_has_in_flight(const Job *job, bool hooks_too) {
        for (unsigned i = 0; i < job->def->n_steps; i++)
                if (job->steps[i].in_flight &&
                    (hooks_too || job->def->steps[i].phase != PHASE_HOOK))
                        return true;
        return false;
}

static const char *begin_news(const Job *job, unsigned idx, Direction direction) {
        if (job->def->steps[idx].phase == PHASE_HOOK)
                return "hook_started";
        return direction == DIRECTION_UNDO ? "step_undoing" : "step_started";
}

/* A missing secret makes the job wait; on the way back it is an undo that failed. */
static int secret_missing(Job *job, unsigned idx, Direction direction, const json_t *names,
                          Error *reterr) {
        _cleanup_free_ char *list = json_dumps(names, JSON_COMPACT), *why = NULL;
        _cleanup_error_ Error unreadable = ERROR_INIT;

        error_move(&unreadable, reterr);
        if (direction == DIRECTION_UNDO || job->def->steps[idx].phase == PHASE_THEN ||
            job->def->steps[idx].phase == PHASE_HOOK) {
                (void) error_set(reterr, ENOENT, "missing-secret", "Secrets are missing: %s%s%s",
                                 list ? list : "?", unreadable.message ? ": " : "",
                                 unreadable.message ? unreadable.message : "");
                if (unreadable.hint)
                        error_hint(reterr, "%s", unreadable.hint);
                error_detail(reterr, "secrets", json_incref((json_t *) names));
                return -ENOENT;
        }
        if (wait_find_step(job, "missing-secret", job->def->steps[idx].id))
                return 1;
        why = secrets_why(&unreadable, "a secret that the step needs is missing");
        if (!why)
                return error_oom(reterr);
        return wait_open(
                       job, "missing-secret", (int) idx, 0,
                       json_pack("{s:O, s:s, s:[s]}", "secrets", names, "why", why, "can", "retry"))
                       ? 1
                       : error_oom(reterr);
}

/* Numbers the attempt. On failure the caller drops the job's copy or puts the number back. */
static int attempt_number(Job *job, unsigned idx, Direction direction) {
        StepState *s = &job->steps[idx];
        int r = job_attempt_pass(job, idx);

        if (r < 0)
                return r;
        s->attempts++;
        s->direction = (uint8_t) direction;
        return id128_random(s->id);
}

static void attempt_record(Job *job, unsigned idx, Direction direction) {
        StepState *s = &job->steps[idx];

        s->in_flight = true;
        s->stop_wanted = false;
        s->outcome = ATTEMPT_STARTING;
        s->again = (Deadline){0};
        if (s->started == 0 || direction == DIRECTION_UNDO ||
            job->def->steps[idx].phase == PHASE_HOOK)
                s->started = job_now(job);
        if (direction == DIRECTION_DO) {
                s->begun = true;
                s->tries++;
        }
        s->dirty = s->attempt_dirty = true;
        job_tell(job, begin_news(job, idx, direction), (int) idx, NULL,
                 json_pack("{s:s}", "direction", direction_to_text(direction)));
}

int attempt_begin(Turn *t, Job *job, unsigned idx, Direction direction, Error *reterr) {
        json_auto_t *task = NULL, *secrets = NULL, *missing = NULL, *names = NULL;
        StepState before = job->steps[idx];
        json_t *pending;
        int r;

        r = attempt_number(job, idx, direction);
        if (r >= 0)
                r = task_build(t, job, idx, direction, &task, reterr);
        if (r >= 0)
                r = secrets_resolve(t, job, task, &secrets, &missing, reterr);
        if (r < 0) {
                memcpy(job->steps[idx].id, before.id, sizeof(before.id));
                job->steps[idx].attempts = before.attempts;
                job->steps[idx].direction = before.direction;
        }
        if (missing)
                return secret_missing(job, idx, direction, missing, reterr);
        if (r < 0)
                return r;
        names = json_array();
        if (secrets) {
                const char *name;
                json_t *value;

                json_object_foreach (secrets, name, value) {
                        (void) json_array_append_new(names, json_string(name));
                }
        }
        (void) json_object_set(task, "secrets", names);
        pending = json_array_get(json_object_get(job->steps[idx].more, "pending"), 0);
        if (pending)
                (void) json_object_set(task, "event", pending);
        attempt_record(job, idx, direction);
        turn_effect(t, (Effect){.kind = EFFECT_SPAWN,
                                .job = job->id,
                                .step = idx,
                                .task = TAKE(task),
                                .secrets = TAKE(secrets)});
        return 0;
}

static const char *result_message(const json_t *result) {
        return args_text(json_object_get(result, "error"), "message", "it failed");
}

void undo_failure_note(Job *job, unsigned idx) {
        json_t *before = json_object_get(job->facts, "failure");

        /* Why it went back at all is still asked for. */
        if (streq0(args_text(before, "direction", NULL), "do"))
                job_fact(job, "cause", json_incref(before));
        job_fact(job, "failure",
                 json_pack("{s:s, s:s}", "step", job->def->steps[idx].id, "direction", "undo"));
}

void undo_failure_settle(Job *job) {
        job_fact(job, "failure", json_incref(json_object_get(job->facts, "cause")));
        job_fact(job, "cause", NULL);
}

static int undo_failed(Job *job, unsigned idx, const json_t *result) {
        int r = job_step_move(job, idx, STEP_EVENT_UNDO_FAIL);

        if (r < 0)
                return r;
        job_tell(job, "step_undo_failed", (int) idx, NULL,
                 json_pack("{s:s}", "message", result_message(result)));
        undo_failure_note(job, idx);
        return 0;
}

/* Of a result that was made just now, and is nobody else's yet. */
static void put_details(Job *job, unsigned idx, const Error *error) {
        if (error->details)
                (void) json_object_set(json_object_get(job->steps[idx].result, "error"), "details",
                                       error->details);
}

int attempt_try(Turn *t, Job *job, unsigned idx, Direction direction) {
        _cleanup_error_ Error error = ERROR_INIT;
        json_auto_t *result = NULL;
        int r;

        r = attempt_begin(t, job, idx, direction, &error);
        if (r >= 0 || r == -ENOMEM)
                return r;
        if (direction != DIRECTION_UNDO) {
                step_fail(job, idx, error.type, error.message, error.hint);
                put_details(job, idx, &error);
                return 1;
        }
        result = json_pack("{s:s, s:s, s:o}", "state", "failed", "phase", "undo", "error",
                           error_json(error.type, error.message, error.hint));
        json_decref(job->steps[idx].result);
        job->steps[idx].result = json_incref(result);
        put_details(job, idx, &error);
        return undo_failed(job, idx, result) < 0 ? -EPERM : 1;
}

void attempt_stop(Turn *t, Job *job, unsigned idx) {
        StepState *s = &job->steps[idx];

        if (!s->in_flight || s->stop_wanted)
                return;
        s->stop_wanted = true;
        s->dirty = true;
        job_tell(job, "stop_wanted", (int) idx, NULL, NULL);
        turn_effect(t, (Effect){.kind = EFFECT_STOP, .job = job->id, .step = idx});
}

/* Only what the views and reports show of a result stays in the job's row. */
static json_t *result_trim(const json_t *result) {
        json_t *trimmed = json_object(), *value;
        const char *key;

        json_object_foreach ((json_t *) result, key, value) {
                if (!streq(key, "outputs") && !streq(key, "id") && !streq(key, "format"))
                        (void) json_object_set(trimmed, key, value);
        }
        return trimmed;
}

static int64_t retry_delay(const json_t *retry, unsigned tries) {
        double factor = json_number_value(json_object_get(retry, "factor"));
        int64_t first = 1000, max = 60000;
        double delay;

        if (args_ms(retry, "first", 1000, &first, NULL) < 0 ||
            args_ms(retry, "max", 60000, &max, NULL) < 0)
                return first;
        if (factor < 1)
                factor = 2;
        delay = (double) first;
        for (unsigned i = 1; i < tries && delay < (double) max; i++)
                delay *= factor;
        return MIN((int64_t) delay, max);
}

/* `retry: N` means N tries in all; what failed in verify is not done again. */
static bool may_retry(const Job *job, unsigned idx, const json_t *result) {
        const json_t *retry = json_object_get(job->def->steps[idx].norm, "retry");
        int64_t tries = 1;

        if (!retry || job->steps[idx].stop_wanted || job->state == JOB_ROLLING_BACK ||
            streq0(args_text(result, "phase", NULL), "verify"))
                return false;
        if (args_int(retry, "tries", 1, &tries, NULL) < 0)
                return false;
        return (int64_t) job->steps[idx].tries < tries;
}

static int do_failed(Job *job, unsigned idx, const json_t *result) {
        StepState *s = &job->steps[idx];
        int r;

        if (may_retry(job, idx, result)) {
                int64_t delay =
                        retry_delay(json_object_get(job->def->steps[idx].norm, "retry"), s->tries);

                if (s->status == STEP_WAITING && job_step_move(job, idx, STEP_EVENT_GO_ON) < 0)
                        return -EPERM;
                s->again = deadline_in(delay);
                job_tell(job, "step_retry", (int) idx, NULL,
                         json_pack("{s:i, s:I, s:s}", "try", (int) s->tries, "in_ms",
                                   (json_int_t) delay, "message", result_message(result)));
                return job_step_move(job, idx, STEP_EVENT_AGAIN);
        }
        r = job_step_move(job, idx, STEP_EVENT_FAIL);
        if (r < 0)
                return r;
        list_done_note(job, idx, result);
        s->order = ++job->next_order;
        job_tell(job, "step_failed", (int) idx, NULL,
                 json_pack("{s:s, s:s*}", "message", result_message(result), "phase",
                           args_text(result, "phase", NULL)));
        return 0;
}

static json_t *interrupted_result(void) {
        return json_pack("{s:s, s:s, s:o}", "state", "interrupted", "phase", "do", "error",
                         error_json("interrupted",
                                    "The step was interrupted; whether its change happened is not "
                                    "known",
                                    NULL));
}

static int settle_ask(Job *job, unsigned idx) {
        return wait_open(job, "retry-or-skip", (int) idx, 0,
                         json_pack("{s:s, s:[s,s]}", "why",
                                   "the step was interrupted and the plan says to ask", "can",
                                   "retry", "skip"))
                       ? 0
                       : -ENOMEM;
}

/* An interrupted do is settled by the step's on_crash. */
static int do_interrupted(Turn *t, Job *job, unsigned idx) {
        StepState *s = &job->steps[idx];
        OnCrash policy = verb_on_crash(job->def->steps[idx].norm);
        bool probing = s->direction == DIRECTION_PROBE;
        int r;

        r = job_step_move(job, idx, STEP_EVENT_INTERRUPT);
        if (r < 0)
                return r;
        /* Its place on the way back, whatever is decided about it: what comes later is undone first. */
        s->order = ++job->next_order;
        job_tell(job, "step_interrupted", (int) idx, NULL,
                 json_pack("{s:s}", "on_crash", on_crash_to_text(policy)));
        if (s->stop_wanted || job->state == JOB_ROLLING_BACK || s->attempts > MAX_RERUNS)
                return job_step_move(job, idx, STEP_EVENT_FAIL);
        if (probing ||
            (policy == ON_CRASH_PROBE && json_object_get(job->def->steps[idx].norm, "probe"))) {
                r = job_step_move(job, idx, STEP_EVENT_BEGIN);
                return r < 0 ? r : attempt_try(t, job, idx, DIRECTION_PROBE);
        }
        switch (policy) {
        case ON_CRASH_RERUN:
                if (s->tries > 0)
                        s->tries--; /* it was not the step that failed */
                return job_step_move(job, idx, STEP_EVENT_AGAIN);
        case ON_CRASH_ASK: return settle_ask(job, idx);
        default:
                r = job_step_move(job, idx, STEP_EVENT_FAIL);
                job_tell(job, "step_failed", (int) idx, NULL,
                         json_pack("{s:s}", "message", "interrupted, and on_crash says undo"));
                return r;
        }
}

static int probe_ended(Job *job, unsigned idx, bool happened) {
        job_tell(job, "decided", (int) idx, NULL,
                 json_pack("{s:s}", "decided",
                           happened ? "the probe says that the change happened"
                                    : "the probe says that the change did not happen: once more"));
        if (happened) {
                step_succeed(job, idx, NULL);
                return 0;
        }
        return job_step_move(job, idx, STEP_EVENT_AGAIN);
}

/* An undo written in the plan is rerun only when each of its steps says so. */
static bool undo_may_rerun(const Job *job, unsigned idx) {
        const json_t *list = undo_of(job, idx), *norm;
        size_t i;

        if (job->steps[idx].attempts > MAX_RERUNS)
                return false;
        if (!json_is_array(list))
                return true;
        json_array_foreach ((json_t *) list, i, norm) {
                OnCrash policy = verb_on_crash(norm);

                if (policy != ON_CRASH_RERUN && policy != ON_CRASH_PROBE)
                        return false;
        }
        return true;
}

static int undo_ended(Turn *t, Job *job, unsigned idx, const json_t *result, bool interrupted) {
        int r;

        if (interrupted && undo_may_rerun(job, idx)) {
                job_tell(job, "step_interrupted", (int) idx, NULL,
                         json_pack("{s:s}", "direction", "undo"));
                return attempt_try(t, job, idx, DIRECTION_UNDO);
        }
        if (!streq0(args_text(result, "state", NULL), "done")) {
                list_done_note(job, idx, result);
                return undo_failed(job, idx, result);
        }
        r = job_step_move(job, idx, STEP_EVENT_UNDO_SUCCEED);
        job_tell(job, "step_undone", (int) idx, NULL, NULL);
        return r;
}

/* Questions of an attempt that has ended can no longer be answered. */
static void questions_close(Job *job, unsigned idx) {
        json_t *wait;

        while ((wait = wait_find_step(job, "question", job->def->steps[idx].id))) {
                _cleanup_free_ char *id = strdup(args_text(wait, "id", ""));

                if (!id)
                        return;
                wait_close(job, id, NULL, json_pack("{s:s}", "because", "the attempt ended"));
        }
}

static void overrides_tell(Job *job, unsigned idx, const json_t *result) {
        const json_t *check;
        size_t i;

        json_array_foreach (json_object_get(result, "checks"), i, check) {
                if (json_is_true(json_object_get(check, "overridden")))
                        job_tell(job, "override", (int) idx, job->who,
                                 json_pack("{s:O*, s:O*, s:O*}", "check",
                                           json_object_get(check, "check"), "name",
                                           json_object_get(check, "name"), "message",
                                           json_object_get(check, "message")));
        }
}

/* Nothing of it ran, and nobody wanted that but the clock: it waits like all that is to follow. */
static bool is_not_begun(const Job *job, unsigned idx, const json_t *result) {
        return json_is_true(json_object_get(result, "withdrawn")) &&
               streq0(args_text(result, "reason", NULL), WITHDRAWN_WINDOW) &&
               !job->steps[idx].stop_wanted && job->state != JOB_ROLLING_BACK;
}

static int not_begun(Job *job, unsigned idx) {
        StepState *s = &job->steps[idx];

        if (s->tries > 0)
                s->tries--;
        job_tell(job, "decided", (int) idx, NULL,
                 json_pack("{s:s}", "decided",
                           "the window was not open any more when the step was to begin: nothing "
                           "of it "
                           "has run"));
        return job_step_move(job, idx, STEP_EVENT_AGAIN);
}

static int ended_by_direction(Turn *t, Job *job, unsigned idx, const json_t *result,
                              bool interrupted) {
        bool ok = streq0(args_text(result, "state", NULL), "done");
        StepState *s = &job->steps[idx];

        if (job->def->steps[idx].phase == PHASE_HOOK) {
                hook_ended(job, idx, ok, interrupted ? "interrupted" : result_message(result));
                return 0;
        }
        if (s->direction == DIRECTION_UNDO)
                return undo_ended(t, job, idx, result, interrupted);
        if (is_not_begun(job, idx, result))
                return not_begun(job, idx);
        if (interrupted)
                return do_interrupted(t, job, idx);
        if (s->direction == DIRECTION_PROBE)
                return probe_ended(job, idx, ok);
        if (!ok)
                return do_failed(job, idx, result);
        step_succeed(job, idx, json_incref(json_object_get(result, "outputs")));
        s->tries = 0;
        return 0;
}

/* An attempt that was withdrawn changed nothing: unless one before it did, there is nothing to
 * undo. */
static void withdrawn(Job *job, unsigned idx) {
        StepState *s = &job->steps[idx];
        json_int_t n = 1 + json_integer_value(json_object_get(s->more, "withdrawn"));

        s->outcome = ATTEMPT_WITHDRAWN;
        job_step_note(job, idx, "withdrawn", json_integer(n));
        if (n == (json_int_t) s->attempts)
                s->begun = false;
}

int attempt_ended(Turn *t, Job *job, unsigned idx, const json_t *given) {
        json_auto_t *own = given ? NULL : interrupted_result();
        const json_t *result = given ? given : own;
        const char *state = args_text(result, "state", "interrupted");
        bool interrupted = streq(state, "interrupted");
        StepState *s = &job->steps[idx];

        if (!result)
                return -ENOMEM;
        if (!s->in_flight)
                return 0;
        s->in_flight = false;
        s->ended = job_now(job);
        s->outcome = streq(state, "done")     ? ATTEMPT_DONE
                     : streq(state, "failed") ? ATTEMPT_FAILED
                                              : ATTEMPT_INTERRUPTED;
        if (json_is_true(json_object_get(result, "withdrawn")))
                withdrawn(job, idx);
        json_decref(s->result);
        s->result = result_trim(result);
        s->dirty = s->attempt_dirty = true;
        job->advance = true;
        questions_close(job, idx);
        overrides_tell(job, idx, result);
        return ended_by_direction(t, job, idx, result, interrupted);
}
