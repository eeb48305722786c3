/* SPDX-License-Identifier: MIT */
/* Sizes of trees and room on file systems: see daemon/step/measure.h. */
#include "daemon/step/measure.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define BLOCK 4096

void size_add(Size *sum, const Size *more) {
        sum->bytes += more->bytes;
        sum->entries += more->entries;
}

Size size_with_margin(const Size *size) {
        if (size->bytes == 0 && size->entries == 0)
                return *size;
        return (Size){.bytes =
                              (size->bytes + size->bytes / 16 + 64 * 1024) & ~(int64_t) (BLOCK - 1),
                      .entries = size->entries + 4};
}

static int size_of_children(Step *s, const char *path, Size *sum, Error *reterr) {
        _cleanup_(closedirp) DIR *dir = opendir(path);
        const struct dirent *entry;

        if (!dir)
                return errno == ENOENT
                               ? 0
                               : error_set(reterr, errno, "read-failed",
                                           "Cannot read the folder %s: %s", path, strerror(errno));
        while ((entry = readdir(dir))) {
                _cleanup_free_ char *child = NULL;
                Size more;
                int r;

                if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
                        continue;
                child = path_join(path, entry->d_name);
                r = child ? size_of(s, child, &more, reterr) : error_oom(reterr);
                if (r < 0)
                        return r;
                size_add(sum, &more);
        }
        return 0;
}

int size_of(Step *s, const char *path, Size *ret, Error *reterr) {
        Size sum = {.bytes = BLOCK, .entries = 1};
        struct stat st;
        int r = 0;

        *ret = (Size){0};
        if (step_stopping(s))
                return error_set(reterr, ECANCELED, "stopped", "Stopped");
        if (lstat(path, &st) < 0)
                return errno == ENOENT || errno == ENOTDIR
                               ? 0
                               : error_set(reterr, errno, "read-failed", "Cannot look at %s: %s",
                                           path, strerror(errno));
        if (S_ISREG(st.st_mode))
                sum.bytes = ((int64_t) st.st_size + BLOCK - 1) & ~(int64_t) (BLOCK - 1);
        else if (S_ISDIR(st.st_mode))
                r = size_of_children(s, path, &sum, reterr);
        if (r >= 0)
                *ret = sum;
        return r;
}

static char *parent_of(const char *path) {
        const char *slash = strrchr(path, '/');

        return !slash || slash == path ? strdup("/") : strndup(path, (size_t) (slash - path));
}

/* `path` itself when it is a folder. */
static int nearest_folder(const char *path, char **ret, struct stat *st) {
        _cleanup_free_ char *at = strdup(path);

        while (at) {
                char *up;

                if (stat(at, st) == 0 && S_ISDIR(st->st_mode)) {
                        *ret = TAKE(at);
                        return 0;
                }
                if (streq(at, "/"))
                        return -ENOENT;
                up = parent_of(at);
                free(at);
                at = up;
        }
        return -ENOMEM;
}

static char *topmost(const char *path, dev_t dev) {
        char *at = strdup(path);

        while (at && !streq(at, "/")) {
                char *up = parent_of(at);
                struct stat st;

                if (!up || stat(up, &st) < 0 || st.st_dev != dev) {
                        free(up);
                        return at;
                }
                free(at);
                at = up;
        }
        return at;
}

int room_of(const char *path, Room *ret, char **ret_top, char **ret_near, Error *reterr) {
        _cleanup_free_ char *near = NULL, *top = NULL;
        struct statvfs fs;
        struct stat st;
        int r = nearest_folder(path, &near, &st);

        if (r >= 0 && statvfs(near, &fs) < 0)
                r = -errno;
        if (r < 0)
                return error_set(reterr, -r, "read-failed", "The space at %s cannot be read: %s",
                                 path, strerror(-r));
        top = topmost(near, st.st_dev);
        if (!top)
                return error_oom(reterr);
        *ret = (Room){.dev = st.st_dev,
                      .free = (int64_t) (fs.f_bavail * fs.f_frsize),
                      .free_entries = fs.f_files > 0 ? (int64_t) fs.f_favail : -1};
        *ret_top = TAKE(top);
        *ret_near = TAKE(near);
        return 0;
}
