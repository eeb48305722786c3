/* SPDX-License-Identifier: MIT */
/* The newest part of a long log: see logtail.h. */
#include "daemon/attempt/logtail.h"

#include <fcntl.h>
#include <sys/stat.h>

#define LOG "log"
#define TAIL "log.tail"
#define MAGIC "updd-log"

/* At the file's beginning; the ring follows it. While `going` is not `ringed` the bytes between
 * are being written, and what stood there before them is gone. */
typedef struct Header {
        char magic[8];
        uint64_t half, head, lost, ringed, going;
} Header;

static int pwrite_all(int fd, const void *data, size_t size, uint64_t at) {
        const char *p = data;

        while (size > 0) {
                ssize_t n = pwrite(fd, p, size, (off_t) at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                p += n;
                at += (uint64_t) n;
                size -= (size_t) n;
        }
        return 0;
}

static int header_write(const LogTail *t, uint64_t going) {
        Header h = {.half = t->half,
                    .head = t->head,
                    .lost = t->lost,
                    .ringed = t->ringed,
                    .going = going};

        memcpy(h.magic, MAGIC, sizeof(h.magic));
        return pwrite_all(t->fd, &h, sizeof(h), 0);
}

int logtail_open(LogTail *t, int dirfd, uint64_t half, uint64_t head, uint64_t lost) {
        int r;

        *t = (LogTail){.dirfd = dirfd, .half = MAX(half, 1), .head = head, .lost = lost};
        t->fd = openat(dirfd, TAIL, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        r = t->fd < 0 ? -errno : header_write(t, 0);
        if (r < 0)
                (void) unlinkat(dirfd, TAIL, 0);
        return r;
}

void logtail_done(LogTail *t) {
        closep(&t->fd);
        *t = LOGTAIL_INIT;
}

/* At most up to the ring's end. */
static int write_piece(LogTail *t, const char *data, size_t size) {
        int r = header_write(t, t->ringed + size);

        if (r >= 0)
                r = pwrite_all(t->fd, data, size, sizeof(Header) + t->ringed % t->half);
        if (r < 0)
                return r;
        t->ringed += size;
        return header_write(t, t->ringed);
}

void logtail_write(LogTail *t, const char *data, size_t size) {
        while (size > 0) {
                size_t n = (size_t) MIN((uint64_t) size, t->half - t->ringed % t->half);

                if (t->fd < 0 || write_piece(t, data, n) < 0) {
                        t->lost += size;
                        return;
                }
                data += n;
                size -= n;
        }
}

static bool is_full(const LogTail *t) {
        return t->ringed >= t->half;
}

uint64_t logtail_dropped(const LogTail *t) {
        uint64_t kept = is_full(t) ? t->half - t->torn : t->ringed;

        return t->lost + t->ringed + t->torn - kept;
}

/* ---- joining ---- */

static int copy_range(const LogTail *t, int log, uint64_t from, uint64_t to) {
        char buf[64 * 1024];

        for (from += sizeof(Header), to += sizeof(Header); from < to;) {
                ssize_t n = pread(t->fd, buf, (size_t) MIN(sizeof(buf), to - from), (off_t) from);
                int r;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                r = write_all(log, buf, (size_t) n);
                if (r < 0)
                        return r;
                from += (uint64_t) n;
        }
        return 0;
}

/* Oldest byte first. What was being written when its writer was killed, and took the place of the
 * oldest, is left out. */
static int copy_ring(const LogTail *t, int log) {
        uint64_t at = t->ringed % t->half;
        int r = is_full(t) ? copy_range(t, log, at + t->torn, t->half) : 0;

        return r < 0 ? r : copy_range(t, log, 0, at);
}

static int say_dropped(const LogTail *t, int log) {
        _cleanup_free_ char *line = NULL;

        if (logtail_dropped(t) == 0)
                return 0;
        line = strf("\n[updd: %llu bytes of output were dropped here]\n",
                    (unsigned long long) logtail_dropped(t));
        return line ? write_all(log, line, strlen(line)) : -ENOMEM;
}

int logtail_join(LogTail *t, uint64_t *ret_size) {
        _cleanup_close_ int log =
                openat(t->dirfd, LOG, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
        struct stat st;
        int r;

        /* What an earlier joiner has appended before it was killed goes first. */
        if (log < 0 || fstat(log, &st) < 0 ||
            ((uint64_t) st.st_size > t->head && ftruncate(log, (off_t) t->head) < 0))
                return -errno;
        r = say_dropped(t, log);
        if (r >= 0)
                r = copy_ring(t, log);
        if (ret_size && fstat(log, &st) == 0)
                *ret_size = (uint64_t) st.st_size;
        if (r >= 0 && unlinkat(t->dirfd, TAIL, 0) < 0)
                r = -errno;
        return r;
}

static int header_read(LogTail *t) {
        struct stat st;
        Header h;
        ssize_t n = pread(t->fd, &h, sizeof(h), 0);

        if (n < 0 || fstat(t->fd, &st) < 0)
                return -errno;
        if (n != sizeof(h) || memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0 || h.half == 0 ||
            h.going < h.ringed || h.going - h.ringed > h.half - h.ringed % h.half ||
            (uint64_t) st.st_size < sizeof(h) + MIN(h.ringed, h.half))
                return -EBADMSG;
        t->half = h.half;
        t->head = h.head;
        t->lost = h.lost;
        t->ringed = h.ringed;
        t->torn = h.going - h.ringed;
        return 0;
}

int logtail_settle(int dirfd) {
        _cleanup_(logtail_done) LogTail t = LOGTAIL_INIT;
        int r;

        t.dirfd = dirfd;
        t.fd = openat(dirfd, TAIL, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (t.fd < 0)
                return errno == ENOENT ? 0 : -errno;
        r = header_read(&t);
        return r < 0 ? r : logtail_join(&t, NULL);
}
