/* SPDX-License-Identifier: MIT */
/*
 * The way back: steps are undone one at a time in reverse order of completion, the failed one
 * first. What a strategy keeps, and what has no undo, is left as it is and named.
 */
#include "api/args.h"
#include "daemon/engine/turn.h"

int back_begin(Turn *t, Job *job, JobEvent event, const char *strategy, const char *why,
               const char *who) {
        int r;

        for (unsigned i = 0; i < job->def->n_steps; i++) {
                StepState *s = &job->steps[i];

                if (job->def->steps[i].phase != PHASE_MAIN || !s->begun)
                        continue;
                s->again = (Deadline){0};
                s->dirty = true;
                /* A gate that nobody will answer now has nothing to undo. */
                if (s->status == STEP_WAITING && job->def->steps[i].class == VERB_GATE)
                        (void) job_step_move(job, i, STEP_EVENT_FAIL);
                if (s->status == STEP_RUNNING && job->def->steps[i].class == VERB_GROUP)
                        (void) job_step_move(job, i, STEP_EVENT_FAIL);
                if (s->order == 0 && !s->in_flight)
                        s->order = ++job->next_order;
        }
        job_fact(job, "strategy", json_string(strategy));
        job_fact(job, "decided", json_string(why));
        job_tell(job, "decided", -1, who,
                 json_pack("{s:s, s:s}", "decided", why, "strategy", strategy));
        waits_close_all(job, "the job goes back");
        job->way_back_open = false;
        job->way_back = (Deadline){0};
        r = job_enter(t, job, event);
        /* Told from where it goes back, so that what it says of the next commands is true. */
        if (r >= 0 && event == JOB_EVENT_STEP_FAILED)
                hooks_queue(job, "failed");
        return r;
}

bool job_untouched(const Job *job) {
        for (unsigned i = 0; i < job->def->n_steps; i++)
                if (job->def->steps[i].phase == PHASE_MAIN && job->steps[i].begun)
                        return false;
        return true;
}

void step_leave(Job *job, unsigned idx, const char *why, const char *who) {
        job_step_note(job, idx, "left", json_string(why));
        job_tell(job, "step_left", (int) idx, who, json_pack("{s:s}", "why", why));
}

/* Deals with a step that needs no attempt. 1 it is dealt with, 0 it needs one. */
static int undo_silently(Job *job, unsigned idx, const json_t *strategy) {
        const StepDef *def = &job->def->steps[idx];
        const json_t *undo = undo_of(job, idx);
        _cleanup_free_ char *why = NULL;

        if (strategy_keeps(job, strategy, idx)) {
                why = strf("kept by strategy %s", args_text(job->facts, "strategy", "full"));
                step_leave(job, idx, why ? why : "kept", NULL);
                return 1;
        }
        if (json_is_string(undo)) {
                step_leave(job, idx, "undo: none", NULL);
                return 1;
        }
        if (json_is_array(undo) || verb_undo(def->norm) == UNDO_KNOWN)
                return 0;
        if (verb_undo(def->norm) == UNDO_SAY && def->class == VERB_ACTION) {
                step_leave(job, idx, "it has no undo", NULL);
                return 1;
        }
        return job_step_move(job, idx, STEP_EVENT_LEAVE) < 0 ? -EPERM : 1;
}

/* STEPS behind the strategy's undo, as the pseudo-step "@then.<strategy>". 1 done, 0 busy. */
static int then_advance(Turn *t, Job *job, const char *name) {
        _cleanup_free_ char *id = strf("@then.%s", name);
        int idx = id ? job_def_find(job->def, id) : -ENOMEM, r;
        StepState *s;

        if (idx == -ENOMEM)
                return idx;
        if (idx < 0)
                return 1;
        s = &job->steps[idx];
        switch (s->status) {
        case STEP_DONE:
        case STEP_SKIPPED: return 1;
        case STEP_PENDING:
                r = attempt_try(t, job, (unsigned) idx, DIRECTION_DO);
                if (r < 0)
                        return r;
                return r > 0 ? 0 : job_step_move(job, (unsigned) idx, STEP_EVENT_BEGIN);
        case STEP_FAILED:
        case STEP_INTERRUPTED:
                undo_failure_note(job, (unsigned) idx);
                return job_enter(t, job, JOB_EVENT_UNDO_FAILED);
        default: return 0;
        }
}

static int back_done(Turn *t, Job *job, const char *name) {
        int r = then_advance(t, job, name);

        if (r <= 0)
                return r;
        return job_enter(t, job, JOB_EVENT_UNDO_DONE);
}

/* Steps still in flight on the way forward are stopped and waited for. */
static bool stop_forward(Turn *t, Job *job) {
        bool busy = false;

        for (unsigned i = 0; i < job->def->n_steps; i++) {
                const StepState *s = &job->steps[i];

                if (!s->in_flight || job->def->steps[i].phase != PHASE_MAIN)
                        continue;
                busy = true;
                if (s->direction != DIRECTION_UNDO)
                        attempt_stop(t, job, i);
        }
        return busy;
}

/* The undo's result takes the place of the do's; why the do failed is still asked for later. */
static void keep_failure(Job *job, unsigned idx) {
        const StepState *s = &job->steps[idx];

        if ((s->status == STEP_FAILED || s->status == STEP_INTERRUPTED) && s->result)
                job_step_note(job, idx, "failed", json_incref(s->result));
}

int back_advance(Turn *t, Job *job, Error *reterr) {
        _cleanup_free_ char *name = strdup(args_text(job->facts, "strategy", "full"));
        const json_t *strategy = NULL;
        int idx, r;

        if (!name)
                return -ENOMEM;
        if (stop_forward(t, job))
                return 0;
        if (strategy_find(job, name, &strategy) < 0)
                strategy = NULL;
        while ((idx = strategy_next(job, strategy)) >= 0) {
                if (job->steps[idx].status == STEP_UNDO_FAILED)
                        return job_enter(t, job, JOB_EVENT_UNDO_FAILED);
                if (job->steps[idx].status == STEP_UNDOING)
                        return 0;
                r = undo_silently(job, (unsigned) idx, strategy);
                if (r < 0)
                        return r;
                if (r > 0)
                        continue;
                keep_failure(job, (unsigned) idx);
                r = job_step_move(job, (unsigned) idx, STEP_EVENT_UNDO);
                if (r < 0)
                        return r;
                r = attempt_try(t, job, (unsigned) idx, DIRECTION_UNDO);
                job->advance = true;
                return r < 0 ? r : 0;
        }
        return back_done(t, job, name);
}
