/* SPDX-License-Identifier: MIT */
/* Putting files back as they were: see daemon/step/keep.h. */
#include "daemon/step/files.h"
#include "daemon/step/keep.h"

#include <dirent.h>
#include <fcntl.h>

static int put_back(Step *s, const char *kept, const char *path, Error *reterr);

/* A name in kept/since/ that is free. */
static int since_name(Step *s, const char *path, char **ret, Error *reterr) {
        const char *kept, *slash = strrchr(path, '/');
        _cleanup_free_ char *dir = NULL;
        int r = step_kept_dir(s, &kept, reterr);

        if (r < 0)
                return r;
        dir = path_join(kept, "since");
        if (!dir)
                return error_oom(reterr);
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return error_set(reterr, errno, "write-failed", "Cannot make %s: %s", dir,
                                 strerror(errno));
        for (unsigned k = 1;; k++) {
                _cleanup_free_ char *name = strf("%s/%u-%.200s", dir, k, slash ? slash + 1 : path);
                struct stat st;

                if (!name)
                        return error_oom(reterr);
                if (lstat(name, &st) < 0) {
                        *ret = TAKE(name);
                        return 0;
                }
        }
}

int keep_aside(Step *s, const char *path, bool copy, const char *why, Error *reterr) {
        _cleanup_free_ char *name = NULL;
        int r = since_name(s, path, &name, reterr);

        if (r < 0)
                return r;
        r = copy ? tree_copy(path, name, reterr) : tree_move(path, name, reterr);
        if (r >= 0)
                step_log(s, "%s %s; it is kept as %s", path, why, name);
        return r;
}

/* Did the step itself put this file there? */
static bool is_of_step(Step *s, const char *path, bool *ret_known) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        char hash[SHA256_TEXT_MAX] = "";
        const json_t *entries, *entry;
        bool same = false;
        size_t i;

        *ret_known = false;
        if (step_undo_entries(s, &entries, NULL) < 0)
                return false;
        if (fd >= 0 && sha256_fd(fd, hash, NULL) < 0)
                hash[0] = '\0';
        json_array_foreach (entries, i, entry) {
                if (!streq(args_text(entry, "undo", ""), "makes") ||
                    !streq(args_text(entry, "path", ""), path))
                        continue;
                *ret_known = true;
                same = same || streq(args_text(entry, "sha256", ""), hash);
        }
        return same;
}

/* What a killed attempt may have left beside it. */
static void forget_temporary(const char *path) {
        _cleanup_free_ char *temporary = beside(path, "");

        if (temporary)
                (void) unlink(temporary);
}

static int put_back_absence(Step *s, const char *path, Error *reterr) {
        struct stat st;
        bool known;

        forget_temporary(path);
        if (lstat(path, &st) < 0)
                return errno == ENOENT || errno == ENOTDIR
                               ? 0
                               : error_set(reterr, errno, "read-failed", "Cannot look at %s: %s",
                                           path, strerror(errno));
        if (!is_of_step(s, path, &known) || !S_ISREG(st.st_mode))
                return keep_aside(s, path, false,
                                  known ? "was changed by someone else since"
                                        : "was not there before and goes",
                                  reterr);
        if (unlink(path) < 0)
                return error_set(reterr, errno, "write-failed", "Cannot remove %s: %s", path,
                                 strerror(errno));
        return MIN(parent_sync(path), 0);
}

/* Nobody has touched it: it keeps its inode, which a running program may have open. */
static bool is_as_kept(const char *kept, const char *path, const struct stat *a,
                       const struct stat *b) {
        return a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
               a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
               xattrs_equal(kept, path) && bytes_equal(kept, path) == 1;
}

