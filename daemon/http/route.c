/* SPDX-License-Identifier: MIT */
/*
 * The one table of all calls. A new call is one row here, its handler, and its description in
 * api/openapi.yaml, which a test holds against this table. The most frequent call stands first.
 */
#include "daemon/http/server.h"

#include <inttypes.h>

#define EVENTS_QUERY "after limit"

const Route routes[] = {
        {"GET", "/v1/jobs/{id}", ROLE_VIEW, handle_job},
        {"GET", "/v1/jobs/{id}/events", ROLE_VIEW, handle_events, .query = EVENTS_QUERY,
         .produces = PRODUCES_EVENTS},
        {"GET", "/v1/jobs/{id}/steps/{step}/log", ROLE_VIEW, handle_log, .query = "attempt offset",
         .produces = PRODUCES_TEXT},
        {"GET", "/v1/jobs/{id}/report", ROLE_VIEW, handle_report, .query = "format",
         .produces = PRODUCES_REPORT},
        {"GET", "/v1/jobs/by-name/{name}", ROLE_VIEW, handle_job_by_name},
        {"GET", "/v1/jobs", ROLE_VIEW, handle_jobs, .query = "state plan target limit after"},
        {"POST", "/v1/jobs", ROLE_OPERATE, handle_call, CALL_START},
        {"POST", "/v1/jobs/{id}/confirm", ROLE_OPERATE, handle_call, CALL_CONFIRM},
        {"POST", "/v1/jobs/{id}/answer", ROLE_OPERATE, handle_call, CALL_ANSWER},
        {"POST", "/v1/jobs/{id}/rollback", ROLE_OPERATE, handle_call, CALL_ROLLBACK},
        {"POST", "/v1/jobs/{id}/cancel", ROLE_OPERATE, handle_call, CALL_CANCEL},
        {"POST", "/v1/jobs/{id}/retry", ROLE_OPERATE, handle_call, CALL_RETRY},
        {"POST", "/v1/jobs/{id}/skip", ROLE_OPERATE, handle_call, CALL_SKIP},
        {"POST", "/v1/jobs/{id}/abandon", ROLE_OPERATE, handle_call, CALL_ABANDON},
        {"POST", "/v1/jobs/{id}/finalise", ROLE_OPERATE, handle_call, CALL_FINALISE},
        {"GET", "/v1/events", ROLE_VIEW, handle_events, .query = EVENTS_QUERY,
         .produces = PRODUCES_EVENTS},
        {"GET", "/v1/plans", ROLE_VIEW, handle_plans},
        {"GET", "/v1/plans/{name}", ROLE_VIEW, handle_plan},
        {"POST", "/v1/plans:check", ROLE_VIEW, handle_plan_check, .query = "file",
         .any_body = true},
        {"GET", "/v1/tokens", ROLE_ADMIN, handle_tokens},
        {"POST", "/v1/tokens", ROLE_ADMIN, handle_call, CALL_TOKEN_ADD},
        {"DELETE", "/v1/tokens/{name}", ROLE_ADMIN, handle_call, CALL_TOKEN_REMOVE},
        {"GET", "/v1/schedules", ROLE_VIEW, handle_schedules},
        {"GET", "/v1/schedules/{name}", ROLE_VIEW, handle_schedules},
        {"PUT", "/v1/schedules/{name}", ROLE_OPERATE, handle_call, CALL_SCHEDULE_PUT},
        {"DELETE", "/v1/schedules/{name}", ROLE_OPERATE, handle_call, CALL_SCHEDULE_REMOVE},
        {"POST", "/v1/schedules/{name}/run", ROLE_OPERATE, handle_call, CALL_SCHEDULE_RUN},
        {"GET", "/v1", ROLE_VIEW, handle_about},
        {"GET", "/v1/health", ROLE_VIEW, handle_health},
        {"GET", "/v1/openapi.json", ROLE_VIEW, handle_openapi},
        {"GET", "/metrics", ROLE_VIEW, handle_metrics, .produces = PRODUCES_TEXT},
};

const size_t n_routes = ELEMENTSOF(routes);

/* A path's values, not yet copied. */
typedef struct Values {
        const char *id, *name;
        size_t id_size, name_size;
} Values;

static void take_value(Values *v, const char *pattern, const char *url, size_t size) {
        if (startswith(pattern, "{id}")) {
                v->id = url;
                v->id_size = size;
        } else {
                v->name = url;
                v->name_size = size;
        }
}

static bool path_matches(const char *pattern, const char *url, Values *ret) {
        while (*pattern) {
                if (*pattern == '{') {
                        size_t size = strcspn(url, "/");

                        if (size == 0)
                                return false;
                        take_value(ret, pattern, url, size);
                        pattern = strchr(pattern, '}') + 1;
                        url += size;
                } else if (*pattern++ != *url++)
                        return false;
        }
        return *url == '\0';
}

static bool method_matches(const Route *route, const char *method) {
        return streq(route->method, method) ||
               (streq(route->method, "GET") && streq(method, "HEAD"));
}

/* A job's number: decimal, no sign, no leading zero. */
static int parse_id(const char *text, size_t size, int64_t *ret) {
        int64_t n = 0;

        if (size == 0 || size > 18 || text[0] == '0')
                return -EINVAL;
        for (size_t i = 0; i < size; i++) {
                if (text[i] < '0' || text[i] > '9')
                        return -EINVAL;
                n = n * 10 + (text[i] - '0');
        }
        *ret = n;
        return 0;
}

static int take_values(Request *q, const Values *v, Error *reterr) {
        if (v->id && parse_id(v->id, v->id_size, &q->id) < 0) {
                (void) error_set(reterr, ENOENT, "no-such-job", "'%.*s' is not a job's number",
                                 (int) v->id_size, v->id);
                error_hint(reterr, "a plan's or target's name is looked up at "
                                   "/v1/jobs/by-name/NAME");
                return -ENOENT;
        }
        if (v->name) {
                q->name = strndup(v->name, v->name_size);
                if (!q->name)
                        return error_oom(reterr);
        }
        return 0;
}

static int not_found(const Request *q, const char *url, Error *reterr) {
        char allow[128] = "";
        bool seen = false;

        for (size_t i = 0; i < n_routes; i++) {
                Values v = {0};
                size_t n = strlen(allow);

                if (!path_matches(routes[i].pattern, url, &v))
                        continue;
                (void) snprintf(allow + n, sizeof(allow) - n, "%s%s%s", seen ? ", " : "",
                                routes[i].method, streq(routes[i].method, "GET") ? ", HEAD" : "");
                seen = true;
        }
        if (!seen)
                return error_set(reterr, ENOENT, "not-found", "there is nothing at %s", url);
        (void) error_set(reterr, EOPNOTSUPP, "method-not-allowed", "%s takes %s, not %s", url,
                         allow, q->method);
        error_detail(reterr, "allow", json_string(allow));
        return -EOPNOTSUPP;
}

int route_find(Request *q, const char *url, Error *reterr) {
        for (size_t i = 0; i < n_routes; i++) {
                Values v = {0};

                if (!method_matches(&routes[i], q->method) ||
                    !path_matches(routes[i].pattern, url, &v))
                        continue;
                q->route = &routes[i];
                return take_values(q, &v, reterr);
        }
        return not_found(q, url, reterr);
}
