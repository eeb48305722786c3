/* SPDX-License-Identifier: MIT */
/* disk {path, free}: enough space where a file will stand, even if its folder is not there yet. */
#include <sys/statvfs.h>

#include "daemon/step/step.h"

static int nearest_parent(char *path, struct statvfs *ret) {
        for (;;) {
                char *slash;

                if (statvfs(path, ret) >= 0)
                        return 0;
                slash = strrchr(path, '/');
                if ((errno != ENOENT && errno != ENOTDIR) || !slash || streq(path, "/"))
                        return -errno;
                slash[slash == path ? 1 : 0] = '\0';
        }
}

static int disk_look(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *path = NULL, *at = NULL, *have = NULL;
        struct statvfs fs;
        int64_t wanted, found;
        int r;

        r = args_bytes(args, "free", 0, &wanted, reterr);
        if (r >= 0)
                r = step_path(s, args_text(args, "path", ""), &path, reterr);
        if (r < 0)
                return r;
        at = strdup(path);
        if (!at)
                return error_oom(reterr);
        r = nearest_parent(at, &fs);
        if (r < 0)
                return error_set(reterr, -r, "read-failed", "The space at %s cannot be read: %s",
                                 path, strerror(-r));
        found = (int64_t) (fs.f_bavail * fs.f_frsize);
        if (found >= wanted)
                return 0;
        have = size_format(found & ~(int64_t) 0xfffff); /* whole MiB are exact enough */
        return error_set(reterr, EBADE, "check-failed", "%s has %s free, %s are needed", path,
                         have ? have : "?", args_text(args, "free", "?"));
}

const Check check_disk = {"disk", disk_look};
