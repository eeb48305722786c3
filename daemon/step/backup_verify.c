/* SPDX-License-Identifier: MIT */
/* Reading backups through: see daemon/step/backup.h. */
#include "daemon/step/archives.h"
#include "daemon/step/backup.h"
#include "daemon/step/sqlite.h"

#include <fcntl.h>
#include <sys/stat.h>

int backup_manifest_read(const char *dir, json_t **ret, char ret_sha256[SHA256_TEXT_MAX],
                         Error *reterr) {
        _cleanup_free_ char *path = path_join(dir, BACKUP_MANIFEST), *text = NULL;
        json_auto_t *manifest = NULL;
        size_t size;
        int r;

        if (!path)
                return error_oom(reterr);
        r = file_read(AT_FDCWD, path, 16U << 20, &text, &size);
        if (r < 0)
                return error_set(reterr, -r, "no-backup", "%s is no backup set: cannot read %s: %s",
                                 dir, BACKUP_MANIFEST, strerror(-r));
        manifest = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
        if (json_integer_value(json_object_get(manifest, "format")) != 1 ||
            !json_is_array(json_object_get(manifest, "parts")))
                return error_set(reterr, EBADMSG, "bad-backup", "%s is damaged", path);
        if (ret_sha256)
                sha256_text(text, size, ret_sha256);
        *ret = TAKE(manifest);
        return 0;
}

static int bad(const char *path, const char *what, Error *reterr) {
        return error_set(reterr, EBADMSG, "bad-backup", "Backup %s is damaged: %s", path, what);
}

static int hash_verify(const char *path, const json_t *part, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        char hash[SHA256_TEXT_MAX];
        uint64_t size;
        int r;

        if (fd < 0)
                return bad(path, strerror(errno), reterr);
        /* From the disk, not from memory: that is what will be there when it is needed. */
        (void) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        r = sha256_fd(fd, hash, &size);
        if (r < 0)
                return bad(path, strerror(-r), reterr);
        if ((json_int_t) size != json_integer_value(json_object_get(part, "size")))
                return bad(path, "its size is not the recorded one", reterr);
        if (!streq(hash, args_text(part, "sha256", "")))
                return bad(path, "its SHA-256 is not the recorded one", reterr);
        return 0;
}

int backup_sqlite_check(Step *s, const char *file, const json_t *counts, Error *reterr) {
        _cleanup_free_ char *have = NULL, *want = NULL;
        json_auto_t *now = NULL;
        _cleanup_db_ sqlite3 *db = NULL;
        int r = database_open(s, file, DATABASE_COPY, &db, reterr);

        if (r >= 0)
                r = database_integrity(db, file, reterr);
        if (r >= 0)
                r = database_counts(db, file, NULL, &now, reterr);
        if (r < 0 || !counts || json_equal(now, counts))
                return r;
        have = json_dumps(now, JSON_COMPACT | JSON_SORT_KEYS);
        want = json_dumps(counts, JSON_COMPACT | JSON_SORT_KEYS);
        return error_set(reterr, EBADMSG, "bad-backup", "%s has the rows %s, not %s", file,
                         have ? have : "?", want ? want : "?");
}

static int archive_check(Step *s, const char *file, const json_t *part, Error *reterr) {
        _cleanup_sum_ ArchiveSum sum = {0};
        int r = archive_read_through(s, file, false, &sum, reterr);

        if (r < 0)
                return r;
        return streq(sum.digest, args_text(part, "digest", ""))
                       ? 0
                       : bad(file, "what is in it is not what was packed", reterr);
}

int backup_part_verify(Step *s, const char *dir, const json_t *part, Error *reterr) {
        _cleanup_free_ char *file = path_join(dir, args_text(part, "path", "?"));
        const char *kind = args_text(part, "kind", "");
        int r = file ? hash_verify(file, part, reterr) : error_oom(reterr);

        if (r < 0)
                return r;
        if (streq(kind, "sqlite"))
                return backup_sqlite_check(s, file, json_object_get(part, "counts"), reterr);
        if (streq(kind, "files") || streq(kind, "dir"))
                return archive_check(s, file, part, reterr);
        return 0;
}

int backup_set_verify(Step *s, const char *dir, const json_t *manifest, Error *reterr) {
        const json_t *part;
        size_t i;

        json_array_foreach (json_object_get(manifest, "parts"), i, part) {
                int r = backup_part_verify(s, dir, part, reterr);

                if (r < 0)
                        return r;
        }
        return 0;
}

