/* SPDX-License-Identifier: MIT */
/*
 * A request's way through: who asks, which call, may they, what body, the handler, the answer. MHD
 * calls in several times: with the headers, with each piece of the body, at the body's end, and
 * again after a suspended connection was resumed.
 */
#include "daemon/http/server.h"

#include <inttypes.h>
#include <strings.h>

#include "api/memory.h"
#include "api/text.h"
#include "daemon/log.h"

const char *request_header(const Request *q, const char *name) {
        return MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, name);
}

const char *request_query(const Request *q, const char *name) {
        return MHD_lookup_connection_value(q->connection, MHD_GET_ARGUMENT_KIND, name);
}

int request_query_int(const Request *q, const char *name, int64_t min, int64_t max,
                      int64_t fallback, int64_t *ret, Error *reterr) {
        const char *text = request_query(q, name);
        int64_t n = fallback;
        char *end;

        if (text) {
                errno = 0;
                n = strtoll(text, &end, 10);
                if (errno != 0 || end == text || *end || n < min || n > max)
                        return error_set(reterr, EINVAL, "bad-request",
                                         "'%s' takes a number from %" PRId64 " to %" PRId64
                                         ", not '%s'",
                                         name, min, max, text);
        }
        *ret = n;
        return 0;
}

static int check_accept(const Request *q, Error *reterr) {
        static const char *const types[] = {
                [PRODUCES_JSON] = "application/json",
                [PRODUCES_TEXT] = "text/plain",
                [PRODUCES_EVENTS] = "application/json",
        };
        Produces p = q->route->produces;

        if (p == PRODUCES_REPORT) /* its handler chooses */
                return 0;
        if (request_accepts(q, types[p], false) ||
            (p == PRODUCES_EVENTS && request_accepts(q, "text/event-stream", true)))
                return 0;
        return error_set(reterr, EINVAL, "not-acceptable", "the answer here is %s%s", types[p],
                         p == PRODUCES_EVENTS ? " or text/event-stream" : "");
}

typedef struct QueryCheck {
        const char *allowed;
        char *unknown, *no_text; /* the first such parameter's name; owned */
} QueryCheck;

static bool word_among(const char *word, const char *words) {
        size_t n = strlen(word);

        for (const char *p = words; p && *p; p += strspn(p, " ")) {
                size_t size = strcspn(p, " ");

                if (size == n && strncmp(p, word, n) == 0)
                        return true;
                p += size;
        }
        return false;
}

static enum MHD_Result check_argument(void *cls, enum MHD_ValueKind kind, const char *key,
                                      const char *value) {
        QueryCheck *c = cls;

        if (!word_among(key, c->allowed))
                c->unknown = strdup(key);
        else if (value && !utf8_is_text(value, strlen(value)))
                c->no_text = strdup(key);
        return c->unknown || c->no_text ? MHD_NO : MHD_YES;
}

static int check_query(const Request *q, Error *reterr) {
        QueryCheck c = {.allowed = q->route->query};
        _cleanup_free_ char *unknown = NULL, *no_text = NULL;

        (void) MHD_get_connection_values(q->connection, MHD_GET_ARGUMENT_KIND, check_argument, &c);
        unknown = c.unknown;
        no_text = c.no_text;
        /* Values stand in answers, which are JSON. */
        if (no_text)
                return error_set(reterr, EINVAL, "bad-request", "'%s' is not UTF-8", no_text);
        if (!unknown)
                return 0;
        (void) error_set(reterr, EINVAL, "bad-request", "there is no query parameter '%s' here",
                         unknown);
        error_hint(reterr, c.allowed ? "there are: %s" : "this call takes none%s",
                   c.allowed ? c.allowed : "");
        return -EINVAL;
}

static int check_role(const Request *q, Error *reterr) {
        static const char *const names[] = {"none", "view", "operate", "admin"};

        if (q->role >= q->route->role)
                return 0;
        return error_set(reterr, EPERM, "forbidden", "this takes the role %s, and yours is %s",
                         names[q->route->role], names[q->role]);
}

