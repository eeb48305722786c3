/* SPDX-License-Identifier: MIT */
/* Copying and moving whole trees: see daemon/step/files.h. */
#include "daemon/step/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>

static int copy_node(const char *from, const char *to, Error *reterr);

static int cannot_copy(const char *path, int err, Error *reterr) {
        return error_set(reterr, err, "copy-failed", "Cannot copy %s: %s", path, strerror(err));
}

static int copy_file(const char *from, const char *to, const struct stat *st, Error *reterr) {
        _cleanup_close_ int fd = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        FileContent content = {.fd = fd, .like = st, .times = true, .xattrs_of = from};

        int r;

        if (fd < 0)
                return cannot_copy(from, errno, reterr);
        r = file_make(to, &content, false);
        return r < 0 ? cannot_copy(from, -r, reterr) : 0;
}

static int copy_link(const char *from, const char *to, const struct stat *st, Error *reterr) {
        _cleanup_free_ char *target = NULL;
        int r = link_read(from, &target);

        return r < 0 ? cannot_copy(from, -r, reterr) : link_install(to, target, st, reterr);
}

static int copy_children(const char *from, const char *to, Error *reterr) {
        _cleanup_(closedirp) DIR *dir = opendir(from);
        const struct dirent *entry;

        if (!dir)
                return cannot_copy(from, errno, reterr);
        while ((entry = readdir(dir))) {
                _cleanup_free_ char *a = NULL, *b = NULL;
                int r;

                if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
                        continue;
                a = path_join(from, entry->d_name);
                b = path_join(to, entry->d_name);
                if (!a || !b)
                        return error_oom(reterr);
                r = copy_node(a, b, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Not inlined: its buffers would stand on the stack once for each level of the tree. */
__attribute__((noinline)) static int dir_metadata(const char *from, const char *to,
                                                  const struct stat *st) {
        struct timespec when[2] = {st->st_atim, st->st_mtim};
        char names[4096], value[64 * 1024];
        ssize_t n = llistxattr(from, names, sizeof(names));

        for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
                ssize_t size = lgetxattr(from, name, value, sizeof(value));

                if (size >= 0)
                        (void) lsetxattr(to, name, value, (size_t) size, 0);
        }
        if (chown(to, st->st_uid, st->st_gid) < 0 && (errno != EPERM || geteuid() == 0))
                return -errno;
        if (chmod(to, st->st_mode & 07777) < 0 || utimensat(AT_FDCWD, to, when, 0) < 0)
                return -errno;
        return 0;
}

static int copy_dir(const char *from, const char *to, const struct stat *st, Error *reterr) {
        int r;

        if (mkdir(to, 0700) < 0)
                return cannot_copy(from, errno, reterr);
        r = copy_children(from, to, reterr);
        if (r < 0)
                return r;
        r = dir_metadata(from, to, st);
        return r < 0 ? cannot_copy(from, -r, reterr) : 0;
}

static int copy_special(const char *from, const char *to, const struct stat *st, Error *reterr) {
        /* A socket is made by who listens on it; a copy would answer nobody. */
        if (S_ISSOCK(st->st_mode))
                return 0;
        if (mknod(to, st->st_mode, st->st_rdev) < 0 ||
            fchownat(AT_FDCWD, to, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
                return cannot_copy(from, errno, reterr);
        return 0;
}

static int copy_node(const char *from, const char *to, Error *reterr) {
        struct stat st;

        if (lstat(from, &st) < 0)
                return cannot_copy(from, errno, reterr);
        if (S_ISREG(st.st_mode))
                return copy_file(from, to, &st, reterr);
        if (S_ISLNK(st.st_mode))
                return copy_link(from, to, &st, reterr);
        if (S_ISDIR(st.st_mode))
                return copy_dir(from, to, &st, reterr);
        return copy_special(from, to, &st, reterr);
}

/* One syncfs for all of a tree: an fsync for each of its files would take minutes on some disks. */
static int make_durable(const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        struct stat st;

        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fsync(fd) < 0)
                return -errno;
        if (fd >= 0 && S_ISDIR(st.st_mode) && syncfs(fd) < 0)
                return -errno;
        return parent_sync(path);
}

/* Is `to`, which need not exist, `from` or somewhere below it? Then copying would never end. */
static int lies_below(const char *to, const char *from) {
        _cleanup_free_ char *path = strdup(to);
        struct stat top, st;

        if (!path)
                return -ENOMEM;
        if (lstat(from, &top) < 0 || !S_ISDIR(top.st_mode))
                return 0;
        for (char *slash; (slash = strrchr(path, '/'));) {
                if (stat(path, &st) == 0 && st.st_dev == top.st_dev && st.st_ino == top.st_ino)
                        return 1;
                *slash = '\0';
        }
        return stat("/", &st) == 0 && st.st_dev == top.st_dev && st.st_ino == top.st_ino;
}

static int refuse_below(const char *to, const char *from, Error *reterr) {
        int r = lies_below(to, from);

        if (r < 0)
                return error_oom(reterr);
        return r == 0 ? 0
                      : error_set(reterr, EINVAL, "copy-failed",
                                  "Cannot copy %s: the copy, %s, would be a part of it", from, to);
}

int tree_copy(const char *from, const char *to, Error *reterr) {
        int r = refuse_below(to, from, reterr);

        if (r < 0)
                return r;
        r = remove_tree(to);
        if (r < 0)
                return cannot_copy(to, -r, reterr);
        r = copy_node(from, to, reterr);
        if (r < 0) {
                (void) remove_tree(to);
                return r;
        }
        r = make_durable(to);
        return r < 0 ? cannot_copy(to, -r, reterr) : 0;
}

int tree_move(const char *from, const char *to, Error *reterr) {
        struct stat st;
        int r;

        if (lstat(to, &st) == 0)
                return error_set(reterr, EEXIST, "exists", "Cannot move %s to %s: it exists", from,
                                 to);
        if (rename(from, to) == 0) {
                r = parent_sync(from);
                return r < 0 ? r : parent_sync(to);
        }
        if (errno != EXDEV)
                return error_set(reterr, errno, "move-failed", "Cannot move %s to %s: %s", from, to,
                                 strerror(errno));
        r = tree_copy(from, to, reterr);
        if (r < 0)
                return r;
        r = remove_tree(from);
        if (r >= 0)
                r = parent_sync(from);
        return r < 0 ? error_set(reterr, -r, "move-failed", "Cannot remove %s: %s", from,
                                 strerror(-r))
                     : 0;
}
