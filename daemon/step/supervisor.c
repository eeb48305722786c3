/* SPDX-License-Identifier: MIT */
/* The supervisor's loop: see supervisor.h. */
#include "daemon/step/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "api/args.h"
#include "api/text.h"
#include "daemon/attempt/attempt.h"
#include "daemon/attempt/tree.h"
#include "daemon/step/full.h"
#include "daemon/step/listen.h"
#include "daemon/step/worker.h"

#define TIMEOUT_DEFAULT_MS (60 * 60 * 1000)
#define GRACE_DEFAULT_MS (10 * 1000)
#define LEFTOVER_GRACE_MS 500
#define KILL_PATIENCE_MS (10 * 1000)
#define KILL_EVERY_MS 50
#define TRY_AGAIN_MS 1000
#define NEVER INT64_MAX

typedef struct Supervisor {
        int dirfd, lock, program, signal_fd;
        pid_t worker;
        bool worker_ended;
        const json_t *task;
        Listener listener;
        Ending ending;
        int64_t limit_us; /* monotonic end of the time limit; NEVER while it rests */
        int64_t rest_us;  /* what is left of it meanwhile */
        int64_t kill_us;  /* when the patience after TERM ends */
} Supervisor;

static void supervisor_done(Supervisor *v) {
        closep(&v->signal_fd);
        listener_done(&v->listener);
}

static void limit_rests(Supervisor *v, bool rests) {
        int64_t now = now_mono_us();

        if (rests && v->limit_us != NEVER) {
                v->rest_us = v->limit_us - now;
                v->limit_us = NEVER;
        } else if (!rests && v->limit_us == NEVER)
                v->limit_us = now + v->rest_us;
}

/* ---- ending ---- */

static void ask_tree_to_end(Supervisor *v) {
        int64_t grace;

        if (v->kill_us != NEVER)
                return;
        grace = json_integer_value(json_object_get(v->task, "grace_ms"));
        v->kill_us = now_mono_us() + (grace > 0 ? grace : GRACE_DEFAULT_MS) * 1000;
        /* The worker first: it must know of the stop before its child dies of it. */
        if (!v->worker_ended && v->worker > 0)
                (void) kill(v->worker, SIGTERM);
        (void) !tree_signal(getpid(), SIGTERM);
}

static void on_term(Supervisor *v) {
        if (attempt_stop_wanted(v->dirfd)) {
                v->ending.stopped = true;
                listener_log(&v->listener, "stopping, as asked");
        } else if (!v->ending.stopped) {
                v->ending.interrupted = true;
                listener_log(&v->listener, "ended from outside: stopping");
        }
        ask_tree_to_end(v);
}

/* Takes the ended children in. False when there is no child any more. */
static bool reap(Supervisor *v) {
        for (;;) {
                int status;
                pid_t pid = waitpid(-1, &status, WNOHANG);

                if (pid < 0 && errno == EINTR)
                        continue;
                if (pid <= 0)
                        return pid == 0;
                if (pid == v->worker) {
                        v->worker_ended = true;
                        v->ending.worker_status = status;
                }
        }
}

static void read_signals(Supervisor *v) {
        struct signalfd_siginfo info;

        while (read(v->signal_fd, &info, sizeof(info)) == sizeof(info))
                if (info.ssi_signo == SIGTERM)
                        on_term(v);
        (void) reap(v);
}

static void look_at_time(Supervisor *v) {
        int64_t now = now_mono_us();

        if (now >= v->limit_us && !v->ending.timed_out) {
                v->ending.timed_out = true;
                listener_log(&v->listener, "the time limit is reached: stopping");
                ask_tree_to_end(v);
        }
        if (now >= v->kill_us && !v->worker_ended) {
                (void) !tree_signal(getpid(), SIGKILL);
                v->kill_us = now + KILL_EVERY_MS * 1000; /* the dead need a moment */
        }
}

static int next_wait_ms(Supervisor *v) {
        int64_t next = MIN(v->ending.timed_out ? NEVER : v->limit_us, v->kill_us), left;

        if (!listener_catch_up(&v->listener))
                next = MIN(next, now_mono_us() + TRY_AGAIN_MS * 1000);
        if (next == NEVER)
                return -1;
        left = next - now_mono_us();
        return (int) MIN(MAX(left + 999, 0) / 1000, 60 * 60 * 1000);
}

static void turn(Supervisor *v, int timeout_ms) {
        struct pollfd p[] = {{.fd = v->signal_fd, .events = POLLIN},
                             {.fd = v->listener.control_fd, .events = POLLIN},
                             {.fd = v->listener.output_fd, .events = POLLIN}};

        if (poll(p, ELEMENTSOF(p), timeout_ms) < 0)
                return;
        if (p[1].revents)
                listener_read_control(&v->listener);
        if (p[2].revents & POLLIN)
                (void) listener_read_output(&v->listener);
        limit_rests(v, v->listener.asking);
        if (p[0].revents)
                read_signals(v);
}

/* A turn of the loop once the worker is gone: its socket and pipe are at their ends, which poll(2)
 * would tell for ever. */
static void quiet_turn(Supervisor *v) {
        struct pollfd p = {.fd = v->signal_fd, .events = POLLIN};

        (void) poll(&p, 1, 10);
        read_signals(v);
        while (listener_read_output(&v->listener))
                ;
}

