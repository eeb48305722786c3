/* SPDX-License-Identifier: MIT */
/* Moving a job on: which part of its life is next, when it parks, when it leaves memory. */
#include "daemon/engine/turn.h"

static void hooks_of_state(Job *job) {
        static const char *const events[_JOB_STATE_MAX] = {
                [JOB_WAITING] = "waiting",
                [JOB_ROLLING_BACK] = "rolling_back",
                [JOB_STUCK] = "stuck",
                [JOB_FAILED] = "failed",
                [JOB_ROLLED_BACK] = "rolled_back",
        };

        job_fact(job, "remind", NULL);
        /* A window that is still to open calls nobody. */
        if (events[job->state] && (job->state != JOB_WAITING || job_waits_for_person(job)))
                hooks_queue(job, events[job->state]);
        if (job_state_is_end(job->state))
                hooks_queue(job, "ended");
}

int job_enter(Turn *t, Job *job, JobEvent event) {
        JobState before = job->state;
        int r;

        r = job_move(job, event);
        if (r >= 0 && job->state != before)
                hooks_of_state(job);
        return r;
}

static bool something_runs(const Job *job) {
        for (unsigned i = 0; i < job->def->n_steps; i++) {
                const StepState *s = &job->steps[i];

                if (job->def->steps[i].phase == PHASE_HOOK)
                        continue;
                if (s->in_flight && s->status != STEP_WAITING)
                        return true;
                if (s->status == STEP_PENDING && deadline_is_set(&s->again))
                        return true;
        }
        return false;
}

static int park(Turn *t, Job *job) {
        if ((job->state != JOB_RUNNING && job->state != JOB_QUEUED) ||
            json_array_size(job->waits) == 0 || job->advance || something_runs(job))
                return 0;
        return job_enter(t, job, JOB_EVENT_PARK);
}

static bool hooks_are_done(const Job *job) {
        for (unsigned i = 0; i < job->def->n_steps; i++)
                if (job->def->steps[i].phase == PHASE_HOOK &&
                    json_array_size(json_object_get(job->steps[i].more, "pending")) > 0)
                        return false;
        return true;
}

static void retire(Turn *t, Job *job) {
        if (!job_state_is_end(job->state) || job->way_back_open || job->finalising ||
            job_has_in_flight(job, true) || !hooks_are_done(job) || job->advance || !job->live)
                return;
        job->live = false;
        turn_effect(t, (Effect){.kind = EFFECT_RETIRE, .job = job->id});
}

/* A cancelled or failed job may have left a step in flight. */
static void stop_leftovers(Turn *t, Job *job) {
        for (unsigned i = 0; i < job->def->n_steps; i++)
                if (job->steps[i].in_flight && job->def->steps[i].phase != PHASE_HOOK)
                        attempt_stop(t, job, i);
}

void way_back_check(Turn *t, Job *job) {
        if (job->state != JOB_SUCCEEDED || !job->way_back_open ||
            deadline_left(&job->way_back, t->boot_now) > 0)
                return;
        job->way_back_open = false;
        job->finalising = true;
        job_tell(job, "way_back_closed", -1, NULL, json_pack("{s:s}", "because", "its time is up"));
        job_tell(job, "finalise_started", -1, NULL, NULL);
}

int job_advance(Turn *t, Job *job, Error *reterr) {
        int r = 0;

        job->advance = false;
        switch (job->state) {
        case JOB_QUEUED: r = queued_advance(t, job, reterr); break;
        case JOB_RUNNING: r = forward_advance(t, job, reterr); break;
        case JOB_WAITING:
                /* A step may have gone on or ended without a person: its question was withdrawn. */
                if (job->started > 0)
                        r = forward_advance(t, job, reterr);
                if (r >= 0 && job->state == JOB_WAITING &&
                    (json_array_size(job->waits) == 0 || something_runs(job)))
                        r = job_enter(t, job,
                                      job->started > 0 ? JOB_EVENT_RESUME : JOB_EVENT_REQUEUE);
                break;
        case JOB_ROLLING_BACK: r = back_advance(t, job, reterr); break;
        case JOB_SUCCEEDED:
                way_back_check(t, job);
                r = finalise_advance(t, job, reterr);
                break;
        default: stop_leftovers(t, job);
        }
        if (r >= 0)
                r = park(t, job);
        if (r >= 0) {
                remind_settle(t, job);
                reserve_settle(t, job);
        }
        if (r >= 0)
                images_settle(t, job);
        if (r >= 0)
                r = hooks_advance(t, job, reterr);
        if (r >= 0)
                retire(t, job);
        return r;
}

void turn_effect(Turn *t, Effect effect) {
        Effect *grown = realloc(t->effects, sizeof(Effect) * (t->n_effects + 1));

        if (!grown) {
                json_decref(effect.task);
                json_decref(effect.secrets);
                t->oom = true;
                return;
        }
        t->effects = grown;
        t->effects[t->n_effects++] = effect;
}

void turn_done(Turn *t) {
        for (unsigned i = 0; i < t->n_effects; i++) {
                json_decref(t->effects[i].task);
                json_decref(t->effects[i].secrets);
        }
        free(t->effects);
        t->effects = NULL;
        t->n_effects = 0;
}
