/* SPDX-License-Identifier: MIT */
/* The real engine, turned by hand: see daemon.h. */
#include "daemon.h"

#include <stdarg.h>
#include <sys/inotify.h>

#include "api/args.h"
#include "daemon/log.h"
#include "daemon/report/report.h"

#define TURNS_MAX 200
#define SICK_TURNS_MAX 3
#define CALLS_MAX 6 /* of one input */

/* In place of daemon/log.c: a line is spelled, for its arguments' sake, and dropped. */
void log_line(LogLevel level, int64_t job, const char *step, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
}

void log_message(LogLevel level, const char *id, const char *format, ...) {
}

bool log_has_journal(void) {
        return false;
}

int log_journal(const char *const fields[], size_t n, int64_t until_us) {
        return 0;
}

char *log_error_text(const Error *error, int r) {
        return strf("%s (%s)", error->message ? error->message : strerror(-r),
                    error->hint ? error->hint : "");
}

static int on_nothing(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        return 0;
}

/* One loop for all inputs, which keeps its inotify descriptor: closing one takes 10 ms. */
static sd_event *event_loop(void) {
        static sd_event *event;

        if (!event && (sd_event_new(&event) < 0 ||
                       sd_event_add_inotify(event, NULL, fuzz_folder(), IN_DELETE_SELF, on_nothing,
                                            NULL) < 0))
                abort();
        return event;
}

int daemon_open(const char *dir, Daemon *ret, Error *reterr) {
        static const char *const plan_dirs[] = {NULL};
        EngineConfig config = {
                .state_dir = dir, .plan_dirs = plan_dirs, .step_program = "/nonexistent"};
        int r;

        *ret = (Daemon){.dir = strdup(dir), .event = sd_event_ref(event_loop())};
        if (!ret->dir)
                abort();
        r = engine_new(ret->event, &config, &ret->engine, reterr);
        if (r < 0)
                daemon_close(ret);
        return r;
}

void daemon_close(Daemon *d) {
        engine_free(d->engine);
        sd_event_unref(d->event);
        free(d->dir);
        *d = (Daemon){0};
        spawn_forget();
}

void daemon_turn(Daemon *d) {
        unsigned sick = 0;

        /* One whose store is sick opens it anew in each turn, of which it has one a second. */
        for (unsigned i = 0; i < TURNS_MAX && sick < SICK_TURNS_MAX; i++) {
                int r = sd_event_run(d->event, 0);

                sick += d->engine->sick;

                if (r < 0)
                        abort();
                if (engine_has_work(d->engine))
                        engine_turn(d->engine);
                else if (r == 0)
                        return;
        }
}

/* ---- calls ---- */

static void on_reply(void *userdata, const Reply *reply) {
        unsigned *replies = userdata;

        (*replies)++;
        PROMISED(reply->err >= 0);
        if (reply->err > 0)
                PROMISED(reply->error.message && reply->error.type);
}

void daemon_call(Daemon *d, CallKind kind, int64_t job, json_t *body) {
        Call *call = calloc(1, sizeof(Call));
        unsigned replies = 0;

        if (!call || !body)
                abort();
        *call = (Call){.kind = kind,
                       .job = job,
                       .body = body,
                       .who = strdup("uid:0 (root)"),
                       .reply = on_reply,
                       .userdata = &replies};
        if (engine_submit(d->engine, call) < 0)
                return;
        for (unsigned i = 0; i < TURNS_MAX && replies == 0; i++)
                engine_turn(d->engine);
        PROMISED(replies == 1);
        daemon_turn(d);
}

/* What daemon/http/calls.c lets through, so that no call comes in that HTTP would have refused. */
static bool is_fit(const char *key, const json_t *value) {
        static const char *const texts[] = {"wait",  "reason",   "text",
                                            "typed", "strategy", "document"};
        json_t *item;
        size_t i;

        for (i = 0; i < ELEMENTSOF(texts); i++)
                if (streq(texts[i], key))
                        return json_is_string(value);
        if (streq(key, "ticks") && json_is_array(value)) {
                json_array_foreach ((json_t *) value, i, item)
                        if (!json_is_string(item))
                                return false;
                return true;
        }
        return (streq(key, "all") && json_is_boolean(value)) ||
               (streq(key, "inputs") && json_is_object(value));
}

