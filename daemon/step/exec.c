/* SPDX-License-Identifier: MIT */
/*
 * Running a child to its end: its output is captured and copied to the log, its time bounded, and
 * what is left of its process group when it has ended is killed.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "daemon/step/capture.h"
#include "daemon/step/child.h"
#include "daemon/step/talk.h"
#include "daemon/step/worker.h"

#define GRACE_US (2 * 1000 * 1000) /* between TERM and KILL for a child that is over its time */
#define NEVER INT64_MAX

typedef struct Run {
        Step *s;
        const Exec *x;
        Child child;
        Capture out, err;
        Talk *talk;
        int pidfd;
        bool ended, timed_out;
        int status;
        int64_t until_us, kill_us;
} Run;

static void run_done(Run *run) {
        child_done(&run->child);
        capture_done(&run->out);
        capture_done(&run->err);
        talk_free(run->talk);
        closep(&run->pidfd);
}

void exec_result_done(ExecResult *r) {
        free(r->out);
        free(r->err);
        *r = (ExecResult){0};
}

/* Reads what is there. False at the end of the stream. */
static bool pump(Run *run, int *fd, Capture *capture) {
        char buf[32 * 1024];
        ssize_t n = read(*fd, buf, sizeof(buf));

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return true;
        if (n <= 0) { /* a terminal that nobody holds any more says EIO */
                (void) close(TAKE_FD(*fd));
                return false;
        }
        (void) !capture_add(capture, buf, (size_t) n);
        if (run->talk)
                (void) !talk_heard(run->talk, buf, (size_t) n);
        if (!run->x->quiet && !run->s->looking)
                (void) write_all(STDOUT_FILENO, buf, (size_t) n);
        return true;
}

static void look_at_time(Run *run) {
        int64_t now = now_mono_us();

        if (now >= run->until_us && !run->timed_out && !run->ended) {
                run->timed_out = true;
                run->kill_us = now + GRACE_US;
                (void) kill(-run->child.pid, SIGTERM);
        }
        if (now >= run->kill_us && !run->ended)
                (void) kill(-run->child.pid, SIGKILL);
}

static int wait_ms(const Run *run) {
        int64_t next = MIN(run->timed_out ? NEVER : run->until_us, run->kill_us), now, left;

        now = now_mono_us();
        if (run->talk)
                next = MIN(next, now + talk_wait_us(run->talk));
        if (next == NEVER)
                return -1;
        left = next - now;
        return (int) MIN(MAX(left + 999, 0) / 1000, 60 * 60 * 1000);
}

/* The group first, then the child: its number is not given to another one before it is taken in. */
static void take_end(Run *run) {
        pid_t pid;

        (void) kill(-run->child.pid, SIGKILL);
        do
                pid = waitpid(run->child.pid, &run->status, 0);
        while (pid < 0 && errno == EINTR);
}

static int turn(Run *run, int timeout_ms, Error *reterr) {
        struct pollfd p[] = {{.fd = run->pidfd, .events = POLLIN},
                             {.fd = run->child.out, .events = POLLIN},
                             {.fd = run->child.err, .events = POLLIN}};

        if (poll(p, ELEMENTSOF(p), timeout_ms) < 0 && errno != EINTR)
                return error_set(reterr, errno, "internal", "poll: %s", strerror(errno));
        if (p[1].fd >= 0 && p[1].revents)
                (void) pump(run, &run->child.out, &run->out);
        if (p[2].fd >= 0 && p[2].revents)
                (void) pump(run, &run->child.err, &run->err);
        run->ended = p[0].revents & POLLIN;
        return 0;
}

/* What a child that has ended wrote is in the pipes already; what it left running may hold them
 * open for ever, so nobody waits for their end. */
static void drain(Run *run) {
        int *fds[] = {&run->child.out, &run->child.err};
        Capture *captures[] = {&run->out, &run->err};

        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                for (;;) {
                        struct pollfd p = {.fd = *fds[i], .events = POLLIN};

                        if (*fds[i] < 0 || poll(&p, 1, 0) <= 0 || !p.revents)
                                break;
                        if (!pump(run, fds[i], captures[i]))
                                break;
                }
}

static int64_t deadline_us(const Step *s, const Exec *x) {
        int64_t until = x->timeout_ms > 0 ? now_mono_us() + x->timeout_ms * 1000 : NEVER;

        return s->check_until_us > 0 ? MIN(until, s->check_until_us) : until;
}

