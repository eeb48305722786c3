/* SPDX-License-Identifier: MIT */
/* What people ask of a job: one function a verb, one table of them. */
#include "api/args.h"
#include "daemon/attempt/attempt.h"
#include "daemon/engine/internal.h"

int refuse_now(const Job *job, const char *verb, Error *reterr) {
        int r = error_set(reterr, EPERM, "not-now", "Job %lld is %s: it cannot %s now",
                          (long long) job->id, job_state_to_text(job->state), verb);

        error_detail(reterr, "state", json_string(job_state_to_text(job->state)));
        error_detail(reterr, "actions", job_actions(job));
        error_detail(reterr, "job", json_integer(job->id));
        error_detail(reterr, "decided", json_incref(json_object_get(job->facts, "decided")));
        return r;
}

static bool is_allowed(const Job *job, const char *verb) {
        json_auto_t *actions = job_actions(job);

        return json_has_text(actions, verb);
}

static int refuse_closed(const Job *job, const char *id, Error *reterr) {
        const json_t *closed = json_object_get(json_object_get(job->facts, "closed"), id);
        const char *by = args_text(closed, "by", NULL);
        int r;

        if (!closed)
                return error_set(reterr, ESTALE, "wait-closed",
                                 "Job %lld does not wait for %s any more", (long long) job->id, id);
        r = error_set(reterr, ESTALE, "wait-closed",
                      "Job %lld does not wait for %s any more: %s%s%s, %s", (long long) job->id, id,
                      args_text(closed, "how", "it was closed"), by ? " by " : "", by ? by : "",
                      args_text(closed, "at", ""));
        error_detail(reterr, "closed", json_incref((json_t *) closed));
        return r;
}

/* The wait that the call names; it must be open and of the kind, or one that can `can`. */
static int wait_named(const Job *job, const Call *call, const char *kind, const char *can,
                      json_t **ret, Error *reterr) {
        const char *id = args_text(call->body, "wait", NULL);
        json_t *wait;
        int r;

        if (!id) {
                r = error_set(reterr, EINVAL, "wait-missing",
                              "The request must name the wait that it answers");
                error_detail(reterr, "waits", json_incref(job->waits));
                return r;
        }
        wait = wait_find(job, id);
        if (!wait)
                return refuse_closed(job, id, reterr);
        if ((kind && streq0(args_text(wait, "kind", NULL), kind)) ||
            json_has_text(json_object_get(wait, "can"), can)) {
                *ret = wait;
                return 0;
        }
        return error_set(reterr, EINVAL, "wait-closed", "%s is a %s: this does not answer it", id,
                         args_text(wait, "kind", "wait"));
}

static int reason_demanded(const Call *call, Error *reterr) {
        if (isempty(args_text(call->body, "reason", NULL)))
                return error_set(reterr, EINVAL, "reason-missing", "This needs a reason");
        return 0;
}

static int typed_demanded(const char *expected, const Call *call, Error *reterr) {
        int r;

        if (!expected || streq0(args_text(call->body, "typed", NULL), expected))
                return 0;
        r = error_set(reterr, EINVAL, "not-typed", "This needs the text '%s' typed", expected);
        error_detail(reterr, "type_expected", json_string(expected));
        return r;
}

/* ---- confirm ---- */

static json_t *item_named(json_t *items, const char *text) {
        json_t *item;
        size_t i;

        json_array_foreach (items, i, item) {
                if (streq0(args_text(item, "text", NULL), text))
                        return item;
        }
        return NULL;
}

static void item_tick(Job *job, const char *wait, json_t *item, const char *who) {
        char time[TIME_TEXT_MAX];

        if (json_object_get(item, "ticked"))
                return;
        (void) json_put(item, "ticked",
                        json_pack("{s:s, s:s}", "by", who, "at", time_format(job_now(job), time)));
        job_tell(job, "wait_ticked", -1, who,
                 json_pack("{s:s, s:O}", "wait", wait, "item", json_object_get(item, "text")));
}

