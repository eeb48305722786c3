/* SPDX-License-Identifier: MIT */
/*
 * A library for LD_PRELOAD for programs that run under valgrind, which does not know the system
 * calls pidfd_open(2) and pidfd_send_signal(2): another process makes them, and passes the
 * descriptors (tests/soak.d/valgrind.py).
 *   UPDD_PIDFD_SOCKET   where it listens, SOCK_SEQPACKET; a call is two ints, what and a number, and
 *                       its answer an errno or 0; descriptors go along
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/preload/wrap.h"

enum { WHAT_OPEN, WHAT_SIGNAL };

static int dial(void) {
        const char *path = getenv("UPDD_PIDFD_SOCKET");
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd;

        if (!path || strlen(path) >= sizeof(address.sun_path))
                abort();
        strcpy(address.sun_path, path);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0) {
                close(fd);
                fd = -1;
        }
        return fd;
}

typedef union Ancillary {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
} Ancillary;

static ssize_t say(int fd, const int words[2], int with) {
        struct iovec text = {(void *) words, 2 * sizeof(int)};
        struct msghdr m = {.msg_iov = &text, .msg_iovlen = 1};
        Ancillary a;

        memset(&a, 0, sizeof(a));
        if (with >= 0) {
                m.msg_control = &a;
                m.msg_controllen = sizeof(a);
                a.head.cmsg_level = SOL_SOCKET;
                a.head.cmsg_type = SCM_RIGHTS;
                a.head.cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(&a.head), &with, sizeof(int));
        }
        return sendmsg(fd, &m, MSG_NOSIGNAL);
}

/* The descriptor that came along, or 0; -1 and errno. */
static int hear(int fd) {
        int error = EIO, found = 0;
        struct iovec text = {&error, sizeof(error)};
        Ancillary a;
        struct msghdr m = {
                .msg_iov = &text, .msg_iovlen = 1, .msg_control = &a, .msg_controllen = sizeof(a)};
        struct cmsghdr *head;

        memset(&a, 0, sizeof(a));
        if (recvmsg(fd, &m, MSG_CMSG_CLOEXEC) != sizeof(error) || error != 0) {
                errno = error;
                return -1;
        }
        head = CMSG_FIRSTHDR(&m);
        if (head && head->cmsg_type == SCM_RIGHTS)
                memcpy(&found, CMSG_DATA(head), sizeof(int));
        return found;
}

static int ask(int what, int number, int with) {
        int fd = dial(), r = -1, saved;

        if (fd < 0)
                return -1;
        if (say(fd, (const int[]){what, number}, with) > 0)
                r = hear(fd);
        saved = errno;
        close(fd);
        errno = saved;
        return r;
}

EXPORT int pidfd_open(pid_t pid, unsigned flags) {
        return ask(WHAT_OPEN, pid, -1);
}

EXPORT int pidfd_send_signal(int fd, int number, siginfo_t *info, unsigned flags) {
        return ask(WHAT_SIGNAL, number, fd);
}
