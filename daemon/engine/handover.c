/* SPDX-License-Identifier: MIT */
/* What updd-step is given beside its folder, on both backends. */
#include <fcntl.h>
#include <sys/mman.h>

#include "daemon/engine/internal.h"

/* A sealed memfd with the secrets, for updd-step's stdin. */
int secrets_fd(const json_t *secrets, int *ret_fd) {
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
void spawn_environment(char *ret[static SPAWN_ENVIRONMENT_MAX]) {
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
}