/* Ticks what the call ticks; 1 when every item is ticked now. */
static int confirm_items(Job *job, json_t *wait, const Call *call, Error *reterr) {
        json_t *items = json_object_get(wait, "items"), *item, *text;
        json_t *ticks = json_object_get(call->body, "ticks");
        bool all = json_is_true(json_object_get(call->body, "all"));
        size_t i;
        int r;

        if (json_array_size(items) == 0)
                return 1;
        if (!all && json_array_size(ticks) == 0) {
                r = error_set(reterr, EINVAL, "items-missing", "The gate has items to tick");
                error_detail(reterr, "items", json_incref(items));
                return r;
        }
        json_array_foreach (ticks, i, text) {
                if (!item_named(items, json_string_value(text)))
                        return error_set(reterr, EINVAL, "items-missing",
                                         "The gate has no item '%s'", json_string_value(text));
        }
        json_array_foreach (ticks, i, text) {
                item_tick(job, args_text(wait, "id", ""),
                          item_named(items, json_string_value(text)), call->who);
        }
        json_array_foreach (items, i, item) {
                if (all)
                        item_tick(job, args_text(wait, "id", ""), item, call->who);
        }
        json_array_foreach (items, i, item) {
                if (!json_object_get(item, "ticked"))
                        return 0;
        }
        return 1;
}

static int call_confirm(Batch *b, Job *job, Call *call, Reply *reply) {
        _cleanup_free_ char *id = NULL;
        json_t *wait, *items;
        int r, idx;

        r = wait_named(job, call, "gate", NULL, &wait, &reply->error);
        if (r < 0)
                return r;
        if (json_is_true(json_object_get(wait, "other_person")) && streq0(job->who, call->who))
                return error_set(&reply->error, EPERM, "same-person",
                                 "The gate asks for another person than the one who started it");
        r = typed_demanded(args_text(wait, "type", NULL), call, &reply->error);
        if (r >= 0)
                r = confirm_items(job, wait, call, &reply->error);
        if (r <= 0)
                return r;
        idx = job_def_find(job->def, args_text(wait, "step", ""));
        id = strdup(args_text(wait, "id", ""));
        if (idx < 0 || !id)
                return error_oom(&reply->error);
        items = json_deep_copy(json_object_get(wait, "items"));
        step_succeed(job, (unsigned) idx,
                     json_pack("{s:s, s:o*, s:s*}", "by", call->who, "items", items, "reason",
                               args_text(call->body, "reason", NULL)));
        wait_close(job, id, call->who,
                   json_pack("{s:s, s:s*}", "answer", "confirmed", "reason",
                             args_text(call->body, "reason", NULL)));
        return job_enter(&b->turn, job, JOB_EVENT_CONFIRM);
}

/* ---- answer ---- */

static int answer_stage(Batch *b, Job *job, unsigned idx, unsigned k, const char *text,
                        Error *reterr) {
        Watch *w = watch_find(b->engine, job->id, idx, job->steps[idx].attempts);
        int r;

        if (!w)
                return error_set(reterr, ESTALE, "wait-closed", "The attempt has ended");
        r = attempt_answer_stage(w->dirfd, k, text);
        return r < 0 ? error_set(reterr, -r, r == -ENOSPC ? "disk-full" : "store-failed",
                                 "Cannot write the answer: %s", strerror(-r))
                     : 0;
}

