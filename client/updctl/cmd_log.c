/* SPDX-License-Identifier: MIT */
/* log: what steps print, of one step or of all in the order in which they ran. */
#include <inttypes.h>
#include <time.h>

#include "api/text.h"
#include "client/updctl/ctl.h"

#define PAUSE_NS (300 * 1000 * 1000)

/* Off a terminal the log comes out byte for byte. On one it is cleaned line by line: an incomplete
 * line is held back, for an escape sequence may be cut in two. */
typedef struct Sink {
        const Screen *s;
        const char *heading; /* said before the first byte, or NULL */
        char *held;
        size_t n_held;
} Sink;

static void sink_flush(Sink *sink) {
        if (sink->n_held > 0)
                put(sink->s, PLAIN, "%s\n", sink->held);
        free(sink->held);
        sink->held = NULL;
        sink->n_held = 0;
}

static void sink_write(Sink *sink, const char *text, size_t size) {
        _cleanup_free_ char *all = NULL;
        size_t whole;

        if (size > 0 && sink->heading) {
                put(sink->s, BOLD, "%s\n", sink->heading);
                sink->heading = NULL;
        }
        if (!sink->s->tty) {
                (void) fwrite(text, 1, size, sink->s->f);
                return;
        }
        all = malloc(sink->n_held + size + 1);
        if (!all)
                return;
        if (sink->held)
                memcpy(all, sink->held, sink->n_held);
        memcpy(all + sink->n_held, text, size);
        size += sink->n_held;
        for (whole = size; whole > 0 && all[whole - 1] != '\n'; whole--)
                ;
        free(sink->held);
        sink->n_held = size - whole;
        sink->held = strndup(all + whole, sink->n_held);
        if (!sink->held)
                sink->n_held = 0;
        all[whole] = '\0';
        put(sink->s, PLAIN, "%s", all);
}

typedef struct Source {
        int64_t job;
        const char *step;
        unsigned attempt; /* 0: the newest */
        bool follow;
        const char *heading; /* or NULL; a log that has one may be missing */
} Source;

static int fetch(Ctl *ctl, const Source *source, int64_t offset, Response *ret) {
        _cleanup_free_ char *step = url_escape(source->step), *path = NULL;
        _cleanup_error_ Error error = ERROR_INIT;
        char attempt[32] = "";

        if (source->attempt > 0)
                (void) snprintf(attempt, sizeof(attempt), "attempt=%u&", source->attempt);
        path = strf("/v1/jobs/%" PRId64 "/steps/%s/log?%soffset=%" PRId64, source->job,
                    step ? step : "", attempt, offset);
        if (client_call(ctl->client, &(Request){.method = "GET", .path = path ? path : "/"}, ret,
                        &error) < 0)
                return tell_error(ctl, EXIT_UNREACHABLE, &error);
        if (ret->status >= 400)
                return source->heading ? EXIT_REFUSED : tell_problem(ctl, ret);
        return 0;
}

static int stream(Ctl *ctl, Source source) {
        Sink sink = {.s = ctl->out, .heading = source.heading};
        int64_t offset = 0;
        int r;

        for (;;) {
                _cleanup_response_ Response part = RESPONSE_INIT;

                r = fetch(ctl, &source, offset, &part);
                if (r > 0)
                        break;
                sink_write(&sink, part.text, part.size);
                (void) fflush(ctl->out->f);
                offset += (int64_t) part.size;
                source.attempt = part.attempt > 0 ? part.attempt : source.attempt;
                if (!source.follow || (!part.more && part.size == 0))
                        break;
                if (part.more && part.size == 0)
                        (void) nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
        }
        sink_flush(&sink);
        return r;
}

static int put_log_json(Ctl *ctl, const Source *source) {
        _cleanup_response_ Response log = RESPONSE_INIT;
        json_auto_t *document = NULL;
        int r;

        r = fetch(ctl, source, 0, &log);
        if (r > 0)
                return r;
        document = json_pack("{s:I, s:s, s:i, s:b, s:s%}", "job", source->job, "step", source->step,
                             "attempt", (int) log.attempt, "more", log.more, "log", log.text,
                             log.size);
        if (!document) { /* a log may be anything but UTF-8 */
                _cleanup_free_ char *clean = text_clean(log.text, log.size, true);

                document = json_pack("{s:I, s:s, s:i, s:b, s:s}", "job", source->job, "step",
                                     source->step, "attempt", (int) log.attempt, "more", log.more,
                                     "log", clean ? clean : "");
        }
        return put_json_value(ctl, document);
}

