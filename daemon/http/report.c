/* SPDX-License-Identifier: MIT */
/*
 * A job's report as JSON, Markdown or HTML. A long history is read page by page while the
 * connection is suspended. After each page the loop has as much time for everybody else as the page
 * took, so a report costs the others half of the loop at most, and never in one piece.
 */
#include "daemon/http/server.h"

#include <time.h>

#include "api/text.h"
#include "daemon/report/report.h"

#define REPORTS_MAX 16 /* at once: each holds a job's history in memory */

struct Reporting {
        Request *request;
        Report *report;
        sd_event_source *source;
        int format;
};

static const struct {
        const char *name, *accept, *type;
        int (*render)(const json_t *report, char **ret); /* NULL: the document itself */
} formats[] = {
        {"json", "application/json", "application/json", NULL},
        {"markdown", "text/markdown", "text/markdown; charset=utf-8", report_markdown},
        {"html", "text/html", "text/html; charset=utf-8", report_html},
};

void reporting_free(Reporting *r) {
        if (!r)
                return;
        r->request->server->n_reportings--;
        (void) sd_event_source_disable_unref(r->source);
        (void) report_free(r->report);
        free(r);
}

/* What ?format= names, else what the client likes best; JSON where it likes all of them. */
static int choose_format(const Request *q, Error *reterr) {
        const char *name = request_query(q, "format");
        const char *types[ELEMENTSOF(formats)];
        int best;

        for (size_t i = 0; i < ELEMENTSOF(formats); i++) {
                types[i] = formats[i].accept;
                if (streq0(name, formats[i].name))
                        return (int) i;
        }
        if (name)
                return error_set(reterr, EINVAL, "bad-request",
                                 "'format' is json, markdown or html, not '%s'", name);
        best = request_preferred(q, types, ELEMENTSOF(formats));
        return best >= 0 ? best
                         : error_set(reterr, EINVAL, "not-acceptable",
                                     "a report is application/json, text/markdown or text/html");
}

static int respond_report(Request *q, const Reporting *r) {
        const json_t *document = engine_report_json(r->report);
        _cleanup_free_ char *text = NULL;
        int s;

        if (!formats[r->format].render)
                s = respond_json(q, MHD_HTTP_OK, document);
        else {
                s = formats[r->format].render(document, &text);
                if (s >= 0)
                        s = respond_text(q, MHD_HTTP_OK, formats[r->format].type, text);
        }
        if (s >= 0 && streq(formats[r->format].name, "html"))
                s = respond_header(q, "Content-Security-Policy",
                                   "default-src 'none'; style-src 'unsafe-inline'; "
                                   "frame-ancestors 'none'; base-uri 'none'");
        return s < 0 ? s : respond_header(q, MHD_HTTP_HEADER_VARY, "Accept");
}

/* One page; 0 when the answer is ready, whatever it is. */
static int report_on(Request *q) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = engine_report_read(q->reporting->report, &error);

        if (r > 0)
                return 1;
        if (r == 0)
                r = respond_report(q, q->reporting);
        if (r < 0)
                respond_problem(q, r, &error);
        return 0;
}

static int on_turn(sd_event_source *source, uint64_t usec, void *userdata) {
        Reporting *r = userdata;
        Request *q = r->request;
        int64_t began = now_mono_us(), now;

        if (report_on(q) > 0) {
                now = now_mono_us();
                (void) sd_event_source_set_time(source, (uint64_t) (now + (now - began)));
                return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        reporting_free(TAKE(q->reporting));
        waiter_resume(&q->waiter);
        return 0;
}

static int reporting_new(Request *q, int format, Error *reterr) {
        Reporting *r;
        int s;

        if (q->server->n_reportings >= REPORTS_MAX)
                return error_set(reterr, EBUSY, "too-busy", "too many reports are being made");
        r = calloc(1, sizeof(Reporting));
        if (!r)
                return error_oom(reterr);
        q->server->n_reportings++;
        *r = (Reporting){.request = q, .format = format};
        s = engine_report_new(q->server->engine, q->id, &r->report, reterr);
        if (s < 0) {
                reporting_free(r);
                return s;
        }
        q->reporting = r;
        return 0;
}

int handle_report(Request *q, Error *reterr) {
        int format = choose_format(q, reterr), r;

        if (format < 0)
                return format;
        r = reporting_new(q, format, reterr);
        if (r < 0)
                return r;
        r = sd_event_add_time(q->server->event, &q->reporting->source, CLOCK_MONOTONIC, 0,
                              1 /* us */, on_turn, q->reporting);
        if (r < 0)
                return error_set(reterr, -r, NULL, "cannot read on: %s", strerror(-r));
        return waiter_suspend(&q->waiter, q->listener, q->connection, -1, INT64_MAX);
}