static int call_answer(Batch *b, Job *job, Call *call, Reply *reply) {
        const char *text = args_text(call->body, "text", NULL);
        _cleanup_free_ char *id = NULL;
        json_t *wait, *answered;
        unsigned k;
        int r, idx;

        if (!text)
                return error_set(&reply->error, EINVAL, "bad-request", "'text' is missing");
        r = wait_named(job, call, "question", NULL, &wait, &reply->error);
        if (r < 0)
                return r;
        idx = job_def_find(job->def, args_text(wait, "step", ""));
        k = (unsigned) json_integer_value(json_object_get(wait, "k"));
        id = strdup(args_text(wait, "id", ""));
        if (idx < 0 || !id)
                return error_oom(&reply->error);
        r = answer_stage(b, job, (unsigned) idx, k, text, &reply->error);
        if (r < 0)
                return r;
        answered = json_copy(json_object_get(job->steps[idx].more, "answered"));
        if (!answered)
                answered = json_array();
        (void) json_array_append_new(answered, json_integer(k));
        job_step_note(job, (unsigned) idx, "answered", answered);
        /* The text stays out of the journal: an answer may be a secret even where it is echoed. */
        job_tell(job, "answered", idx, call->who, json_pack("{s:i}", "k", (int) k));
        wait_close(job, id, call->who, json_pack("{s:s}", "answer", "given"));
        if (job->steps[idx].status == STEP_WAITING)
                (void) job_step_move(job, (unsigned) idx, STEP_EVENT_GO_ON);
        turn_effect(
                &b->turn,
                (Effect){.kind = EFFECT_DELIVER, .job = job->id, .step = (unsigned) idx, .k = k});
        return job_enter(&b->turn, job, JOB_EVENT_ANSWER);
}

/* ---- rollback, cancel ---- */

static int call_rollback(Batch *b, Job *job, Call *call, Reply *reply) {
        const char *name = args_text(call->body, "strategy", "full");
        const char *reason = args_text(call->body, "reason", NULL);
        _cleanup_free_ char *why = NULL;
        const json_t *strategy = NULL;
        int r;

        if (!is_allowed(job, "rollback"))
                return refuse_now(job, "roll back", &reply->error);
        if (strategy_find(job, name, &strategy) < 0)
                return error_set(&reply->error, EINVAL, "bad-request",
                                 "The plan has no rollback strategy '%s'", name);
        r = strategy_allowed(&b->turn, job, strategy, &reply->error);
        if (r == -EPERM) {
                error_detail(&reply->error, "state", json_string(job_state_to_text(job->state)));
                error_detail(&reply->error, "actions", job_actions(job));
        }
        if (r >= 0)
                r = typed_demanded(args_text(strategy, "type", NULL), call, &reply->error);
        if (r < 0)
                return r;
        why = strf("rolling back with strategy %s: %s asked for it%s%s", name, call->who,
                   isempty(reason) ? "" : ": ", isempty(reason) ? "" : reason);
        if (!why)
                return error_oom(&reply->error);
        return back_begin(&b->turn, job, JOB_EVENT_ROLLBACK, name, why, call->who);
}

/* A cancel goes all the way back: where that wants a text typed, it is no way around it. */
static int cancel_wants_typing(const Job *job, Error *reterr) {
        const json_t *full = NULL;
        const char *type;
        int r;

        if (strategy_find(job, "full", &full) < 0 || !(type = args_text(full, "type", NULL)))
                return 0;
        r = error_set(reterr, EINVAL, "not-typed",
                      "Going back needs the text '%s' typed, which a cancel cannot carry", type);
        error_hint(reterr, "updctl rollback %lld --strategy full", (long long) job->id);
        error_detail(reterr, "type_expected", json_string(type));
        return r;
}

static int call_cancel(Batch *b, Job *job, Call *call, Reply *reply) {
        const char *reason = args_text(call->body, "reason", NULL);
        _cleanup_free_ char *why = NULL;
        int r;

        if (!is_allowed(job, "cancel"))
                return refuse_now(job, "be cancelled", &reply->error);
        why = strf("cancelled by %s%s%s", call->who, isempty(reason) ? "" : ": ",
                   isempty(reason) ? "" : reason);
        if (!why)
                return error_oom(&reply->error);
        if (!job_untouched(job)) {
                r = cancel_wants_typing(job, &reply->error);
                return r < 0 ? r
                             : back_begin(&b->turn, job, JOB_EVENT_CANCEL, "full", why, call->who);
        }
        job_decide(job, -1, call->who, why);
        waits_close_all(job, "the job is cancelled");
        return job_enter(&b->turn, job, JOB_EVENT_WITHDRAW);
}

