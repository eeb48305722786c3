/* SPDX-License-Identifier: MIT */
/* Copying a database that is in use, and getting one for oneself: see daemon/step/sqlite.h. */
#include "daemon/step/files.h"
#include "daemon/step/sqlite.h"

#include <dirent.h>
#include <fcntl.h>

#define PAGES 2048
#define RESTARTS_MAX 5
#define BUSY_TURN_MS 3 /* short: between two transactions of a busy writer there is little time */
#define BUSY_MS 60000

static bool is_wal(sqlite3 *db, const char *path) {
        json_auto_t *row = NULL;

        return database_row(db, path, "PRAGMA journal_mode", &row, NULL) >= 0 &&
               streq(args_text(row, "journal_mode", ""), "wal");
}

/* Page after page, so that a stop is heeded. With a write-ahead log one read transaction holds the
 * state while writers go on; without one each foreign write begins the copy anew, so after some
 * times the rest is copied in one go, which makes writers wait. */
static int pages_copy(Step *s, sqlite3 *from, sqlite3_backup *b) {
        int last = -1, restarts = 0;
        int64_t busy_since = 0;

        (void) sqlite3_busy_timeout(from, 0);
        for (;;) {
                int code = sqlite3_backup_step(b, restarts > RESTARTS_MAX ? -1 : PAGES);
                int left = sqlite3_backup_remaining(b);

                if (step_stopping(s))
                        return SQLITE_INTERRUPT;
                if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
                        if (busy_since == 0)
                                busy_since = now_mono_us();
                        if (now_mono_us() - busy_since > BUSY_MS * INT64_C(1000))
                                return code;
                        if (step_sleep(s, BUSY_TURN_MS) < 0)
                                return SQLITE_INTERRUPT;
                        continue;
                }
                busy_since = 0;
                if (code != SQLITE_OK)
                        return code;
                if (last >= 0 && left >= last)
                        restarts++;
                last = left;
        }
}

static int copy_all(Step *s, sqlite3 *from, sqlite3 *to, const char *path, const char *dest,
                    Error *reterr) {
        sqlite3_backup *b;
        int code, done;

        if (is_wal(from, path) &&
            sqlite3_exec(from, "BEGIN; SELECT 1 FROM sqlite_master", NULL, NULL, NULL) != SQLITE_OK)
                return database_error(from, path, reterr);
        b = sqlite3_backup_init(to, "main", from, "main");
        if (!b)
                return database_error(to, dest, reterr);
        code = pages_copy(s, from, b);
        done = sqlite3_backup_finish(b);
        if (code == SQLITE_DONE && done == SQLITE_OK)
                return 0;
        if (code == SQLITE_INTERRUPT)
                return error_set(reterr, ECANCELED, "stopped", "Stopped");
        if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
                return error_set(reterr, EBUSY, "sql-failed", "%s stays locked by another program",
                                 path);
        return database_error(to, dest, reterr);
}

static int copy_into(Step *s, const char *from, const char *to, Error *reterr) {
        _cleanup_db_ sqlite3 *source = NULL, *copy = NULL;
        int r = database_open(s, from, DATABASE_LOOK, &source, reterr);

        if (r >= 0)
                r = database_open(NULL, to, DATABASE_NEW, &copy, reterr);
        /* The copy is nobody's yet, and made durable below. */
        if (r >= 0 && sqlite3_exec(copy, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF",
                                   NULL, NULL, NULL) != SQLITE_OK)
                r = database_error(copy, to, reterr);
        return r < 0 ? r : copy_all(s, source, copy, from, to, reterr);
}

int database_copy(Step *s, const char *from, const char *to, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        (void) unlink(to);
        fd = open(to, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_set(reterr, errno, "write-failed", "Cannot write %s: %s", to,
                                 strerror(errno));
        r = copy_into(s, from, to, reterr);
        if (r >= 0 && fsync(fd) < 0)
                r = error_set(reterr, errno, errno == ENOSPC ? "disk-full" : "write-failed",
                              "Cannot write %s: %s", to, strerror(errno));
        if (r < 0)
                (void) unlink(to);
        return r;
}

static const char *const sides[] = {"", "-wal", "-shm", "-journal"};

static size_t stat_all(const char *path, struct stat *list) {
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(sides); i++) {
                _cleanup_free_ char *side = strf("%s%s", path, sides[i]);

                if (side && stat(side, &list[n]) == 0)
                        n++;
        }
        return n;
}

