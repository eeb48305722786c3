/* SPDX-License-Identifier: MIT */
/* See fake_engine.h. Tokens are "view-token", "operate-token" and "admin-token". */
#include "fake_engine.h"

Engine *fake_engine_new(sd_event *event) {
        Engine *e = calloc(1, sizeof(Engine));

        e->event = event;
        e->events = json_array();
        return e;
}

Call *call_free(Call *call) {
        if (!call)
                return NULL;
        json_decref(call->body);
        free(call->who);
        free(call->idempotency_key);
        free(call);
        return NULL;
}

void engine_free(Engine *e) {
        fake_release(e);
        json_decref(e->events);
        json_decref(e->last);
        error_done(&e->refusal);
        free(e->log_path);
        free(e);
}

void fake_job_set(Engine *e, int64_t id, uint64_t version, const char *json) {
        FakeJob *job = &e->jobs[0];

        for (size_t i = 0; i < ELEMENTSOF(e->jobs); i++)
                if (e->jobs[i].id == id || e->jobs[i].id == 0) {
                        job = &e->jobs[i];
                        break;
                }
        job->id = id;
        job->version = version;
        (void) snprintf(job->json, sizeof(job->json), "%s", json);
        if (e->change)
                e->change(e->change_userdata, id, version);
}

void fake_event_add(Engine *e, int64_t job, const char *type) {
        int seq = 1;
        json_t *event;
        size_t i;

        json_array_foreach (e->events, i, event) {
                if (json_integer_value(json_object_get(event, "job")) == job)
                        seq++;
        }
        (void) json_array_append_new(e->events,
                                     json_pack("{s:i, s:I, s:i, s:s}", "id",
                                               (int) json_array_size(e->events) + 1, "job",
                                               (json_int_t) job, "seq", seq, "type", type));
        if (e->change)
                e->change(e->change_userdata, job, (uint64_t) seq);
}

static void reply_to(Engine *e, Call *call) {
        Reply reply = {.replayed = e->replayed};

        if (e->refusal.err) {
                reply.err = e->refusal.err;
                reply.error = e->refusal;
        } else if (call->kind == CALL_START) {
                reply.job = 42;
                reply.created = true;
        } else if (call->kind == CALL_TOKEN_ADD) {
                reply.created = true;
                reply.body =
                        json_pack("{s:O, s:O, s:s}", "name", json_object_get(call->body, "name"),
                                  "role", json_object_get(call->body, "role"), "token", "t0p");
        } else if (call->kind != CALL_TOKEN_REMOVE) {
                reply.job = call->job;
                reply.body = json_incref(e->last);
        }
        call->reply(call->userdata, &reply);
        json_decref(reply.body);
        call_free(call);
}

void fake_release(Engine *e) {
        size_t n = e->n_held;

        e->n_held = 0;
        for (size_t i = 0; i < n; i++)
                reply_to(e, e->held[i]);
}

static int on_turn(sd_event_source *source, void *userdata) {
        fake_release(userdata);
        (void) sd_event_source_disable_unref(source);
        return 0;
}

int engine_submit(Engine *e, Call *call) {
        sd_event_source *source;

        json_decref(e->last);
        e->last = json_pack("{s:i, s:I, s:O, s:s, s:s*}", "kind", (int) call->kind, "job",
                            (json_int_t) call->job, "body", call->body, "who", call->who, "key",
                            call->idempotency_key);
        if (e->busy || e->n_held == ELEMENTSOF(e->held)) {
                call_free(call);
                return -EBUSY;
        }
        e->held[e->n_held++] = call;
        if (e->hold)
                return 0;
        return sd_event_add_defer(e->event, &source, on_turn, e);
}

int engine_job_view(Engine *e, int64_t job, JobView *ret) {
        for (size_t i = 0; i < ELEMENTSOF(e->jobs); i++)
                if (e->jobs[i].id == job && job != 0) {
                        *ret = (JobView){e->jobs[i].json, strlen(e->jobs[i].json),
                                         e->jobs[i].version};
                        return 0;
                }
        return -ENOENT;
}

int engine_job_find(Engine *e, const char *name, int64_t *ret) {
        if (!streq(name, "sesame"))
                return -ENOENT;
        *ret = 42;
        return 0;
}

/* The query itself, so that a test sees what arrived. */
int engine_jobs(Engine *e, const JobsQuery *query, json_t **ret, Error *reterr) {
        *ret = json_pack("{s:[], s:n, s:{s:s*, s:s*, s:s*, s:I, s:i}}", "jobs", "next", "query",
                         "state", query->state, "plan", query->plan, "target", query->target,
                         "after", (json_int_t) query->after, "limit", (int) query->limit);
        return 0;
}