/* ---- retry, skip, abandon, finalise ---- */

static int failed_undo(const Job *job) {
        for (unsigned i = 0; i < job->def->n_steps; i++)
                if (job->steps[i].status == STEP_UNDO_FAILED ||
                    (job->def->steps[i].phase == PHASE_THEN && job->steps[i].status == STEP_FAILED))
                        return (int) i;
        return -ENOENT;
}

static int stuck_retry(Batch *b, Job *job, Call *call, Reply *reply) {
        int idx = failed_undo(job), r;

        if (idx < 0)
                return refuse_now(job, "retry", &reply->error);
        r = call_replan(b, job, call, reply);
        if (r != 0)
                return MIN(r, 0);
        /* Another plan may have numbered its steps in another way. */
        idx = failed_undo(job);
        if (idx < 0)
                return refuse_now(job, "retry", &reply->error);
        job_tell(job, "decided", idx, call->who,
                 json_pack("{s:s, s:s*}", "decided", "the failed undo is tried again", "reason",
                           args_text(call->body, "reason", NULL)));
        job_fact(job, "decided", json_string("the failed undo is tried again"));
        undo_failure_settle(job);
        if (job->def->steps[idx].phase == PHASE_THEN)
                r = job_step_move(job, (unsigned) idx, STEP_EVENT_AGAIN);
        else {
                r = job_step_move(job, (unsigned) idx, STEP_EVENT_UNDO);
                if (r >= 0)
                        r = attempt_try(&b->turn, job, (unsigned) idx, DIRECTION_UNDO);
        }
        return r < 0 ? r : job_enter(&b->turn, job, JOB_EVENT_RETRY);
}

/* Every failed step of the phase is tried again, its groups with it. */
static void steps_again(Job *job, Phase phase) {
        unsigned begin, end;

        job_def_range(job->def, phase, &begin, &end);
        for (unsigned i = begin; i < end; i++) {
                StepState *s = &job->steps[i];

                if (s->status != STEP_FAILED && s->status != STEP_INTERRUPTED)
                        continue;
                /* It has a wait of its own: whoever answers that one decides. */
                if (wait_find_step(job, "retry-or-skip", job->def->steps[i].id))
                        continue;
                if (job_step_move(job, i, STEP_EVENT_AGAIN) < 0)
                        continue;
                s->tries = 0;
                s->again = (Deadline){0};
        }
}

/* What a retry makes of the job, once its wait is closed. */
static int retry_settle(Job *job, const Call *call, bool window) {
        if (window)
                return window_lift(job, call->who, args_text(call->body, "reason", ""));
        steps_again(job, job->state == JOB_SUCCEEDED ? PHASE_FINALISE : PHASE_MAIN);
        job_fact(job, "failure", NULL);
        job_fact(job, "decided", NULL);
        return 0;
}

static int call_retry(Batch *b, Job *job, Call *call, Reply *reply) {
        _cleanup_free_ char *id = NULL;
        bool early = job->started == 0, window;
        json_t *wait;
        int r;

        if (!is_allowed(job, "retry"))
                return refuse_now(job, "retry", &reply->error);
        if (job->state == JOB_STUCK)
                return stuck_retry(b, job, call, reply);
        r = wait_named(job, call, NULL, "retry", &wait, &reply->error);
        if (r < 0)
                return r;
        /* Outside of the window that was agreed on, one says why. */
        window = streq0(args_text(wait, "kind", NULL), "window");
        r = window ? reason_demanded(call, &reply->error) : 0;
        if (r < 0)
                return r;
        id = strdup(args_text(wait, "id", ""));
        if (!id)
                return error_oom(&reply->error);
        r = call_replan(b, job, call, reply);
        if (r != 0)
                return MIN(r, 0);
        wait_close(job, id, call->who,
                   json_pack("{s:s, s:s*}", "answer", "retry", "reason",
                             args_text(call->body, "reason", NULL)));
        if (retry_settle(job, call, window) < 0)
                return error_oom(&reply->error);
        job->advance = true;
        return job_enter(&b->turn, job, early ? JOB_EVENT_REQUEUE : JOB_EVENT_RETRY);
}

