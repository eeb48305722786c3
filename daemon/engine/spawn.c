/* SPDX-License-Identifier: MIT */
/*
 * The plain backend's start of an attempt: updd-step in a session of its own, secrets on its stdin
 * as a sealed memfd. What it finds and does there is the attempt protocol's; see watch.c, and units.c
 * for the other backend.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>

#include "daemon/engine/internal.h"

static int spawn_actions(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr, int in) {
        sigset_t none, all;
        int r;

        (void) sigemptyset(&none);
        (void) sigfillset(&all);
        r = posix_spawn_file_actions_adddup2(actions, in, STDIN_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY,
                                                     0);
        if (r == 0)
                r = posix_spawnattr_setsigmask(attr, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(attr, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                                           POSIX_SPAWN_SETSIGDEF);
        return -r;
}

int step_spawn(const Watch *w, pid_t *ret) {
        char *argv[] = {w->engine->step_program, (char *) "--dir", w->dir,
                        (char *) "--id",         (char *) w->id,   NULL};
        _cleanup_close_ int in = -EBADF;
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        char *env[SPAWN_ENVIRONMENT_MAX];
        int r;

        r = secrets_fd(w->secrets, &in);
        if (r < 0)
                return r;
        (void) posix_spawn_file_actions_init(&actions);
        (void) posix_spawnattr_init(&attr);
        spawn_environment(env);
        r = spawn_actions(&actions, &attr, in);
        if (r >= 0)
                r = -posix_spawn(ret, w->engine->step_program, &actions, &attr, argv, env);
        (void) posix_spawn_file_actions_destroy(&actions);
        (void) posix_spawnattr_destroy(&attr);
        for (unsigned i = 0; env[i]; i++)
                free(env[i]);
        return r;
}
