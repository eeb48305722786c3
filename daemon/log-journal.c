/* SPDX-License-Identifier: MIT */
/*
 * Entries of the system's journal, in its native protocol (a datagram of fields). sd_journal_send()
 * waits for a journal that hangs, and the daemon waits for nobody: hence this.
 */
#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "api/text.h"
#include "daemon/log.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define LOOK_MS 20
#define FIELD_MAX ((size_t) 16 * 1024)

bool log_has_journal(void) {
        return fd_is_journal(STDERR_FILENO);
}

/* NAME=value and a newline; where the value has one itself, NAME, a newline, its size, the value.
 */
static void put_field(FILE *f, const char *field) {
        const char *value = strchr(field, '=');
        size_t size;
        uint64_t le;

        if (!value)
                return;
        value++;
        size = strnlen(value, FIELD_MAX);
        if (!memchr(value, '\n', size)) {
                (void) fprintf(f, "%.*s\n", (int) (value - field + (ptrdiff_t) size), field);
                return;
        }
        le = htole64(size);
        (void) fprintf(f, "%.*s\n", (int) (value - field - 1), field);
        (void) fwrite(&le, sizeof(le), 1, f);
        (void) fwrite(value, 1, size, f);
        (void) fputc('\n', f);
}

static int connect_journal(void) {
        static const struct sockaddr_un address = {.sun_family = AF_UNIX,
                                                   .sun_path = JOURNAL_SOCKET};
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int send_entry(int fd, const char *text, size_t size, int64_t until_us) {
        struct pollfd pfd = {.fd = fd, .events = POLLOUT};

        while (send(fd, text, size, MSG_NOSIGNAL) < 0) {
                int64_t left_ms = (until_us - now_mono_us() + 999) / 1000;

                if (errno == EINTR)
                        continue;
                if (errno != EAGAIN || until_us == 0 || left_ms <= 0)
                        return -errno;
                /* A place that came free may be gone again, to somebody who was quicker. */
                (void) poll(&pfd, 1, (int) MIN(left_ms, LOOK_MS));
        }
        return 0;
}

int log_journal(const char *const fields[], size_t n, int64_t until_us) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -EBADF;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                if (fields[i])
                        put_field(f, fields[i]);
        if (fclose(f) != 0)
                return -ENOMEM;
        fd = connect_journal();
        return fd < 0 ? fd : send_entry(fd, text, size, until_us);
}