static int stuck_skip(Batch *b, Job *job, Call *call, Reply *reply) {
        int idx = failed_undo(job), r;
        _cleanup_free_ char *why = NULL;

        if (idx < 0)
                return refuse_now(job, "skip", &reply->error);
        why = strf("skipped by %s: %s", call->who, args_text(call->body, "reason", ""));
        if (!why)
                return error_oom(&reply->error);
        step_leave(job, (unsigned) idx, why, call->who);
        job_fact(job, "decided", json_string("the failed undo is left as it is"));
        undo_failure_settle(job);
        r = job_step_move(job, (unsigned) idx,
                          job->def->steps[idx].phase == PHASE_THEN ? STEP_EVENT_PASS_OVER
                                                                   : STEP_EVENT_LEAVE);
        return r < 0 ? r : job_enter(&b->turn, job, JOB_EVENT_SKIP);
}

static int call_skip(Batch *b, Job *job, Call *call, Reply *reply) {
        const char *reason = args_text(call->body, "reason", NULL);
        _cleanup_free_ char *id = NULL;
        json_t *wait;
        int r, idx;

        if (!is_allowed(job, "skip"))
                return refuse_now(job, "skip", &reply->error);
        r = reason_demanded(call, &reply->error);
        if (r < 0)
                return r;
        if (job->state == JOB_STUCK)
                return stuck_skip(b, job, call, reply);
        r = wait_named(job, call, NULL, "skip", &wait, &reply->error);
        if (r < 0)
                return r;
        idx = job_def_find(job->def, args_text(wait, "step", ""));
        id = strdup(args_text(wait, "id", ""));
        if (idx < 0 || !id)
                return error_oom(&reply->error);
        r = job_step_move(job, (unsigned) idx, STEP_EVENT_PASS_OVER);
        if (r < 0)
                return r;
        job_step_note(job, (unsigned) idx, "skipped_by",
                      json_pack("{s:s, s:s}", "by", call->who, "reason", reason));
        job_tell(job, "step_skipped", idx, call->who, json_pack("{s:s}", "reason", reason));
        wait_close(job, id, call->who, json_pack("{s:s, s:s}", "answer", "skip", "reason", reason));
        /* Members that were stopped with the failed one, and the groups around them, go on. */
        steps_again(job, job->state == JOB_SUCCEEDED ? PHASE_FINALISE : PHASE_MAIN);
        job_fact(job, "failure", NULL);
        job_fact(job, "decided", NULL);
        job->advance = true;
        return job_enter(&b->turn, job, JOB_EVENT_SKIP);
}

/* What has not been undone stays as it is, and is named. */
static void leave_all(Job *job, const char *why, const char *who) {
        json_auto_t *back = job_back(job);
        const json_t *strategy = NULL;
        json_t *entry;
        size_t i;

        if (strategy_find(job, args_text(back, "strategy", "full"), &strategy) < 0)
                strategy = NULL;
        for (unsigned k = 0; k < job->def->n_steps; k++)
                if (job->def->steps[k].phase == PHASE_MAIN && job->steps[k].begun &&
                    job->steps[k].status != STEP_UNDONE && strategy_keeps(job, strategy, k))
                        step_leave(job, k, "kept by the strategy", NULL);
        json_array_foreach (json_object_get(back, "pending"), i, entry) {
                int idx = job_def_find(job->def, args_text(entry, "step", ""));

                if (idx >= 0)
                        step_leave(job, (unsigned) idx, why, who);
        }
}

static int call_abandon(Batch *b, Job *job, Call *call, Reply *reply) {
        _cleanup_free_ char *why = NULL;
        int r;

        if (!is_allowed(job, "abandon"))
                return refuse_now(job, "be abandoned", &reply->error);
        r = reason_demanded(call, &reply->error);
        if (r < 0)
                return r;
        why = strf("abandoned by %s: %s", call->who, args_text(call->body, "reason", ""));
        if (!why)
                return error_oom(&reply->error);
        job_decide(job, -1, call->who, why);
        waits_close_all(job, "the job is abandoned");
        leave_all(job, why, call->who);
        return job_enter(&b->turn, job, JOB_EVENT_ABANDON);
}

