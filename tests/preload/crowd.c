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

        if (!program || !file || fnmatch(program, program_invocation_short_name, 0) != 0)
                return;
        control = control_of(file, sizeof(Control));
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
