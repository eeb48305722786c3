/* SPDX-License-Identifier: MIT */
/* Reading archives: see daemon/step/archives.h. Packing: archives_pack.c. */
#include "daemon/step/archives.h"
#include "daemon/step/archives_digest.h"
#include "daemon/step/files.h"
#include "daemon/step/keep.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#define BLOCK (256 * 1024)

DEFINE_CLEANUP(struct archive *, archive_read_free)
DEFINE_CLEANUP(struct archive *, archive_write_free)

static void fchdir_backp(int *fd) {
        if (*fd >= 0) {
                (void) !fchdir(*fd);
                (void) close(*fd);
        }
}

void archive_sum_done(ArchiveSum *sum) {
        json_decref(sum->names);
        *sum = (ArchiveSum){0};
}

static int broken(struct archive *a, const char *file, Error *reterr) {
        const char *why = archive_error_string(a);

        return error_set(reterr, EBADMSG, "bad-archive", "%s cannot be read: %s", file,
                         why ? why : "unknown format");
}

static int archive_start(const char *file, struct archive **ret, Error *reterr) {
        _cleanup_(archive_read_freep) struct archive *a = archive_read_new();

        if (!a)
                return error_oom(reterr);
        (void) archive_read_support_filter_all(a);
        (void) archive_read_support_format_all(a);
        (void) archive_read_support_format_raw(a);
        if (archive_read_open_filename(a, file, BLOCK) != ARCHIVE_OK)
                return broken(a, file, reterr);
        *ret = TAKE(a);
        return 0;
}

/* 1: an entry; 0: the end. */
static int archive_step(Step *s, struct archive *a, const char *file, struct archive_entry **ret,
                        Error *reterr) {
        int r;

        if (step_stopping(s))
                return error_set(reterr, ECANCELED, "stopped", "Stopped");
        r = archive_read_next_header(a, ret);
        if (r == ARCHIVE_EOF)
                return 0;
        return r == ARCHIVE_OK || r == ARCHIVE_WARN ? 1 : broken(a, file, reterr);
}

static int entry_digest(struct archive *a, struct archive_entry *e, const char *file, Digest *d,
                        Error *reterr) {
        const void *block;
        size_t size;
        la_int64_t at;
        int r;

        digest_begin(d, archive_entry_filetype(e), archive_entry_pathname(e),
                     archive_entry_symlink(e));
        while ((r = archive_read_data_block(a, &block, &size, &at)) == ARCHIVE_OK)
                digest_data(d, block, size, (uint64_t) at);
        if (r != ARCHIVE_EOF)
                return broken(a, file, reterr);
        digest_end(d, archive_entry_size_is_set(e) ? (uint64_t) archive_entry_size(e) : 0);
        return 0;
}

int archive_read_through(Step *s, const char *file, bool want_names, ArchiveSum *ret,
                         Error *reterr) {
        _cleanup_(archive_read_freep) struct archive *a = NULL;
        _cleanup_sum_ ArchiveSum sum = {.names = want_names ? json_object() : NULL};
        struct archive_entry *e;
        Digest d;
        int r = archive_start(file, &a, reterr);

        if (r < 0)
                return r;
        digest_init(&d);
        while ((r = archive_step(s, a, file, &e, reterr)) > 0) {
                r = entry_digest(a, e, file, &d, reterr);
                if (r < 0)
                        return r;
                sum.entries++;
                if (want_names && json_object_set_new_nocheck(sum.names, archive_entry_pathname(e),
                                                              json_true()) < 0)
                        return error_oom(reterr);
        }
        if (r < 0)
                return r;
        sum.bytes = d.bytes;
        digest_finish(&d, sum.digest);
        *ret = sum;
        sum = (ArchiveSum){0};
        return 0;
}

/* Names from strangers: nothing above or beside the folder is theirs. */
static int name_check(const char *name, const char *file, Error *reterr) {
        bool bad = isempty(name) || name[0] == '/';

        for (const char *p = name; p && *p && !bad; p += strcspn(p, "/"), p += *p == '/')
                bad = startswith(p, "..") && (p[2] == '/' || p[2] == '\0');
        return bad ? error_set(reterr, EPERM, "unsafe-archive",
                               "%s has the name '%s' in it, which leads out of the folder", file,
                               name ? name : "")
                   : 0;
}

