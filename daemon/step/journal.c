/* SPDX-License-Identifier: MIT */
/* See journal.h. */
#include "daemon/step/journal.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static const char full[] = "\nupdd: more stands in the log of the step only\n";

void journal_take(Journal *ret) {
        *ret = JOURNAL_INIT;
        if (fd_is_journal(STDOUT_FILENO))
                ret->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

static void put(const Journal *j, const char *data, size_t size) {
        while (size > 0) {
                ssize_t n = send(j->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return;
                data += n;
                size -= (size_t) n;
        }
}

void journal_write(Journal *j, const char *data, size_t size) {
        size_t room = JOURNAL_MAX - MIN(j->written, (size_t) JOURNAL_MAX);

        if (j->fd < 0 || room == 0)
                return;
        put(j, data, MIN(size, room));
        j->written += MIN(size, room);
        if (size >= room)
                put(j, full, sizeof(full) - 1);
}

void journal_done(Journal *j) {
        closep(&j->fd);
}