static bool has_body(const Request *q) {
        const char *length = request_header(q, MHD_HTTP_HEADER_CONTENT_LENGTH);

        return (length && !streq(length, "0")) ||
               request_header(q, MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL;
}

static int too_large(Error *reterr) {
        return error_set(reterr, EFBIG, "too-large", "a body may have %u KiB at most",
                         HTTP_BODY_MAX / 1024);
}

static int check_body(const Request *q, Error *reterr) {
        const char *length = request_header(q, MHD_HTTP_HEADER_CONTENT_LENGTH);
        const char *type = request_header(q, MHD_HTTP_HEADER_CONTENT_TYPE);
        size_t n = type ? strcspn(type, "; \t") : 0;

        if (length && strtoull(length, NULL, 10) > HTTP_BODY_MAX)
                return too_large(reterr);
        if (q->route->any_body || !streq(q->method, "POST") || !has_body(q))
                return 0;
        if (n == strlen("application/json") && strncasecmp(type, "application/json", n) == 0)
                return 0;
        return error_set(reterr, EINVAL, "unsupported-media-type",
                         "the body must be application/json, not %s", type ? type : "without type");
}

/* What can be told from the headers. */
static int request_begin(Request *q, const char *url, Error *reterr) {
        int r;

        r = auth_check(q, reterr);
        if (r >= 0)
                r = route_find(q, url, reterr);
        if (r >= 0)
                r = check_role(q, reterr);
        if (r >= 0)
                r = check_query(q, reterr);
        if (r >= 0)
                r = check_accept(q, reterr);
        return r >= 0 ? check_body(q, reterr) : r;
}

/* Keeps a piece of the body. Beyond the limit it is dropped, so that the client, which is still
 * sending, reads the answer; -EFBIG when even that goes too far. */
static int request_take(Request *q, const char *data, size_t size) {
        if (q->dropped > 0 || q->size + size > HTTP_BODY_MAX) {
                q->dropped += size;
                return q->dropped > HTTP_DRAIN_MAX ? -EFBIG : 0;
        }
        if (q->size + size > q->capacity) {
                size_t capacity = MAX(q->size + size, MIN(q->capacity * 2, HTTP_BODY_MAX));
                char *body = realloc(q->body, capacity);

                if (!body)
                        return -ENOMEM;
                q->body = body;
                q->capacity = capacity;
        }
        memcpy(q->body + q->size, data, size);
        q->size += size;
        return 0;
}

static void request_dispatch(Request *q) {
        _cleanup_error_ Error error = ERROR_INIT;
        uint64_t before = memory_failures();
        int r;

        if (q->dropped > 0)
                r = too_large(&error);
        else
                r = q->route->handle(q, &error);
        /* Something is missing in the answer, or in what was read of the request. */
        if ((r < 0 || q->response) && memory_failures() != before) {
                response_drop(q);
                r = error_oom(&error);
        }
        if (r < 0)
                respond_problem(q, r, &error);
}

/* Hands the answer to MHD. No answer is lack of memory: the connection closes. */
static enum MHD_Result request_answer(Request *q) {
        struct MHD_Response *response = TAKE(q->response);
        enum MHD_Result r;

        if (!response)
                return MHD_NO;
        if (q->status < 600)
                q->server->answers[q->status / 100]++;
        r = MHD_queue_response(q->connection, q->status, response);
        if (!q->borrowed)
                MHD_destroy_response(response);
        return r;
}

static Request *request_new(Listener *l, struct MHD_Connection *connection, const char *method) {
        Request *q = calloc(1, sizeof(Request));

        if (!q)
                return NULL;
        q->server = l->server;
        q->listener = l;
        q->connection = connection;
        q->method = method;
        return q;
}

/* The headers are there. MHD closes a connection that is answered already here, so only what has a
 * body, which then need not be read, is. */
static enum MHD_Result request_open(Request *q, const char *url) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        r = request_begin(q, url, &error);
        if (r < 0)
                respond_problem(q, r, &error);
        /* Without memory for the refusal there is no answer, and no way around the refusal either.
         */
        return r < 0 && (has_body(q) || !q->response) ? request_answer(q) : MHD_YES;
}

enum MHD_Result request_handle(void *cls, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload_data,
                               size_t *upload_size, void **req_cls) {
        Request *q = *req_cls;

        if (!q) {
                *req_cls = q = request_new(cls, connection, method);
                return q ? request_open(q, url) : MHD_NO;
        }
        if (*upload_size > 0) {
                if (request_take(q, upload_data, *upload_size) < 0)
                        return MHD_NO;
                *upload_size = 0;
                return MHD_YES;
        }
        if (!q->response)
                request_dispatch(q);
        return q->waiter.suspended ? MHD_YES : request_answer(q);
}

void request_completed(void *cls, struct MHD_Connection *connection, void **req_cls,
                       enum MHD_RequestTerminationCode code) {
        Request *q = TAKE(*req_cls);

        if (!q)
                return;
        if (q->pending)
                pending_forget(q->pending);
        reporting_free(q->reporting);
        if (q->response)
                MHD_destroy_response(q->response);
        free(q->token);
        free(q->name);
        free(q->body);
        free(q);
}
