/* SPDX-License-Identifier: MIT */
/*
 * Reading jobs: one (the hot path: from memory, a ready-made response, 304 where nothing changed,
 * and a wait for change where the client asks for it) and pages of many.
 */
#include "daemon/http/server.h"

#include <inttypes.h>
#include <strings.h>

/* Is the version among the If-None-Match header's tags? Weak tags compare like strong ones here
 * (RFC 9110, 13.1.2). */
static bool matches(const Request *q, uint64_t version) {
        const char *header = request_header(q, MHD_HTTP_HEADER_IF_NONE_MATCH);
        char etag[32];

        if (!header)
                return false;
        (void) snprintf(etag, sizeof(etag), "\"%" PRIu64 "\"", version);
        return strstr(header, etag) != NULL || streq(header, "*");
}

/* Seconds of "Prefer: wait=N", 0 when it is not there or not understood (RFC 7240). */
static int64_t prefer_wait_s(const Request *q) {
        const char *header = request_header(q, MHD_HTTP_HEADER_PREFER);

        while (header && *header) {
                header += strspn(header, ", \t");
                if (strncasecmp(header, "wait=", 5) == 0)
                        return MIN(strtol(header + 5, NULL, 10), HTTP_WAIT_MAX_S);
                header += strcspn(header, ",");
        }
        return 0;
}

static int respond_unchanged(Request *q, uint64_t version) {
        struct MHD_Response *response =
                MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);

        if (response && response_common(response, NULL, true) < 0)
                MHD_destroy_response(TAKE(response));
        if (respond_ready(q, MHD_HTTP_NOT_MODIFIED, response) < 0)
                return -ENOMEM;
        return respond_header(q, MHD_HTTP_HEADER_ETAG, "\"%" PRIu64 "\"", version);
}

static int respond_job(Request *q, const JobView *view) {
        q->response = job_cache_get(q->server->cache, q->id, view);
        q->status = MHD_HTTP_OK;
        q->borrowed = true;
        return q->response ? 0 : -ENOMEM;
}

int handle_job(Request *q, Error *reterr) {
        JobView view;
        int64_t wait_s;
        int r;

        r = engine_job_view(q->server->engine, q->id, &view);
        if (r == -ENOENT)
                return error_set(reterr, ENOENT, "no-such-job", "there is no job %" PRId64, q->id);
        if (r < 0)
                return error_set(reterr, -r, "internal", "cannot read job %" PRId64 ": %s", q->id,
                                 strerror(-r));
        if (!matches(q, view.version))
                return respond_job(q, &view);
        wait_s = prefer_wait_s(q);
        if (wait_s <= 0 || q->waited)
                return respond_unchanged(q, view.version);
        r = waiter_suspend(&q->waiter, q->listener, q->connection, q->id, wait_s * 1000 * 1000);
        if (r < 0)
                return error_set(reterr, -r, "too-busy", "too many clients wait for changes");
        q->waited = true;
        return HANDLER_WAITS;
}

int handle_job_by_name(Request *q, Error *reterr) {
        int r;

        r = engine_job_find(q->server->engine, q->name, &q->id);
        if (r == -ENOENT)
                return error_set(reterr, ENOENT, "no-such-job",
                                 "no job has '%s' as its plan or target", q->name);
        if (r < 0)
                return error_set(reterr, -r, NULL, "cannot look for job '%s': %s", q->name,
                                 strerror(-r));
        return handle_job(q, reterr);
}

static int check_state_name(const char *state, Error *reterr) {
        static const char *const states[] = {
                "queued",      "running", "waiting",   "rolling_back", "succeeded",  "failed",
                "rolled_back", "stuck",   "cancelled", "abandoned",    "unfinished",
        };
        const char *nearest;

        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                if (streq0(state, states[i]))
                        return 0;
        if (!state)
                return 0;
        (void) error_set(reterr, EINVAL, "bad-request", "there is no state '%s'", state);
        nearest = nearest_word(state, states, ELEMENTSOF(states));
        if (nearest)
                error_hint(reterr, "did you mean '%s'?", nearest);
        return -EINVAL;
}

int handle_jobs(Request *q, Error *reterr) {
        JobsQuery query = {
                .state = request_query(q, "state"),
                .plan = request_query(q, "plan"),
                .target = request_query(q, "target"),
        };
        json_auto_t *page = NULL;
        int64_t limit;
        int r;

        r = check_state_name(query.state, reterr);
        if (r >= 0)
                r = request_query_int(q, "limit", 1, 200, 50, &limit, reterr);
        if (r >= 0)
                r = request_query_int(q, "after", 0, INT64_MAX, 0, &query.after, reterr);
        if (r < 0)
                return r;
        query.limit = (unsigned) limit;
        r = engine_jobs(q->server->engine, &query, &page, reterr);
        return r < 0 ? r : respond_json(q, MHD_HTTP_OK, page);
}
