/* SPDX-License-Identifier: MIT */
/* A job's way into the store's rows and back. */
#include "api/args.h"
#include "daemon/engine/job.h"

static char *step_to_text(const StepState *s) {
        json_auto_t *data = json_object();
        json_t *again;

        if (!data)
                return NULL;
        (void) json_put(data, "n", json_integer(s->attempts));
        (void) json_put(data, "dir", json_integer(s->direction));
        (void) json_put(data, "order", json_integer(s->order));
        (void) json_put(data, "started", json_integer(s->started));
        (void) json_put(data, "ended", json_integer(s->ended));
        if (s->in_flight)
                (void) json_put(data, "in_flight", json_true());
        if (s->begun)
                (void) json_put(data, "begun", json_true());
        if (s->stop_wanted)
                (void) json_put(data, "stop", json_true());
        if (s->tries > 0)
                (void) json_put(data, "tries", json_integer(s->tries));
        if (s->id[0])
                (void) json_put(data, "id", json_string(s->id));
        again = deadline_to_json(&s->again);
        if (again)
                (void) json_put(data, "again", again);
        if (s->outputs)
                (void) json_object_set(data, "outputs", s->outputs);
        if (s->result)
                (void) json_object_set(data, "result", s->result);
        if (s->more)
                (void) json_object_set(data, "more", s->more);
        return json_dumps(data, JSON_COMPACT);
}

static char *job_to_text(const Job *job) {
        json_auto_t *data = json_object();
        json_t *way_back = deadline_to_json(&job->way_back);

        if (!data)
                return NULL;
        (void) json_object_set(data, "inputs", job->def->inputs);
        (void) json_object_set(data, "waits", job->waits);
        (void) json_object_set(data, "facts", job->facts);
        (void) json_put(data, "order", json_integer(job->next_order));
        (void) json_put(data, "wait", json_integer(job->next_wait));
        (void) json_put(data, "advance", json_boolean(job->advance));
        (void) json_put(data, "way_back_open", json_boolean(job->way_back_open));
        (void) json_put(data, "finalising", json_boolean(job->finalising));
        (void) json_put(data, "clock", job_clock_to_json(job));
        if (way_back)
                (void) json_put(data, "way_back", way_back);
        return json_dumps(data, JSON_COMPACT);
}

static int store_row(Job *job, Store *store, Error *reterr) {
        _cleanup_free_ char *data = job_to_text(job);
        JobRow row = {
                .id = job->id,
                .plan = args_text(job->def->plan->norm, "plan", ""),
                .title = job->def->title,
                .target = job->def->target,
                .state = job_state_to_text(job->state),
                .who = job->who ? job->who : "",
                .reason = job->reason,
                .sha256 = job->def->plan->sha256,
                .created = job->created,
                .started = job->started,
                .ended = job->ended,
                .version = job->version,
                .dry_run = job->dry_run,
                .live = job->live,
                .data = data,
        };

        if (!data)
                return error_oom(reterr);
        if (job->stored)
                return store_job_update(store, &row, job_state_to_text(job->stored_state),
                                        job->stored_version, reterr);
        return store_job_insert(store, &row, reterr);
}

/* While the clock is behind the last event, that one's time stands still, and what the clock says
 * stands beside it. */
static char *news_to_text(const JobNews *news, int64_t wall, int64_t time) {
        json_auto_t *behind = NULL;
        char text[TIME_TEXT_MAX];

        if (wall >= time)
                return json_dumps(news->data, JSON_COMPACT | JSON_ENCODE_ANY);
        behind = news->data ? json_copy(news->data) : json_object();
        if (json_put(behind, "clock", json_string(time_format(wall, text))) < 0)
                return NULL;
        return json_dumps(behind, JSON_COMPACT);
}

