/* SPDX-License-Identifier: MIT */
/*
 * Calls that change something. The connection is suspended until the engine replies, which it does
 * after the commit that made the change durable. A Pending stands between the two: the request may
 * go first (the server stops), and then the reply finds nobody.
 */
#include <inttypes.h>

#include "api/memory.h"
#include "daemon/http/server.h"

#include "daemon/log.h"

struct Pending {
        HttpServer *server;
        Request *request; /* NULL: gone */
        Pending *next, *prev;
};

static const Member start_members[] = {
        {"plan", MEMBER_TEXT},
        {"document", MEMBER_TEXT},
        {"inputs", MEMBER_OBJECT},
        {"reason", MEMBER_TEXT},
        {"dry_run", MEMBER_BOOL},
        {"labels", MEMBER_TEXT_OBJECT},
        {"overrides", MEMBER_TEXTS},
        {"secrets", MEMBER_TEXT_OBJECT},
        {"target_hint", MEMBER_TEXT},
        {"window", MEMBER_TEXT_OBJECT},
        {NULL},
};
static const Member confirm_members[] = {
        {"wait", MEMBER_TEXT},  {"ticks", MEMBER_TEXTS}, {"all", MEMBER_BOOL},
        {"typed", MEMBER_TEXT}, {"reason", MEMBER_TEXT}, {NULL},
};
static const Member answer_members[] = {
        {"wait", MEMBER_TEXT}, {"text", MEMBER_TEXT, .required = true}, {NULL}};
static const Member rollback_members[] = {
        {"strategy", MEMBER_TEXT}, {"reason", MEMBER_TEXT}, {"typed", MEMBER_TEXT}, {NULL}};
static const Member retry_members[] = {
        {"wait", MEMBER_TEXT},
        {"inputs", MEMBER_OBJECT},
        {"document", MEMBER_TEXT},
        {"secrets", MEMBER_TEXT_OBJECT},
        {"reason", MEMBER_TEXT},
        {"preview", MEMBER_BOOL},
        {NULL},
};
static const Member skip_members[] = {{"wait", MEMBER_TEXT}, {"reason", MEMBER_TEXT}, {NULL}};
static const Member reason_members[] = {{"reason", MEMBER_TEXT}, {NULL}};
static const Member token_members[] = {
        {"name", MEMBER_TEXT, .required = true}, {"role", MEMBER_TEXT, .required = true}, {NULL}};
static const Member schedule_members[] = {
        {"plan", MEMBER_TEXT, .required = true},
        {"on", MEMBER_TEXT, .required = true},
        {"window", MEMBER_TEXT},
        {"inputs", MEMBER_OBJECT},
        {"labels", MEMBER_TEXT_OBJECT},
        {"overrides", MEMBER_TEXTS},
        {"missed", MEMBER_TEXT},
        {NULL},
};
static const Member run_members[] = {
        {"elapse", MEMBER_TEXT}, {"at", MEMBER_TEXT}, {"reason", MEMBER_TEXT}, {NULL}};
static const Member no_members[] = {{NULL}};

static const Member *const call_members[_CALL_KIND_MAX] = {
        [CALL_START] = start_members,        [CALL_CONFIRM] = confirm_members,
        [CALL_ANSWER] = answer_members,      [CALL_ROLLBACK] = rollback_members,
        [CALL_CANCEL] = reason_members,      [CALL_RETRY] = retry_members,
        [CALL_SKIP] = skip_members,          [CALL_ABANDON] = reason_members,
        [CALL_FINALISE] = reason_members,    [CALL_TOKEN_ADD] = token_members,
        [CALL_TOKEN_REMOVE] = no_members,    [CALL_SCHEDULE_PUT] = schedule_members,
        [CALL_SCHEDULE_REMOVE] = no_members, [CALL_SCHEDULE_RUN] = run_members,
};

void pending_forget(Pending *p) {
        p->request = NULL;
}

static void pending_free(Pending *p) {
        if (p->prev)
                p->prev->next = p->next;
        else
                p->server->pendings = p->next;
        if (p->next)
                p->next->prev = p->prev;
        free(p);
}

void pendings_free(HttpServer *s) {
        while (s->pendings)
                pending_free(s->pendings);
}

static Pending *pending_new(Request *q) {
        Pending *p = calloc(1, sizeof(Pending));

        if (!p)
                return NULL;
        p->server = q->server;
        p->request = q;
        p->next = q->server->pendings;
        if (p->next)
                p->next->prev = p;
        q->server->pendings = p;
        return p;
}

/* The job as it is now, for a reply that names a job and carries no body. */
static int respond_job_text(Request *q, unsigned status, int64_t job, Error *reterr) {
        _cleanup_free_ char *text = NULL;
        JobView view;
        int r;

        r = engine_job_view(q->server->engine, job, &view);
        if (r == -ENOMEM)
                return error_oom(reterr);
        if (r < 0)
                return error_set(reterr, -r, "internal", "job %" PRId64 " cannot be read back: %s",
                                 job, strerror(-r));
        text = strndup(view.json, view.size);
        return text ? respond_text(q, status, "application/json", text) : -ENOMEM;
}

static int respond_location(Request *q, const Reply *reply) {
        const char *token = json_string_value(json_object_get(reply->body, "name"));

        if (q->route->call == CALL_TOKEN_ADD && token)
                return respond_header(q, MHD_HTTP_HEADER_LOCATION, "/v1/tokens/%s", token);
        if (reply->job > 0)
                return respond_header(q, MHD_HTTP_HEADER_LOCATION, "/v1/jobs/%" PRId64, reply->job);
        return 0;
}

