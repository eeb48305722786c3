/* SPDX-License-Identifier: MIT */
/*
 * copy {from, to, mode, owner}: a file, or a folder with all in it. `to` is the new name; where it
 * ends in a slash or is a folder (and `from` is a file), the copy goes into it under its own name.
 * A folder is copied only to where nothing stands.
 */
#include "daemon/step/place.h"

#include <fcntl.h>

static const char *base_of(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static int target_path(Step *s, const char *from, bool folder, const char *to, char **ret,
                       Error *reterr) {
        _cleanup_free_ char *below = NULL, *path = NULL;
        struct stat st;
        int r = step_path(s, to, &path, reterr);

        if (r < 0)
                return r;
        if (endswith(to, "/") || (!folder && stat(path, &st) == 0 && S_ISDIR(st.st_mode))) {
                below = path_join(path, base_of(from));
                if (!below)
                        return error_oom(reterr);
                return place_path(s, below, ret, reterr);
        }
        return place_path(s, to, ret, reterr);
}

static int copy_file(Step *s, const json_t *args, const char *from, const char *to,
                     const struct stat *st, Error *reterr) {
        _cleanup_close_ int fd = open(from, O_RDONLY | O_CLOEXEC);
        FileContent content = {.fd = fd, .xattrs_of = from};
        int r;

        if (fd < 0)
                return error_set(reterr, errno, "read-failed", "Cannot read %s: %s", from,
                                 strerror(errno));
        r = place_file(s, args, to, &content, st->st_mode & 07777, reterr);
        if (r == 0)
                step_log(s, "%s is like that already", to);
        return r;
}

/* The copy is made under another name and appears whole. */
static int copy_folder(Step *s, const json_t *args, const char *from, const char *to,
                       const struct stat *st, Error *reterr) {
        _cleanup_free_ char *temporary = beside(to, ".new");
        const json_t *before = keep_find(s, "path", to);
        struct stat like = *st, now;
        int r;

        if (!temporary)
                return error_oom(reterr);
        if (lstat(to, &now) == 0)
                /* It appears whole, so a rerun that finds it has nothing left to do. */
                return before ? 0
                              : error_set(reterr, EEXIST, "exists",
                                          "%s exists; a folder is copied only to where nothing "
                                          "stands (with a slash at the end: into it)",
                                          to);
        r = keep_parents(s, to, reterr);
        if (r >= 0)
                r = keep_path(s, to, reterr);
        if (r >= 0)
                r = place_like(s, args, &like, reterr);
        if (r >= 0)
                r = tree_copy(from, temporary, reterr);
        if (r < 0)
                return r;
        if (chown(temporary, like.st_uid, like.st_gid) < 0 && geteuid() == 0)
                return error_set(reterr, errno, "write-failed", "Cannot set the owner of %s: %s",
                                 to, strerror(errno));
        if (chmod(temporary, like.st_mode & 07777) < 0)
                return error_set(reterr, errno, "write-failed", "Cannot set the mode of %s: %s", to,
                                 strerror(errno));
        return tree_move(temporary, to, reterr);
}

static int copy_run(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *from = NULL, *to = NULL;
        struct stat st;
        int r = step_path(s, args_text(args, "from", ""), &from, reterr);

        if (r < 0)
                return r;
        path_tidy(from);
        if (stat(from, &st) < 0)
                return error_set(reterr, errno, "read-failed", "Cannot read %s: %s", from,
                                 strerror(errno));
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
                return error_set(reterr, EINVAL, "not-a-file", "%s is neither file nor folder",
                                 from);
        r = target_path(s, from, S_ISDIR(st.st_mode), args_text(args, "to", ""), &to, reterr);
        if (r >= 0)
                r = S_ISDIR(st.st_mode) ? copy_folder(s, args, from, to, &st, reterr)
                                        : copy_file(s, args, from, to, &st, reterr);
        return r < 0 ? r : step_output(s, "path", json_string(to));
}

static int copy_undo(Step *s, const json_t *args, Error *reterr) {
        const json_t *entries, *entry;
        size_t i;
        int r = step_undo_entries(s, &entries, reterr);

        if (r < 0)
                return r;
        /* What a crash left beside a folder that never appeared. */
        json_array_foreach (entries, i, entry) {
                const char *path = args_text(entry, "path", NULL);
                _cleanup_free_ char *temporary = path ? beside(path, ".new") : NULL;

                if (temporary)
                        (void) remove_tree(temporary);
        }
        return keep_undo(s, reterr);
}

const Verb verb_copy = {"copy", copy_run, copy_undo};