static int store_news(Job *job, int64_t wall, Store *store, Error *reterr) {
        int64_t seq = job->version - job->n_news;

        /* An event that memory had no room for leaves a gap, and a gap is never written. */
        if (seq != job->stored_version)
                return error_oom(reterr);
        for (unsigned i = 0; i < job->n_news; i++) {
                const JobNews *news = &job->news[i];
                bool empty = !news->data && wall >= job->told;
                _cleanup_free_ char *data = empty ? NULL : news_to_text(news, wall, job->told);
                int r;

                if (!empty && !data)
                        return error_oom(reterr);
                r = store_event_add(store, job->id, ++seq, job->told, news->type, news->step,
                                    news->attempt, news->who, data, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static const char *outcome_to_text(uint8_t outcome) {
        static const char *const names[] = {"starting", "done", "failed", "interrupted",
                                            "withdrawn"};

        return names[outcome];
}

int job_attempt_pass(Job *job, unsigned idx) {
        const StepState *s = &job->steps[idx];

        if (!s->attempt_dirty || s->attempts == 0)
                return 0;
        if (!job->past)
                job->past = json_array();
        return json_array_append_new(
                job->past, json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:O*}", "step",
                                     job->def->steps[idx].id, "n", (int) s->attempts, "id", s->id,
                                     "direction", direction_to_text((Direction) s->direction),
                                     "state", outcome_to_text(s->outcome), "ended",
                                     (json_int_t) s->ended, "result", s->result));
}

static int store_past(const Job *job, Store *store, Error *reterr) {
        json_t *entry;
        size_t i;

        json_array_foreach (job->past, i, entry) {
                json_t *result = json_object_get(entry, "result");
                _cleanup_free_ char *data = result ? json_dumps(result, JSON_COMPACT) : NULL;
                AttemptRow row = {
                        .job = job->id,
                        .step = args_text(entry, "step", ""),
                        .n = (unsigned) json_integer_value(json_object_get(entry, "n")),
                        .id = args_text(entry, "id", ""),
                        .direction = args_text(entry, "direction", ""),
                        .state = args_text(entry, "state", ""),
                        .ended = json_integer_value(json_object_get(entry, "ended")),
                        .data = data,
                };
                int r;

                if (result && !data)
                        return error_oom(reterr);
                r = store_attempt_put(store, &row, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int store_attempt_of(Job *job, unsigned idx, Store *store, Error *reterr) {
        const StepState *s = &job->steps[idx];
        _cleanup_free_ char *data =
                s->result && !s->in_flight ? json_dumps(s->result, JSON_COMPACT) : NULL;
        AttemptRow row = {
                .job = job->id,
                .step = job->def->steps[idx].id,
                .n = s->attempts,
                .id = s->id,
                .direction = direction_to_text((Direction) s->direction),
                .state = outcome_to_text(s->outcome),
                /* The row is made when the attempt begins, and keeps that time. */
                .started = job_now(job),
                .ended = s->in_flight ? 0 : s->ended,
                .data = data,
        };

        return store_attempt_put(store, &row, reterr);
}

static int store_steps_of(Job *job, Store *store, Error *reterr) {
        int r;

        if (job->renumbered) {
                r = store_steps_clear(store, job->id, reterr);
                if (r < 0)
                        return r;
        }
        for (unsigned i = 0; i < job->def->n_steps; i++) {
                _cleanup_free_ char *data = NULL;

                if (!job->steps[i].dirty)
                        continue;
                data = step_to_text(&job->steps[i]);
                if (!data)
                        return error_oom(reterr);
                r = store_step_put(store, job->id, i, job->def->steps[i].id,
                                   step_status_to_text((StepStatus) job->steps[i].status), data,
                                   reterr);
                if (r >= 0 && job->steps[i].attempt_dirty)
                        r = store_attempt_of(job, i, store, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

int job_store(Job *job, Store *store, int64_t wall, Error *reterr) {
        int r;

        if (job->n_news > 0)
                job->told = MAX(job->told, wall);
        if (!job->stored || job->renumbered) {
                r = store_document_put(store, job->def->plan->sha256, job->def->plan->canonical,
                                       reterr);
                if (r < 0)
                        return r;
        }
        r = store_row(job, store, reterr);
        if (r >= 0)
                r = store_past(job, store, reterr);
        if (r >= 0)
                r = store_steps_of(job, store, reterr);
        if (r >= 0)
                r = store_news(job, wall, store, reterr);
        return r;
}

void job_stored(Job *job) {
        for (unsigned i = 0; i < job->def->n_steps; i++)
                job->steps[i].dirty = job->steps[i].attempt_dirty = false;
        for (unsigned i = 0; i < job->n_news; i++) {
                free(job->news[i].step);
                free(job->news[i].who);
                json_decref(job->news[i].data);
        }
        free(job->news);
        job->news = NULL;
        job->n_news = 0;
        json_decref(job->past);
        job->past = NULL;
        job->stored = true;
        job->stored_state = job->state;
        job->stored_version = job->version;
        job->renumbered = false;
        job->rewrite = false;
}

/* What cannot be true together would make a step run twice. */
static bool step_fits(const StepState *s, Phase phase) {
        bool runs =
                s->status == STEP_RUNNING || s->status == STEP_WAITING || s->status == STEP_UNDOING;

        if (s->direction > DIRECTION_PROBE || (s->attempts > 0 && !id128_is_valid(s->id)))
                return false;
        return !s->in_flight || (s->attempts > 0 && (runs || phase == PHASE_HOOK));
}

/* Rows of a daemon that made other pseudo-steps of the same plan have other numbers: the id counts,
 * and the rows are written anew. */
static int step_numbered(Job *job, unsigned idx, const char *id) {
        if (idx < job->def->n_steps && streq(job->def->steps[idx].id, id))
                return (int) idx;
        job->renumbered = true;
        return job_def_find(job->def, id);
}

static int load_step(void *userdata, unsigned idx, const char *id, const char *state,
                     const char *text) {
        json_auto_t *data = json_loads(text, 0, NULL);
        Job *job = userdata;
        const char *attempt;
        StepState *s;
        int status, found;

        status = step_status_from_text(state);
        found = step_numbered(job, idx, id);
        if (!data || status < 0 || found < 0)
                return -EUCLEAN;
        s = &job->steps[found];
        *s = (StepState){
                .status = (uint8_t) status,
                .direction = (uint8_t) json_integer_value(json_object_get(data, "dir")),
                .in_flight = json_is_true(json_object_get(data, "in_flight")),
                .begun = json_is_true(json_object_get(data, "begun")),
                .stop_wanted = json_is_true(json_object_get(data, "stop")),
                .attempts = (unsigned) json_integer_value(json_object_get(data, "n")),
                .tries = (unsigned) json_integer_value(json_object_get(data, "tries")),
                .order = (unsigned) json_integer_value(json_object_get(data, "order")),
                .started = json_integer_value(json_object_get(data, "started")),
                .ended = json_integer_value(json_object_get(data, "ended")),
                .again = deadline_from_json(json_object_get(data, "again")),
                .outputs = json_incref(json_object_get(data, "outputs")),
                .result = json_incref(json_object_get(data, "result")),
                .more = json_incref(json_object_get(data, "more")),
        };
        s->dirty = job->rewrite && deadline_is_set(&s->again);
        attempt = args_text(data, "id", "");
        (void) snprintf(s->id, sizeof(s->id), "%s", attempt);
        return step_fits(s, job->def->steps[found].phase) ? 0 : -EUCLEAN;
}

static int load_def(Store *store, const JobRow *row, const json_t *data, JobDef **ret,
                    Error *reterr) {
        json_t *reserved = json_object_get(json_object_get(data, "facts"), "reserved");
        _cleanup_free_ char *text = NULL;
        _cleanup_plan_ Plan *plan = NULL;
        json_auto_t *faults = NULL;
        int r;

        r = store_document_get(store, row->sha256, &text, reterr);
        if (r < 0)
                return r;
        r = plan_thaw(text, &plan, &faults);
        if (r < 0)
                return error_set(reterr, -r, "store-failed",
                                 "The frozen plan of job %lld cannot be read", (long long) row->id);
        return job_def_new(plan, json_object_get(data, "inputs"), json_is_true(reserved), ret,
                           reterr);
}

/* Everything of the row that is not in its data. */
static int load_columns(Job *job, const JobRow *row) {
        int state = job_state_from_text(row->state);

        if (state < 0)
                return -EUCLEAN;
        job->state = job->stored_state = (JobState) state;
        job->version = job->stored_version = row->version;
        job->stored = true;
        job->created = row->created;
        job->started = row->started;
        job->ended = row->ended;
        job->dry_run = row->dry_run;
        job->live = row->live;
        job->who = strdup(row->who);
        job->reason = row->reason ? strdup(row->reason) : NULL;
        return job->who ? 0 : -ENOMEM;
}

static int load_data(Job *job, const json_t *data) {
        json_t *waits = json_object_get(data, "waits"), *facts = json_object_get(data, "facts");

        if (!json_is_array(waits) || !json_is_object(facts))
                return -EUCLEAN;
        json_decref(job->waits);
        json_decref(job->facts);
        job->waits = json_incref(waits);
        job->facts = json_incref(facts);
        job->next_order = (unsigned) json_integer_value(json_object_get(data, "order"));
        job->next_wait = (unsigned) json_integer_value(json_object_get(data, "wait"));
        job->advance = json_is_true(json_object_get(data, "advance"));
        job->way_back_open = json_is_true(json_object_get(data, "way_back_open"));
        job->finalising = json_is_true(json_object_get(data, "finalising"));
        job->way_back = deadline_from_json(json_object_get(data, "way_back"));
        job_clock_load(job, json_object_get(data, "clock"));
        return 0;
}

int job_load(Store *store, const JobRow *row, Job **ret, Error *reterr) {
        json_auto_t *data = json_loads(row->data, 0, NULL);
        _cleanup_(job_def_unrefp) JobDef *def = NULL;
        _cleanup_job_ Job *job = NULL;
        int r;

        if (!json_is_object(json_object_get(data, "inputs")))
                return error_set(reterr, EUCLEAN, "store-failed", "Job %lld's row cannot be read",
                                 (long long) row->id);
        r = load_def(store, row, data, &def, reterr);
        if (r < 0)
                return r;
        r = job_new(row->id, def, &job);
        if (r >= 0)
                r = load_columns(job, row);
        if (r >= 0)
                r = load_data(job, data);
        if (r >= 0)
                r = store_steps(store, row->id, load_step, job, reterr);
        if (r < 0)
                return error_set(reterr, -r, "store-failed", "Job %lld's rows cannot be read: %s",
                                 (long long) row->id, strerror(-r));
        for (unsigned i = 0; job->renumbered && i < def->n_steps; i++)
                job->steps[i].dirty = true;
        *ret = TAKE(job);
        return 0;
}