static bool has_open(const char *pid, const struct stat *list, size_t n) {
        _cleanup_free_ char *folder = strf("/proc/%s/fd", pid);
        _cleanup_(closedirp) DIR *dir = folder ? opendir(folder) : NULL;
        const struct dirent *entry;

        while (dir && (entry = readdir(dir))) {
                struct stat st;

                if (fstatat(dirfd(dir), entry->d_name, &st, 0) < 0)
                        continue;
                for (size_t i = 0; i < n; i++)
                        if (st.st_dev == list[i].st_dev && st.st_ino == list[i].st_ino)
                                return true;
        }
        return false;
}

int database_users(const char *path, json_t **ret) {
        _cleanup_(closedirp) DIR *dir = opendir("/proc");
        json_auto_t *users = json_array();
        struct stat list[ELEMENTSOF(sides)];
        size_t n = stat_all(path, list);
        const struct dirent *entry;

        if (!users)
                return -ENOMEM;
        while (n > 0 && dir && (entry = readdir(dir))) {
                _cleanup_free_ char *comm = NULL, *name = NULL;

                if (entry->d_name[0] < '0' || entry->d_name[0] > '9' ||
                    strtol(entry->d_name, NULL, 10) == getpid() ||
                    !has_open(entry->d_name, list, n))
                        continue;
                comm = strf("/proc/%s/comm", entry->d_name);
                if (comm && file_read(AT_FDCWD, comm, 256, &name, NULL) >= 0)
                        name[strcspn(name, "\n")] = '\0';
                if (json_array_append_new(users, json_sprintf("%s (pid %s)", name ? name : "?",
                                                              entry->d_name)) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE(users);
        return 0;
}

static int refuse_users(const char *path, Error *reterr) {
        json_auto_t *users = NULL;
        int r = database_users(path, &users);

        if (r < 0)
                return error_oom(reterr);
        if (json_array_size(users) == 0)
                return 0;
        r = error_set(
                reterr, EBUSY, "in-use", "%s is in use by %s%s%s", path,
                json_string_value(json_array_get(users, 0)), json_array_size(users) > 1 ? ", " : "",
                json_array_size(users) > 1 ? json_string_value(json_array_get(users, 1)) : "");
        error_hint(reterr, "Stop what uses the database first");
        return r;
}

/* Leaving the write-ahead log needs to be alone, and moves what is in it into the file. */
static int settle(Step *s, const char *path, Error *reterr) {
        _cleanup_error_ Error e = ERROR_INIT;
        _cleanup_db_ sqlite3 *db = NULL;
        json_auto_t *row = NULL;
        int r = database_open(s, path, DATABASE_CHANGE, &db, &e);

        if (r >= 0)
                r = database_row(db, path, "PRAGMA journal_mode = DELETE", &row, &e);
        if (r >= 0 && streq(args_text(row, "journal_mode", ""), "wal"))
                r = error_set(&e, EBUSY, "in-use", "%s is in use by another program", path);
        if (r >= 0 && sqlite3_exec(db, "BEGIN EXCLUSIVE; ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
                r = database_error(db, path, &e);
        /* A damaged database is what restoring is for. */
        if (r == -EBUSY || r == -ECANCELED)
                error_move(reterr, &e);
        return r == -EBUSY || r == -ECANCELED ? r : 0;
}

int database_vacate(Step *s, const char *path, Error *reterr) {
        struct stat st;
        int r = refuse_users(path, reterr);

        if (r < 0)
                return r;
        if (stat(path, &st) == 0) {
                r = settle(s, path, reterr);
                if (r < 0)
                        return r;
        }
        for (size_t i = 1; i < ELEMENTSOF(sides); i++) {
                _cleanup_free_ char *side = strf("%s%s", path, sides[i]);

                if (!side)
                        return error_oom(reterr);
                if (unlink(side) < 0 && errno != ENOENT)
                        return error_set(reterr, errno, "write-failed", "Cannot remove %s: %s",
                                         side, strerror(errno));
        }
        return MIN(parent_sync(path), 0);
}
