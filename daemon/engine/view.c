/* SPDX-License-Identifier: MIT */
/* A job as the API shows it. The members are named in api/openapi.yaml. */
#include "api/args.h"
#include "daemon/engine/turn.h"

static void put_time(json_t *object, const char *key, int64_t wall_ms) {
        char text[TIME_TEXT_MAX];

        if (wall_ms > 0)
                (void) json_put(object, key, json_string(time_format(wall_ms, text)));
}

static void put_known(json_t *object, const char *key, json_t *value) {
        if (value)
                (void) json_object_set(object, key, value);
}

static json_t *step_attempt(const StepState *s) {
        json_t *attempt = json_pack("{s:i, s:s}", "n", (int) s->attempts, "direction",
                                    direction_to_text((Direction) s->direction));

        if (attempt && s->in_flight)
                (void) json_put(attempt, "running", json_true());
        return attempt;
}

/* A question leaves its step running for the engine; a person sees a step that waits. */
static json_t *step_view(const Job *job, unsigned idx) {
        static const char *const of_result[] = {"error", "tail", "checks"};
        static const char *const of_more[] = {"would", "left", "note"};
        const StepDef *def = &job->def->steps[idx];
        const StepState *s = &job->steps[idx];
        /* Of a step that failed and was undone, the failure is what a person looks for. */
        json_t *failed = json_object_get(s->more, "failed");
        json_t *result = s->status == STEP_UNDONE && failed ? failed : s->result;
        json_t *view = json_pack(
                "{s:s, s:s, s:s, s:s, s:i}", "id", def->id, "verb",
                args_text(def->norm, "verb", ""), "phase", phase_to_text(def->phase), "state",
                step_status_to_text((StepStatus) s->status), "attempts", (int) s->attempts);

        if (!view)
                return NULL;
        if (def->title)
                (void) json_put(view, "title", json_string(def->title));
        if (def->parent >= 0)
                (void) json_put(view, "parent", json_string(job->def->steps[def->parent].id));
        if (s->attempts > 0)
                (void) json_put(view, "attempt", step_attempt(s));
        put_time(view, "started", s->started);
        if (!s->in_flight)
                put_time(view, "ended", s->ended);
        put_known(view, "outputs", s->outputs);
        if (!s->in_flight)
                for (size_t i = 0; i < ELEMENTSOF(of_result); i++)
                        put_known(view, of_result[i], json_object_get(result, of_result[i]));
        for (size_t i = 0; i < ELEMENTSOF(of_more); i++)
                put_known(view, of_more[i], json_object_get(s->more, of_more[i]));
        return view;
}

static bool step_is_shown(const Job *job, unsigned idx) {
        Phase phase = job->def->steps[idx].phase;

        return (phase != PHASE_THEN && phase != PHASE_HOOK) || job->steps[idx].attempts > 0;
}

static json_t *steps_view(const Job *job) {
        json_t *list = json_array();

        for (unsigned i = 0; list && i < job->def->n_steps; i++)
                if (step_is_shown(job, i))
                        (void) json_array_append_new(list, step_view(job, i));
        return list;
}

static json_t *progress_view(const Job *job) {
        unsigned done = 0, total = 0;

        for (unsigned i = 0; i < job->def->n_steps; i++) {
                uint8_t status = job->steps[i].status;

                if (job->def->steps[i].phase != PHASE_MAIN ||
                    job->def->steps[i].class == VERB_GROUP)
                        continue;
                total++;
                done += status == STEP_DONE || status == STEP_SKIPPED;
        }
        return json_pack("{s:i, s:i}", "done", (int) done, "total", (int) total);
}

/* "until" and "lead" are the engine's own; everything else of a wait is for people. */
json_t *job_waits(const Job *job) {
        json_t *list = json_array(), *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                json_t *copy = json_copy(wait);

                (void) json_object_del(copy, "until");
                (void) json_object_del(copy, "lead");
                (void) json_array_append_new(list, copy);
        }
        return list;
}

static bool has_wait(const Job *job, const char *kind, const char *can) {
        json_t *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                if (kind && streq0(args_text(wait, "kind", NULL), kind))
                        return true;
                if (json_has_text(json_object_get(wait, "can"), can))
                        return true;
        }
        return false;
}

static bool may(const Job *job, JobEvent event) {
        return job_next(job->state, event) >= 0;
}

