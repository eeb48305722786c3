/* SPDX-License-Identifier: MIT */
/*
 * The yardstick for GET /v1/jobs/{id}: libmicrohttpd and nothing else, with updd's own settings
 * (one thread, its epoll set run from sd_event, suspend and resume allowed, the same limits), that
 * answers each request with one ready-made body. bare-httpd SOCKET BODY-FILE prints "ready" and
 * serves until SIGTERM.
 */
#include <fcntl.h>
#include <microhttpd.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-event.h>

#include "api/util.h"

typedef struct Bare {
        sd_event *event;
        struct MHD_Daemon *daemon;
        struct MHD_Response *response;
        sd_event_source *again;
} Bare;

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_size, void **req_cls) {
        Bare *b = cls;

        if (!*req_cls) {
                *req_cls = b; /* an answer at the first callback would close the connection */
                return MHD_YES;
        }
        return MHD_queue_response(connection, 200, b->response);
}

static void run(Bare *b) {
        MHD_UNSIGNED_LONG_LONG timeout;

        (void) MHD_run(b->daemon);
        if (MHD_get_timeout(b->daemon, &timeout) == MHD_YES && timeout == 0)
                (void) sd_event_source_set_enabled(b->again, SD_EVENT_ONESHOT);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        run(userdata);
        return 0;
}

static int on_again(sd_event_source *source, void *userdata) {
        run(userdata);
        return 0;
}

static int listen_on(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        (void) unlink(path);
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(fd, SOMAXCONN) < 0)
                return -errno;
        return fd;
}

static int make_response(Bare *b, const char *path) {
        char *text = NULL;
        size_t size;
        int r;

        r = file_read(AT_FDCWD, path, 16 * 1024 * 1024, &text, &size);
        if (r < 0)
                return r;
        b->response = MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);
        (void) MHD_add_response_header(b->response, "Content-Type", "application/json");
        return 0;
}

static int start(Bare *b, int fd) {
        b->daemon = MHD_start_daemon(
                MHD_USE_EPOLL | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
                on_request, b, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, 512U,
                MHD_OPTION_CONNECTION_TIMEOUT, 30U, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                (size_t) (16 * 1024), MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
        if (!b->daemon)
                return -EIO;
        return sd_event_add_io(b->event, NULL,
                               MHD_get_daemon_info(b->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
                               EPOLLIN, on_io, b);
}

int main(int argc, char *argv[]) {
        Bare b = {0};
        sigset_t set;
        int fd;

        if (argc != 3 || make_response(&b, argv[2]) < 0 || sd_event_default(&b.event) < 0)
                return EXIT_FAILURE;
        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        fd = listen_on(argv[1]);
        if (fd < 0 || sd_event_add_signal(b.event, NULL, SIGTERM, NULL, NULL) < 0 ||
            sd_event_add_defer(b.event, &b.again, on_again, &b) < 0 || start(&b, fd) < 0)
                return EXIT_FAILURE;
        (void) printf("ready\n");
        (void) fflush(stdout);
        (void) sd_event_loop(b.event);
        MHD_stop_daemon(b.daemon);
        MHD_destroy_response(b.response);
        (void) sd_event_source_unref(b.again);
        (void) sd_event_unref(b.event);
        return EXIT_SUCCESS;
}
