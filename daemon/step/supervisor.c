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
#include "daemon/step/result.h"
#include "daemon/step/worker.h"

#define TIMEOUT_DEFAULT_MS (60 * 60 * 1000)
#define GRACE_DEFAULT_MS (10 * 1000)
#define LOG_DEFAULT_BYTES (64 * 1024 * 1024)
#define LEFTOVER_GRACE_MS 500
#define KILL_PATIENCE_MS (10 * 1000)
#define KILL_EVERY_MS 50
#define NEVER INT64_MAX

typedef struct Supervisor {
        int dirfd, lock, signal_fd, output_fd, control_fd, progress_fd;
        pid_t worker;
        bool worker_ended;
        const json_t *task;
        Masks masks;
        MaskStream stream;
        LogFile log;
        Result result;
        Ending ending;
        char *line; /* what has come of the worker's next message */
        size_t line_size;
        int64_t limit_us; /* monotonic end of the time limit; NEVER while it rests */
        int64_t rest_us;  /* what is left of it meanwhile */
        int64_t kill_us;  /* when the patience after TERM ends */
} Supervisor;

static void supervisor_done(Supervisor *v) {
        closep(&v->signal_fd);
        closep(&v->output_fd);
        closep(&v->control_fd);
        closep(&v->progress_fd);
        masks_done(&v->masks);
        mask_stream_done(&v->stream);
        logfile_done(&v->log);
        result_done(&v->result);
        free(v->line);
}

/* ---- what the worker tells ---- */

static void write_progress(Supervisor *v, const char *key, json_t *value) {
        json_auto_t *line = json_pack("{s:I, s:O}", "t", (json_int_t) now_wall_ms(), key, value);
        json_auto_t *masked = line ? masks_json(&v->masks, line) : NULL;
        _cleanup_free_ char *text = masked ? json_dumps(masked, JSON_COMPACT) : NULL;
        _cleanup_free_ char *whole = text ? strf("%s\n", text) : NULL;

        /* One write a line: a reader sees a line whole or not at all. */
        if (whole)
                (void) write_all(v->progress_fd, whole, strlen(whole));
}

static void limit_rests(Supervisor *v, bool rests) {
        int64_t now = now_mono_us();

        if (rests && v->limit_us != NEVER) {
                v->rest_us = v->limit_us - now;
                v->limit_us = NEVER;
        } else if (!rests && v->limit_us == NEVER)
                v->limit_us = now + v->rest_us;
}

static void set_subreaper(Supervisor *v, bool on) {
        (void) prctl(PR_SET_CHILD_SUBREAPER, on ? 1 : 0);
        (void) write_all(v->control_fd, "", 1);
}

static void take_message(Supervisor *v, const json_t *message) {
        json_t *value;

        if (result_take(&v->result, message) != 0)
                return;
        if ((value = json_object_get(message, "mask")))
                (void) masks_add(&v->masks, json_string_value(value));
        else if ((value = json_object_get(message, "progress")))
                write_progress(v, "message", value);
        else if ((value = json_object_get(message, "question"))) {
                limit_rests(v, true);
                write_progress(v, "question", value);
        } else if ((value = json_object_get(message, "answered"))) {
                limit_rests(v, false);
                write_progress(v, "answered", value);
        } else if ((value = json_object_get(message, "subreaper")))
                set_subreaper(v, json_is_true(value));
}

static void take_lines(Supervisor *v) {
        size_t at = 0;

        for (;;) {
                const char *end = memchr(v->line + at, '\n', v->line_size - at);
                json_auto_t *message = NULL;

                if (!end)
                        break;
                message = json_loadb(v->line + at, (size_t) (end - v->line) - at, JSON_ALLOW_NUL,
                                     NULL);
                if (message)
                        take_message(v, message);
                at = (size_t) (end - v->line) + 1;
        }
        v->line_size -= at;
        memmove(v->line, v->line + at, v->line_size);
}

