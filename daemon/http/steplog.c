/* SPDX-License-Identifier: MIT */
/*
 * A step's log: the file as it is now, from an offset or within a Range. The kernel copies it to
 * the socket; the log never passes through this program. More may come while Updd-Log-More says so:
 * ask again from Updd-Log-Size.
 */
#include "daemon/http/server.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

typedef struct LogFile {
        int fd;
        int64_t size;
        unsigned attempt;
        bool running;
} LogFile;

static void log_file_done(LogFile *l) {
        closep(&l->fd);
}

/* A log that is not there yet is an empty one. */
static int log_file_open(Request *q, int64_t attempt, LogFile *ret, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        struct stat st;
        int r;

        r = engine_log_path(q->server->engine, q->id, q->name, (unsigned) attempt, &path,
                            &ret->attempt, &ret->running, reterr);
        if (r < 0)
                return r;
        ret->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (ret->fd < 0 && errno == ENOENT)
                return 0;
        if (ret->fd < 0 || fstat(ret->fd, &st) < 0)
                return error_set(reterr, errno, "internal", "cannot open %s: %m", path);
        if (!S_ISREG(st.st_mode))
                return error_set(reterr, EINVAL, "internal", "%s is not a file", path);
        ret->size = st.st_size;
        return 0;
}

/* "bytes=A-B", "bytes=A-", "bytes=-N". 1: a range in *from, *to (inclusive); 0: none, or one that
 * is ignored as RFC 9110 allows (several ranges, another unit); -ERANGE: outside. */
static int parse_range(const char *text, int64_t size, int64_t *from, int64_t *to) {
        int64_t a = -1, b = -1;
        char *end;

        if (!text || !startswith(text, "bytes=") || strchr(text, ','))
                return 0;
        text += strlen("bytes=");
        errno = 0;
        if (*text >= '0' && *text <= '9') {
                a = strtoll(text, &end, 10);
                text = end;
        }
        if (*text++ != '-')
                return 0;
        if (*text >= '0' && *text <= '9') {
                b = strtoll(text, &end, 10);
                text = end;
        }
        if (*text || errno != 0 || (a < 0 && b < 0) || (a >= 0 && b >= 0 && b < a))
                return 0;
        if (a < 0 ? b == 0 || size == 0 : a >= size)
                return -ERANGE;
        *from = a >= 0 ? a : MAX(size - b, 0);
        *to = a >= 0 && b >= 0 ? MIN(b, size - 1) : size - 1;
        return 1;
}

static int refuse_range(const LogFile *l, Error *reterr) {
        (void) error_set(reterr, ERANGE, "range-not-satisfiable", "the log has %" PRId64 " bytes",
                         l->size);
        error_detail(reterr, "size", json_integer(l->size));
        return -ERANGE;
}

static int respond_part(Request *q, LogFile *l, unsigned status, int64_t from, int64_t n) {
        struct MHD_Response *response;

        if (n <= 0)
                response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        else {
                response = MHD_create_response_from_fd_at_offset64((uint64_t) n, l->fd,
                                                                   (uint64_t) from);
                if (response)
                        (void) TAKE_FD(l->fd);
        }
        if (response && response_common(response, "text/plain; charset=utf-8", false) < 0)
                MHD_destroy_response(TAKE(response));
        if (respond_ready(q, status, response) < 0 ||
            respond_header(q, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes") < 0 ||
            respond_header(q, "Updd-Attempt", "%u", l->attempt) < 0 ||
            respond_header(q, "Updd-Log-Size", "%" PRId64, l->size) < 0)
                return -ENOMEM;
        return respond_header(q, "Updd-Log-More", l->running ? "yes" : "no");
}

int handle_log(Request *q, Error *reterr) {
        _cleanup_(log_file_done) LogFile l = {.fd = -EBADF};
        int64_t attempt, offset, from, to;
        int r;

        r = request_query_int(q, "attempt", 0, INT32_MAX, 0, &attempt, reterr);
        if (r >= 0)
                r = request_query_int(q, "offset", 0, INT64_MAX, 0, &offset, reterr);
        if (r >= 0)
                r = log_file_open(q, attempt, &l, reterr);
        if (r < 0)
                return r;
        if (request_query(q, "offset"))
                return respond_part(q, &l, MHD_HTTP_OK, offset, l.size - offset);
        r = parse_range(request_header(q, MHD_HTTP_HEADER_RANGE), l.size, &from, &to);
        if (r < 0)
                return refuse_range(&l, reterr);
        if (r == 0)
                return respond_part(q, &l, MHD_HTTP_OK, 0, l.size);
        r = respond_part(q, &l, MHD_HTTP_PARTIAL_CONTENT, from, to - from + 1);
        return r < 0 ? r
                     : respond_header(q, MHD_HTTP_HEADER_CONTENT_RANGE,
                                      "bytes %" PRId64 "-%" PRId64 "/%" PRId64, from, to, l.size);
}
