/* SPDX-License-Identifier: MIT */
/*
 * A library for LD_PRELOAD on a machine with too many processes: while the test says so, whoever
 * starts a process is told EAGAIN.
 *   UPDD_CROWD_PROGRAM   the programs it acts in, as a pattern of short names
 *   UPDD_CROWD_CONTROL   a file of a Control, shared with the test
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/preload/wrap.h"

/* What test_scarce.py maps too. */
typedef struct Control {
        _Atomic uint32_t crowded;
        _Atomic uint32_t failed; /* how many were not started */
} Control;

static Control *control;

__attribute__((constructor)) static void crowd_init(void) {
        const char *program = getenv("UPDD_CROWD_PROGRAM"), *file = getenv("UPDD_CROWD_CONTROL");
        void *at;
        int fd;

        if (!program || !file || fnmatch(program, program_invocation_short_name, 0) != 0)
                return;
        fd = open(file, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                abort(); /* a test that counts nothing must not pass */
        at = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED)
                abort();
        (void) close(fd);
        control = at;
}

static bool is_crowded(void) {
        if (!control || !atomic_load(&control->crowded))
                return false;
        (void) atomic_fetch_add(&control->failed, 1);
        errno = EAGAIN;
        return true;
}

EXPORT pid_t fork(void) {
        static pid_t (*next)(void);

        if (!next)
                next = (__typeof__(next)) next_of("fork");
        return is_crowded() ? -1 : next();
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[], char *const env[]) {
        static __typeof__(posix_spawn) *next;

        if (!next)
                next = (__typeof__(next)) next_of("posix_spawn");
        return is_crowded() ? EAGAIN : next(pid, path, actions, attributes, argv, env);
}
