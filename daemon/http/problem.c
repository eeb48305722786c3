/* SPDX-License-Identifier: MIT */
/*
 * The one place that turns an Error into a problem document (RFC 9457) and its status. Types are an
 * interface: clients branch on them. A type that is not in the table gets its status from its
 * errno.
 */
#include "daemon/http/server.h"

#include "daemon/log.h"

typedef struct Problem {
        const char *type;
        unsigned status;
        const char *title;
} Problem;

static const Problem problems[] = {
        {"bad-json", 400, "The body is not JSON"},
        {"bad-request", 400, "The request is not of this call's form"},
        {"unauthorized", 401, "Who asks is not known"},
        {"forbidden", 403, "Who asks may not do this"},
        {"bad-host", 403, "The Host header names another machine"},
        {"bad-origin", 403, "Pages of this origin may not use the API"},
        {"not-found", 404, "There is nothing here"},
        {"no-such-job", 404, "There is no such job"},
        {"no-such-plan", 404, "There is no such plan"},
        {"no-such-step", 404, "There is no such step"},
        {"no-such-schedule", 404, "There is no such schedule"},
        {"no-such-token", 404, "There is no such token"},
        {"method-not-allowed", 405, "This cannot be done here"},
        {"not-acceptable", 406, "The answer has no such form"},
        {"target-busy", 409, "The target has an unfinished job"},
        {"not-now", 409, "The job's state does not allow this"},
        {"wait-closed", 409, "This wait is over"},
        {"plan-changed-begun", 409, "The change touches what has begun"},
        {"exists", 409, "It exists already"},
        {"no-schedules", 409, "Schedules need systemd"},
        {"too-large", 413, "The body is too large"},
        {"unsupported-media-type", 415, "The body's type is not understood"},
        {"range-not-satisfiable", 416, "The range lies outside"},
        {"bad-calendar", 422, "The calendar event cannot be read"},
        {"bad-inputs", 422, "The inputs do not fit the plan"},
        {"bad-plan", 422, "The plan has faults"},
        {"not-carried", 422, "The plan uses what this version does not carry out"},
        {"wait-missing", 422, "The wait must be named"},
        {"items-missing", 422, "Items must be ticked"},
        {"not-typed", 422, "A text must be typed"},
        {"same-person", 422, "Another person must confirm"},
        {"reason-missing", 422, "A reason must be given"},
        {"idempotency-key-reused", 422, "The Idempotency-Key was used for something else"},
        {"bad-window", 422, "The window cannot be"},
        {"window-too-short", 422, "The job does not fit into its window"},
        {"unattended-gate", 422, "A gate would wait beyond the window"},
        {"loses-data", 422, "The strategy loses data"},
        {"internal", 500, "The daemon failed"},
        {"too-busy", 503, "Too much is waiting already"},
        {"out-of-memory", 503, "The daemon is out of memory"},
        {"store-damaged", 503, "The database is damaged"},
        {"store-failed", 503, "The store does not accept changes"},
        {"disk-full", 507, "The disk is full"},
};

static const Problem *problem_find(const char *type) {
        for (size_t i = 0; type && i < ELEMENTSOF(problems); i++)
                if (streq(problems[i].type, type))
                        return &problems[i];
        return NULL;
}

static const char *type_of_errno(int err) {
        switch (err) {
        case ENOENT: return "not-found";
        case EINVAL:
        case EBADMSG:
        case ERANGE: return "bad-request";
        case EPERM:
        case EACCES: return "forbidden";
        case EEXIST: return "exists";
        case EBUSY:
        case EAGAIN: return "too-busy";
        case ENOSPC:
        case EDQUOT: return "disk-full";
        case ENOMEM: return "out-of-memory";
        default: return "internal";
        }
}

unsigned problem_status(const char *type) {
        const Problem *p = problem_find(type);

        return p ? p->status : 0;
}

static json_t *render(const Problem *p, const Error *e, int err) {
        json_auto_t *doc = json_object();
        const char *type = e->type ? e->type : p->type;

        if (!doc ||
            json_object_set_new(doc, "type", json_sprintf("urn:updd:problem:%s", type)) < 0 ||
            json_object_set_new(doc, "title", json_string(p->title)) < 0 ||
            json_object_set_new(doc, "status", json_integer(p->status)) < 0 ||
            json_object_set_new(doc, "detail",
                                json_string(e->message ? e->message : strerror(err))) < 0 ||
            (e->hint && json_object_set_new(doc, "hint", json_string(e->hint)) < 0) ||
            (e->details && json_object_update_missing(doc, e->details) < 0))
                return NULL;
        return TAKE(doc);
}

static int add_headers(Request *q, const Error *e) {
        const char *allow = json_string_value(json_object_get(e->details, "allow"));

        if (q->status == 401)
                return respond_header(q, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer realm=\"updd\"");
        if (q->status == 405 && allow)
                return respond_header(q, MHD_HTTP_HEADER_ALLOW, "%s", allow);
        if (q->status == 416)
                return respond_header(q, MHD_HTTP_HEADER_CONTENT_RANGE,
                                      "bytes */%" JSON_INTEGER_FORMAT,
                                      json_integer_value(json_object_get(e->details, "size")));
        if (q->status == 503)
                return respond_header(q, MHD_HTTP_HEADER_RETRY_AFTER, "1");
        return 0;
}

void respond_problem(Request *q, int r, Error *e) {
        int err = e->err > 0 ? e->err : -r;
        const Problem *p = problem_find(e->type);
        _cleanup_free_ char *text = NULL;
        json_auto_t *doc = NULL;

        if (!p)
                p = problem_find(type_of_errno(err));
        if (p->status == 500) {
                text = log_error_text(e, err);
                log_job_error(q->id, NULL, "%s %s failed: %s", q->method,
                              q->route ? q->route->pattern : "?", text ? text : "");
        }
        doc = render(p, e, err);
        if (!doc || respond_problem_json(q, p->status, doc) < 0 || add_headers(q, e) < 0) {
                if (q->response)
                        MHD_destroy_response(TAKE(q->response));
        }
}
