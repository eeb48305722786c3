/* SPDX-License-Identifier: MIT */
/* What this daemon is and how it is: /v1, health, metrics, and the API's own description. */
#include "daemon/http/server.h"

#include <inttypes.h>

int handle_about(Request *q, Error *reterr) {
        json_auto_t *about = json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s}}",
                                       "name", "updd", "version", UPDD_VERSION, "api", "v1",
                                       "links", "jobs", "/v1/jobs", "plans", "/v1/plans", "events",
                                       "/v1/events", "tokens", "/v1/tokens", "health", "/v1/health",
                                       "metrics", "/metrics", "openapi", "/v1/openapi.json");

        json_t *run = NULL;

        if (!about || engine_run(q->server->engine, &run) < 0 ||
            json_object_set_new(about, "run", run) < 0)
                return error_oom(reterr);
        return respond_json(q, MHD_HTTP_OK, about);
}

int handle_health(Request *q, Error *reterr) {
        json_auto_t *health = NULL;
        bool ok;
        int r;

        r = engine_health(q->server->engine, &health);
        if (r < 0)
                return error_set(reterr, -r, "internal", "the engine does not tell its health: %s",
                                 strerror(-r));
        ok = json_is_true(json_object_get(health, "ok"));
        return respond_json(q, ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, health);
}

static void write_metrics(FILE *f, const HttpServer *s, const json_t *health) {
        json_t *jobs = json_object_get(health, "jobs"), *count;
        const json_t *attempts = json_object_get(health, "attempts");
        const char *state;

        (void) fprintf(f,
                       "# HELP updd_up Whether the daemon and its store are well.\n"
                       "# TYPE updd_up gauge\n"
                       "updd_up %d\n"
                       "# HELP updd_info The daemon's version.\n"
                       "# TYPE updd_info gauge\n"
                       "updd_info{version=\"%s\"} 1\n"
                       "# HELP updd_jobs Jobs by state.\n"
                       "# TYPE updd_jobs gauge\n",
                       json_is_true(json_object_get(health, "ok")), UPDD_VERSION);
        json_object_foreach (jobs, state, count)
                (void) fprintf(f, "updd_jobs{state=\"%s\"} %" JSON_INTEGER_FORMAT "\n", state,
                               json_integer_value(count));
        (void) fprintf(f,
                       "# HELP updd_failed_writes_total Turns whose changes could not be written.\n"
                       "# TYPE updd_failed_writes_total counter\n"
                       "updd_failed_writes_total %" JSON_INTEGER_FORMAT "\n",
                       json_integer_value(json_object_get(health, "failures")));
        if (attempts)
                (void) fprintf(f,
                               "# HELP updd_attempts Attempts that run now.\n"
                               "# TYPE updd_attempts gauge\n"
                               "updd_attempts %" JSON_INTEGER_FORMAT "\n",
                               json_integer_value(attempts));
        (void) fprintf(f, "# HELP updd_http_requests_total Answered requests by status class.\n"
                          "# TYPE updd_http_requests_total counter\n");
        for (unsigned i = 2; i < ELEMENTSOF(s->answers); i++)
                (void) fprintf(f, "updd_http_requests_total{code=\"%uxx\"} %" PRIu64 "\n", i,
                               s->answers[i]);
        (void) fprintf(f,
                       "# HELP updd_http_waiting Connections that wait for a change or a commit.\n"
                       "# TYPE updd_http_waiting gauge\n"
                       "updd_http_waiting %u\n",
                       s->n_waiters);
}

int handle_metrics(Request *q, Error *reterr) {
        _cleanup_free_ char *text = NULL;
        json_auto_t *health = NULL;
        size_t size;
        FILE *f;
        int r;

        r = engine_health(q->server->engine, &health);
        if (r < 0)
                return error_set(reterr, -r, "internal", "the engine does not tell its health: %s",
                                 strerror(-r));
        f = open_memstream(&text, &size);
        if (!f)
                return error_oom(reterr);
        write_metrics(f, q->server, health);
        if (fclose(f) != 0)
                return error_oom(reterr);
        return respond_text(q, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text);
}

int handle_openapi(Request *q, Error *reterr) {
        return respond_text(q, MHD_HTTP_OK, "application/json", openapi_json);
}
