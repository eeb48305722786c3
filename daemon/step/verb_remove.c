/* SPDX-License-Identifier: MIT */
/*
 * remove {paths}: files, symlinks (never what they point at) and folders with all in them. Nothing
 * is deleted while the job may go back: it is moved into the record, by a rename where it can be.
 */
#include "api/text.h"
#include "daemon/step/keep.h"

#include <sys/stat.h>

/* A rerun finds gone what the first run has moved away. */
static bool was_moved(Step *s, const char *word) {
        return keep_has_moved(s, word);
}

static int remove_one(Step *s, const char *path, const char *word, Error *reterr) {
        _cleanup_free_ char *real = realpath(path, NULL);
        const char *dir = step_record_dir(s);
        struct stat st;

        if (streq(path, "/"))
                return error_set(reterr, EINVAL, "bad-path", "The root folder is never removed");
        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0
                                       : error_set(reterr, errno, "read-failed",
                                                   "Cannot look at %s: %s", path, strerror(errno));
        /* It would be moved into itself. */
        if (S_ISDIR(st.st_mode) && real && startswith(dir, real) &&
            (dir[strlen(real)] == '/' || !dir[strlen(real)]))
                return error_set(reterr, EINVAL, "bad-path",
                                 "%s holds this job's own record and is not removed", path);
        step_log(s, "Removing %s", path);
        return keep_move(s, path, word, reterr);
}

static int tell_path(Step *s, const char *path) {
        _cleanup_free_ char *text = utf8_clean(path, strlen(path));

        return step_output(s, "path", text ? json_string(text) : NULL);
}

static int remove_run(Step *s, const json_t *args, Error *reterr) {
        json_auto_t *paths = NULL;
        const json_t *one;
        size_t i;
        int r = keep_paths(s, json_object_get(args, "paths"), true, was_moved, &paths, reterr);

        if (r < 0)
                return r;
        json_array_foreach (paths, i, one) {
                if (step_stopping(s))
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
                r = remove_one(s, args_text(one, "path", ""), args_text(one, "from", ""), reterr);
                if (r >= 0 && i == 0)
                        r = tell_path(s, args_text(one, "path", ""));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int remove_undo(Step *s, const json_t *args, Error *reterr) {
        return keep_undo(s, reterr);
}

const Verb verb_remove = {"remove", remove_run, remove_undo};
