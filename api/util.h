/* SPDX-License-Identifier: MIT */
/*
 * Small things that every program of updd shares: ownership macros, cleanup functions, paths and
 * whole-file reads and writes. Nothing here logs and nothing here knows what a job is.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _must_check_ __attribute__((warn_unused_result))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_ __attribute__((unused))

#define ELEMENTSOF(x) (sizeof(x) / sizeof((x)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Moves a pointer out of its variable: the variable is NULL afterwards, the caller owns the value.
 */
#define TAKE(p)                                                                                    \
        ({                                                                                         \
                typeof(p) *_take = &(p);                                                           \
                typeof(p) _value = *_take;                                                         \
                *_take = NULL;                                                                     \
                _value;                                                                            \
        })

/* The same for a file descriptor: the variable is -EBADF afterwards. */
#define TAKE_FD(fd)                                                                                \
        ({                                                                                         \
                int *_take = &(fd);                                                                \
                int _value = *_take;                                                               \
                *_take = -EBADF;                                                                   \
                _value;                                                                            \
        })

#define DEFINE_CLEANUP(type, func)                                                                 \
        static inline void func##p(type *p) {                                                      \
                if (*p)                                                                            \
                        func(*p);                                                                  \
        }

static inline void freep(void *p) {
        free(*(void **) p);
}

static inline void closep(int *fd) {
        if (*fd >= 0)
                (void) close(*fd);
}

DEFINE_CLEANUP(FILE *, fclose)
DEFINE_CLEANUP(DIR *, closedir)

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)

static inline bool streq(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

/* Like streq, and NULL equals only NULL. */
static inline bool streq0(const char *a, const char *b) {
        return a == b || (a && b && strcmp(a, b) == 0);
}

static inline bool isempty(const char *s) {
        return !s || !*s;
}

static inline bool startswith(const char *s, const char *prefix) {
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

static inline bool endswith(const char *s, const char *suffix) {
        size_t n = strlen(s), m = strlen(suffix);

        return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

/* asprintf into a fresh string. NULL when memory is out. The caller frees. */
_must_check_ _printf_(1, 2) char *strf(const char *format, ...);

/* `dir` + "/" + `name`, or a copy of `name` when that is absolute. NULL when memory is out. */
_must_check_ char *path_join(const char *dir, const char *name);

/* Creates `path` and its missing parents, the new ones with `mode`. 0 or -errno. */
int mkdir_parents(const char *path, unsigned mode);

/* The same, and when it returns they are on disk: a folder's name is durable only once the folder
 * that it stands in was synced. */
int mkdir_durable(const char *path, unsigned mode);

/* Reads a whole file of at most `max` bytes (-EFBIG beyond), relative to `dirfd`. The text gets a
 * terminating NUL that `ret_size` does not count. The caller frees *ret. */
_must_check_ int file_read(int dirfd, const char *path, size_t max, char **ret, size_t *ret_size);

/* Writes all of `data` to `fd`, over short writes and EINTR. 0 or -errno. */
int write_all(int fd, const void *data, size_t size);

/* Writes a file so that after a crash either the old or the whole new content is there: temporary
 * file, fsync, rename, fsync of the folder (rename(2), fsync(2)). 0 or -errno. */
int file_write_atomic(int dirfd, const char *path, const void *data, size_t size, unsigned mode);

/* Removes a folder and all in it; a missing one is fine. Never follows a symlink. 0 or -errno. */
int remove_tree(const char *path);

/* Whether the descriptor is the stream to the journal that the service manager gave to this service
 * (JOURNAL_STREAM in systemd.exec(5)); what it was redirected to since is another file. */
bool fd_is_journal(int fd);