static int run_to_end(Run *run, Error *reterr) {
        int r;

        while (!run->ended) {
                look_at_time(run);
                r = turn(run, wait_ms(run), reterr);
                if (r >= 0 && run->talk)
                        r = talk_think(run->talk, reterr);
                if (r < 0) {
                        take_end(run);
                        return r;
                }
        }
        drain(run);
        take_end(run);
        return 0;
}

static int run_report(Run *run, ExecResult *ret, Error *reterr) {
        _cleanup_exec_ ExecResult result = {.exit = -1};

        if (WIFEXITED(run->status))
                result.exit = WEXITSTATUS(run->status);
        else
                result.signal = WTERMSIG(run->status);
        result.timed_out = run->timed_out;
        result.cut = capture_is_cut(&run->out) || capture_is_cut(&run->err);
        result.out = capture_take(&run->out, &run->s->masks, &result.out_size);
        result.err = capture_take(&run->err, &run->s->masks, &result.err_size);
        if (!result.out || !result.err)
                return error_oom(reterr);
        run->s->exit = result.exit;
        run->s->signal = result.signal;
        *ret = result;
        result = (ExecResult){0};
        return 0;
}

int step_exec(Step *s, const Exec *x, ExecResult *ret, Error *reterr) {
        _cleanup_(run_done) Run run = {.s = s,
                                       .x = x,
                                       .child = CHILD_INIT,
                                       .pidfd = -EBADF,
                                       .until_us = deadline_us(s, x),
                                       .kill_us = NEVER};
        int r;

        if (step_stopping(s))
                return error_set(reterr, ECANCELED, "stopped", "Stopped");
        capture_init(&run.out, x->max_out);
        capture_init(&run.err, x->max_out);
        r = child_start(s, x, &run.child, reterr);
        if (r < 0)
                return r;
        run.pidfd = pidfd_open(run.child.pid, 0);
        if (run.child.terminal)
                run.talk = talk_new(s, x->answers, run.child.out, run.child.pid);
        if (run.pidfd < 0 || (run.child.terminal && !run.talk)) {
                take_end(&run);
                return error_set(reterr, EIO, "spawn", "The command cannot be watched");
        }
        r = run_to_end(&run, reterr);
        if (r < 0)
                return r;
        if (step_stopping(s))
                return error_set(reterr, ECANCELED, "stopped", "Stopped");
        return run_report(&run, ret, reterr);
}

static json_t *collect_argv(const char *file, va_list ap) {
        json_auto_t *argv = json_pack("[s]", file);
        const char *arg;

        while ((arg = va_arg(ap, const char *)))
                if (json_array_append_new(argv, json_string(arg)) < 0)
                        return NULL;
        return TAKE(argv);
}

/* The last line that is not empty, without its end; borrowed, `*ret_size` bytes. */
static const char *last_line(const char *text, size_t *ret_size) {
        size_t end = strlen(text), from;

        while (end > 0 && strchr("\r\n \t", text[end - 1]))
                end--;
        for (from = end; from > 0 && text[from - 1] != '\n';)
                from--;
        *ret_size = end - from;
        return text + from;
}

int step_exec_simple(Step *s, char **ret_out, Error *reterr, const char *file, ...) {
        _cleanup_exec_ ExecResult result = {0};
        json_auto_t *argv = NULL;
        const char *line;
        size_t n;
        va_list ap;
        int r;

        va_start(ap, file);
        argv = collect_argv(file, ap);
        va_end(ap);
        if (!argv)
                return error_oom(reterr);
        r = step_exec(s, &(Exec){.argv = argv, .quiet = true}, &result, reterr);
        if (r < 0)
                return r;
        line = last_line(result.err, &n);
        if (n == 0)
                line = last_line(result.out, &n);
        if (result.timed_out)
                return error_set(reterr, ETIMEDOUT, "timeout", "%s did not end in time", file);
        if (result.signal)
                return error_set(reterr, EREMOTEIO, "signal", "%s was killed by signal %d", file,
                                 result.signal);
        if (result.exit != 0)
                return error_set(reterr, EREMOTEIO, "exit", "%s ended with code %d%s%.*s", file,
                                 result.exit, n ? ": " : "", (int) MIN(n, (size_t) 300), line);
        if (ret_out)
                *ret_out = TAKE(result.out);
        return 0;
}
