/* SPDX-License-Identifier: MIT */
/* Writing .tar.zst: see daemon/step/archives.h. */
#include "api/text.h"
#include "daemon/step/archives.h"
#include "daemon/step/archives_digest.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

DEFINE_CLEANUP(struct archive *, archive_read_free)
DEFINE_CLEANUP(struct archive *, archive_write_free)
DEFINE_CLEANUP(struct archive_entry *, archive_entry_free)

typedef struct Pack {
        Step *step;
        struct archive *out;
        struct archive *disk;
        const char *file;
        struct stat self; /* the archive itself, which may lie below what is packed */
        Digest digest;
        uint64_t entries;
} Pack;

static int pack_path(Pack *p, const char *path, Error *reterr);

static int cannot_write(const Pack *p, Error *reterr) {
        int err = archive_errno(p->out);

        err = err > 0 ? err : EIO;
        return error_set(reterr, err, err == ENOSPC || err == EDQUOT ? "disk-full" : "write-failed",
                         "Cannot write %s: %s", p->file, strerror(err));
}

static int write_block(Pack *p, const void *data, size_t size, uint64_t at, Error *reterr) {
        if (archive_write_data(p->out, data, size) < 0)
                return cannot_write(p, reterr);
        digest_data(&p->digest, data, size, at);
        return 0;
}

/* Exactly `size` bytes: a file that grows meanwhile is cut, one that shrinks is filled with zeros,
 * as tar demands; the log says so. */
static int pack_data(Pack *p, int fd, const char *path, uint64_t size, Error *reterr) {
        char block[128 * 1024];
        uint64_t at = 0;

        while (at < size) {
                size_t want = (size_t) MIN(size - at, (uint64_t) sizeof(block));
                ssize_t n = read(fd, block, want);
                int r;

                if (n < 0 && errno == EINTR)
                        continue;
                if (step_stopping(p->step))
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
                if (n < 0)
                        return error_set(reterr, errno, "read-failed", "Cannot read %s: %s", path,
                                         strerror(errno));
                if (n == 0) {
                        step_log(p->step, "%s became shorter while it was read", path);
                        memset(block, 0, want);
                        n = (ssize_t) want;
                }
                r = write_block(p, block, (size_t) n, at, reterr);
                if (r < 0)
                        return r;
                at += (uint64_t) n;
        }
        return 0;
}

static int pack_entry(Pack *p, const char *path, const struct stat *st, int fd, Error *reterr) {
        _cleanup_(archive_entry_freep) struct archive_entry *e = archive_entry_new();
        int r;

        if (!e)
                return error_oom(reterr);
        archive_entry_copy_sourcepath(e, path);
        archive_entry_copy_pathname(e, path);
        if (archive_read_disk_entry_from_file(p->disk, e, fd, st) < ARCHIVE_WARN)
                return error_set(reterr, EIO, "read-failed", "Cannot read %s: %s", path,
                                 archive_error_string(p->disk));
        archive_entry_copy_pathname(e, path[1] ? path + 1 : ".");
        /* Sparse maps would make the size in the stream differ from the file's. */
        archive_entry_sparse_clear(e);
        if (archive_write_header(p->out, e) < ARCHIVE_WARN)
                return cannot_write(p, reterr);
        digest_begin(&p->digest, st->st_mode & S_IFMT, path[1] ? path + 1 : ".",
                     archive_entry_symlink(e));
        r = fd >= 0 ? pack_data(p, fd, path, (uint64_t) st->st_size, reterr) : 0;
        digest_end(&p->digest, fd >= 0 ? (uint64_t) st->st_size : 0);
        p->entries++;
        return r;
}

static int pack_children(Pack *p, const char *path, Error *reterr) {
        _cleanup_free_ struct dirent **list = NULL;
        int n = scandir(path, &list, NULL, alphasort), r = 0;

        if (n < 0)
                return error_set(reterr, errno, "read-failed", "Cannot read the folder %s: %s",
                                 path, strerror(errno));
        for (int i = 0; i < n; i++) {
                _cleanup_free_ struct dirent *entry = list[i];
                _cleanup_free_ char *child = NULL;

                if (r < 0 || streq(entry->d_name, ".") || streq(entry->d_name, ".."))
                        continue;
                child = path_join(path, entry->d_name);
                r = child ? pack_path(p, child, reterr) : error_oom(reterr);
        }
        return r;
}

