/* SPDX-License-Identifier: MIT */
/* The bounded log: see logfile.h. */
#include "daemon/step/logfile.h"

#include <fcntl.h>

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
                         .ring_fd = -EBADF,
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

static void write_head(LogFile *log, const char *data, size_t size) {
        if (write_all(log->fd, data, size) < 0)
                log->lost += size;
        else
                log->written += size;
}

static int write_at(int fd, const char *data, size_t size, uint64_t at) {
        while (size > 0) {
                ssize_t n = pwrite(fd, data, size, (off_t) at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                data += n;
                at += (uint64_t) n;
                size -= (size_t) n;
        }
        return 0;
}

static void write_ring(LogFile *log, const char *data, size_t size) {
        if (log->ring_fd < 0)
                log->ring_fd = openat(log->dirfd, "log.tail",
                                      O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        while (size > 0) {
                uint64_t at = log->ringed % log->half;
                size_t n = (size_t) MIN((uint64_t) size, log->half - at);

                if (log->ring_fd < 0 || write_at(log->ring_fd, data, n, at) < 0) {
                        log->lost += size;
                        return;
                }
                log->ringed += n;
                data += n;
                size -= n;
        }
}

void logfile_write(LogFile *log, const char *data, size_t size) {
        size_t head = 0;

        if (size == 0)
                return;
        remember(log, data, size);
        if (log->ringed == 0 && log->written < log->half)
                head = (size_t) MIN((uint64_t) size, log->half - log->written);
        if (head > 0)
                write_head(log, data, head);
        if (size > head)
                write_ring(log, data + head, size - head);
}

static int copy_range(LogFile *log, uint64_t from, uint64_t to) {
        char buf[64 * 1024];

        while (from < to) {
                ssize_t n = pread(log->ring_fd, buf, (size_t) MIN(sizeof(buf), to - from),
                                  (off_t) from);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                if (write_all(log->fd, buf, (size_t) n) < 0)
                        return -errno;
                log->written += (uint64_t) n;
                from += (uint64_t) n;
        }
        return 0;
}

static void join_ring(LogFile *log) {
        uint64_t kept = MIN(log->ringed, log->half), at = log->ringed % log->half;
        int r;

        if (log->ringed > log->half) {
                _cleanup_free_ char *line =
                        strf("\n[updd: %llu bytes of output were dropped here]\n",
                             (unsigned long long) logfile_dropped(log));

                if (line && write_all(log->fd, line, strlen(line)) >= 0)
                        log->written += strlen(line);
        }
        r = log->ringed > log->half ? copy_range(log, at, log->half) : 0;
        if (r >= 0)
                r = copy_range(log, 0, log->ringed > log->half ? at : kept);
        if (r < 0)
                log->lost += kept;
        (void) unlinkat(log->dirfd, "log.tail", 0);
}

void logfile_finish(LogFile *log) {
        if (log->ring_fd >= 0) {
                join_ring(log);
                closep(&log->ring_fd);
                log->ring_fd = -EBADF;
        }
        if (log->fd >= 0) {
                if (log->written > 0)
                        (void) fdatasync(log->fd);
                closep(&log->fd);
                log->fd = -EBADF;
        }
}

void logfile_done(LogFile *log) {
        closep(&log->fd);
        closep(&log->ring_fd);
        free(log->recent);
        *log = (LogFile){.fd = -EBADF, .ring_fd = -EBADF};
}

uint64_t logfile_size(const LogFile *log) {
        return log->written;
}

uint64_t logfile_dropped(const LogFile *log) {
        return log->lost + (log->ringed > log->half ? log->ringed - log->half : 0);
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

/* How many bytes the character at `p` takes; 0 when it is none. Overlong forms and surrogates are
 * left to jansson's own check below. */
static size_t utf8_length(const unsigned char *p, size_t left) {
        size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;
        json_auto_t *valid = NULL;

        if (n == 1)
                return p[0] ? 1 : 0;
        if (n == 0 || n > left)
                return 0;
        valid = json_stringn((const char *) p, n);
        return valid ? n : 0;
}

char *utf8_clean(const char *text, size_t size) {
        static const char replacement[] = "\xef\xbf\xbd";
        char *out = malloc(size * 3 + 1), *to = out;

        if (!out)
                return NULL;
        for (size_t i = 0; i < size;) {
                size_t n = utf8_length((const unsigned char *) text + i, size - i);
                bool good = n > 0;

                memcpy(to, good ? text + i : replacement, good ? n : 3);
                to += good ? n : 3;
                i += good ? n : 1;
        }
        *to = '\0';
        return out;
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