static int copy_data(Step *s, struct archive *from, struct archive *to, const char *file,
                     Error *reterr) {
        const void *block;
        size_t size;
        la_int64_t at;
        int r;

        while ((r = archive_read_data_block(from, &block, &size, &at)) == ARCHIVE_OK) {
                if (step_stopping(s))
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
                if (archive_write_data_block(to, block, size, at) < ARCHIVE_WARN)
                        return error_set(reterr, archive_errno(to) ? archive_errno(to) : EIO,
                                         "write-failed", "Cannot unpack %s: %s", file,
                                         archive_error_string(to));
        }
        return r == ARCHIVE_EOF ? 0 : broken(from, file, reterr);
}

static int unpack_entry(Step *s, struct archive *a, struct archive *disk, struct archive_entry *e,
                        const char *file, Error *reterr) {
        int r;

        if (archive_write_header(disk, e) < ARCHIVE_WARN)
                return error_set(reterr, archive_errno(disk) ? archive_errno(disk) : EIO,
                                 "write-failed", "Cannot unpack '%s' of %s: %s",
                                 archive_entry_pathname(e), file, archive_error_string(disk));
        r = copy_data(s, a, disk, file, reterr);
        if (r < 0)
                return r;
        if (archive_write_finish_entry(disk) < ARCHIVE_WARN)
                return error_set(reterr, archive_errno(disk) ? archive_errno(disk) : EIO,
                                 "write-failed", "Cannot unpack '%s' of %s: %s",
                                 archive_entry_pathname(e), file, archive_error_string(disk));
        return 0;
}

/* beside(), as whoever takes the file back will look for it, seen from the folder `into`. */
static char *name_beside(const char *into, const char *name) {
        _cleanup_free_ char *path = path_join(into, startswith(name, "./") ? name + 2 : name);
        _cleanup_free_ char *temporary = path ? beside(path, "") : NULL;
        const char *slash = strrchr(name, '/');
        int folder = slash ? (int) (slash - name) + 1 : 0;

        return temporary ? strf("%.*s%s", folder, name, strrchr(temporary, '/') + 1) : NULL;
}

/* A file grows under a name of its own, always the same, and appears when it is whole: what a killed
 * attempt leaves is written over by the next. (libarchive's own way leaves names that nobody knows.)
 */
static int unpack_file(Step *s, struct archive *a, struct archive *disk, struct archive_entry *e,
                       const char *file, const char *into, Error *reterr) {
        _cleanup_free_ char *name = strdup(archive_entry_pathname(e));
        _cleanup_free_ char *temporary = name ? name_beside(into, name) : NULL;
        int r;

        if (!temporary)
                return error_oom(reterr);
        archive_entry_copy_pathname(e, temporary);
        r = unpack_entry(s, a, disk, e, file, reterr);
        if (r >= 0 && rename(temporary, name) < 0)
                r = error_set(reterr, errno, "write-failed", "Cannot unpack '%s' of %s: %s", name,
                              file, strerror(errno));
        if (r < 0)
                (void) unlink(temporary);
        return r;
}

static int extract_one(Step *s, struct archive *a, struct archive *disk, struct archive_entry *e,
                       const char *file, const char *into, Error *reterr) {
        const char *link = archive_entry_hardlink(e);
        int r = name_check(archive_entry_pathname(e), file, reterr);

        if (r >= 0 && link)
                r = name_check(link, file, reterr);
        if (r < 0)
                return r;
        if (archive_entry_filetype(e) == AE_IFREG && !link)
                return unpack_file(s, a, disk, e, file, into, reterr);
        return unpack_entry(s, a, disk, e, file, reterr);
}

static struct archive *disk_new(unsigned flags) {
        struct archive *disk = archive_write_disk_new();
        int how = ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_SECURE_NODOTDOT |
                  ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS;

        if (!disk)
                return NULL;
        if (flags & EXTRACT_OWNERS)
                how |= ARCHIVE_EXTRACT_XATTR | ARCHIVE_EXTRACT_ACL |
                       (geteuid() == 0 ? ARCHIVE_EXTRACT_OWNER : 0);
        (void) archive_write_disk_set_options(disk, how);
        return disk;
}

/* What stands there and is of another kind cannot be replaced by a rename, and may be somebody's.
 */
