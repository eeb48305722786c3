/* SPDX-License-Identifier: MIT */
/* A job in memory: copies, moves and events. Rows stand in rows.c, deadlines in deadline.c. */
#include "daemon/engine/job.h"

#include "api/args.h"

const char *direction_to_text(Direction d) {
        static const char *const names[] = {"do", "undo", "probe"};

        return names[d];
}

int job_new(int64_t id, JobDef *def, Job **ret) {
        _cleanup_job_ Job *job = calloc(1, sizeof(Job));

        if (!job)
                return -ENOMEM;
        job->id = id;
        job->def = job_def_ref(def);
        job->live = true;
        job_clock_init(job);
        job->steps = calloc(def->n_steps + 1, sizeof(StepState));
        job->waits = json_array();
        job->facts = json_object();
        if (!job->steps || !job->waits || !job->facts)
                return -ENOMEM;
        *ret = TAKE(job);
        return 0;
}

static void news_done(JobNews *news) {
        free(news->step);
        free(news->who);
        json_decref(news->data);
}

Job *job_free(Job *job) {
        if (!job)
                return NULL;
        for (unsigned i = 0; job->steps && i < job->def->n_steps; i++) {
                json_decref(job->steps[i].outputs);
                json_decref(job->steps[i].result);
                json_decref(job->steps[i].more);
        }
        for (unsigned i = 0; i < job->n_news; i++)
                news_done(&job->news[i]);
        free(job->news);
        free(job->steps);
        free(job->who);
        free(job->reason);
        json_decref(job->waits);
        json_decref(job->facts);
        json_decref(job->past);
        job_def_unref(job->def);
        free(job);
        return NULL;
}

int job_copy(const Job *job, Job **ret) {
        _cleanup_job_ Job *copy = NULL;
        int r;

        r = job_new(job->id, job->def, &copy);
        if (r < 0)
                return r;
        memcpy(copy->steps, job->steps, sizeof(StepState) * job->def->n_steps);
        for (unsigned i = 0; i < job->def->n_steps; i++) {
                (void) json_incref(copy->steps[i].outputs);
                (void) json_incref(copy->steps[i].result);
                (void) json_incref(copy->steps[i].more);
        }
        json_decref(copy->waits);
        json_decref(copy->facts);
        copy->waits = json_deep_copy(job->waits);
        copy->facts = json_copy(job->facts);
        copy->who = job->who ? strdup(job->who) : NULL;
        copy->reason = job->reason ? strdup(job->reason) : NULL;
        if (!copy->waits || !copy->facts || (job->who && !copy->who) ||
            (job->reason && !copy->reason))
                return -ENOMEM;

        copy->state = job->state;
        copy->version = job->version;
        copy->created = job->created;
        copy->started = job->started;
        copy->ended = job->ended;
        copy->dry_run = job->dry_run;
        copy->live = job->live;
        copy->advance = job->advance;
        copy->next_order = job->next_order;
        copy->next_wait = job->next_wait;
        copy->told = job->told;
        copy->offset = job->offset;
        copy->rewrite = job->rewrite;
        copy->way_back = job->way_back;
        copy->way_back_open = job->way_back_open;
        copy->taken_over = job->taken_over;
        copy->finalising = job->finalising;
        copy->stored_state = job->stored_state;
        copy->stored_version = job->stored_version;
        copy->stored = job->stored;
        *ret = TAKE(copy);
        return 0;
}

void job_tell(Job *job, const char *type, int step, const char *who, json_t *data) {
        JobNews *grown = realloc(job->news, sizeof(JobNews) * (job->n_news + 1));
        JobNews *news;

        /* The number is taken even when memory is out, so that job_store() sees the gap. */
        job->version++;
        if (!grown) {
                json_decref(data);
                return;
        }
        job->news = grown;
        news = &job->news[job->n_news++];
        *news = (JobNews){
                .type = type,
                .step = step >= 0 ? strdup(job->def->steps[step].id) : NULL,
                .attempt = step >= 0 ? job->steps[step].attempts : 0,
                .who = who ? strdup(who) : NULL,
                .data = data,
        };
}

int job_move(Job *job, JobEvent event) {
        int next = job_next(job->state, event);

        if (next < 0)
                return next;
        if (job->state == (JobState) next)
                return 0;
        job_tell(job, "state", -1, NULL,
                 json_pack("{s:s, s:s, s:s}", "from", job_state_to_text(job->state), "to",
                           job_state_to_text((JobState) next), "event", job_event_to_text(event)));
        job->state = (JobState) next;
        if (job_state_is_end(job->state))
                job->ended = job_now(job);
        else
                job->ended = 0;
        job->advance = true;
        return 0;
}

int job_step_move(Job *job, unsigned idx, StepEvent event) {
        StepState *s = &job->steps[idx];
        int next = step_next((StepStatus) s->status, event);

        if (next < 0)
                return next;
        s->status = (uint8_t) next;
        s->dirty = true;
        return 0;
}

void job_step_note(Job *job, unsigned idx, const char *key, json_t *value) {
        StepState *s = &job->steps[idx];
        json_t *more = s->more ? json_copy(s->more) : json_object();

        if (!more) {
                json_decref(value);
                return;
        }
        if (value)
                (void) json_object_set_new(more, key, value);
        else
                (void) json_object_del(more, key);
        json_decref(s->more);
        s->more = more;
        s->dirty = true;
}

void job_fact(Job *job, const char *key, json_t *value) {
        if (value)
                (void) json_object_set_new(job->facts, key, value);
        else
                (void) json_object_del(job->facts, key);
}

void job_decide(Job *job, int step, const char *who, const char *why) {
        job_fact(job, "decided", json_string(why));
        job_tell(job, "decided", step, who, json_pack("{s:s}", "decided", why));
}