json_t *job_actions(const Job *job) {
        bool untouched = job->started == 0;
        const struct {
                const char *verb;
                bool allowed;
        } table[] = {
                {"confirm", may(job, JOB_EVENT_CONFIRM) && has_wait(job, "gate", NULL)},
                {"answer", may(job, JOB_EVENT_ANSWER) && has_wait(job, "question", NULL)},
                {"rollback", may(job, JOB_EVENT_ROLLBACK) && !untouched && !job->dry_run &&
                                     (job->state != JOB_SUCCEEDED || job->way_back_open)},
                {"cancel", may(job, JOB_EVENT_CANCEL) || may(job, JOB_EVENT_WITHDRAW)},
                {"retry", may(job, JOB_EVENT_RETRY) &&
                                  (job->state == JOB_STUCK || has_wait(job, NULL, "retry"))},
                {"skip", may(job, JOB_EVENT_SKIP) &&
                                 (job->state == JOB_STUCK || has_wait(job, NULL, "skip"))},
                {"abandon", may(job, JOB_EVENT_ABANDON)},
                {"finalise", may(job, JOB_EVENT_FINALISE) && job->way_back_open},
        };
        json_t *list = json_array();

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (table[i].allowed)
                        (void) json_array_append_new(list, json_string(table[i].verb));
        return list;
}

static json_t *way_back_view(const Job *job) {
        json_t *view = json_pack("{s:b}", "open", job->way_back_open);

        put_time(view, "until", job->way_back.wall);
        return view;
}

static json_t *head_view(const Job *job) {
        json_t *view = json_pack(
                "{s:I, s:s, s:s, s:s, s:s, s:I, s:b, s:s, s:s*}", "id", (json_int_t) job->id,
                "plan", args_text(job->def->plan->norm, "plan", ""), "title", job->def->title,
                "target", job->def->target, "state", job_state_to_text(job->state), "version",
                (json_int_t) job->version, "dry_run", job->dry_run, "by", job->who ? job->who : "",
                "reason", job->reason);

        if (!view)
                return NULL;
        put_time(view, "created", job->created);
        put_time(view, "started", job->started);
        put_time(view, "ended", job->ended);
        return view;
}

int job_view(const Turn *t, const Job *job, json_t **ret) {
        static const char *const facts[] = {"labels", "overrides", "strategy", "decided", "after"};
        json_auto_t *view = head_view(job);
        json_t *failure, *back, *strategies = NULL, *actions, *window = window_view(job);

        if (!view) {
                json_decref(window);
                return -ENOMEM;
        }
        put_known(view, "about", json_object_get(job->def->plan->norm, "about"));
        (void) json_put(view, "sha256", json_string(job->def->plan->sha256));
        (void) json_object_set(view, "inputs", job->def->inputs);
        (void) json_put(view, "labels", json_object());
        (void) json_put(view, "overrides", json_array());
        for (size_t i = 0; i < ELEMENTSOF(facts); i++)
                put_known(view, facts[i], json_object_get(job->facts, facts[i]));
        if (window)
                (void) json_put(view, "window", window);
        (void) json_put(view, "progress", progress_view(job));
        (void) json_put(view, "steps", steps_view(job));
        (void) json_put(view, "waits", job_waits(job));
        actions = job_actions(job);
        (void) json_put(view, "actions", actions);
        if (job->state == JOB_SUCCEEDED && !job->dry_run)
                (void) json_put(view, "way_back", way_back_view(job));
        for (size_t i = 0; i < json_array_size(actions); i++)
                if (streq0(json_string_value(json_array_get(actions, i)), "rollback") &&
                    strategies_view(t, job, &strategies) >= 0)
                        (void) json_put(view, "strategies", strategies);
        failure = job_failure(job);
        if (failure)
                (void) json_put(view, "failure", failure);
        back = job_back(job);
        if (back)
                (void) json_put(view, "back", back);
        *ret = TAKE(view);
        return 0;
}

static json_t *current_step(const Job *job) {
        for (unsigned i = 0; i < job->def->n_steps; i++) {
                uint8_t status = job->steps[i].status;

                if (job->def->steps[i].class != VERB_GROUP &&
                    (status == STEP_RUNNING || status == STEP_WAITING || status == STEP_UNDOING ||
                     status == STEP_UNDO_FAILED))
                        return json_string(job->def->steps[i].id);
        }
        return NULL;
}

int job_view_short(const Job *job, json_t **ret) {
        static const char *const keys[] = {"id",       "kind",    "step", "since",
                                           "deadline", "overdue", "ask"};
        json_auto_t *view = head_view(job);
        json_t *waits = json_array(), *wait, *step = current_step(job);
        size_t i;

        if (!view || !waits)
                return -ENOMEM;
        json_array_foreach (job->waits, i, wait) {
                json_t *brief = json_object();

                for (size_t k = 0; k < ELEMENTSOF(keys); k++)
                        put_known(brief, keys[k], json_object_get(wait, keys[k]));
                (void) json_array_append_new(waits, brief);
        }
        (void) json_put(view, "waits", waits);
        if (step)
                (void) json_put(view, "step", step);
        put_known(view, "decided", json_object_get(job->facts, "decided"));
        *ret = TAKE(view);
        return 0;
}
