/* SPDX-License-Identifier: MIT */
/* tcp {to, state}: somebody accepts connections at a place, or nobody does. */
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include "daemon/step/step.h"

/* A port that is guarded by a silent firewall would take a "closed" the whole time limit. */
#define CLOSED_MS (5 * 1000)

DEFINE_CLEANUP(struct addrinfo *, freeaddrinfo)

/* "host:port", "[::1]:port". */
static int split(const char *to, char **ret_host, const char **ret_port, Error *reterr) {
        const char *colon = strrchr(to, ':');
        size_t n = colon ? (size_t) (colon - to) : 0;

        if (!colon || !colon[1] || n == 0)
                return error_set(reterr, EINVAL, "bad-address", "'%s' is no HOST:PORT", to);
        *ret_host = to[0] == '[' && to[n - 1] == ']' ? strndup(to + 1, n - 2) : strndup(to, n);
        *ret_port = colon + 1;
        return *ret_host ? 0 : error_oom(reterr);
}

/* 0 connected, else -errno. */
static int try_address(const struct addrinfo *a, int64_t until_us) {
        _cleanup_close_ int fd =
                socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        socklen_t size = sizeof(int);
        int err = 0;

        if (fd < 0)
                return -errno;
        if (connect(fd, a->ai_addr, a->ai_addrlen) >= 0)
                return 0;
        if (errno != EINPROGRESS)
                return -errno;
        for (;;) {
                int64_t left = (until_us - now_mono_us()) / 1000;

                if (left <= 0)
                        return -ETIMEDOUT;
                if (poll(&p, 1, (int) MIN(left, 60 * 60 * 1000)) > 0)
                        break;
        }
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0)
                return -errno;
        return -err;
}

static int tcp_look(Step *s, const json_t *args, Error *reterr) {
        const char *to = args_text(args, "to", ""), *port = NULL;
        bool closed = streq(args_text(args, "state", "open"), "closed");
        int64_t left = MIN(step_time_left_ms(s), closed ? CLOSED_MS : 24 * 60 * 60 * 1000);
        int64_t until_us = now_mono_us() + left * 1000;
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
        _cleanup_(freeaddrinfop) struct addrinfo *found = NULL;
        _cleanup_free_ char *host = NULL;
        int r;

        r = split(to, &host, &port, reterr);
        if (r < 0)
                return r;
        r = getaddrinfo(host, port, &hints, &found);
        if (r != 0)
                return error_set(reterr, EHOSTUNREACH, "no-address", "%s cannot be resolved: %s",
                                 to, gai_strerror(r));
        r = -EHOSTUNREACH;
        for (const struct addrinfo *a = found; a && r < 0; a = a->ai_next)
                r = try_address(a, until_us);
        if ((r >= 0) != closed)
                return 0;
        if (closed)
                return error_set(reterr, EBADE, "check-failed", "%s is open", to);
        return error_set(reterr, EBADE, "check-failed", "%s is not open: %s", to, strerror(-r));
}

const Check check_tcp = {"tcp", tcp_look};