typedef struct Magic {
        const char *format;
        const char *bytes;
        size_t size, at;
} Magic;

static const Magic magics[] = {
        {"gzip", "\x1f\x8b", 2, 0},
        {"zstd", "\x28\xb5\x2f\xfd", 4, 0},
        {"xz",
         "\xfd"
         "7zXZ",
         5, 0},
        {"bzip2", "BZh", 3, 0},
        {"zip", "PK\x03\x04", 4, 0},
        {"tar", "ustar", 5, 257},
        {"sqlite", "SQLite format 3", 16, 0},
        {"pg_dump", "PGDMP", 5, 0},
        {"mongodump", "\x6d\xe2\x99\x81", 4, 0},
};

static const char *format_of(const char *head, size_t size) {
        for (size_t i = 0; i < ELEMENTSOF(magics); i++) {
                const Magic *m = &magics[i];

                if (size >= m->at + m->size && memcmp(head + m->at, m->bytes, m->size) == 0)
                        return m->format;
        }
        return NULL;
}

/* libarchive does not look at gzip's checksum; gzip does. */
static int gzip_verify(Step *s, const char *path, Error *reterr) {
        _cleanup_error_ Error e = ERROR_INIT;
        int r = step_exec_simple(s, NULL, &e, "gzip", "--test", "--", path, NULL);

        if (r == -EREMOTEIO)
                return bad(path, e.message ? e.message : "gzip --test refuses it", reterr);
        if (r < 0)
                error_move(reterr, &e);
        return r;
}

static int file_verify(Step *s, const char *path, const char *format, Error *reterr) {
        _cleanup_error_ Error e = ERROR_INIT;
        _cleanup_sum_ ArchiveSum sum = {0};
        int r = 0;

        if (streq(format, "pg_dump") || streq(format, "mongodump"))
                return 0;
        if (streq(format, "sqlite"))
                return backup_sqlite_check(s, path, NULL, reterr);
        if (streq(format, "gzip"))
                r = gzip_verify(s, path, reterr);
        if (r < 0)
                return r;
        r = archive_read_through(s, path, false, &sum, &e);
        if (r == -EBADMSG)
                return bad(path, e.message ? e.message : "it cannot be read", reterr);
        if (r < 0)
                error_move(reterr, &e);
        return r;
}

static int single_verify(Step *s, const char *path, const struct stat *st, json_t **ret,
                         Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        char head[512];
        const char *format;
        ssize_t n;
        int r;

        if (fd < 0 || (n = read(fd, head, sizeof(head))) < 0)
                return error_set(reterr, errno, "read-failed", "Cannot read %s: %s", path,
                                 strerror(errno));
        if (n == 0)
                return bad(path, "it is empty", reterr);
        format = format_of(head, (size_t) n);
        if (!format) {
                r = error_set(reterr, EBADMSG, "bad-backup",
                              "%s is in no format that can be verified", path);
                error_hint(reterr, "gzip, bzip2, xz, zstd, tar, zip, SQLite, pg_dump's custom "
                                   "format and mongodump's archives can");
                return r;
        }
        r = file_verify(s, path, format, reterr);
        if (r < 0)
                return r;
        *ret = json_pack("{ss sI sI}", "format", format, "size", (json_int_t) st->st_size,
                         "created",
                         (json_int_t) st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000);
        return *ret ? 0 : error_oom(reterr);
}

int backup_verify(Step *s, const char *path, json_t **ret, Error *reterr) {
        json_auto_t *manifest = NULL;
        int64_t created = 0;
        struct stat st;
        int r;

        if (stat(path, &st) < 0)
                return error_set(reterr, errno, "no-backup", "Cannot find the backup %s: %s", path,
                                 strerror(errno));
        if (!S_ISDIR(st.st_mode))
                return single_verify(s, path, &st, ret, reterr);
        r = backup_manifest_read(path, &manifest, NULL, reterr);
        if (r >= 0)
                r = backup_set_verify(s, path, manifest, reterr);
        if (r >= 0 && time_parse(args_text(manifest, "created", ""), &created) < 0)
                r = bad(path, "its manifest says no time", reterr);
        if (r < 0)
                return r;
        *ret = json_pack("{ss sO sI}", "format", "set", "size", json_object_get(manifest, "size"),
                         "created", (json_int_t) created);
        return *ret ? 0 : error_oom(reterr);
}
