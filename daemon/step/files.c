/* SPDX-License-Identifier: MIT */
/* Putting single files into place: see daemon/step/files.h. */
#include "daemon/step/files.h"
#include "api/text.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/xattr.h>

char *beside(const char *path, const char *suffix) {
        const char *slash = strrchr(path, '/');
        int folder = slash ? (int) (slash - path) + 1 : 0;
        char hash[SHA256_TEXT_MAX];

        /* A hash, because the name with something added could be too long. */
        sha256_text(path, strlen(path), hash);
        return strf("%.*s.updd-%.12s%s", folder, path, hash, suffix);
}

void path_tidy(char *path) {
        char *out = path;

        for (const char *in = path; *in;) {
                while (in[0] == '/' && (in[1] == '/' || (in[1] == '.' && (in[2] == '/' || !in[2]))))
                        in += in[1] == '/' ? 1 : 2;
                if (*in)
                        *out++ = *in++;
        }
        if (out == path)
                *out++ = '/';
        while (out > path + 1 && out[-1] == '/')
                out--;
        *out = '\0';
}

int parent_sync(const char *path) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *dir =
                !slash ? strdup(".") : strndup(path, slash == path ? 1 : (size_t) (slash - path));
        _cleanup_close_ int fd = -EBADF;

        if (!dir)
                return -ENOMEM;
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return fsync(fd) < 0 ? -errno : 0;
}

int link_read(const char *path, char **ret) {
        char text[4096];
        ssize_t n = readlink(path, text, sizeof(text));

        if (n < 0)
                return -errno;
        if ((size_t) n == sizeof(text))
                return -ENAMETOOLONG;
        *ret = strndup(text, (size_t) n);
        return *ret ? 0 : -ENOMEM;
}

static int copy_by_hand(int from, int to) {
        _cleanup_free_ char *buffer = malloc(256 * 1024);

        if (!buffer)
                return -ENOMEM;
        for (;;) {
                ssize_t n = read(from, buffer, 256 * 1024);
                int r;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : 0;
                r = write_all(to, buffer, (size_t) n);
                if (r < 0)
                        return r;
        }
}

int bytes_copy(int from, int to) {
        if (lseek(from, 0, SEEK_SET) < 0)
                return -errno;
        for (;;) {
                ssize_t n = copy_file_range(from, NULL, to, NULL, 1U << 30, 0);

                if (n < 0 && errno == EINTR)
                        continue;
                /* Where the kernel cannot (other file systems, /proc), what is left goes by hand:
                 * both offsets stand where it stopped. Nothing at all is also what /proc says. */
                if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO))
                        return -errno;
                if (n <= 0)
                        return copy_by_hand(from, to);
        }
}

int bytes_equal(const char *a, const char *b) {
        _cleanup_close_ int fa = open(a, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        _cleanup_close_ int fb = open(b, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        char ha[SHA256_TEXT_MAX], hb[SHA256_TEXT_MAX];
        struct stat sa, sb;
        int r;

        if (fa < 0 || fb < 0 || fstat(fa, &sa) < 0 || fstat(fb, &sb) < 0)
                return -errno;
        if (sa.st_size != sb.st_size)
                return 0;
        r = sha256_fd(fa, ha, NULL);
        if (r >= 0)
                r = sha256_fd(fb, hb, NULL);
        return r < 0 ? r : streq(ha, hb);
}

static int xattr_copy(const char *from, int to, const char *name) {
        char value[64 * 1024];
        ssize_t n = lgetxattr(from, name, value, sizeof(value));

        if (n < 0 || fsetxattr(to, name, value, (size_t) n, 0) < 0)
                return -errno;
        return 0;
}

/* Attributes that this file system or user cannot have are left out: there is no other way. */
static int xattrs_copy(const char *from, int to) {
        char names[16 * 1024];
        ssize_t n = llistxattr(from, names, sizeof(names));

        if (n < 0)
                return errno == ENOTSUP || errno == EPERM || errno == EACCES ? 0 : -errno;
        for (const char *name = names; name < names + n; name += strlen(name) + 1) {
                int r = xattr_copy(from, to, name);

                if (r == -ENOSPC || r == -EDQUOT || r == -EIO)
                        return r;
        }
        return 0;
}

/* Does `b` have every attribute of `a`, with the same value? */
static bool xattrs_within(const char *a, const char *b) {
        char names[16 * 1024], va[4096], vb[4096];
        ssize_t n = llistxattr(a, names, sizeof(names));

        for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
                ssize_t na = lgetxattr(a, name, va, sizeof(va));
                ssize_t nb = lgetxattr(b, name, vb, sizeof(vb));

                if (na != nb || (na > 0 && memcmp(va, vb, (size_t) na) != 0))
                        return false;
        }
        return true;
}

bool xattrs_equal(const char *a, const char *b) {
        return xattrs_within(a, b) && xattrs_within(b, a);
}

static int metadata_set(int fd, const FileContent *c) {
        int r;

        if (!c->like)
                return 0;
        /* The owner first: chown takes setuid bits and capabilities away. */
        if (fchown(fd, c->like->st_uid, c->like->st_gid) < 0 && (errno != EPERM || geteuid() == 0))
                return -errno;
        if (fchmod(fd, c->like->st_mode & 07777) < 0)
                return -errno;
        r = c->xattrs_of ? xattrs_copy(c->xattrs_of, fd) : 0;
        if (r < 0)
                return r;
        if (c->times) {
                struct timespec when[2] = {c->like->st_atim, c->like->st_mtim};

                if (futimens(fd, when) < 0)
                        return -errno;
        }
        return 0;
}

int file_make(const char *path, const FileContent *c, bool durable) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = c->fd >= 0 ? bytes_copy(c->fd, fd) : write_all(fd, c->data, c->size);
        if (r >= 0)
                r = metadata_set(fd, c);
        if (r >= 0 && durable && fsync(fd) < 0)
                r = -errno;
        return r;
}