static void read_control(Supervisor *v) {
        for (;;) {
                char buf[16 * 1024], *grown;
                ssize_t n = recv(v->control_fd, buf, sizeof(buf), MSG_DONTWAIT);

                if (n <= 0)
                        return;
                grown = realloc(v->line, v->line_size + (size_t) n);
                if (!grown)
                        return;
                v->line = grown;
                memcpy(v->line + v->line_size, buf, (size_t) n);
                v->line_size += (size_t) n;
                take_lines(v);
        }
}

/* ---- the log ---- */

static void log_bytes(Supervisor *v, const char *data, size_t size, bool final) {
        _cleanup_free_ char *out = NULL;
        size_t out_size = 0;

        if (mask_stream_feed(&v->stream, &v->masks, data, size, final, &out, &out_size) >= 0 && out)
                logfile_write(&v->log, out, out_size);
}

static void log_own(Supervisor *v, const char *text) {
        _cleanup_free_ char *line = strf("updd: %s\n", text);

        if (line)
                log_bytes(v, line, strlen(line), false);
}

/* Reads once. False at the end of what there is. */
static bool read_output(Supervisor *v) {
        char buf[64 * 1024];
        ssize_t n = read(v->output_fd, buf, sizeof(buf));

        if (n <= 0)
                return n < 0 && errno == EINTR;
        /* A secret is told before it is written, so by now it is in the socket at the latest. */
        read_control(v);
        log_bytes(v, buf, (size_t) n, false);
        return true;
}

/* ---- ending ---- */

static void ask_tree_to_end(Supervisor *v) {
        int64_t grace;

        if (v->kill_us != NEVER)
                return;
        grace = json_integer_value(json_object_get(v->task, "grace_ms"));
        v->kill_us = now_mono_us() + (grace > 0 ? grace : GRACE_DEFAULT_MS) * 1000;
        /* The worker first: it must know of the stop before its child dies of it. */
        if (!v->worker_ended)
                (void) kill(v->worker, SIGTERM);
        (void) !tree_signal(getpid(), SIGTERM);
}

static void on_term(Supervisor *v) {
        if (attempt_stop_wanted(v->dirfd)) {
                v->ending.stopped = true;
                log_own(v, "stopping, as asked");
        } else if (!v->ending.stopped) {
                v->ending.interrupted = true;
                log_own(v, "ended from outside: stopping");
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
                log_own(v, "the time limit is reached: stopping");
                ask_tree_to_end(v);
        }
        if (now >= v->kill_us && !v->worker_ended) {
                (void) !tree_signal(getpid(), SIGKILL);
                v->kill_us = now + KILL_EVERY_MS * 1000; /* the dead need a moment */
        }
}

static int next_wait_ms(const Supervisor *v) {
        int64_t next = MIN(v->ending.timed_out ? NEVER : v->limit_us, v->kill_us), left;

        if (next == NEVER)
                return -1;
        left = next - now_mono_us();
        return (int) MIN(MAX(left + 999, 0) / 1000, 60 * 60 * 1000);
}

static void turn(Supervisor *v, int timeout_ms) {
        struct pollfd p[] = {{.fd = v->signal_fd, .events = POLLIN},
                             {.fd = v->control_fd, .events = POLLIN},
                             {.fd = v->output_fd, .events = POLLIN}};

        if (poll(p, ELEMENTSOF(p), timeout_ms) < 0)
                return;
        if (p[1].revents)
                read_control(v);
        if (p[2].revents & POLLIN)
                (void) read_output(v);
        if (p[0].revents)
                read_signals(v);
}

/* A turn of the loop once the worker is gone: its socket and pipe are at their ends, which poll(2)
 * would tell for ever. */