static int pack_file(Pack *p, const char *path, const struct stat *was, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        if (was->st_dev == p->self.st_dev && was->st_ino == p->self.st_ino)
                return 0;
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_set(reterr, errno, "read-failed", "Cannot read %s: %s", path,
                                 strerror(errno));
        return pack_entry(p, path, &st, fd, reterr);
}

static int pack_path(Pack *p, const char *path, Error *reterr) {
        struct stat st;
        int r;

        if (step_stopping(p->step))
                return error_set(reterr, ECANCELED, "stopped", "Stopped");
        if (lstat(path, &st) < 0)
                return error_set(reterr, errno, "read-failed", "Cannot read %s: %s", path,
                                 strerror(errno));
        if (S_ISSOCK(st.st_mode))
                return 0;
        if (S_ISREG(st.st_mode))
                return pack_file(p, path, &st, reterr);
        r = pack_entry(p, path, &st, -EBADF, reterr);
        return r < 0 || !S_ISDIR(st.st_mode) ? r : pack_children(p, path, reterr);
}

/* So that unpacking never has to go through a symlink. */
char *archive_way(const char *path) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *dir = NULL, *real = NULL;

        if (!slash || !slash[1])
                return realpath(path, NULL);
        dir = slash == path ? strdup("/") : strndup(path, (size_t) (slash - path));
        real = dir ? realpath(dir, NULL) : NULL;
        return real ? path_join(real, slash + 1) : NULL;
}

static int pack_all(Pack *p, const json_t *paths, Error *reterr) {
        const json_t *one;
        size_t i;

        json_array_foreach (paths, i, one) {
                _cleanup_free_ char *name = name_from_text(json_string_value(one));
                _cleanup_free_ char *path = name ? archive_way(name) : NULL;
                int r;

                if (!path)
                        return error_set(reterr, errno, "read-failed", "Cannot read %s: %s",
                                         json_string_value(one), strerror(errno));
                r = pack_path(p, path, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static struct archive *out_new(int fd) {
        struct archive *out = archive_write_new();

        if (!out)
                return NULL;
        if (archive_write_add_filter_zstd(out) != ARCHIVE_OK ||
            archive_write_set_format_pax(out) != ARCHIVE_OK ||
            archive_write_open_fd(out, fd) != ARCHIVE_OK) {
                (void) archive_write_free(out);
                return NULL;
        }
        return out;
}

int archive_pack(Step *s, const char *file, const json_t *paths, ArchiveSum *ret, Error *reterr) {
        _cleanup_close_ int fd =
                open(file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        _cleanup_(archive_write_freep) struct archive *out = NULL;
        _cleanup_(archive_read_freep) struct archive *disk = archive_read_disk_new();
        Pack p = {.step = s, .file = file};
        int r;

        if (fd < 0 || fstat(fd, &p.self) < 0)
                return error_set(reterr, errno, "write-failed", "Cannot write %s: %s", file,
                                 strerror(errno));
        out = out_new(fd);
        if (!out || !disk)
                return error_oom(reterr);
        (void) archive_read_disk_set_symlink_physical(disk);
        (void) archive_read_disk_set_standard_lookup(disk);
        p.out = out;
        p.disk = disk;
        digest_init(&p.digest);
        r = pack_all(&p, paths, reterr);
        if (r < 0)
                return r;
        if (archive_write_close(out) < ARCHIVE_WARN)
                return cannot_write(&p, reterr);
        if (fsync(fd) < 0)
                return error_set(reterr, errno, "write-failed", "Cannot write %s: %s", file,
                                 strerror(errno));
        *ret = (ArchiveSum){.entries = p.entries, .bytes = p.digest.bytes};
        digest_finish(&p.digest, ret->digest);
        return 0;
}
