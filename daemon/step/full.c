/* SPDX-License-Identifier: MIT */
/* When the small program is not enough: see full.h. */
#include "daemon/step/full.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sys/mman.h>

#include "api/args.h"
#include "daemon/step/step.h"

#define PROGRAM "updd-step-worker"
#define OPEN_TRIES 40
#define OPEN_PAUSE_US (50 * 1000)

static bool verb_is_known(const char *name) {
        for (size_t i = 0; step_verbs[i]; i++)
                if (streq(step_verbs[i]->name, name))
                        return true;
        return false;
}

static bool check_is_known(const char *name) {
        for (size_t i = 0; step_checks[i]; i++)
                if (streq(step_checks[i]->name, name))
                        return true;
        return false;
}

/* Checks stand in many places (verify, until, checks …): wherever an object says "check". */
static bool all_known(const json_t *value) {
        const char *key;
        json_t *item;
        size_t i;

        if (json_is_string(json_object_get(value, "check")) &&
            !check_is_known(args_text(value, "check", "")))
                return false;
        if (json_is_string(json_object_get(value, "verb")) &&
            !verb_is_known(args_text(value, "verb", "")))
                return false;
        json_array_foreach ((json_t *) value, i, item) {
                if (!all_known(item))
                        return false;
        }
        json_object_foreach ((json_t *) value, key, item) {
                if (!all_known(item))
                        return false;
        }
        return true;
}

bool task_is_known(const json_t *task) {
        return all_known(json_object_get(task, "ops")) &&
               all_known(json_object_get(task, "verify")) &&
               all_known(json_object_get(task, "probe"));
}

static char *program_path(void) {
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash;

        if (n < 0)
                return NULL;
        self[n] = '\0';
        slash = strrchr(self, '/');
        if (!slash)
                return NULL;
        *slash = '\0';
        return path_join(self, PROGRAM "-" UPDD_VERSION);
}

int full_worker_open(int *ret_fd) {
        _cleanup_free_ char *path = program_path();
        int fd = -1;

        if (!path)
                return -ENOMEM;
        for (unsigned i = 0; fd < 0; i++) {
                fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0 && (errno != ENOENT || i == OPEN_TRIES))
                        return -errno;
                if (fd < 0)
                        (void) usleep(OPEN_PAUSE_US);
        }
        *ret_fd = fd;
        return 0;
}

static int secrets_memfd(const json_t *secrets) {
        _cleanup_close_ int fd = memfd_create("secrets", MFD_CLOEXEC);
        _cleanup_free_ char *text = json_canonical(secrets);
        int r;

        if (fd < 0)
                return -errno;
        if (!text)
                return -ENOMEM;
        r = write_all(fd, text, strlen(text));
        explicit_bzero(text, strlen(text));
        return r < 0 ? r : TAKE_FD(fd);
}

static int keep_open(int fd) {
        return fd >= 0 && fcntl(fd, F_SETFD, 0) < 0 ? -errno : 0;
}

int full_worker_exec(int program, int dirfd, int lock, int control, const json_t *task,
                     const json_t *secrets) {
        _cleanup_free_ char *dir = strf("%d", dirfd), *socket = strf("%d", control), *memory = NULL;
        _cleanup_close_ int fd = secrets_memfd(secrets);
        const char *id = args_text(task, "id", "");
        int r;

        if (fd < 0)
                return fd;
        memory = strf("%d", fd);
        if (!dir || !socket || !memory)
                return -ENOMEM;
        if (keep_open(dirfd) < 0 || keep_open(lock) < 0 || keep_open(control) < 0 ||
            keep_open(fd) < 0)
                return -errno;
        (void) fexecve(program,
                       (char *[]){(char *) PROGRAM, (char *) id, dir, socket, memory, NULL},
                       environ);
        r = -errno;
        (void) close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        return r;
}
