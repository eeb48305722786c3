/* SPDX-License-Identifier: MIT */
/* Files of the job's folder `.held/`: see held.h. No step can have that name. */
#include "daemon/step/held.h"
#include "daemon/step/files.h"

#include <dirent.h>
#include <fcntl.h>

#define HELD_MAX (1024 * 1024)

static int held_path(Step *s, const char *kind, const char *name, bool make, char **ret,
                     Error *reterr) {
        _cleanup_free_ char *dir = path_join(step_job_dir(s), ".held");
        _cleanup_free_ char *file = strf("%s-%s", kind, name);
        int r;

        if (!dir || !file)
                return error_oom(reterr);
        for (char *p = file; *p; p++)
                if (*p == '/')
                        *p = '_';
        if (make) {
                r = mkdir_durable(dir, 0700);
                if (r < 0)
                        return error_set(reterr, -r, "write-failed", "Cannot make %s: %s", dir,
                                         strerror(-r));
        }
        *ret = path_join(dir, file);
        return *ret ? 0 : error_oom(reterr);
}

int held_read(Step *s, const char *kind, const char *name, json_t **ret, Error *reterr) {
        _cleanup_free_ char *path = NULL, *text = NULL;
        size_t size;
        int r;

        *ret = NULL;
        r = held_path(s, kind, name, false, &path, reterr);
        if (r < 0)
                return r;
        r = file_read(AT_FDCWD, path, HELD_MAX, &text, &size);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_set(reterr, -r, "read-failed", "Cannot read %s: %s", path,
                                 strerror(-r));
        *ret = json_loadb(text, size, JSON_DECODE_ANY, NULL);
        return *ret ? 0 : error_set(reterr, EBADMSG, "read-failed", "%s is damaged", path);
}

int held_list(Step *s, const char *kind, json_t **ret, Error *reterr) {
        _cleanup_free_ char *path = path_join(step_job_dir(s), ".held");
        _cleanup_free_ char *prefix = strf("%s-", kind);
        _cleanup_(closedirp) DIR *dir = path ? opendir(path) : NULL;
        json_auto_t *all = json_object();
        const struct dirent *entry;

        if (!path || !prefix || !all)
                return error_oom(reterr);
        if (!dir && errno != ENOENT)
                return error_set(reterr, errno, "read-failed", "Cannot read %s: %s", path,
                                 strerror(errno));
        while (dir && (entry = readdir(dir))) {
                const char *name = entry->d_name + strlen(prefix);
                json_t *value;
                int r;

                if (!startswith(entry->d_name, prefix))
                        continue;
                r = held_read(s, kind, name, &value, reterr);
                if (r < 0)
                        return r;
                if (value && json_put(all, name, value) < 0)
                        return error_oom(reterr);
        }
        *ret = TAKE(all);
        return 0;
}

int held_note(Step *s, const char *kind, const char *name, json_t *value, Error *reterr) {
        json_auto_t *owned = value, *there = NULL;
        _cleanup_free_ char *path = NULL;
        _cleanup_free_ char *text =
                owned ? json_dumps(owned, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        int r;

        if (!text)
                return error_oom(reterr);
        r = held_read(s, kind, name, &there, reterr);
        if (r < 0 || there)
                return r;
        r = held_path(s, kind, name, true, &path, reterr);
        if (r < 0)
                return r;
        r = file_write_atomic(AT_FDCWD, path, text, strlen(text), 0600);
        if (r < 0)
                return error_set(reterr, -r, "write-failed", "Cannot write %s: %s", path,
                                 strerror(-r));
        return 0;
}

int held_drop(Step *s, const char *kind, const char *name, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        int r = held_path(s, kind, name, false, &path, reterr);

        if (r < 0)
                return r;
        if (unlink(path) == 0)
                r = parent_sync(path);
        else
                r = errno == ENOENT ? 0 : -errno;
        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot remove %s: %s", path,
                                 strerror(-r))
                     : 0;
}
