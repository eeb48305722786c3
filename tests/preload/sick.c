/* SPDX-License-Identifier: MIT */
/*
 * A library for LD_PRELOAD that makes a disk sick: from the N-th call on that would change something
 * under a folder, every such call of the program fails with one error, until the test says that it is
 * well again.
 *   UPDD_SICK_PROGRAM   the programs it acts in, as a pattern of short names; it sleeps in all others
 *   UPDD_SICK_FOLDER    what lies under it is sick
 *   UPDD_SICK_CONTROL   a file of a Control, shared by all processes and with the test
 * It promises: calls are counted over all those processes, and what has failed has changed
 * nothing, but for a short write, which has written its first half.
 */
/* Both names of a call that takes an offset are wrapped here: neither may become the other. */
#undef _FILE_OFFSET_BITS

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/preload/wrap.h"

#define CALLS_MAX 4096
#define NAME_SIZE 16

/* What sick.py maps too: six numbers, then the calls' names. */
typedef struct Control {
        _Atomic uint32_t count;  /* calls so far */
        _Atomic uint32_t from;   /* the number of the first call that fails; 0: none does */
        _Atomic uint32_t until;  /* the number of the last one; 0: all from then on */
        _Atomic uint32_t err;    /* the errno that they get */
        _Atomic uint32_t halves; /* 1: a write writes its first half, and the next one fails */
        _Atomic uint32_t failed; /* how many have failed */
        char names[CALLS_MAX][NAME_SIZE];
} Control;

static Control *control;
static char folder[PATH_MAX];

__attribute__((constructor)) static void sick_init(void) {
        const char *program = getenv("UPDD_SICK_PROGRAM"), *under = getenv("UPDD_SICK_FOLDER");
        const char *file = getenv("UPDD_SICK_CONTROL");

        if (!program || !under || !file || fnmatch(program, program_invocation_short_name, 0) != 0)
                return;
        (void) snprintf(folder, sizeof(folder), "%s", under);
        control = control_of(file, sizeof(Control));
}

