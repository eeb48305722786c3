/* SPDX-License-Identifier: MIT */
/*
 * snapshot {paths}: how they are now, folders with all in them, for what the later steps do to
 * them. A plain path that is missing is recorded as missing. Of a symlink both the link and the
 * file that it points at are kept, for a program that writes through the link changes the file.
 */
#include "daemon/step/files.h"
#include "daemon/step/keep.h"

static int keep_target(Step *s, const char *path, Error *reterr) {
        _cleanup_free_ char *real = NULL;
        struct stat st;

        if (lstat(path, &st) < 0 || !S_ISLNK(st.st_mode))
                return 0;
        real = realpath(path, NULL);
        if (!real || stat(real, &st) < 0 || !S_ISREG(st.st_mode))
                return 0;
        return keep_path(s, real, reterr);
}

static int snapshot_run(Step *s, const json_t *args, Error *reterr) {
        json_auto_t *paths = NULL;
        const json_t *one;
        size_t i;
        int r = keep_paths(s, json_object_get(args, "paths"), false, NULL, &paths, reterr);

        if (r < 0)
                return r;
        json_array_foreach (paths, i, one) {
                const char *path = args_text(one, "path", "");

                if (step_stopping(s))
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
                r = keep_path(s, path, reterr);
                if (r >= 0)
                        r = keep_target(s, path, reterr);
                if (r < 0)
                        return r;
                step_log(s, "Kept %s", path);
        }
        return 0;
}

static int snapshot_undo(Step *s, const json_t *args, Error *reterr) {
        return keep_undo(s, reterr);
}

const Verb verb_snapshot = {"snapshot", snapshot_run, snapshot_undo};
