/* SPDX-License-Identifier: MIT */
/* Putting a file somewhere, undo first: see daemon/step/place.h. */
#include "daemon/step/place.h"

#include <fcntl.h>

int place_path(Step *s, const char *to, char **ret, Error *reterr) {
        _cleanup_free_ char *path = NULL, *real = NULL;
        struct stat st;
        int r = step_path(s, to, &path, reterr);

        if (r < 0)
                return r;
        path_tidy(path);
        if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
                real = realpath(path, NULL);
                if (!real)
                        return error_set(reterr, errno, "bad-link",
                                         "%s is a symlink to something that is missing", path);
        }
        *ret = real ? TAKE(real) : TAKE(path);
        return 0;
}

int place_like(Step *s, const json_t *args, struct stat *st, Error *reterr) {
        const char *owner = args_text(args, "owner", NULL), *mode = args_text(args, "mode", NULL);
        uid_t uid = (uid_t) -1;
        gid_t gid = (gid_t) -1;
        mode_t bits;
        int r;

        if (mode) {
                r = mode_parse(mode, &bits, reterr);
                if (r < 0)
                        return r;
                st->st_mode = (st->st_mode & (mode_t) ~07777) | bits;
        }
        if (!owner)
                return 0;
        r = owner_parse(owner, &uid, &gid, reterr);
        if (r < 0)
                return r;
        st->st_uid = uid == (uid_t) -1 ? st->st_uid : uid;
        st->st_gid = gid == (gid_t) -1 ? st->st_gid : gid;
        return 0;
}

/* A new file belongs to who runs the step's commands. */
static int new_like(Step *s, mode_t mode, struct stat *st, Error *reterr) {
        const char *user = args_text(step_op(s), "user", NULL);
        uid_t uid = (uid_t) -1;
        gid_t gid = (gid_t) -1;
        int r = isempty(user) || geteuid() != 0 ? 0 : owner_parse(user, &uid, &gid, reterr);

        if (r < 0)
                return r;
        *st = (struct stat){.st_mode = S_IFREG | mode,
                            .st_uid = uid == (uid_t) -1 ? geteuid() : uid,
                            .st_gid = gid == (gid_t) -1 ? getegid() : gid};
        return 0;
}

static int content_hash(const FileContent *c, char ret[static SHA256_TEXT_MAX]) {
        int r;

        if (c->fd < 0) {
                sha256_text(c->data, c->size, ret);
                return 0;
        }
        if (lseek(c->fd, 0, SEEK_SET) < 0)
                return -errno;
        r = sha256_fd(c->fd, ret, NULL);
        return r;
}

static bool stands_there(const char *path, const char *hash, const struct stat *want) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        char now[SHA256_TEXT_MAX];
        struct stat st;

        return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
               st.st_mode == want->st_mode && st.st_uid == want->st_uid &&
               st.st_gid == want->st_gid && sha256_fd(fd, now, NULL) >= 0 && streq(now, hash);
}

static int record(Step *s, const char *path, const char *hash, Error *reterr) {
        int r = keep_parents(s, path, reterr);

        if (r >= 0)
                r = keep_path(s, path, reterr);
        return r < 0 ? r : keep_makes(s, path, hash, reterr);
}

int place_file(Step *s, const json_t *args, const char *path, const FileContent *content,
               mode_t mode, Error *reterr) {
        FileContent c = *content;
        char hash[SHA256_TEXT_MAX];
        struct stat like;
        int r;

        if (lstat(path, &like) == 0) {
                if (!S_ISREG(like.st_mode))
                        return error_set(reterr, S_ISDIR(like.st_mode) ? EISDIR : EINVAL,
                                         "not-a-file", "%s is no ordinary file", path);
                c.xattrs_of = path;
        } else {
                r = new_like(s, mode, &like, reterr);
                if (r < 0)
                        return r;
        }
        r = place_like(s, args, &like, reterr);
        if (r < 0)
                return r;
        r = content_hash(&c, hash);
        if (r < 0)
                return error_set(reterr, -r, "read-failed", "Cannot read what goes to %s: %s", path,
                                 strerror(-r));
        if (stands_there(path, hash, &like))
                return 0;
        r = record(s, path, hash, reterr);
        if (r < 0)
                return r;
        c.like = &like;
        r = file_install(path, &c, reterr);
        return r < 0 ? r : 1;
}