static bool path_is_under(const char *path) {
        size_t n = strlen(folder);

        return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* A file of a sick folder, and neither a socket nor a pipe. */
static bool fd_is_under(int fd) {
        char link[64], path[PATH_MAX];
        ssize_t n;

        if (fd == AT_FDCWD)
                return false;
        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        if (n <= 0)
                return false;
        path[n] = '\0';
        return path_is_under(path);
}

static bool is_under(int fd, const char *path) {
        return path[0] == '/' ? path_is_under(path) : fd_is_under(fd);
}

/* Counts one call. True: it fails, and errno says why. */
static bool fails(const char *name) {
        uint32_t n = atomic_fetch_add(&control->count, 1) + 1;
        uint32_t from = atomic_load(&control->from), until = atomic_load(&control->until);

        if (n <= CALLS_MAX)
                (void) snprintf(control->names[n - 1], NAME_SIZE, "%.*s", NAME_SIZE - 1, name);
        if (from == 0 || n < from || (until > 0 && n > until))
                return false;
        (void) atomic_fetch_add(&control->failed, 1);
        errno = (int) atomic_load(&control->err);
        return true;
}

/* Half of a first write goes to the disk: what follows finds no room. */
static bool is_half(void) {
        return atomic_load(&control->halves) == 1 &&
               atomic_load(&control->count) == atomic_load(&control->from);
}

static void *next_once(void **next, const char *name) {
        if (!*next)
                *next = next_of(name);
        return *next;
}

#define NEXT(name)                                                                                 \
        static void *next;                                                                         \
        __typeof__(name) *real = (__typeof__(real)) next_once(&next, #name)

/* One call that is sick where `where` holds. */
#define WRAP(where, type, name, parameters, ...)                                                   \
        EXPORT type name parameters;                                                               \
        type name parameters {                                                                     \
                NEXT(name);                                                                        \
                if (control && (where) && fails(#name))                                            \
                        return -1;                                                                 \
                return real(__VA_ARGS__);                                                          \
        }

/* One that writes. */
#define WRAP_WRITE(name, parameters, half, ...)                                                    \
        EXPORT ssize_t name parameters;                                                            \
        ssize_t name parameters {                                                                  \
                NEXT(name);                                                                        \
                if (control && fd_is_under(fd) && fails(#name))                                    \
                        return is_half() && size > 1 ? real half : -1;                             \
                return real(__VA_ARGS__);                                                          \
        }

WRAP_WRITE(write, (int fd, const void *data, size_t size), (fd, data, size / 2), fd, data, size)
WRAP_WRITE(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size / 2, at), fd,
           data, size, at)
WRAP_WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size / 2, at),
           fd, data, size, at)
WRAP(fd_is_under(fd), ssize_t, writev, (int fd, const struct iovec *v, int n), fd, v, n)
WRAP(fd_is_under(fd), int, fsync, (int fd), fd)
WRAP(fd_is_under(fd), int, fdatasync, (int fd), fd)
WRAP(fd_is_under(fd), int, ftruncate, (int fd, off_t size), fd, size)
WRAP(fd_is_under(fd), int, ftruncate64, (int fd, off64_t size), fd, size)
WRAP(fd_is_under(fd), int, fallocate, (int fd, int mode, off_t at, off_t size), fd, mode, at, size)
WRAP(fd_is_under(fd), int, fallocate64, (int fd, int mode, off64_t at, off64_t size), fd, mode, at,
     size)
WRAP(path_is_under(from), int, rename, (const char *from, const char *to), from, to)
WRAP(is_under(a, from), int, renameat, (int a, const char *from, int b, const char *to), a, from, b,
     to)
WRAP(path_is_under(to), int, link, (const char *from, const char *to), from, to)
WRAP(is_under(b, to), int, linkat, (int a, const char *from, int b, const char *to, int flags), a,
     from, b, to, flags)
WRAP(path_is_under(path), int, unlink, (const char *path), path)
WRAP(is_under(fd, path), int, unlinkat, (int fd, const char *path, int flags), fd, path, flags)
WRAP(path_is_under(path), int, rmdir, (const char *path), path)
WRAP(path_is_under(path), int, mkdir, (const char *path, mode_t mode), path, mode)
WRAP(is_under(fd, path), int, mkdirat, (int fd, const char *path, mode_t mode), fd, path, mode)

/* It returns its error. */
#define WRAP_ALLOCATE(name, off)                                                                   \
        EXPORT int name(int fd, off at, off size);                                                 \
        int name(int fd, off at, off size) {                                                       \
                NEXT(name);                                                                        \
                if (control && fd_is_under(fd) && fails(#name))                                    \
                        return errno;                                                              \
                return real(fd, at, size);                                                         \
        }

WRAP_ALLOCATE(posix_fallocate, off_t)
WRAP_ALLOCATE(posix_fallocate64, off64_t)

/* Opening for writing is refused by a disk that can only be read, and making a file by any. */
static bool open_fails(int fd, const char *path, int flags, const char *name) {
        bool reads = atomic_load(&control->err) == EROFS;
        bool writes = (flags & O_ACCMODE) != O_RDONLY;

        if (!is_under(fd, path) || !((flags & (O_CREAT | O_TRUNC)) || (reads && writes)))
                return false;
        /* What is there already needs no room. */
        if (!reads && !(flags & O_TRUNC) && faccessat(fd, path, F_OK, 0) == 0)
                return false;
        return fails(name);
}

#define WRAP_OPEN(name, folder_fd, parameters, ...)                                                \
        EXPORT int name parameters;                                                                \
        int name parameters {                                                                      \
                NEXT(name);                                                                        \
                mode_t mode = 0;                                                                   \
                va_list list;                                                                      \
                                                                                                   \
                if (flags & (O_CREAT | __O_TMPFILE)) {                                             \
                        va_start(list, flags);                                                     \
                        mode = va_arg(list, mode_t);                                               \
                        va_end(list);                                                              \
                }                                                                                  \
                if (control && open_fails(folder_fd, path, flags, #name))                          \
                        return -1;                                                                 \
                return real(__VA_ARGS__, mode);                                                    \
        }

WRAP_OPEN(open, AT_FDCWD, (const char *path, int flags, ...), path, flags)
WRAP_OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), path, flags)
WRAP_OPEN(openat, fd, (int fd, const char *path, int flags, ...), fd, path, flags)
WRAP_OPEN(openat64, fd, (int fd, const char *path, int flags, ...), fd, path, flags)
