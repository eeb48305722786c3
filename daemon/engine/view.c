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

/* "until" is the engine's own; everything else of a wait is for people. */
json_t *job_waits(const Job *job) {
        json_t *list = json_array(), *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                json_t *copy = json_copy(wait);

                (void) json_object_del(copy, "until");
                (void) json_array_append_new(list, copy);
        }
        return list;
}

static bool has_wait(const Job *job, const char *kind, const char *can) {
        json_t *wait, *word;
        size_t i, k;

        json_array_foreach (job->waits, i, wait) {
                if (kind && streq0(args_text(wait, "kind", NULL), kind))
                        return true;
                json_array_foreach (json_object_get(wait, "can"), k, word) {
                        if (can && streq0(json_string_value(word), can))
                                return true;
                }
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

/* Services that are believed to run now, from what stop and start steps said they did. */
static json_t *running_now(const Job *job) {
        json_auto_t *set = json_object();
        json_t *list = json_array(), *name;
        unsigned last = 0;
        const char *key;
        size_t n;

        for (;;) {
                int next = -1;
                const StepState *s;
                bool stop, undone;
                json_t *names;

                for (unsigned i = 0; i < job->def->n_steps; i++)
                        if (job->steps[i].order > last &&
                            (next < 0 || job->steps[i].order < job->steps[next].order))
                                next = (int) i;
                if (next < 0)
                        break;
                s = &job->steps[next];
                last = s->order;
                stop = streq(args_text(job->def->steps[next].norm, "verb", ""), "stop");
                undone = s->status == STEP_UNDONE;
                names = json_object_get(s->outputs, stop ? "ran" : "started");
                json_array_foreach (names, n, name) {
                        if (!json_is_string(name))
                                continue;
                        if (stop == undone)
                                (void) json_object_set_new(set, json_string_value(name),
                                                           json_true());
                        else
                                (void) json_object_del(set, json_string_value(name));
                }
        }
        json_object_foreach (set, key, name) {
                (void) json_array_append_new(list, json_string(key));
        }
        return list;
}

static void undo_lists(const Job *job, json_t *failure) {
        json_t *undone = json_array(), *left = json_array(), *pending = json_array();

        for (unsigned i = 0; i < job->def->n_steps; i++) {
                const StepDef *def = &job->def->steps[i];
                const StepState *s = &job->steps[i];
                json_t *why = json_object_get(s->more, "left");

                if (def->phase != PHASE_MAIN || !s->begun || def->class == VERB_GROUP)
                        continue;
                if (why)
                        (void) json_array_append_new(
                                left, json_pack("{s:s, s:O}", "step", def->id, "why", why));
                else if (s->status == STEP_UNDONE && s->direction == DIRECTION_UNDO)
                        (void) json_array_append_new(undone, json_string(def->id));
                else if (s->status != STEP_UNDONE &&
                         (job->state == JOB_STUCK || job->state == JOB_ROLLING_BACK))
                        (void) json_array_append_new(pending, json_string(def->id));
        }
        (void) json_put(failure, "undone", undone);
        (void) json_put(failure, "left", left);
        (void) json_put(failure, "pending_undo", pending);
}

/* Inputs that are not the plan's defaults, so that the line does the same when it is typed. */
static char *start_again(const Job *job) {
        char *line = strf("updctl start %s", args_text(job->def->plan->norm, "plan", ""));
        json_t *declared = json_object_get(job->def->plan->norm, "inputs"), *value;
        const char *name;

        json_object_foreach (job->def->inputs, name, value) {
                json_t *fallback = json_object_get(json_object_get(declared, name), "default");
                _cleanup_free_ char *text = json_is_string(value)
                                                    ? strdup(json_string_value(value))
                                                    : json_dumps(value, JSON_ENCODE_ANY);
                bool plain = text && !text[strcspn(text, " \t\n'\"\\$`!*?[]{}()<>|&;#~")];
                char *longer;

                if (!line || !text || json_equal(value, fallback))
                        continue;
                longer = strf("%s -i %s%s=%s%s", line, plain ? "" : "'", name, text,
                              plain ? "" : "'");
                free(line);
                line = longer;
        }
        return line;
}

static json_t *next_commands(const Job *job) {
        json_auto_t *list = job_actions(job);
        json_t *next = json_array(), *verb;
        long long id = job->id;
        size_t i;

        json_array_foreach (list, i, verb) {
                const char *word = json_string_value(verb);
                bool reason = streq0(word, "skip") || streq0(word, "abandon");
                _cleanup_free_ char *line = NULL;

                if (!word)
                        continue;
                line = strf("updctl %s %lld%s", word, id, reason ? " --reason TEXT" : "");
                if (line && !streq(word, "cancel") && !streq(word, "finalise"))
                        (void) json_array_append_new(next, json_string(line));
        }
        if (json_array_size(next) == 0) {
                _cleanup_free_ char *line = strf("updctl events %lld", id);
                _cleanup_free_ char *again = start_again(job);

                if (line)
                        (void) json_array_append_new(next, json_string(line));
                if (again && job_state_is_end(job->state))
                        (void) json_array_append_new(next, json_string(again));
        }
        return next;
}

/* For checks that refuse, all of them are told, one a line. */
static const char *failure_message(const json_t *result) {
        return args_text(json_object_get(result, "error"), "message", "it failed");
}

json_t *job_failure(const Job *job) {
        json_t *fact = json_object_get(job->facts, "failure"), *failure, *result, *tail;
        int idx = fact ? job_def_find(job->def, args_text(fact, "step", "")) : -1;
        json_t *services;

        if (idx < 0)
                return NULL;
        /* What failed on the way forward is kept when its undo has a result of its own. */
        result = json_object_get(job->steps[idx].more, "failed");
        if (!result || streq0(args_text(fact, "direction", NULL), "undo"))
                result = job->steps[idx].result;
        tail = json_object_get(result, "tail");
        services = json_object_get(result, "services");
        failure =
                json_pack("{s:O, s:O, s:s, s:s, s:O*, s:O*}", "step", json_object_get(fact, "step"),
                          "direction", json_object_get(fact, "direction"), "phase",
                          args_text(result, "phase", "do"), "message", failure_message(result),
                          "tail", tail, "services", services);
        if (!failure)
                return NULL;
        if (args_text(result, "hint", args_text(json_object_get(result, "error"), "hint", NULL)))
                (void) json_put(failure, "hint",
                                json_string(args_text(
                                        result, "hint",
                                        args_text(json_object_get(result, "error"), "hint", ""))));
        if (streq0(args_text(result, "state", NULL), "interrupted"))
                (void) json_put(failure, "interrupted", json_true());
        (void) json_put(failure, "running", running_now(job));
        undo_lists(job, failure);
        (void) json_put(failure, "next", next_commands(job));
        return failure;
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
        static const char *const facts[] = {"labels", "overrides", "strategy", "decided"};
        json_auto_t *view = head_view(job);
        json_t *failure, *strategies = NULL, *actions;

        if (!view)
                return -ENOMEM;
        put_known(view, "about", json_object_get(job->def->plan->norm, "about"));
        (void) json_put(view, "sha256", json_string(job->def->plan->sha256));
        (void) json_object_set(view, "inputs", job->def->inputs);
        (void) json_put(view, "labels", json_object());
        (void) json_put(view, "overrides", json_array());
        for (size_t i = 0; i < ELEMENTSOF(facts); i++)
                put_known(view, facts[i], json_object_get(job->facts, facts[i]));
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
        static const char *const keys[] = {"id", "kind", "step", "since", "deadline", "ask"};
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
