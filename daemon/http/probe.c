/* SPDX-License-Identifier: MIT */
/*
 * The server asked by its own daemon whether it answers: a request over a socket pair, which goes
 * through the same turns of the loop as everybody's.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/http/server.h"

static const char request[] = "GET /v1 HTTP/1.0\r\nConnection: close\r\n\r\n";

void probe_done(Probe *p) {
        p->io = sd_event_source_disable_unref(p->io);
        closep(&p->fd);
        p->fd = -EBADF;
}

static int on_answer(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Probe *p = userdata;
        char head[8] = "";
        ssize_t n = read(fd, head, sizeof(head) - 1);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        probe_done(p);
        if (n > 0 && startswith(head, "HTTP/1."))
                p->answered(p->userdata);
        return 0;
}

/* The server's end is the server's from then on, whatever comes of it. */
static int hand_over(Listener *l, int fd) {
        struct sockaddr address = {.sa_family = AF_UNIX};

        if (MHD_add_connection(l->daemon, fd, &address, sizeof(address)) != MHD_YES)
                return -EBUSY;
        listener_wake(l);
        return 0;
}

int http_probe(HttpServer *s, HttpProbeFunc answered, void *userdata) {
        Listener *l = s->unix_listener.daemon ? &s->unix_listener : &s->tcp_listener;
        _cleanup_close_ int ours = -EBADF;
        Probe *p = &s->probe;
        int pair[2], r;

        if (p->fd >= 0)
                return -EALREADY;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        ours = pair[0];
        r = hand_over(l, pair[1]);
        if (r >= 0 && send(ours, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
                r = -errno;
        if (r >= 0)
                r = sd_event_add_io(s->event, &p->io, ours, EPOLLIN, on_answer, p);
        if (r < 0)
                return r;
        p->fd = TAKE_FD(ours);
        p->answered = answered;
        p->userdata = userdata;
        return 0;
}
