/* SPDX-License-Identifier: MIT */
/* The bounded log: see logfile.h. */
#include "daemon/step/logfile.h"

#include <fcntl.h>

#include "api/text.h"

#define LINE_MAX_BYTES 1000 /* of one line in the tail */

int logfile_open(LogFile *log, int dirfd, uint64_t limit) {
        char *recent = malloc(LOG_RECENT);
        int fd;

        if (!recent)
                return -ENOMEM;
        fd = openat(dirfd, "log", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0) {
                free(recent);
                return -errno;
        }
        *log = (LogFile){.dirfd = dirfd,
                         .fd = fd,
                         .tail = LOGTAIL_INIT,
                         .half = MAX(limit / 2, 1),
                         .recent = recent};
        return 0;
}

static void remember(LogFile *log, const char *data, size_t size) {
        size_t at;

        if (size > LOG_RECENT) {
                log->total += size - LOG_RECENT;
                data += size - LOG_RECENT;
                size = LOG_RECENT;
        }
        at = (size_t) (log->total % LOG_RECENT);
        memcpy(log->recent + at, data, MIN(size, LOG_RECENT - at));
        if (size > LOG_RECENT - at)
                memcpy(log->recent, data + (LOG_RECENT - at), size - (LOG_RECENT - at));
        log->total += size;
}

/* As much as there is room for; gives how much that was. */
static size_t write_some(LogFile *log, const char *data, size_t size) {
        size_t done = 0;

        while (done < size) {
                ssize_t n = write(log->fd, data + done, size - done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        break;
                done += (size_t) n;
        }
        log->written += done;
        return done;
}

static bool say_gap(LogFile *log) {
        _cleanup_free_ char *line = NULL;

        if (log->gap == 0)
                return true;
        line = strf("\n[updd: %llu bytes of output were lost here: there was no room]\n",
                    (unsigned long long) log->gap);
        if (!line || write_some(log, line, strlen(line)) == 0)
                return false;
        log->gap = 0;
        return true;
}

bool logfile_catch_up(LogFile *log) {
        if (log->waiting == 0 || log->fd < 0)
                return true;
        if (!say_gap(log))
                return false;
        while (log->waiting > 0) {
                size_t at = (size_t) ((log->total - log->waiting) % LOG_RECENT);
                size_t size = MIN(log->waiting, LOG_RECENT - at);
                size_t n = write_some(log, log->recent + at, size);

                log->waiting -= n;
                if (n < size)
                        return false;
        }
        return true;
}

/* The newest `size` bytes have no room; what is pushed out of the ring is lost. */
static void keep_waiting(LogFile *log, size_t size) {
        uint64_t all = log->waiting + (uint64_t) size;
        uint64_t over = all > LOG_RECENT ? all - LOG_RECENT : 0;

        log->waiting = (size_t) (all - over);
        log->lost += over;
        log->gap += over;
}

static void write_tail(LogFile *log, const char *data, size_t size) {
        if (log->tail.fd < 0 &&
            logtail_open(&log->tail, log->dirfd, log->half, log->written, log->lost) < 0) {
                logtail_done(&log->tail);
                log->lost += size;
                return;
        }
        logtail_write(&log->tail, data, size);
}

void logfile_write(LogFile *log, const char *data, size_t size) {
        size_t head = 0;

        bool room = logfile_catch_up(log);

        if (size == 0 || !log->recent)
                return;
        remember(log, data, size);
        if (!room) {
                keep_waiting(log, size);
                return;
        }
        if (log->tail.fd < 0 && log->written < log->half)
                head = (size_t) MIN((uint64_t) size, log->half - log->written);
        if (head > 0) {
                size_t n = write_some(log, data, head);

                if (n < head) {
                        keep_waiting(log, size - n);
                        return;
                }
        }
        if (size > head)
                write_tail(log, data + head, size - head);
}

static void join_tail(LogFile *log) {
        log->lost = logtail_dropped(&log->tail);
        if (logtail_join(&log->tail, &log->written) < 0)
                log->lost += MIN(log->tail.ringed, log->half);
        logtail_done(&log->tail);
}

void logfile_finish(LogFile *log) {
        if (!logfile_catch_up(log)) {
                log->lost += log->waiting;
                log->waiting = 0;
        }
        if (log->tail.fd >= 0)
                join_tail(log);
        if (log->fd >= 0) {
                if (log->written > 0) { /* its name too: the claim was there before it */
                        (void) fdatasync(log->fd);
                        (void) fsync(log->dirfd);
                }
                closep(&log->fd);
                log->fd = -EBADF;
        }
}

void logfile_done(LogFile *log) {
        closep(&log->fd);
        logtail_done(&log->tail);
        free(log->recent);
        *log = LOGFILE_INIT;
}

uint64_t logfile_size(const LogFile *log) {
        return log->written;
}

uint64_t logfile_dropped(const LogFile *log) {
        return log->tail.fd >= 0 ? logtail_dropped(&log->tail) : log->lost;
}

char *logfile_recent(const LogFile *log, size_t *ret_size) {
        size_t size = (size_t) MIN(log->total, (uint64_t) LOG_RECENT);
        size_t at = log->total > LOG_RECENT ? (size_t) (log->total % LOG_RECENT) : 0;
        char *text = malloc(size + 1);

        if (!text)
                return NULL;
        memcpy(text, log->recent + at, size - at);
        memcpy(text + (size - at), log->recent, at);
        text[size] = '\0';
        if (ret_size)
                *ret_size = size;
        return text;
}

static int tail_add(json_t *lines, const char *line, size_t size) {
        _cleanup_free_ char *clean = NULL;

        if (size > 0 && line[size - 1] == '\r')
                size--;
        clean = utf8_clean(line, MIN(size, (size_t) LINE_MAX_BYTES));
        return clean && json_array_append_new(lines, json_string(clean)) >= 0 ? 0 : -ENOMEM;
}

json_t *logfile_tail(const LogFile *log, unsigned n) {
        _cleanup_free_ char *text = NULL;
        json_auto_t *lines = json_array();
        size_t size, from;

        text = logfile_recent(log, &size);
        if (!text || !lines)
                return NULL;
        if (size > 0 && text[size - 1] == '\n')
                size--;
        for (from = size; from > 0; from--)
                if (text[from - 1] == '\n' && --n == 0)
                        break;
        while (from < size) {
                const char *end = memchr(text + from, '\n', size - from);
                size_t length = end ? (size_t) (end - text) - from : size - from;

                if (tail_add(lines, text + from, length) < 0)
                        return NULL;
                from += length + 1;
        }
        return TAKE(lines);
}
