/* SPDX-License-Identifier: MIT */
/*
 * recorder LOG ROOT PROGRAM [ARGUMENT]…
 *
 * Runs a program and writes down each change to the disk that it and all its descendants make below
 * the folder ROOT, and each answer that they send (see calls.h), by ptrace(2). Calls of interest
 * are made one at a time, so the log's order is the true one. It promises: whatever any of them
 * did, in whatever way but through mapped memory, is in the log; and all of them end with it. On
 * SIGTERM that is when the call that is being made is written down, and no other is made.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/recorder/calls.h"

#define OPTIONS                                                                                    \
        (PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |    \
         PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD)
#define WAITING_MAX 256

typedef struct Recorder {
        const char *root;
        int log_fd;
        Call call;  /* the one that is being made */
        pid_t busy; /* who makes it; 0: nobody */
        pid_t waiting[WAITING_MAX];
        size_t n_waiting;
        bool ending; /* no further call is let through */
        pid_t first; /* the program itself */
        int code;    /* how it ended */
} Recorder;

_Noreturn static void fail(const char *what) {
        fprintf(stderr, "recorder: %s: %s\n", what, strerror(errno));
        _exit(125);
}

static void go_on(enum __ptrace_request how, pid_t pid, int number) {
        if (ptrace(how, pid, NULL, (void *) (intptr_t) number) < 0 && errno != ESRCH)
                fail("ptrace");
}

/* ---- one call at a time ---- */

static void entered(Recorder *r, pid_t pid) {
        struct __ptrace_syscall_info info;
        uint64_t args[6];

        if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *) sizeof(info), &info) < 0) {
                if (errno != ESRCH)
                        fail("read a call");
                return;
        }
        for (size_t i = 0; i < 6; i++)
                args[i] = info.seccomp.args[i];
        if (!call_begin(&r->call, r->root, pid, info.seccomp.nr, args)) {
                call_done(&r->call);
                go_on(PTRACE_CONT, pid, 0);
                return;
        }
        r->busy = pid;
        go_on(PTRACE_SYSCALL, pid, 0);
}

static void next(Recorder *r) {
        call_done(&r->call);
        r->busy = 0;
        while (r->busy == 0 && r->n_waiting > 0 && !r->ending) {
                pid_t pid = r->waiting[0];

                r->n_waiting--;
                memmove(r->waiting, r->waiting + 1, r->n_waiting * sizeof(pid_t));
                entered(r, pid);
        }
}

static void enter_or_wait(Recorder *r, pid_t pid) {
        if (r->busy == 0 && !r->ending) {
                entered(r, pid);
                return;
        }
        if (r->n_waiting == WAITING_MAX)
                fail("too many processes");
        r->waiting[r->n_waiting++] = pid;
}

static void left(Recorder *r, pid_t pid) {
        struct __ptrace_syscall_info info;

        if (pid == r->busy) {
                if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *) sizeof(info), &info) < 0)
                        fail("read a result");
                if (!info.exit.is_error)
                        call_finish(&r->call, info.exit.rval, r->log_fd);
        }
        go_on(PTRACE_CONT, pid, 0);
        if (pid == r->busy)
                next(r);
}

static void gone(Recorder *r, pid_t pid) {
        size_t n = 0;

        for (size_t i = 0; i < r->n_waiting; i++)
                if (r->waiting[i] != pid)
                        r->waiting[n++] = r->waiting[i];
        r->n_waiting = n;
        if (pid == r->busy)
                next(r);
}

static void stopped(Recorder *r, pid_t pid, int status) {
        int number = WSTOPSIG(status), event = status >> 16;

        if (event == PTRACE_EVENT_SECCOMP)
                enter_or_wait(r, pid);
        else if (number == (SIGTRAP | 0x80))
                left(r, pid);
        else if (event == PTRACE_EVENT_STOP && number != SIGTRAP)
                go_on(PTRACE_LISTEN, pid, 0);
        else
                go_on(PTRACE_CONT, pid, event != 0 ? 0 : number);
}

/* ---- the program ---- */

static int filter_set(void) {
        struct sock_filter code[2 + 2 * 64] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
        unsigned short n = 1;
        struct sock_fprog program;

        for (size_t i = 0; i < calls_count(); i++) {
                code[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                          (uint32_t) calls_number(i), 0, 1);
                code[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
        }
        code[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        program = (struct sock_fprog){.len = n, .filter = code};
        if (geteuid() != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}

static pid_t program_start(char **argv, const sigset_t *signals) {
        int ready[2];
        char byte;
        pid_t pid;

        if (pipe2(ready, O_CLOEXEC) < 0 || (pid = fork()) < 0)
                fail("start");
        if (pid == 0) {
                (void) sigprocmask(SIG_UNBLOCK, signals, NULL);
                (void) close(ready[1]);
                (void) read(ready[0], &byte, 1);
                if (filter_set() < 0)
                        fail("seccomp");
                (void) execvp(argv[0], argv);
                fail(argv[0]);
        }
        if (ptrace(PTRACE_SEIZE, pid, NULL, (void *) (intptr_t) OPTIONS) < 0)
                fail("ptrace");
        (void) close(ready[0]);
        (void) close(ready[1]);
        return pid;
}

/* False when nobody is left. */
static bool all_events(Recorder *r) {
        int status;
        pid_t pid;

        while ((pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
                if (WIFSTOPPED(status)) {
                        stopped(r, pid, status);
                        continue;
                }
                gone(r, pid);
                if (pid == r->first)
                        r->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        return pid == 0;
}

int main(int argc, char **argv) {
        Recorder r = {0};
        _cleanup_free_ char *root = NULL;
        sigset_t signals;

        if (argc < 4) {
                fprintf(stderr, "usage: recorder LOG ROOT PROGRAM [ARGUMENT]...\n");
                return 125;
        }
        r.log_fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        r.root = root = realpath(argv[2], NULL);
        if (r.log_fd < 0 || !root)
                fail(argv[1]);
        (void) sigemptyset(&signals);
        (void) sigaddset(&signals, SIGCHLD);
        (void) sigaddset(&signals, SIGTERM);
        (void) sigprocmask(SIG_BLOCK, &signals, NULL);
        r.first = program_start(argv + 3, &signals);
        while (!r.ending || r.busy > 0) {
                r.ending |= sigwaitinfo(&signals, NULL) == SIGTERM;
                if (!all_events(&r))
                        return r.code;
        }
        return 0;
}