int engine_events(Engine *e, int64_t job, int64_t after, unsigned limit, json_t **ret,
                  Error *reterr) {
        json_t *page = json_array(), *event;
        json_int_t next = after;
        size_t i;

        json_array_foreach (e->events, i, event) {
                const json_t *number = json_object_get(event, job > 0 ? "seq" : "id");

                if (job > 0 && json_integer_value(json_object_get(event, "job")) != job)
                        continue;
                if (json_integer_value(number) <= after || json_array_size(page) >= limit)
                        continue;
                next = json_integer_value(number);
                (void) json_array_append(page, event);
        }
        *ret = json_pack("{s:o, s:I}", "events", page, "next", next);
        return 0;
}

int engine_log_path(Engine *e, int64_t job, const char *step, unsigned attempt, char **ret,
                    unsigned *ret_attempt, bool *ret_running, Error *reterr) {
        if (!e->log_path || !streq(step, "install"))
                return error_set(reterr, ENOENT, "no-such-step", "there is no step '%s'", step);
        *ret = strdup(e->log_path);
        *ret_attempt = attempt > 0 ? attempt : 2;
        *ret_running = e->log_running;
        return 0;
}

struct Report {
        Engine *engine;
        json_t *document;
        int pages;
};

int engine_report_new(Engine *e, int64_t job, Report **ret, Error *reterr) {
        JobView view;

        if (engine_job_view(e, job, &view) < 0)
                return error_set(reterr, ENOENT, "no-such-job", "there is no job");
        *ret = calloc(1, sizeof(Report));
        (*ret)->engine = e;
        (*ret)->document = json_loadb(view.json, view.size, 0, NULL);
        e->reports++;
        return 0;
}

int engine_report_read(Report *r, Error *reterr) {
        if (r->engine->unhealthy && r->pages == 3)
                return error_set(reterr, EIO, "store-failed", "the store cannot be read");
        return ++r->pages <= 5 || r->engine->endless;
}

const json_t *engine_report_json(const Report *r) {
        return r->document;
}

Report *report_free(Report *r) {
        if (!r)
                return NULL;
        r->engine->reports--;
        json_decref(r->document);
        free(r);
        return NULL;
}

int engine_plans(Engine *e, json_t **ret, Error *reterr) {
        *ret = json_pack("{s:[]}", "plans");
        return 0;
}

int engine_plan(Engine *e, const char *name, json_t **ret, Error *reterr) {
        if (!streq(name, "sesame-v2")) {
                (void) error_set(reterr, ENOENT, "no-such-plan", "there is no plan '%s'", name);
                error_hint(reterr, "did you mean 'sesame-v2'?");
                return -ENOENT;
        }
        *ret = json_pack("{s:s}", "plan", name);
        return 0;
}

int engine_check(Engine *e, const char *file, const char *text, size_t size, json_t **ret,
                 Error *reterr) {
        *ret = json_pack("{s:b, s:s, s:I}", "ok", 1, "file", file, "size", (json_int_t) size);
        return 0;
}

int engine_tokens(Engine *e, json_t **ret, Error *reterr) {
        *ret = json_pack("{s:[]}", "tokens");
        return 0;
}

int engine_schedules(Engine *e, const char *name, ReplyFunc reply, void *userdata, json_t **ret,
                     Error *reterr) {
        *ret = json_pack("{s:[]}", "schedules");
        return 0;
}

Role engine_token_role(Engine *e, const char *token, char **ret_name) {
        static const char *const tokens[] = {"none-token", "view-token", "operate-token",
                                             "admin-token"};

        for (size_t i = 1; i < ELEMENTSOF(tokens); i++)
                if (streq(token, tokens[i])) {
                        *ret_name = strdup("grafana");
                        return (Role) i;
                }
        return ROLE_NONE;
}

int engine_health(Engine *e, json_t **ret) {
        *ret = json_pack("{s:b, s:{s:i}, s:i, s:s}", "ok", !e->unhealthy, "jobs", "running", 3,
                         "attempts", 2, "store", e->unhealthy ? "disk full" : "ok");
        return 0;
}

int engine_run(Engine *e, json_t **ret) {
        *ret = json_pack("{s:i}", "n", 1);
        return 0;
}

void engine_on_change(Engine *e, ChangeFunc func, void *userdata) {
        e->change = func;
        e->change_userdata = userdata;
}
