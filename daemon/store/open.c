/* SPDX-License-Identifier: MIT */
/*
 * Opening the database. Until it is known that the file is ours, whole enough to be read, and of a
 * schema that is known, nothing of it and nothing of its write-ahead log is changed: a file that is
 * refused is left as it was found.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "daemon/store/internal.h"
#include "daemon/store/schema.h"

/* sqlite.org/fileformat2.html#the_database_header */
#define HEADER_SIZE 100
#define HEADER_MAGIC "SQLite format 3"
#define HEADER_USER_VERSION 60

/* Set for each connection. Exclusive locking keeps the WAL index in memory, FULL makes COMMIT mean
 * "on disk" (sqlite.org/pragma.html#pragma_synchronous). */
static const char settings[] = "PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = FULL;"
                               "PRAGMA foreign_keys = ON;"
                               "PRAGMA trusted_schema = OFF;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA cache_size = -2048;"
                               "PRAGMA wal_autocheckpoint = 4000;"
                               "PRAGMA journal_size_limit = 67108864;";

void store_close(Store *s) {
        for (size_t i = 0; i < _SQL_MAX; i++) {
                (void) sqlite3_finalize(s->statements[i]);
                s->statements[i] = NULL;
        }
        (void) sqlite3_close(s->db);
        s->db = NULL;
        s->readonly = false;
}

int store_fault_open(Store *s, Error *reterr) {
        int code = s->db ? sqlite3_errcode(s->db) & 0xff : SQLITE_NOMEM;

        if (code == SQLITE_NOMEM)
                return error_oom(reterr);
        if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
                return error_set(reterr, EBUSY, "locked", "%s is in use by another process",
                                 s->path);
        return store_fault(s, "open the database", reterr);
}

static int refuse_damaged(Store *s, const char *what, Error *reterr) {
        (void) error_set(reterr, EUCLEAN, "store-damaged", "%s %s", s->path, what);
        error_hint(reterr, STORE_DAMAGED_HINT);
        return -EUCLEAN;
}

static int refuse_newer(Store *s, int64_t version, Error *reterr) {
        (void) error_set(
                reterr, ENOTSUP, "newer-schema",
                "%s has schema version %lld, this updd knows up to %d: it was written by a "
                "newer updd",
                s->path, (long long) version, SCHEMA_VERSION);
        error_hint(reterr, "start that one, or put the copy that it made before it migrated in the "
                           "file's place; nothing was changed");
        return -ENOTSUP;
}

/* What the file says by itself, before SQLite looks at it: that would make or remove a log. */
static int check_header(Store *s, Error *reterr) {
        _cleanup_free_ char *log = strf("%s-wal", s->path);
        _cleanup_close_ int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        unsigned char head[HEADER_SIZE];
        const unsigned char *v = head + HEADER_USER_VERSION;
        struct stat st;
        ssize_t n;
        int64_t version;

        if (!log)
                return error_oom(reterr);
        if (fd < 0)
                return errno == ENOENT ? 0
                                       : error_set(reterr, errno, "store-failed",
                                                   "Cannot open %s: %s", s->path, strerror(errno));
        n = pread(fd, head, sizeof(head), 0);
        if (n == 0 && stat(log, &st) == 0 && st.st_size > 0)
                return refuse_damaged(s, "is empty, and its write-ahead log is not", reterr);
        if (n < (ssize_t) sizeof(head) || memcmp(head, HEADER_MAGIC, sizeof(HEADER_MAGIC)) != 0)
                return 0; /* SQLite says what it is */
        version = (int64_t) v[0] << 24 | (int64_t) v[1] << 16 | (int64_t) v[2] << 8 | v[3];
        return version > SCHEMA_VERSION ? refuse_newer(s, version, reterr) : 0;
}

int store_check_version(Store *s, int *ret, Error *reterr) {
        int version = 0, r = schema_version_read(s->db, &version);

        if (r == SQLITE_MISMATCH)
                return refuse_damaged(s, "is a database of another program", reterr);
        if (r != SQLITE_OK)
                return store_fault_open(s, reterr);
        if (version > SCHEMA_VERSION)
                return refuse_newer(s, version, reterr);
        *ret = version;
        return 0;
}

/* An older schema is kept beside the file before anything is changed. */
static int keep_older(Store *s, int version, Error *reterr) {
        int r;

        if (version == 0 || version == SCHEMA_VERSION)
                return 0;
        r = store_keep_copy(s, version, reterr);
        if (r >= 0)
                s->migrated_from = version;
        return r;
}