static int make_room(Step *s, struct archive_entry *e, Error *reterr) {
        const char *name = archive_entry_pathname(e);
        struct stat st;

        if (lstat(name, &st) < 0 || (st.st_mode & S_IFMT) == archive_entry_filetype(e))
                return 0;
        return keep_aside(s, name, false, "is in the way and goes", reterr);
}

static int extract_here(Step *s, const char *file, const char *into, unsigned flags,
                        Error *reterr) {
        _cleanup_(archive_read_freep) struct archive *a = NULL;
        _cleanup_(archive_write_freep) struct archive *disk = disk_new(flags);
        struct archive_entry *e;
        int r = archive_start(file, &a, reterr);

        if (r < 0)
                return r;
        if (!disk)
                return error_oom(reterr);
        while ((r = archive_step(s, a, file, &e, reterr)) > 0) {
                if (archive_format(a) == ARCHIVE_FORMAT_RAW)
                        return error_set(reterr, EBADMSG, "bad-archive",
                                         "%s is no archive that can be unpacked", file);
                r = name_check(archive_entry_pathname(e), file, reterr);
                if (r >= 0 && (flags & EXTRACT_REPLACE))
                        r = make_room(s, e, reterr);
                if (r >= 0)
                        r = extract_one(s, a, disk, e, file, into, reterr);
                if (r < 0)
                        return r;
        }
        /* Modes and times of folders are set last. */
        if (r >= 0 && archive_write_close(disk) < ARCHIVE_WARN)
                return error_set(reterr, EIO, "write-failed", "Cannot unpack %s: %s", file,
                                 archive_error_string(disk));
        return r;
}

int archive_extract(Step *s, const char *file, const char *into, unsigned flags, Error *reterr) {
        _cleanup_free_ char *path = realpath(file, NULL);
        _cleanup_close_ int dir = open(into, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        /* libarchive checks relative names only, so it works in that folder. */
        _unused_ _cleanup_(fchdir_backp) int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (!path)
                return error_set(reterr, errno, "read-failed", "Cannot read %s: %s", file,
                                 strerror(errno));
        if (dir < 0 || fchdir(dir) < 0)
                return error_set(reterr, errno, "write-failed", "Cannot unpack into %s: %s", into,
                                 strerror(errno));
        r = extract_here(s, path, into, flags, reterr);
        if (r >= 0 && syncfs(dir) < 0)
                r = error_set(reterr, errno, "write-failed", "Cannot write to %s: %s", into,
                              strerror(errno));
        return r;
}

static int file_digest(const char *path, struct archive_entry *e, Digest *d) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        char block[64 * 1024];
        uint64_t at = 0;
        ssize_t n;

        if (fd < 0)
                return -errno;
        while ((n = read(fd, block, sizeof(block))) > 0) {
                digest_data(d, block, (size_t) n, at);
                at += (uint64_t) n;
        }
        digest_end(d, at);
        return n < 0 ? -errno : 0;
}

static int disk_digest(const char *root, struct archive_entry *e, Digest *d) {
        _cleanup_free_ char *path = path_join(root, archive_entry_pathname(e));
        char target[PATH_MAX] = "";
        struct stat st;

        if (!path)
                return -ENOMEM;
        if (lstat(path, &st) < 0)
                return -errno;
        if (S_ISLNK(st.st_mode) && readlink(path, target, sizeof(target) - 1) < 0)
                return -errno;
        digest_begin(d, st.st_mode & S_IFMT, archive_entry_pathname(e),
                     S_ISLNK(st.st_mode) ? target : NULL);
        if (S_ISREG(st.st_mode))
                return file_digest(path, e, d);
        digest_end(d, 0);
        return 0;
}

int archive_digest_of(Step *s, const char *file, const char *root, char ret[static SHA256_TEXT_MAX],
                      Error *reterr) {
        _cleanup_(archive_read_freep) struct archive *a = NULL;
        struct archive_entry *e;
        Digest d;
        int r = archive_start(file, &a, reterr);

        if (r < 0)
                return r;
        digest_init(&d);
        while ((r = archive_step(s, a, file, &e, reterr)) > 0) {
                r = disk_digest(root, e, &d);
                if (r < 0)
                        return error_set(reterr, -r, "read-failed", "Cannot read '%s' in %s: %s",
                                         archive_entry_pathname(e), root, strerror(-r));
        }
        if (r < 0)
                return r;
        digest_finish(&d, ret);
        return 0;
}