static json_t *make_body(const char *text, size_t size) {
        json_t *body = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL), *value;
        const char *key;
        void *next;

        if (!json_is_object(body)) {
                json_decref(body);
                return json_pack("{s:s, s:s, s:s, s:b, s:s}", "wait", "w1", "reason", "because",
                                 "text", "yes", "all", 1, "typed", "yes");
        }
        json_object_foreach_safe (body, next, key, value)
                if (!is_fit(key, value))
                        (void) json_object_del(body, key);
        return body;
}

void daemon_calls(Daemon *d, int64_t job, const Sections *sections) {
        static const struct {
                const char *name;
                CallKind kind;
        } calls[] = {
                {"confirm", CALL_CONFIRM}, {"answer", CALL_ANSWER},     {"rollback", CALL_ROLLBACK},
                {"cancel", CALL_CANCEL},   {"retry", CALL_RETRY},       {"skip", CALL_SKIP},
                {"abandon", CALL_ABANDON}, {"finalise", CALL_FINALISE},
        };
        unsigned n = 0;

        for (size_t i = 0; i < sections->n && n < CALLS_MAX; i++) {
                const Section *s = &sections->list[i];

                for (size_t k = 0; k < ELEMENTSOF(calls); k++)
                        if (streq(calls[k].name, s->name) && ++n <= CALLS_MAX)
                                daemon_call(d, calls[k].kind, job, make_body(s->text, s->size));
        }
}

/* ---- reads ---- */

static void look_at_job(Daemon *d, int64_t job) {
        json_auto_t *view = NULL, *events = NULL;
        json_t *step;
        JobView text;
        size_t i;

        if (engine_job_view(d->engine, job, &text) >= 0) {
                view = json_loadb(text.json, text.size, 0, NULL);
                PROMISED(json_is_object(view) && json_object_get(view, "state"));
        }
        (void) !engine_events(d->engine, job, 0, 200, &events, NULL);
        json_array_foreach (json_object_get(view, "steps"), i, step) {
                _cleanup_free_ char *path = NULL;
                unsigned n;
                bool running;

                (void) !engine_log_path(d->engine, job, args_text(step, "id", ""), 0, &path, &n,
                                        &running, NULL);
        }
}

static void look_at_report(Daemon *d, int64_t job) {
        _cleanup_(report_freep) Report *report = NULL;
        _cleanup_free_ char *html = NULL, *markdown = NULL;
        int r = engine_report_new(d->engine, job, &report, NULL);

        while (r >= 0 && (r = engine_report_read(report, NULL)) > 0)
                ;
        if (r < 0)
                return;
        PROMISED(json_is_object(engine_report_json(report)));
        PROMISED(report_markdown(engine_report_json(report), &markdown) == 0);
        PROMISED(report_html(engine_report_json(report), &html) == 0);
        PROMISED(!strstr(html, "<script"));
}

static void look_at_pages(Daemon *d) {
        static const JobsQuery queries[] = {{.limit = 1},
                                            {.limit = 200},
                                            {.state = "unfinished", .limit = 3},
                                            {.state = "waiting", .plan = "gate", .limit = 5},
                                            {.target = "gate", .limit = 5, .after = 3}};

        for (size_t i = 0; i < ELEMENTSOF(queries); i++) {
                _cleanup_error_ Error error = ERROR_INIT;
                json_auto_t *page = NULL;

                if (engine_jobs(d->engine, &queries[i], &page, &error) < 0)
                        PROMISED(error.type && !streq(error.type, "out-of-memory"));
        }
}

void daemon_look(Daemon *d) {
        json_auto_t *health = NULL, *tokens = NULL, *events = NULL;
        _cleanup_free_ char *name = NULL;
        int64_t found;

        look_at_pages(d);
        for (int64_t job = 0; job <= STATE_JOBS + 1; job++) {
                look_at_job(d, job);
                look_at_report(d, job);
        }
        PROMISED(engine_health(d->engine, &health) == 0);
        (void) !engine_tokens(d->engine, &tokens, NULL);
        (void) engine_token_role(d->engine, "updd_nobody", &name);
        (void) !engine_events(d->engine, 0, 0, 200, &events, NULL);
        (void) !engine_job_find(d->engine, "gate", &found);
}
