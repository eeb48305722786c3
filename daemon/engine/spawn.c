/* SPDX-License-Identifier: MIT */
/*
 * The plain backend's start of an attempt: updd-step in a session of its own, secrets on its stdin
 * as a sealed memfd. What it finds and does there is the attempt protocol's; see watch.c.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>

#include "daemon/engine/internal.h"

/* A sealed memfd with the secrets, for updd-step's stdin. */
static int secrets_fd(const json_t *secrets, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *text = NULL;
        int r;

        fd = secrets ? memfd_create("updd-secrets", MFD_CLOEXEC | MFD_ALLOW_SEALING)
                     : open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (secrets) {
                text = json_dumps(secrets, JSON_COMPACT);
                if (!text)
                        return -ENOMEM;
                r = write_all(fd, text, strlen(text));
                explicit_bzero(text, strlen(text));
                if (r < 0)
                        return r;
                if (lseek(fd, 0, SEEK_SET) < 0 ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                        return -errno;
        }
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Of the daemon's environment only what a sanitizer or a loader needs goes on; steps see none of
 * it. */
static int spawn_environment(char *ret[static 8]) {
        static const char *const names[] = {
                "PATH",         "LANG",          "TZ",        "LD_LIBRARY_PATH",
                "ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_PRELOAD"};
        unsigned n = 0;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                const char *value = getenv(names[i]);

                if (!value)
                        continue;
                ret[n] = strf("%s=%s", names[i], value);
                if (ret[n])
                        n++;
        }
        ret[n] = NULL;
        return 0;
}

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
        char *env[8];
        int r;

        r = secrets_fd(w->secrets, &in);
        if (r < 0)
                return r;
        (void) posix_spawn_file_actions_init(&actions);
        (void) posix_spawnattr_init(&attr);
        r = spawn_environment(env);
        if (r >= 0)
                r = spawn_actions(&actions, &attr, in);
        if (r >= 0)
                r = -posix_spawn(ret, w->engine->step_program, &actions, &attr, argv, env);
        (void) posix_spawn_file_actions_destroy(&actions);
        (void) posix_spawnattr_destroy(&attr);
        for (unsigned i = 0; env[i]; i++)
                free(env[i]);
        return r;
}