int file_install(const char *path, const FileContent *content, Error *reterr) {
        _cleanup_free_ char *temporary = beside(path, "");
        int r;

        if (!temporary)
                return error_oom(reterr);
        r = file_make(temporary, content, true);
        if (r >= 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r >= 0)
                r = parent_sync(path);
        if (r < 0) {
                (void) unlink(temporary);
                return error_set(reterr, -r, "write-failed", "Cannot write %s: %s", path,
                                 strerror(-r));
        }
        return 0;
}

int link_install(const char *path, const char *target, const struct stat *like, Error *reterr) {
        _cleanup_free_ char *temporary = beside(path, "");
        int r = 0;

        if (!temporary)
                return error_oom(reterr);
        if ((unlink(temporary) < 0 && errno != ENOENT) || symlink(target, temporary) < 0)
                r = -errno;
        if (r >= 0 && like) {
                struct timespec when[2] = {like->st_atim, like->st_mtim};

                (void) fchownat(AT_FDCWD, temporary, like->st_uid, like->st_gid,
                                AT_SYMLINK_NOFOLLOW);
                (void) utimensat(AT_FDCWD, temporary, when, AT_SYMLINK_NOFOLLOW);
        }
        if (r >= 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r >= 0)
                r = parent_sync(path);
        if (r < 0) {
                (void) unlink(temporary);
                return error_set(reterr, -r, "write-failed", "Cannot make the symlink %s: %s", path,
                                 strerror(-r));
        }
        return 0;
}

static int id_parse(const char *text, unsigned *ret) {
        char *end;
        unsigned long n;

        if (text[0] < '0' || text[0] > '9')
                return -EINVAL;
        errno = 0;
        n = strtoul(text, &end, 10);
        if (*end || errno || n >= UINT32_MAX)
                return -EINVAL;
        *ret = (unsigned) n;
        return 0;
}

int owner_parse(const char *text, uid_t *ret_uid, gid_t *ret_gid, Error *reterr) {
        _cleanup_free_ char *user = strdup(text);
        char *group = user ? strchr(user, ':') : NULL;
        uid_t uid = (uid_t) -1;
        gid_t gid = (gid_t) -1;

        if (!user)
                return error_oom(reterr);
        if (group)
                *group++ = '\0';
        if (*user && id_parse(user, &uid) < 0) {
                const struct passwd *pw = getpwnam(user);

                if (!pw)
                        return error_set(reterr, ENOENT, "no-such-user",
                                         "There is no user '%s' on this machine", user);
                uid = pw->pw_uid;
                gid = group ? gid : pw->pw_gid;
        }
        if (group && *group && id_parse(group, &gid) < 0) {
                const struct group *gr = getgrnam(group);

                if (!gr)
                        return error_set(reterr, ENOENT, "no-such-group",
                                         "There is no group '%s' on this machine", group);
                gid = gr->gr_gid;
        }
        *ret_uid = uid;
        *ret_gid = gid;
        return 0;
}

int mode_parse(const char *text, mode_t *ret, Error *reterr) {
        char *end;
        unsigned long mode;

        errno = 0;
        mode = strtoul(text, &end, 8);
        if (text[0] < '0' || text[0] > '7' || *end || errno || mode > 07777)
                return error_set(reterr, EINVAL, "bad-mode",
                                 "'%s' is no mode; write it in octal, like \"0644\"", text);
        *ret = (mode_t) mode;
        return 0;
}
