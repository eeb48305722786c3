/* SPDX-License-Identifier: MIT */
/*
 * Hooks: ordinary attempts of pseudo-steps "@hook.<event>.<i>", each run at least once for each
 * event that it was queued for, in order. A failing hook is tried again, then told of, and never
 * fails a job.
 */
#include "api/args.h"
#include "daemon/engine/turn.h"
#include "daemon/plan/expand.h"

#define HOOK_TRIES 3
#define HOOK_AGAIN_MS 2000

static json_t *hook_event(const Job *job, const char *event) {
        json_t *data = json_pack(
                "{s:I, s:s, s:I, s:s, s:s, s:s, s:s, s:o, s:O*}", "seq", (json_int_t) job->version,
                "type", event, "job", (json_int_t) job->id, "plan",
                args_text(job->def->plan->norm, "plan", ""), "target", job->def->target, "state",
                job_state_to_text(job->state), "title", job->def->title, "waits", job_waits(job),
                "decided", json_object_get(job->facts, "decided"));
        json_t *failure = data ? job_failure(job) : NULL, *back = data ? job_back(job) : NULL;
        json_t *window = data ? window_view(job) : NULL;
        json_t *reminder = json_object_get(json_object_get(job->facts, "remind"), "n");
        char time[TIME_TEXT_MAX];

        if (!data)
                return NULL;
        (void) json_put(data, "time", json_string(time_format(job_now(job), time)));
        if (failure)
                (void) json_put(data, "failure", failure);
        if (back)
                (void) json_put(data, "back", back);
        if (window)
                (void) json_put(data, "window", window);
        if (json_integer_value(reminder) > 0)
                (void) json_object_set(data, "reminder", reminder);
        return data;
}

void hooks_queue(Job *job, const char *event) {
        const json_t *hooks =
                json_object_get(json_object_get(job->def->plan->norm, "hooks"), event);

        if (job->dry_run)
                return;
        for (size_t i = 0; i < json_array_size(hooks); i++) {
                _cleanup_free_ char *id = strf("@hook.%s.%zu", event, i);
                int idx = id ? job_def_find(job->def, id) : -ENOMEM;
                json_t *pending, *data;

                if (idx < 0)
                        continue;
                pending = json_copy(json_object_get(job->steps[idx].more, "pending"));
                if (!pending)
                        pending = json_array();
                data = hook_event(job, event);
                if (data)
                        (void) json_array_append_new(pending, data);
                job_step_note(job, (unsigned) idx, "pending", pending);
        }
}

static json_t *hook_pending(const Job *job, unsigned idx) {
        return json_object_get(job->steps[idx].more, "pending");
}

/* The first of the queue is done with. */
static void hook_next(Job *job, unsigned idx) {
        json_t *pending = json_copy(hook_pending(job, idx));

        (void) json_array_remove(pending, 0);
        job_step_note(job, idx, "pending",
                      json_array_size(pending) > 0 ? json_incref(pending) : NULL);
        json_decref(pending);
        job->steps[idx].tries = 0;
        job->steps[idx].again = (Deadline){0};
}

static int64_t hook_tries(const Job *job, unsigned idx) {
        const json_t *retry = json_object_get(job->def->steps[idx].norm, "retry");
        int64_t tries = HOOK_TRIES;

        return args_int(retry, "tries", HOOK_TRIES, &tries, NULL) < 0 ? HOOK_TRIES : tries;
}

void hook_ended(Job *job, unsigned idx, bool ok, const char *why) {
        StepState *s = &job->steps[idx];

        s->dirty = true;
        s->status = ok ? STEP_DONE : STEP_FAILED;
        job->advance = true;
        if (ok) {
                job_tell(job, "hook_done", (int) idx, NULL, NULL);
                hook_next(job, idx);
        } else if ((int64_t) s->tries < hook_tries(job, idx))
                s->again = deadline_in(HOOK_AGAIN_MS * (int64_t) s->tries);
        else {
                job_tell(job, "hook_failed", (int) idx, NULL, json_pack("{s:s*}", "why", why));
                hook_next(job, idx);
        }
}

/* 1: yes, or it has no `when`. */
static int hook_wanted(Turn *t, const Job *job, unsigned idx, Error *reterr) {
        const char *when = args_text(job->def->steps[idx].norm, "when", NULL);
        json_auto_t *scope = NULL;

        if (!when)
                return 1;
        return job_scope(t, job, &scope) < 0 ? error_oom(reterr) : expr_eval(when, scope, reterr);
}

static int hook_begin(Turn *t, Job *job, unsigned idx, Error *reterr) {
        _cleanup_error_ Error error = ERROR_INIT;
        StepState *s = &job->steps[idx];
        int r;

        s->again = (Deadline){0};
        r = hook_wanted(t, job, idx, &error);
        if (r == 0) {
                hook_next(job, idx);
                job->advance = true;
                return 0;
        }
        s->status = STEP_RUNNING;
        if (r > 0)
                r = attempt_begin(t, job, idx, DIRECTION_DO, &error);
        if (r < 0) {
                if (r == -ENOMEM)
                        return error_oom(reterr);
                s->tries++;
                hook_ended(job, idx, false, error.message);
        }
        return 0;
}

int hooks_advance(Turn *t, Job *job, Error *reterr) {
        unsigned begin, end;

        job_def_range(job->def, PHASE_HOOK, &begin, &end);
        for (unsigned i = begin; i < end; i++) {
                int r;

                if (job->steps[i].in_flight || json_array_size(hook_pending(job, i)) == 0 ||
                    (deadline_is_set(&job->steps[i].again) &&
                     deadline_left(&job->steps[i].again, t->boot_now) > 0))
                        continue;
                r = hook_begin(t, job, i, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}