static int put_back_file(Step *s, const char *kept, const char *path, const struct stat *st,
                         Error *reterr) {
        _cleanup_close_ int fd = open(kept, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        FileContent content = {.fd = fd, .like = st, .times = true, .xattrs_of = kept};
        struct stat now;
        bool known;

        if (fd < 0)
                return error_set(reterr, errno, "read-failed",
                                 "Cannot read the kept copy of %s: %s", path, strerror(errno));
        if (lstat(path, &now) == 0 && S_ISREG(now.st_mode)) {
                if (is_as_kept(kept, path, st, &now))
                        return 0;
                if (bytes_equal(kept, path) == 0 && !is_of_step(s, path, &known) && known) {
                        int r = keep_aside(s, path, true, "was changed by someone else since",
                                           reterr);

                        if (r < 0)
                                return r;
                }
        }
        return file_install(path, &content, reterr);
}

static int put_back_link(const char *kept, const char *path, const struct stat *st, Error *reterr) {
        _cleanup_free_ char *target = NULL;
        int r = link_read(kept, &target);

        if (r < 0)
                return error_set(reterr, -r, "read-failed", "Cannot read the kept copy of %s: %s",
                                 path, strerror(-r));
        return link_install(path, target, st, reterr);
}

/* What stands in the folder and was not there before goes aside. */
static int clear_extras(Step *s, const char *kept, const char *path, Error *reterr) {
        _cleanup_(closedirp) DIR *dir = opendir(path);
        const struct dirent *entry;

        if (!dir)
                return error_set(reterr, errno, "read-failed", "Cannot read the folder %s: %s",
                                 path, strerror(errno));
        while ((entry = readdir(dir))) {
                _cleanup_free_ char *was = path_join(kept, entry->d_name);
                _cleanup_free_ char *is = path_join(path, entry->d_name);
                struct stat st;
                int r;

                if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
                        continue;
                if (!was || !is)
                        return error_oom(reterr);
                /* Sockets are never kept: they are no sign that the file is new. */
                if (lstat(was, &st) == 0 || lstat(is, &st) < 0 || S_ISSOCK(st.st_mode))
                        continue;
                r = keep_aside(s, is, false, "was not there before and goes", reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int put_back_children(Step *s, const char *kept, const char *path, Error *reterr) {
        _cleanup_(closedirp) DIR *dir = opendir(kept);
        const struct dirent *entry;

        if (!dir)
                return error_set(reterr, errno, "read-failed",
                                 "Cannot read the kept copy of %s: %s", path, strerror(errno));
        while ((entry = readdir(dir))) {
                _cleanup_free_ char *a = path_join(kept, entry->d_name);
                _cleanup_free_ char *b = path_join(path, entry->d_name);
                int r;

                if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
                        continue;
                if (!a || !b)
                        return error_oom(reterr);
                r = put_back(s, a, b, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int put_back_dir(Step *s, const char *kept, const char *path, const struct stat *st,
                        Error *reterr) {
        struct timespec when[2] = {st->st_atim, st->st_mtim};
        struct stat now;
        int r;

        if (lstat(path, &now) < 0 && mkdir(path, 0700) < 0)
                return error_set(reterr, errno, "write-failed", "Cannot make the folder %s: %s",
                                 path, strerror(errno));
        r = put_back_children(s, kept, path, reterr);
        if (r >= 0)
                r = clear_extras(s, kept, path, reterr);
        if (r < 0)
                return r;
        if ((chown(path, st->st_uid, st->st_gid) < 0 && (errno != EPERM || geteuid() == 0)) ||
            chmod(path, st->st_mode & 07777) < 0 || utimensat(AT_FDCWD, path, when, 0) < 0)
                return error_set(reterr, errno, "write-failed",
                                 "Cannot set owner and mode of %s: %s", path, strerror(errno));
        r = parent_sync(path);
        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot sync the folder above %s: %s",
                                 path, strerror(-r))
                     : 0;
}

static int put_back(Step *s, const char *kept, const char *path, Error *reterr) {
        struct stat st, now;

        forget_temporary(path);
        if (lstat(kept, &st) < 0)
                return error_set(reterr, errno, "read-failed",
                                 "The kept copy of %s is gone (%s): %s", path, kept,
                                 strerror(errno));
        /* A folder in place of a file, or the other way round, cannot be replaced by a rename. */
        if (lstat(path, &now) == 0 && S_ISDIR(now.st_mode) != S_ISDIR(st.st_mode)) {
                int r = keep_aside(s, path, false, "has become something else and goes", reterr);

                if (r < 0)
                        return r;
        }
        if (S_ISREG(st.st_mode))
                return put_back_file(s, kept, path, &st, reterr);
        if (S_ISLNK(st.st_mode))
                return put_back_link(kept, path, &st, reterr);
        if (S_ISDIR(st.st_mode))
                return put_back_dir(s, kept, path, &st, reterr);
        return lstat(path, &now) == 0 ? 0 : tree_copy(kept, path, reterr);
}

static int kept_path(Step *s, const json_t *entry, char **ret, Error *reterr) {
        const char *dir, *name = args_text(entry, "kept", "");
        int r;

        /* Anything else would be the folder of all copies, or not of the record at all. */
        if (isempty(name) || strchr(name, '/') || streq(name, ".") || streq(name, ".."))
                return error_set(reterr, EBADMSG, "undo-record",
                                 "The undo record does not name the kept copy of %s",
                                 args_text(entry, "path", ""));
        r = step_kept_dir(s, &dir, reterr);
        if (r < 0)
                return r;
        *ret = path_join(dir, name);
        return *ret ? 0 : error_oom(reterr);
}

/* The folders above may be gone by now; somebody else's they were, so nothing records them. */
static int parents_exist(Step *s, const char *path, Error *reterr) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *dir =
                slash && slash != path ? strndup(path, (size_t) (slash - path)) : NULL;
        struct stat st;
        int r;

        if (!dir || stat(dir, &st) == 0)
                return 0;
        step_log(s, "The folder %s is gone; it is made again", dir);
        r = mkdir_durable(dir, 0755);
        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot make the folder %s: %s", dir,
                                 strerror(-r))
                     : 0;
}

int keep_undo_path(Step *s, const json_t *entry, Error *reterr) {
        const char *path = args_text(entry, "path", "");
        _cleanup_free_ char *kept = NULL;
        int r;

        if (!json_object_get(entry, "kept"))
                return put_back_absence(s, path, reterr);
        r = kept_path(s, entry, &kept, reterr);
        if (r >= 0)
                r = parents_exist(s, path, reterr);
        return r < 0 ? r : put_back(s, kept, path, reterr);
}

static int undo_moved(Step *s, const json_t *entry, Error *reterr) {
        const char *path = args_text(entry, "path", "");
        _cleanup_free_ char *kept = NULL;
        struct stat st;
        int r = kept_path(s, entry, &kept, reterr);

        if (r < 0)
                return r;
        /* Not in kept/: it was never moved, or is back already. */
        if (lstat(kept, &st) < 0)
                return 0;
        r = parents_exist(s, path, reterr);
        if (r >= 0 && lstat(path, &st) == 0)
                r = keep_aside(s, path, false, "stands where something was removed", reterr);
        return r < 0 ? r : tree_move(kept, path, reterr);
}

static int undo_parent(Step *s, const json_t *entry, Error *reterr) {
        const char *path = args_text(entry, "path", "");

        if (rmdir(path) == 0)
                return MIN(parent_sync(path), 0);
        if (errno == ENOENT)
                return 0;
        if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
                step_log(s, "The folder %s is left: others use it by now", path);
                return 0;
        }
        return error_set(reterr, errno, "write-failed", "Cannot remove the folder %s: %s", path,
                         strerror(errno));
}

static const struct {
        const char *kind;
        int (*undo)(Step *s, const json_t *entry, Error *reterr);
} kinds[] = {{"path", keep_undo_path}, {"moved", undo_moved}, {"parent", undo_parent}};

/* Entries of other kinds are for others. */
static int undo_one(Step *s, const json_t *entry, Error *reterr) {
        const char *kind = args_text(entry, "undo", ""), *path = args_text(entry, "path", "");

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                if (!streq(kinds[i].kind, kind))
                        continue;
                if (*path == '/')
                        return kinds[i].undo(s, entry, reterr);
                return error_set(reterr, EBADMSG, "undo-record",
                                 "The undo record has no absolute path, but '%s'", path);
        }
        return 0;
}

int keep_undo(Step *s, Error *reterr) {
        const json_t *entries;
        int first = 0, r = step_undo_entries(s, &entries, reterr);

        if (r < 0)
                return r;
        for (size_t i = json_array_size(entries); i-- > 0;) {
                _cleanup_error_ Error e = ERROR_INIT;

                if (step_stopping(s))
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
                r = undo_one(s, json_array_get(entries, i), &e);
                if (r >= 0)
                        continue;
                step_log(s, "%s", e.message ? e.message : strerror(-r));
                if (first == 0) {
                        first = r;
                        error_move(reterr, &e);
                }
        }
        return first;
}
