/* SPDX-License-Identifier: MIT */
/*
 * A library for LD_PRELOAD that kills the program it is loaded into at one boundary: the N-th call
 * that changes the disk, starts or signals a process, or answers a client.
 *   UPDD_BOUNDARY_PROGRAM   the one program it acts in, by its short name; it sleeps in all others,
 *                           and in what that program forks
 *   UPDD_BOUNDARY_FORKED    when set, it acts in what that program forks, and sleeps in itself
 *   UPDD_BOUNDARY_CONTROL   a file of a Control, shared by all processes and with the test
 * It promises: calls are counted over all processes of that name, restarted ones included, and
 * exactly one of them dies. What goes to standard error counts as nothing.
 */
/* Both names of a call that takes an offset are wrapped here: neither may become the other. */
#undef _FILE_OFFSET_BITS

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/preload/wrap.h"

#define CALLS_MAX 4096
#define NAME_SIZE 16

/* What boundaries.py maps too: five numbers, then the calls' names. */
typedef struct Control {
        _Atomic uint32_t count;   /* calls so far */
        _Atomic uint32_t kill_at; /* the number of the call to die at; 0: none */
        _Atomic uint32_t after;   /* 1: die when the call has returned, 0: before it is made */
        _Atomic uint32_t answers; /* 1: what is sent to a client counts */
        _Atomic uint32_t other;   /* a process that dies in the same moment; 0: none */
        char names[CALLS_MAX][NAME_SIZE];
} Control;

static Control *control;
static pid_t self;

/* What vfork(2) makes is no child to this: it shares the memory, and `self` with it. */
static void forked(void) {
        self = getpid();
}

__attribute__((constructor)) static void boundary_init(void) {
        const char *program = getenv("UPDD_BOUNDARY_PROGRAM");
        const char *file = getenv("UPDD_BOUNDARY_CONTROL");

        if (!program || !file || strcmp(program, program_invocation_short_name) != 0)
                return;
        if (!getenv("UPDD_BOUNDARY_FORKED"))
                self = getpid();
        else if (pthread_atfork(NULL, NULL, forked) != 0)
                abort();
        control = control_of(file, sizeof(Control));
}

static void die(void) {
        pid_t other = (pid_t) atomic_load(&control->other);

        if (other > 0)
                (void) syscall(SYS_kill, other, SIGKILL);
        (void) syscall(SYS_kill, self, SIGKILL);
}

/* Counts one call. True: die once it is made. */
static bool boundary(const char *name) {
        uint32_t n;

        if (!control || getpid() != self)
                return false;
        n = atomic_fetch_add(&control->count, 1) + 1;
        if (n <= CALLS_MAX)
                (void) snprintf(control->names[n - 1], NAME_SIZE, "%.*s", NAME_SIZE - 1, name);
        if (n != atomic_load(&control->kill_at))
                return false;
        if (atomic_load(&control->after))
                return true;
        die();
        return false;
}

static bool answer_boundary(const char *name) {
        return control && atomic_load(&control->answers) && boundary(name);
}

/* One call of the C library that is a boundary: counted, made, and perhaps the last. */
#define WRAP_IF(counted, type, name, parameters, ...)                                              \
        EXPORT type name parameters;                                                               \
        type name parameters {                                                                     \
                static type(*next) parameters;                                                     \
                bool last = (counted);                                                             \
                type r;                                                                            \
                                                                                                   \
                if (!next)                                                                         \
                        next = (__typeof__(next)) next_of(#name);                                  \
                r = next(__VA_ARGS__);                                                             \
                if (last)                                                                          \
                        die();                                                                     \
                return r;                                                                          \
        }
#define WRAP(type, name, parameters, ...)                                                          \
        WRAP_IF(boundary(#name), type, name, parameters, __VA_ARGS__)

#define OF_FD(fd, name) ((fd) > STDERR_FILENO && boundary(name))

WRAP_IF(OF_FD(fd, "write"), ssize_t, write, (int fd, const void *data, size_t size), fd, data, size)
WRAP_IF(OF_FD(fd, "writev"), ssize_t, writev, (int fd, const struct iovec *v, int n), fd, v, n)
WRAP(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), fd, data, size, at)
WRAP(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), fd, data, size, at)
WRAP(int, fsync, (int fd), fd)
WRAP(int, fdatasync, (int fd), fd)
WRAP(int, ftruncate, (int fd, off_t size), fd, size)
WRAP(int, ftruncate64, (int fd, off64_t size), fd, size)
WRAP(int, posix_fallocate, (int fd, off_t at, off_t size), fd, at, size)
WRAP(int, posix_fallocate64, (int fd, off64_t at, off64_t size), fd, at, size)
WRAP(int, rename, (const char *from, const char *to), from, to)
WRAP(int, renameat, (int a, const char *from, int b, const char *to), a, from, b, to)
WRAP(int, link, (const char *from, const char *to), from, to)
WRAP(int, linkat, (int a, const char *from, int b, const char *to, int flags), a, from, b, to,
     flags)
WRAP(int, unlink, (const char *path), path)
WRAP(int, unlinkat, (int fd, const char *path, int flags), fd, path, flags)
WRAP(int, rmdir, (const char *path), path)
WRAP(int, mkdir, (const char *path, mode_t mode), path, mode)
WRAP(int, mkdirat, (int fd, const char *path, mode_t mode), fd, path, mode)
WRAP(pid_t, fork, (void) )
WRAP(int, kill, (pid_t pid, int number), pid, number)
WRAP(int, pidfd_send_signal, (int fd, int number, siginfo_t *info, unsigned flags), fd, number,
     info, flags)
WRAP(int, posix_spawn,
     (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,
      const posix_spawnattr_t *attributes, char *const argv[], char *const env[]),
     pid, path, actions, attributes, argv, env)
WRAP_IF(answer_boundary("send"), ssize_t, send, (int fd, const void *data, size_t size, int flags),
        fd, data, size, flags)
WRAP_IF(answer_boundary("sendmsg"), ssize_t, sendmsg,
        (int fd, const struct msghdr *message, int flags), fd, message, flags)
WRAP_IF(answer_boundary("sendfile"), ssize_t, sendfile64,
        (int out, int in, off64_t *at, size_t size), out, in, at, size)

/* An open that may make a file. */
#define WRAP_OPEN(name, parameters, ...)                                                           \
        EXPORT int name parameters;                                                                \
        int name parameters {                                                                      \
                static int(*next) parameters;                                                      \
                bool last = (flags & O_CREAT) != 0 && boundary(#name);                             \
                mode_t mode = 0;                                                                   \
                va_list list;                                                                      \
                int r;                                                                             \
                                                                                                   \
                if (flags & (O_CREAT | __O_TMPFILE)) {                                             \
                        va_start(list, flags);                                                     \
                        mode = va_arg(list, mode_t);                                               \
                        va_end(list);                                                              \
                }                                                                                  \
                if (!next)                                                                         \
                        next = (__typeof__(next)) next_of(#name);                                  \
                r = next(__VA_ARGS__, mode);                                                       \
                if (last)                                                                          \
                        die();                                                                     \
                return r;                                                                          \
        }

WRAP_OPEN(open, (const char *path, int flags, ...), path, flags)
WRAP_OPEN(open64, (const char *path, int flags, ...), path, flags)
WRAP_OPEN(openat, (int fd, const char *path, int flags, ...), fd, path, flags)
WRAP_OPEN(openat64, (int fd, const char *path, int flags, ...), fd, path, flags)