/* What the attempt left behind ends with it: the supervisor is a subreaper, so as long as it has a
 * child there is something left, and not longer. */
static void end_leftovers(Supervisor *v) {
        int64_t now = now_mono_us(), kill_us = MIN(v->kill_us, now + LEFTOVER_GRACE_MS * 1000);
        int64_t give_up = MAX(now, kill_us) + KILL_PATIENCE_MS * 1000;

        if (!reap(v))
                return;
        (void) !tree_signal(getpid(), SIGTERM);
        while (reap(v)) {
                now = now_mono_us();
                if (now >= kill_us)
                        (void) !tree_signal(getpid(), SIGKILL);
                if (now >= give_up) {
                        listener_log(&v->listener, "some processes do not die, ignoring");
                        return;
                }
                quiet_turn(v);
        }
}

/* ---- the way through ---- */

static int open_signals(Supervisor *v) {
        sigset_t set;

        (void) signal(SIGHUP, SIG_IGN);
        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGCHLD);
        if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
                return -errno;
        v->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return v->signal_fd < 0 ? -errno : 0;
}

_Noreturn static void worker_start(Supervisor *v, pid_t parent, int control, int output,
                                   json_t *secrets) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(EXIT_FAILURE);
        if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
                _exit(EXIT_FAILURE);
        (void) close(output);
        (void) close(v->signal_fd);
        (void) close(v->listener.output_fd);
        (void) close(v->listener.control_fd);
        (void) close(v->listener.progress_fd);
        (void) tree_mark(args_text(v->task, "id", ""));
        if (v->program >= 0) {
                int r = full_worker_exec(v->program, v->dirfd, v->lock, control, v->task, secrets);

                fprintf(stderr, "updd: updd-step-worker cannot be run: %s\n", strerror(-r));
        }
        worker_run(v->dirfd, control, json_incref((json_t *) v->task), json_incref(secrets));
}

static int fork_worker(Supervisor *v, json_t *secrets) {
        _cleanup_close_ int control = -EBADF, output = -EBADF;
        pid_t parent = getpid(), pid;
        int sockets[2], pipes[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
                return -errno;
        v->listener.control_fd = sockets[0];
        control = sockets[1];
        if (pipe2(pipes, O_CLOEXEC) < 0)
                return -errno;
        v->listener.output_fd = pipes[0];
        output = pipes[1];
        if (fcntl(v->listener.output_fd, F_SETFL, O_NONBLOCK) < 0 ||
            prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return -errno;
        pid = fork();
        if (pid < 0)
                return -errno;
        v->worker = pid;
        if (pid == 0)
                worker_start(v, parent, control, output, secrets);
        return 0;
}

/* A pause in which a TERM is heard: false. */
static bool pause_unless_told(Supervisor *v) {
        struct pollfd p = {.fd = v->signal_fd, .events = POLLIN};

        (void) poll(&p, 1, TRY_AGAIN_MS);
        read_signals(v);
        return !v->ending.stopped && !v->ending.interrupted;
}

/* Claimed, and nothing of the task has begun: what passes by itself (no room for a log, too many
 * processes) is waited for, as long as the attempt may take. */
static int supervisor_begin(Supervisor *v, json_t *secrets) {
        int64_t give_up = v->limit_us;
        int r;

        for (;;) {
                r = listener_open(&v->listener, v->dirfd, v->task, secrets);
                if (r >= 0)
                        r = fork_worker(v, secrets);
                if (r >= 0 || !attempt_error_passes(r) || now_mono_us() >= give_up)
                        return r;
                listener_done(&v->listener);
                if (!pause_unless_told(v))
                        return r;
        }
}

/* How it ended is known: a disk that cannot take it now may take it later, and until then the lock
 * says that the attempt is not over. */
static int write_result(Supervisor *v) {
        Ending ending = v->ending;

        v->ending = (Ending){0}; /* from here on a TERM says that nobody waits any more */
        for (;;) {
                int r = result_write(&v->listener.result, &ending, &v->listener.masks,
                                     &v->listener.log, v->dirfd);

                if (r >= 0 || !attempt_error_passes(r) || !pause_unless_told(v))
                        return r;
        }
}

int supervisor_run(int dirfd, int lock, int program, json_t *task, json_t *secrets, Error *reterr) {
        int64_t timeout = json_integer_value(json_object_get(task, "timeout_ms"));
        _cleanup_(supervisor_done) Supervisor v = {
                .dirfd = dirfd,
                .lock = lock,
                .program = program,
                .signal_fd = -EBADF,
                .listener = LISTENER_INIT,
                .task = task,
                .limit_us = now_mono_us() + (timeout > 0 ? timeout : TIMEOUT_DEFAULT_MS) * 1000,
                .kill_us = NEVER};
        int r;

        r = open_signals(&v);
        if (r >= 0)
                r = supervisor_begin(&v, secrets);
        if (r < 0)
                return error_set(reterr, -r, "internal", "The attempt cannot be set up: %s",
                                 strerror(-r));
        while (!v.worker_ended) {
                look_at_time(&v);
                turn(&v, next_wait_ms(&v));
        }
        end_leftovers(&v);
        listener_finish(&v.listener);
        r = write_result(&v);
        if (r < 0)
                return error_set(reterr, -r, "result", "The result cannot be written: %s",
                                 strerror(-r));
        return 0;
}