static void quiet_turn(Supervisor *v) {
        struct pollfd p = {.fd = v->signal_fd, .events = POLLIN};

        (void) poll(&p, 1, 10);
        read_signals(v);
        while (read_output(v))
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
                        log_own(v, "some processes do not die, ignoring");
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

static int open_files(Supervisor *v) {
        int64_t limit = json_integer_value(json_object_get(v->task, "log_bytes"));
        int r;

        r = attempt_result_reserve(v->dirfd);
        if (r < 0)
                return r;
        v->progress_fd =
                openat(v->dirfd, "progress", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (v->progress_fd < 0)
                return -errno;
        return logfile_open(&v->log, v->dirfd, (uint64_t) (limit > 0 ? limit : LOG_DEFAULT_BYTES));
}

_Noreturn static void worker_start(Supervisor *v, pid_t parent, int control, int output,
                                   json_t *secrets) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(EXIT_FAILURE);
        if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
                _exit(EXIT_FAILURE);
        (void) close(output);
        (void) close(v->signal_fd);
        (void) close(v->output_fd);
        (void) close(v->control_fd);
        (void) close(v->progress_fd);
        if (!task_is_known(v->task)) {
                int r = full_worker_exec(v->dirfd, v->lock, control, v->task, secrets);

                fprintf(stderr, "updd: updd-step-worker cannot be run: %s\n", strerror(-r));
        }
        worker_run(v->dirfd, control, json_incref((json_t *) v->task), json_incref(secrets));
}

static int fork_worker(Supervisor *v, json_t *secrets) {
        _cleanup_close_ int control = -EBADF, output = -EBADF;
        pid_t parent = getpid();
        int sockets[2], pipes[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
                return -errno;
        v->control_fd = sockets[0];
        control = sockets[1];
        if (pipe2(pipes, O_CLOEXEC) < 0)
                return -errno;
        v->output_fd = pipes[0];
        output = pipes[1];
        if (fcntl(v->output_fd, F_SETFL, O_NONBLOCK) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return -errno;
        v->worker = fork();
        if (v->worker < 0)
                return -errno;
        if (v->worker == 0)
                worker_start(v, parent, control, output, secrets);
        return 0;
}

static int supervisor_init(Supervisor *v, json_t *secrets) {
        int64_t timeout = json_integer_value(json_object_get(v->task, "timeout_ms"));
        const char *name;
        json_t *value;
        int r;

        json_object_foreach (secrets, name, value) {
                if (masks_add(&v->masks, json_string_value(value)) < 0)
                        return -ENOMEM;
        }
        r = result_init(&v->result, v->task);
        if (r >= 0)
                r = open_signals(v);
        if (r >= 0)
                r = open_files(v);
        if (r < 0)
                return r;
        v->limit_us = now_mono_us() + (timeout > 0 ? timeout : TIMEOUT_DEFAULT_MS) * 1000;
        v->kill_us = NEVER;
        return fork_worker(v, secrets);
}

int supervisor_run(int dirfd, int lock, json_t *task, json_t *secrets, Error *reterr) {
        _cleanup_(supervisor_done) Supervisor v = {.dirfd = dirfd,
                                                   .lock = lock,
                                                   .signal_fd = -EBADF,
                                                   .output_fd = -EBADF,
                                                   .control_fd = -EBADF,
                                                   .progress_fd = -EBADF,
                                                   .log = {.fd = -EBADF, .ring_fd = -EBADF},
                                                   .task = task};
        int r;

        r = supervisor_init(&v, secrets);
        if (r < 0)
                return error_set(reterr, -r, "internal", "The attempt cannot be set up: %s",
                                 strerror(-r));
        while (!v.worker_ended) {
                look_at_time(&v);
                turn(&v, next_wait_ms(&v));
        }
        end_leftovers(&v);
        while (read_output(&v))
                ;
        read_control(&v);
        log_bytes(&v, "", 0, true);
        logfile_finish(&v.log);
        r = result_write(&v.result, &v.ending, &v.masks, &v.log, dirfd);
        if (r < 0)
                return error_set(reterr, -r, "result", "The result cannot be written: %s",
                                 strerror(-r));
        return 0;
}