/* A job of updd's own brings it about: it is not done yet. */
static bool is_accepted(const Request *q) {
        return q->route->call == CALL_SCHEDULE_PUT || q->route->call == CALL_SCHEDULE_REMOVE;
}

static bool is_created(const Request *q, const Reply *reply) {
        return reply->created || q->route->call == CALL_START || q->route->call == CALL_TOKEN_ADD ||
               q->route->call == CALL_SCHEDULE_RUN;
}

static int respond_reply(Request *q, const Reply *reply, Error *reterr) {
        bool accepted = is_accepted(q), created = !accepted && is_created(q, reply);
        unsigned status = accepted ? MHD_HTTP_ACCEPTED : created ? MHD_HTTP_CREATED : MHD_HTTP_OK;
        int r;

        if (reply->body)
                r = respond_json(q, status, reply->body);
        else if (reply->job > 0)
                r = respond_job_text(q, status, reply->job, reterr);
        else
                r = respond_empty(q, MHD_HTTP_NO_CONTENT);
        if (r >= 0 && (created || accepted))
                r = respond_location(q, reply);
        return r;
}

/* A copy, because the reply's Error is the engine's. */
static void respond_refusal(Request *q, const Reply *reply) {
        Error copy = reply->error;

        respond_problem(q, -reply->err, &copy);
}

static void on_reply(void *userdata, const Reply *reply) {
        _cleanup_error_ Error error = ERROR_INIT;
        Pending *p = userdata;
        Request *q = p->request;
        uint64_t before = memory_failures();
        int r;

        pending_free(p);
        if (!q)
                return;
        q->pending = NULL;
        if (reply->err != 0)
                respond_refusal(q, reply);
        else {
                r = respond_reply(q, reply, &error);
                if (r >= 0 && reply->replayed)
                        r = respond_header(q, "Idempotency-Replayed", "true");
                /* It happened, and asked again with its key it is told. */
                if (memory_failures() != before)
                        r = error_oom(&error);
                if (r < 0) {
                        response_drop(q);
                        respond_problem(q, r, &error);
                }
        }
        waiter_resume(&q->waiter);
}

static int check_key(const char *key, Error *reterr) {
        size_t n = key ? strlen(key) : 1;

        if (n < 1 || n > 255)
                return error_set(reterr, EINVAL, "bad-request",
                                 "an Idempotency-Key has 1 to 255 characters");
        for (const char *p = key; p && *p; p++)
                if (*p < '!' || *p > '~')
                        return error_set(reterr, EINVAL, "bad-request",
                                         "an Idempotency-Key has visible ASCII characters only");
        return 0;
}

/* What the table of members cannot say. */
static int check_start(const json_t *body, Error *reterr) {
        bool plan = json_object_get(body, "plan"), document = json_object_get(body, "document");

        if (plan == document)
                return error_set(reterr, EINVAL, "bad-request",
                                 plan ? "'plan' and 'document' are given, and one of them is needed"
                                      : "'plan' or 'document' is missing");
        return 0;
}

static int make_call(Request *q, Call **ret, Error *reterr) {
        const char *key = request_header(q, "Idempotency-Key");
        CallKind kind = q->route->call;
        _cleanup_free_ char *who = NULL, *key_copy = NULL;
        json_auto_t *body = NULL;
        Call *call;
        int r;

        r = body_read(q->body, q->size, call_members[kind], &body, reterr);
        if (r >= 0 && kind == CALL_START)
                r = check_start(body, reterr);
        if (r >= 0)
                r = check_key(key, reterr);
        if (r < 0)
                return r;
        /* The path's name: the engine reads it where the other calls have theirs. */
        if (q->name && json_object_set_new(body, "name", json_string(q->name)) < 0)
                return error_set(reterr, EINVAL, "bad-request", "the name is not UTF-8");
        who = auth_who(q);
        key_copy = key ? strdup(key) : NULL;
        call = calloc(1, sizeof(Call));
        if (!who || (key && !key_copy) || !call) {
                free(call);
                return error_oom(reterr);
        }
        *call = (Call){
                .kind = kind,
                .job = q->id,
                .body = TAKE(body),
                .who = TAKE(who),
                .idempotency_key = TAKE(key_copy),
                .reply = on_reply,
        };
        *ret = call;
        return 0;
}

int handle_call(Request *q, Error *reterr) {
        Pending *pending;
        Call *call = NULL;
        int r;

        r = make_call(q, &call, reterr);
        if (r < 0)
                return r;
        pending = pending_new(q);
        if (!pending) {
                call_free(call);
                return error_oom(reterr);
        }
        call->userdata = pending;
        r = engine_submit(q->server->engine, call);
        if (r < 0) {
                pending_free(pending);
                return error_set(reterr, -r, r == -EBUSY ? "too-busy" : NULL,
                                 "the engine takes no more calls now");
        }
        q->pending = pending;
        return waiter_suspend(&q->waiter, q->listener, q->connection, -1, INT64_MAX);
}

int handle_schedules(Request *q, Error *reterr) {
        Pending *pending = pending_new(q);
        json_auto_t *now = NULL;
        int r;

        if (!pending)
                return error_oom(reterr);
        r = engine_schedules(q->server->engine, q->name, on_reply, pending, &now, reterr);
        if (r > 0) {
                q->pending = pending;
                return waiter_suspend(&q->waiter, q->listener, q->connection, -1, INT64_MAX);
        }
        pending_free(pending);
        return r < 0 ? r : respond_json(q, MHD_HTTP_OK, now);
}
