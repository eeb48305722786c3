/* SPDX-License-Identifier: MIT */
/*
 * Where a log line goes. Debug lines are dropped unless UPDD_DEBUG is set. Multi-line messages
 * become several lines, so that none of them can pose as another line's beginning.
 */
#include "daemon/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <syslog.h>

static_assert(LOG_LEVEL_ERROR == LOG_ERR && LOG_LEVEL_DEBUG == LOG_DEBUG, "syslog's numbers");

/* What a line is about. */
typedef struct About {
        const char *id; /* MESSAGE_ID, or NULL */
        int64_t job;    /* 0: none */
        const char *step;
} About;

static int send_fields(LogLevel level, const About *about, const char *text) {
        _cleanup_free_ char *message = strf("MESSAGE=%s", text);
        _cleanup_free_ char *id = about->id ? strf("MESSAGE_ID=%s", about->id) : NULL;
        _cleanup_free_ char *job = about->job > 0 ? strf("UPDD_JOB=%" PRId64, about->job) : NULL;
        _cleanup_free_ char *step = about->step ? strf("UPDD_STEP=%s", about->step) : NULL;
        char priority[32];

        (void) snprintf(priority, sizeof(priority), "PRIORITY=%d", (int) level);
        if (!message)
                return -ENOMEM;
        /* No waiting: what the journal does not take goes to the stream. */
        return log_journal(
                (const char *[]){message, priority, "SYSLOG_IDENTIFIER=updd", id, job, step}, 6, 0);
}

static void write_lines(LogLevel level, bool journal, const About *about, const char *text) {
        const char *step = about->step;
        size_t size;

        for (const char *line = text; *line; line += size + (line[size] == '\n')) {
                char prefix[64] = "", head[160] = "";

                size = strcspn(line, "\n");
                if (journal)
                        (void) snprintf(prefix, sizeof(prefix), "<%d>", (int) level);
                if (about->job > 0)
                        (void) snprintf(head, sizeof(head), "job %" PRId64 "%s%s: ", about->job,
                                        step ? " step " : "", step ? step : "");
                (void) fprintf(stderr, "%s%s%.*s\n", prefix, head, (int) size, line);
        }
}

static _printf_(3, 0) void log_about(LogLevel level, const About *about, const char *format,
                                     va_list ap) {
        _cleanup_free_ char *text = NULL;
        int saved = errno;
        bool journal, fields;

        if (level == LOG_LEVEL_DEBUG && !getenv("UPDD_DEBUG"))
                return;
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        journal = log_has_journal();
        fields = journal && (about->job > 0 || about->id);
        if (text && !(fields && send_fields(level, about, text) >= 0))
                write_lines(level, journal, about, text);
        errno = saved;
}

void log_line(LogLevel level, int64_t job, const char *step, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        log_about(level, &(About){.job = job, .step = step}, format, ap);
        va_end(ap);
}

void log_message(LogLevel level, const char *id, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        log_about(level, &(About){.id = id}, format, ap);
        va_end(ap);
}

char *log_error_text(const Error *error, int r) {
        if (!error || !error->message)
                return strdup(strerror(r < 0 ? -r : r));
        if (error->hint)
                return strf("%s (%s)", error->message, error->hint);
        return strdup(error->message);
}