static int store_connect(Store *s, int flags, Error *reterr) {
        int version = 0, r;

        r = check_header(s, reterr);
        if (r < 0)
                return r;
        if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | flags,
                            NULL) != SQLITE_OK)
                return store_fault_open(s, reterr);
        (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        /* Before the first look, or SQLite makes a shared index beside the file, for which a full
         * disk has no room. */
        if (sqlite3_exec(s->db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL) != SQLITE_OK)
                return store_fault_open(s, reterr);
        /* The version is read before anything is written: a newer file stays untouched. */
        r = store_check_version(s, &version, reterr);
        if (r >= 0)
                r = keep_older(s, version, reterr);
        if (r < 0)
                return r;
        if (sqlite3_exec(s->db, settings, NULL, NULL, NULL) != SQLITE_OK ||
            schema_migrate(s->db, version) != SQLITE_OK)
                return store_fault_open(s, reterr);
        /* What was just made or migrated can be read and written. */
        if (version != SCHEMA_VERSION)
                (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        return 0;
}

/* SQLite gives its further files the mode that the database has when it is opened. */
static void make_private(const char *path) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
                return; /* SQLite says why */
        (void) fchmod(fd, 0600);
        (void) close(fd);
}

/* A log that was made only to look is no trace to leave. */
static void remove_empty(const char *log) {
        struct stat st;

        if (stat(log, &st) == 0 && st.st_size == 0)
                (void) unlink(log);
}

int store_open(const char *state_dir, Store **ret, Error *reterr) {
        _cleanup_(store_freep) Store *s = calloc(1, sizeof(Store));
        _cleanup_free_ char *log = path_join(state_dir, "updd.db-wal");
        bool had_log = log && access(log, F_OK) == 0;
        int r;

        if (!s || !log || !(s->path = path_join(state_dir, "updd.db")))
                return error_oom(reterr);
        disk_watch();
        make_private(s->path);
        r = store_connect(s, SQLITE_OPEN_CREATE, reterr);
        if (r < 0 && !had_log) {
                store_close(s);
                remove_empty(log);
        }
        if (r < 0)
                return r;
        *ret = TAKE(s);
        return 0;
}

/* A path may have what means something in a URI (sqlite.org/uri.html). */
static char *uri_of(const char *path) {
        static const char tail[] = "?immutable=1";
        char *uri = malloc(sizeof("file:") + 3 * strlen(path) + sizeof(tail)), *to;

        if (!uri)
                return NULL;
        to = stpcpy(uri, "file:");
        for (const char *c = path; *c; c++)
                to += sprintf(to, strchr("?#%", *c) ? "%%%02X" : "%c", *c);
        (void) stpcpy(to, tail);
        return uri;
}

/* Whoever wants to read may, although nothing can be written. A descriptor that can only be read
 * takes no lock for writing, hence no locks at all: the state folder's keeps others away. Where there
 * is no log, SQLite is kept from making one. */
static int connect_readers(Store *s) {
        _cleanup_free_ char *log = strf("%s-wal", s->path);
        _cleanup_free_ char *alone = uri_of(s->path);
        bool has_log = log && access(log, F_OK) == 0;

        store_close(s);
        if (!log || !alone)
                return SQLITE_NOMEM;
        s->readonly = true;
        if (sqlite3_open_v2(has_log ? s->path : alone, &s->db,
                            SQLITE_OPEN_READONLY | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_URI,
                            "unix-none") != SQLITE_OK)
                return sqlite3_errcode(s->db);
        (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        return sqlite3_exec(s->db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL);
}

int store_open_readers(const char *state_dir, Store **ret, int *ret_version, Error *reterr) {
        _cleanup_(store_freep) Store *s = calloc(1, sizeof(Store));
        int r;

        if (!s || !(s->path = path_join(state_dir, "updd.db")))
                return error_oom(reterr);
        if (access(s->path, F_OK) < 0)
                return error_set(reterr, errno, "no-database", "There is no database at %s",
                                 s->path);
        r = check_header(s, reterr);
        if (r < 0)
                return r;
        if (connect_readers(s) != SQLITE_OK)
                return store_fault_open(s, reterr);
        r = store_check_version(s, ret_version, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(s);
        return 0;
}

int store_reopen(Store *s, Error *reterr) {
        int r;

        /* On a disk that fails, the log is not moved on the way out. */
        if (s->db)
                (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        store_close(s);
        /* A file that is gone is not made anew: an empty one would say that there were no jobs. */
        r = store_connect(s, 0, reterr);
        if (r < 0 && connect_readers(s) != SQLITE_OK)
                store_close(s);
        return r;
}

int store_migrated(const Store *s, const char **ret_copy) {
        *ret_copy = s->copy;
        return s->migrated_from;
}

Store *store_free(Store *s) {
        if (s) {
                store_close(s);
                free(s->path);
                free(s->copy);
                free(s);
        }
        return NULL;
}
