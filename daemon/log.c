/* SPDX-License-Identifier: MIT */
/*
 * Where a log line goes. Debug lines are dropped unless UPDD_DEBUG is set. Multi-line messages
 * become several lines, so that none of them can pose as another line's beginning.
 */
#include "daemon/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

static_assert(LOG_LEVEL_ERROR == LOG_ERR && LOG_LEVEL_DEBUG == LOG_DEBUG, "syslog's numbers");

/* JOURNAL_STREAM names the device and inode of the stream that was handed to the service; a stderr
 * that was redirected since is another file (systemd.exec(5)). */
static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
                return false;
        return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static int send_fields(LogLevel level, int64_t job, const char *step, const char *text) {
        if (!step)
                return sd_journal_send("PRIORITY=%d", (int) level, "MESSAGE=%s", text,
                                       "JOB_ID=%" PRId64, job, NULL);
        return sd_journal_send("PRIORITY=%d", (int) level, "MESSAGE=%s", text, "JOB_ID=%" PRId64,
                               job, "STEP=%s", step, NULL);
}

static void write_lines(LogLevel level, bool journal, int64_t job, const char *step,
                        const char *text) {
        size_t size;

        for (const char *line = text; *line; line += size + (line[size] == '\n')) {
                char prefix[64] = "", about[160] = "";

                size = strcspn(line, "\n");
                if (journal)
                        (void) snprintf(prefix, sizeof(prefix), "<%d>", (int) level);
                if (job > 0)
                        (void) snprintf(about, sizeof(about), "job %" PRId64 "%s%s: ", job,
                                        step ? " step " : "", step ? step : "");
                (void) fprintf(stderr, "%s%s%.*s\n", prefix, about, (int) size, line);
        }
}

void log_line(LogLevel level, int64_t job, const char *step, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        int saved = errno;
        bool journal;
        va_list ap;

        if (level == LOG_LEVEL_DEBUG && !getenv("UPDD_DEBUG"))
                return;
        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        journal = stderr_is_journal();
        if (text && !(journal && job > 0 && send_fields(level, job, step, text) >= 0))
                write_lines(level, journal, job, step, text);
        errno = saved;
}

char *log_error_text(const Error *error, int r) {
        if (!error || !error->message)
                return strdup(strerror(r < 0 ? -r : r));
        if (error->hint)
                return strf("%s (%s)", error->message, error->hint);
        return strdup(error->message);
}