static int call_finalise(Batch *b, Job *job, Call *call, Reply *reply) {
        if (!is_allowed(job, "finalise"))
                return refuse_now(job, "be finalised", &reply->error);
        job->way_back_open = false;
        job->way_back = (Deadline){0};
        job->finalising = true;
        job->advance = true;
        job_tell(job, "way_back_closed", -1, call->who,
                 json_pack("{s:s, s:s*}", "because", "somebody asked for it", "reason",
                           args_text(call->body, "reason", NULL)));
        job_tell(job, "finalise_started", -1, call->who, NULL);
        return job_enter(&b->turn, job, JOB_EVENT_FINALISE);
}

typedef int (*JobCall)(Batch *b, Job *job, Call *call, Reply *reply);

static const JobCall job_calls[_CALL_KIND_MAX] = {
        [CALL_CONFIRM] = call_confirm,   [CALL_ANSWER] = call_answer,
        [CALL_ROLLBACK] = call_rollback, [CALL_CANCEL] = call_cancel,
        [CALL_RETRY] = call_retry,       [CALL_SKIP] = call_skip,
        [CALL_ABANDON] = call_abandon,   [CALL_FINALISE] = call_finalise,
};

/* A job of the history exists, but nothing can be asked of it any more. */
static int refuse_history(int64_t id, const JobView *view, Error *reterr) {
        json_auto_t *job = json_loadb(view->json, view->size, 0, NULL);
        int r = error_set(reterr, EPERM, "not-now",
                          "Job %lld has ended; nothing can be asked of it any more",
                          (long long) id);

        error_detail(reterr, "state", json_incref(json_object_get(job, "state")));
        error_detail(reterr, "actions", json_array());
        return r;
}

/* How much has been decided in this turn. */
static uint64_t decided(const Batch *b) {
        uint64_t n = store_changes(b->engine->store) + b->turn.n_effects;

        for (unsigned i = 0; i < b->n_jobs; i++)
                n += b->jobs[i]->n_news;
        return n;
}

/* What is refused has changed nothing; a call that failed on its way may have, and then nothing of
 * the turn can stand. */
static int whole_or_torn(Batch *b, uint64_t before, int r) {
        b->torn |= r < 0 && decided(b) != before;
        return r;
}

int call_handle(Batch *b, Call *call, Reply *reply) {
        uint64_t before = decided(b);
        Job *job;
        int r;

        if (call->kind == CALL_START)
                return whole_or_torn(b, before, call_start(b, call, reply));
        if (call->kind == CALL_TOKEN_ADD || call->kind == CALL_TOKEN_REMOVE)
                return whole_or_torn(b, before, call_token(b, call, reply));
        if (call->kind == CALL_SCHEDULE_PUT || call->kind == CALL_SCHEDULE_REMOVE ||
            call->kind == CALL_SCHEDULE_RUN)
                return whole_or_torn(b, before, call_schedule(b, call, reply));
        if (unread_find(b->engine, call->job))
                return whole_or_torn(b, before, unread_call(b, call, reply));
        job = batch_job(b, call->job);
        if (!job) {
                JobView view;

                if (engine_job_view(b->engine, call->job, &view) >= 0)
                        return refuse_history(call->job, &view, &reply->error);
                return error_set(&reply->error, ENOENT, "no-such-job", "There is no job %lld",
                                 (long long) call->job);
        }
        reply->job = job->id;
        /* A deadline that has passed beats whatever is asked now. */
        r = waits_check(&b->turn, job, &reply->error);
        if (r < 0)
                return r;
        way_back_check(&b->turn, job);
        before = decided(b);
        return whole_or_torn(b, before, job_calls[call->kind](b, job, call, reply));
}
