/* SPDX-License-Identifier: MIT */
/* A child with its terminal or pipes: see child.h. */
#include "daemon/step/child.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>

#include "daemon/step/launch.h"

void child_done(Child *child) {
        closep(&child->out);
        closep(&child->err);
        *child = CHILD_INIT;
}

static int open_input(const Exec *x) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!x->input) {
                fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
                return fd < 0 ? -errno : TAKE_FD(fd);
        }
        fd = memfd_create("stdin", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = write_all(fd, x->input, x->input_size ? x->input_size : strlen(x->input));
        if (r < 0)
                return r;
        return lseek(fd, 0, SEEK_SET) < 0 ? -errno : TAKE_FD(fd);
}

static int open_pipe(int *ret_read, int *ret_write) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        *ret_read = fds[0];
        *ret_write = fds[1];
        return fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int open_terminal(Launch *l, Child *child) {
        struct winsize size = {.ws_row = 24, .ws_col = 80};
        struct termios attributes;
        int master, slave;

        if (openpty(&master, &slave, NULL, NULL, &size) < 0)
                return -errno;
        child->out = master;
        l->in = slave;
        if (fcntl(master, F_SETFD, FD_CLOEXEC) < 0 || fcntl(slave, F_SETFD, FD_CLOEXEC) < 0 ||
            fcntl(master, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        /* Lines end as they do in a pipe, so that what matches there matches here. */
        if (tcgetattr(slave, &attributes) < 0)
                return -errno;
        attributes.c_oflag &= ~(tcflag_t) ONLCR;
        attributes.c_iflag |= IUTF8;
        if (tcsetattr(slave, TCSANOW, &attributes) < 0)
                return -errno;
        l->out = fcntl(slave, F_DUPFD_CLOEXEC, 3);
        l->err = fcntl(slave, F_DUPFD_CLOEXEC, 3);
        return l->out < 0 || l->err < 0 ? -errno : 0;
}

static int open_pipes(const Exec *x, Launch *l, Child *child) {
        int r;

        l->in = open_input(x);
        if (l->in < 0)
                return l->in;
        if (x->out_fd > 0) {
                l->out = fcntl(x->out_fd, F_DUPFD_CLOEXEC, 3);
                if (l->out < 0)
                        return -errno;
        } else {
                r = open_pipe(&child->out, &l->out);
                if (r < 0)
                        return r;
        }
        if (x->merge && x->out_fd <= 0) {
                l->err = fcntl(l->out, F_DUPFD_CLOEXEC, 3);
                return l->err < 0 ? -errno : 0;
        }
        return open_pipe(&child->err, &l->err);
}

/* Another user's command must be able to open /dev/stdout and /dev/tty; files of the caller's stay
 * whose they are. */
static int give_to_user(const Exec *x, const Launch *l) {
        const int fds[] = {x->input || l->terminal ? l->in : -EBADF,
                           x->out_fd > 0 ? -EBADF : l->out, l->err};

        for (size_t i = 0; l->identity.change && i < ELEMENTSOF(fds); i++)
                if (fds[i] >= 0 && fchown(fds[i], l->identity.uid, (gid_t) -1) < 0)
                        return -errno;
        return 0;
}

int child_start(Step *s, const Exec *x, Child *ret, Error *reterr) {
        _cleanup_(launch_done) Launch l = LAUNCH_INIT;
        _cleanup_(child_done) Child child = CHILD_INIT;
        int r;

        l.terminal = child.terminal = x->answers != NULL;
        r = launch_prepare(s, x, &l, reterr);
        if (r < 0)
                return r;
        r = l.terminal ? open_terminal(&l, &child) : open_pipes(x, &l, &child);
        if (r >= 0)
                r = give_to_user(x, &l);
        if (r < 0)
                return error_set(reterr, -r, "spawn", "Cannot prepare %s: %s", l.argv[0],
                                 strerror(-r));
        r = launch(&l, &child.pid, reterr);
        if (r < 0)
                return r;
        *ret = child;
        child = CHILD_INIT;
        return 0;
}