typedef struct Attempts {
        int64_t job;
        bool follow;
} Attempts;

/* The attempt that the event tells the begin of. */
static int show_attempt(Ctl *ctl, const json_t *event, void *userdata) {
        const Attempts *a = userdata;
        static const char *const types[] = {"step_started", "step_undoing", "hook_started"};
        const char *type = get_text(event, "type"), *step = get_text(event, "step");
        unsigned n = (unsigned) get_int(event, "attempt");
        _cleanup_free_ char *heading = NULL;
        bool begins = false;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                begins |= streq0(type, types[i]);
        if (!begins || !step)
                return 0;
        heading = n > 1 ? strf("== %s, attempt %u ==", step_of(event), n)
                        : strf("== %s ==", step_of(event));
        r = stream(ctl, (Source){.job = a->job,
                                 .step = step,
                                 .attempt = MAX(n, 1u),
                                 .follow = a->follow,
                                 .heading = heading ? heading : ""});
        return r == EXIT_UNREACHABLE ? r : 0;
}

/* All steps; with -f until the job ends. */
static int show_all(Ctl *ctl, Response *job, bool follow) {
        Attempts attempts = {.job = get_int(job->json, "id"), .follow = follow};
        int64_t after = 0;
        int r;

        /* In the order in which they began. */
        for (;;) {
                r = events_each(ctl, attempts.job, &after, show_attempt, &attempts);
                if (r > 0 || !follow || job_ended(job->json))
                        return r;
                r = next_change(ctl, job);
                if (r > 0)
                        return r;
        }
}

/* One word may be a job or, when only one job is unfinished, a step of it. */
static int pick_job_and_step(Ctl *ctl, Response *job, const char **ret_step) {
        const char *first = args_word(ctl->args, 0);
        _cleanup_free_ char *name = first ? url_escape(first) : NULL, *path = NULL;
        _cleanup_response_ Response found = RESPONSE_INIT;

        *ret_step = args_word(ctl->args, 1);
        if (!first || *ret_step || first[strspn(first, "0123456789")] == '\0')
                return pick_job(ctl, first, job);
        path = strf("/v1/jobs/by-name/%s", name ? name : "");
        if (client_call(ctl->client, &(Request){.method = "GET", .path = path ? path : "/"}, &found,
                        NULL) >= 0 &&
            found.status == 404) {
                *ret_step = first;
                first = NULL;
        }
        return pick_job(ctl, first, job);
}

/* The step's id: the daemon's own steps are shown without their "@". Borrowed from the job. */
static const char *step_id(const json_t *job, const char *word) {
        json_t *step;
        size_t i;

        json_array_foreach (json_object_get(job, "steps"), i, step)
                if (streq(word, get_text(step, "id") ? step_of(step) : ""))
                        return get_text(step, "id");
        return word;
}

int cmd_log(Ctl *ctl) {
        const char *attempt = args_value(ctl->args, OPT_ATTEMPT);
        _cleanup_response_ Response job = RESPONSE_INIT;
        Source source = {.follow = args_has(ctl->args, OPT_FOLLOW)};
        char *end = NULL;
        int r;

        if (attempt)
                source.attempt = (unsigned) strtoul(attempt, &end, 10);
        if (attempt && (*end || source.attempt == 0))
                return tell(ctl, EXIT_USAGE, "--attempt takes a number from 1 on, not '%s'",
                            attempt);
        r = pick_job_and_step(ctl, &job, &source.step);
        if (r > 0)
                return r;
        source.job = get_int(job.json, "id");
        if (!source.step && (attempt || ctl->json))
                return tell(ctl, EXIT_USAGE, "name the step: updctl log %" PRId64 " STEP",
                            source.job);
        if (source.step)
                source.step = step_id(job.json, source.step);
        else
                return show_all(ctl, &job, source.follow);
        return ctl->json ? put_log_json(ctl, &source) : stream(ctl, source);
}
