/* SPDX-License-Identifier: MIT */
/*
 * The copy of a database that is kept before its schema is changed: page for page, with what its
 * write-ahead log holds, read back, fsynced, and only then given its name.
 */
#include <fcntl.h>
#include <time.h>

#include "daemon/store/internal.h"

static char *copy_name(const Store *s, int version) {
        time_t now = time(NULL);
        char stamp[32] = "";
        struct tm tm;

        if (gmtime_r(&now, &tm))
                (void) strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
        return strf("%s.schema-%d.%s", s->path, version, stamp);
}

static int sync_path(const char *path, int flags) {
        _cleanup_close_ int fd = open(path, flags | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* The folder of a path, durable. */
static int sync_folder_of(const char *path) {
        _cleanup_free_ char *folder = strndup(path, (size_t) (strrchr(path, '/') - path));

        return folder ? sync_path(folder, O_RDONLY | O_DIRECTORY) : -ENOMEM;
}

static int copy_pages(sqlite3 *from, sqlite3 *to) {
        sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");

        if (!backup)
                return sqlite3_errcode(to);
        (void) sqlite3_backup_step(backup, -1);
        return sqlite3_backup_finish(backup);
}

static int is_ok(void *userdata, int n, char **values, char **names) {
        *(bool *) userdata = n == 1 && streq0(values[0], "ok");
        return 0;
}

/* Whether the copy can be read to its end: a migration does not begin on what is damaged. */
static int prove(sqlite3 *db) {
        bool ok = false;
        int r = sqlite3_exec(db, "PRAGMA quick_check(1)", is_ok, &ok, NULL);

        return r != SQLITE_OK ? r : ok ? SQLITE_OK : SQLITE_CORRUPT;
}

/* A copy that cannot be written in part is worth nothing: it needs no journal of its own. */
static int write_copy(Store *s, const char *path, Error *reterr) {
        Store to = {.path = (char *) path};
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600), r;

        if (fd < 0)
                return error_set(reterr, errno, errno == ENOSPC ? "disk-full" : "store-failed",
                                 "Cannot make %s: %s", path, strerror(errno));
        (void) close(fd);
        r = sqlite3_open_v2(path, &to.db, SQLITE_OPEN_READWRITE, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_exec(to.db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL,
                                 NULL, NULL);
        if (r == SQLITE_OK)
                r = copy_pages(s->db, to.db);
        if (r == SQLITE_OK)
                r = prove(to.db);
        if (r == SQLITE_CORRUPT || r == SQLITE_NOTADB) {
                r = error_set(reterr, EUCLEAN, "store-damaged",
                              "%s is damaged, and is not migrated", s->path);
                error_hint(reterr, STORE_DAMAGED_HINT);
        } else if (r != SQLITE_OK) {
                r = store_fault(&to, "copy the database before its schema is changed", reterr);
                error_hint(reterr, "nothing was changed; the database must be copied before a "
                                   "newer updd can use it");
        }
        (void) sqlite3_close(to.db);
        return r;
}

int store_keep_copy(Store *s, int version, Error *reterr) {
        _cleanup_free_ char *path = copy_name(s, version), *tmp = strf("%s.copy.tmp", s->path);
        int r;

        if (!path || !tmp)
                return error_oom(reterr);
        r = write_copy(s, tmp, reterr);
        if (r < 0) {
                (void) unlink(tmp);
                return r;
        }
        r = sync_path(tmp, O_RDONLY);
        if (r >= 0 && rename(tmp, path) < 0)
                r = -errno;
        if (r >= 0)
                r = sync_folder_of(path);
        if (r < 0)
                return error_set(reterr, -r, r == -ENOSPC ? "disk-full" : "store-failed",
                                 "Cannot keep a copy as %s: %s", path, strerror(-r));
        free(s->copy);
        s->copy = TAKE(path);
        return 0;
}
