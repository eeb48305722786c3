/* SPDX-License-Identifier: MIT */
/* Services that outlive the attempt: see step_spawn_service() in step.h. */
#include <fcntl.h>
#include <sys/wait.h>

#include "daemon/step/launch.h"

static int open_service_files(Launch *l, const char *log_path, Error *reterr) {
        l->in = open("/dev/null", O_RDONLY | O_CLOEXEC);
        l->out = open(log_path ? log_path : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                      0644);
        if (l->out >= 0)
                l->err = fcntl(l->out, F_DUPFD_CLOEXEC, 3);
        if (l->in < 0 || l->out < 0 || l->err < 0)
                return error_set(reterr, errno, "spawn", "Cannot open %s: %s",
                                 log_path ? log_path : "/dev/null", strerror(errno));
        return 0;
}

/* Started by a process that ends at once, while the supervisor is no subreaper: so neither the
 * service nor what it starts ever belongs to the attempt's tree. */
static int launch_away(Launch *l, pid_t *ret_pid, Error *reterr) {
        _cleanup_close_ int listen = -EBADF;
        struct {
                pid_t pid;
                News news;
        } word = {0};
        int fds[2];
        ssize_t n;
        pid_t middle;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_set(reterr, errno, "spawn", "No pipe: %s", strerror(errno));
        listen = fds[0];
        middle = fork();
        if (middle == 0) {
                _cleanup_error_ Error error = ERROR_INIT;
                int r = launch(l, &word.pid, &error);

                word.news.err = r < 0 ? -r : 0;
                (void) !write(fds[1], &word, sizeof(word));
                if (r < 0 && error.message)
                        (void) !write(fds[1], error.message, strlen(error.message));
                _exit(0);
        }
        (void) close(fds[1]);
        if (middle < 0)
                return error_set(reterr, errno, "spawn", "Cannot fork: %s", strerror(errno));
        do
                n = read(listen, &word, sizeof(word));
        while (n < 0 && errno == EINTR);
        if (n == sizeof(word) && word.news.err != 0) {
                char message[512] = "";

                (void) !read(listen, message, sizeof(message) - 1);
                (void) error_set(reterr, word.news.err, "spawn", "%s", message);
        }
        (void) waitpid(middle, NULL, 0);
        if (n != sizeof(word))
                return error_set(reterr, EIO, "spawn", "Cannot start %s", l->argv[0]);
        *ret_pid = word.pid;
        return -word.news.err;
}

int step_spawn_service(Step *s, const Exec *x, const char *log_path, pid_t *ret_pid,
                       Error *reterr) {
        _cleanup_(launch_done) Launch l = LAUNCH_INIT;
        int r;

        l.service = true;
        r = launch_prepare(s, x, &l, reterr);
        if (r >= 0)
                r = open_service_files(&l, log_path, reterr);
        if (r < 0)
                return r;
        worker_tell_wait(s, "subreaper", json_false());
        r = launch_away(&l, ret_pid, reterr);
        worker_tell_wait(s, "subreaper", json_true());
        return r;
}
