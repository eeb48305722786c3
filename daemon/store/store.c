/* SPDX-License-Identifier: MIT */
/* Opening, transactions and the statements of the store: see daemon/store/store.h. */
#include "daemon/store/store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "daemon/store/internal.h"
#include "daemon/store/schema.h"

#define JOB_COLUMNS                                                                                \
        "id, plan, title, target, state, who, reason, sha256, created, started, ended, version, "  \
        "dry_run, live, data"
#define EVENT_COLUMNS "id, job, seq, time, type, step, attempt, who, data"

static const char *const sql[_SQL_MAX] = {
        [SQL_BEGIN] = "BEGIN IMMEDIATE",
        [SQL_COMMIT] = "COMMIT",
        [SQL_ROLLBACK] = "ROLLBACK",
        [SQL_JOB_INSERT] = "INSERT INTO job (" JOB_COLUMNS ") "
                           "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)",
        [SQL_JOB_UPDATE] = "UPDATE job SET state = ?2, started = ?3, ended = ?4, version = ?5, "
                           "live = ?6, data = ?7, sha256 = ?8 "
                           "WHERE id = ?1 AND state = ?9 AND version = ?10",
        [SQL_JOBS_LIVE] = "SELECT " JOB_COLUMNS " FROM job WHERE live = 1 ORDER BY id",
        [SQL_JOB_GET] = "SELECT " JOB_COLUMNS " FROM job WHERE id = ?1",
        [SQL_JOBS_ALL] = "SELECT " JOB_COLUMNS " FROM job WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
        [SQL_JOBS_STATE] = "SELECT " JOB_COLUMNS " FROM job WHERE id < ?1 AND state = ?3 "
                           "ORDER BY id DESC LIMIT ?2",
        [SQL_JOBS_PLAN] = "SELECT " JOB_COLUMNS " FROM job WHERE id < ?1 AND plan = ?3 "
                          "ORDER BY id DESC LIMIT ?2",
        [SQL_JOBS_TARGET] = "SELECT " JOB_COLUMNS " FROM job WHERE id < ?1 AND target = ?3 "
                            "ORDER BY id DESC LIMIT ?2",
        [SQL_JOBS_UNFINISHED] =
                "SELECT " JOB_COLUMNS " FROM job INDEXED BY job_live WHERE live = 1 AND id < ?1 "
                "AND state IN ('queued','running','waiting','rolling_back','stuck') "
                "ORDER BY id DESC LIMIT ?2",
        [SQL_JOB_LAST] = "SELECT seq FROM sqlite_sequence WHERE name = 'job'",
        [SQL_DOCUMENT_PUT] = "INSERT INTO document (sha256, text) VALUES (?1, ?2) "
                             "ON CONFLICT (sha256) DO NOTHING",
        [SQL_DOCUMENT_GET] = "SELECT text FROM document WHERE sha256 = ?1",
        [SQL_STEP_PUT] = "INSERT INTO step (job, idx, id, state, data) VALUES (?1,?2,?3,?4,?5) "
                         "ON CONFLICT (job, idx) DO UPDATE SET id = excluded.id, "
                         "state = excluded.state, data = excluded.data",
        [SQL_STEPS_CLEAR] = "DELETE FROM step WHERE job = ?1",
        [SQL_STEPS] = "SELECT idx, id, state, data FROM step WHERE job = ?1 ORDER BY idx",
        [SQL_ATTEMPT_PUT] =
                "INSERT INTO attempt (job, step, n, id, direction, state, started, ended, data) "
                "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9) "
                "ON CONFLICT (job, step, n) DO UPDATE SET state = excluded.state, "
                "ended = excluded.ended, data = excluded.data",
        [SQL_ATTEMPT_NEWEST] = "SELECT max(n) FROM attempt WHERE job = ?1 AND step = ?2",
        [SQL_ATTEMPT_ONE] = "SELECT n FROM attempt WHERE job = ?1 AND step = ?2 AND n = ?3",
        [SQL_EVENT_ADD] = "INSERT INTO event (job, seq, time, type, step, attempt, who, data) "
                          "VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
        [SQL_EVENTS_JOB] = "SELECT " EVENT_COLUMNS " FROM event WHERE job = ?1 AND seq > ?2 "
                           "ORDER BY seq LIMIT ?3",
        [SQL_EVENTS_ALL] = "SELECT " EVENT_COLUMNS " FROM event WHERE id > ?2 ORDER BY id LIMIT ?3",
        [SQL_REQUEST_GET] = "SELECT fingerprint, reply FROM request WHERE key = ?1",
        [SQL_REQUEST_PUT] = "INSERT INTO request (key, fingerprint, time, reply) "
                            "VALUES (?1,?2,?3,?4)",
        [SQL_REQUESTS_PRUNE] = "DELETE FROM request WHERE time < ?1",
        [SQL_TOKEN_PUT] = "INSERT INTO token (name, role, hash, created, who) "
                          "VALUES (?1,?2,?3,?4,?5)",
        [SQL_TOKEN_REMOVE] = "DELETE FROM token WHERE name = ?1",
        [SQL_TOKENS] = "SELECT name, role, hash, created, who FROM token ORDER BY name",
};

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

int store_fault(Store *s, const char *what, Error *reterr) {
        int code = s->db ? sqlite3_extended_errcode(s->db) : SQLITE_CANTOPEN;
        const char *text = s->db ? sqlite3_errmsg(s->db) : "not open";

        if ((code & 0xff) == SQLITE_FULL)
                return error_set(reterr, ENOSPC, "disk-full", "Cannot %s: %s", what, text);
        if ((code & 0xff) == SQLITE_NOMEM)
                return error_oom(reterr);
        return error_set(reterr, EIO, "store-failed", "Cannot %s: %s", what, text);
}

sqlite3_stmt *statement_get(Store *s, StatementId id, Error *reterr) {
        if (!s->db) {
                (void) store_fault(s, "use the database", reterr);
                return NULL;
        }
        if (!s->statements[id] && sqlite3_prepare_v3(s->db, sql[id], -1, SQLITE_PREPARE_PERSISTENT,
                                                     &s->statements[id], NULL) != SQLITE_OK)
                (void) store_fault(s, "prepare a statement", reterr);
        return s->statements[id];
}

void statement_resetp(sqlite3_stmt **stmt) {
        if (*stmt) {
                (void) sqlite3_reset(*stmt);
                (void) sqlite3_clear_bindings(*stmt);
        }
}

void bind_text(sqlite3_stmt *stmt, int i, const char *text) {
        if (text)
                (void) sqlite3_bind_text(stmt, i, text, -1, SQLITE_STATIC);
        else
                (void) sqlite3_bind_null(stmt, i);
}

const char *column_text(sqlite3_stmt *stmt, int i) {
        return (const char *) sqlite3_column_text(stmt, i);
}

int statement_run(Store *s, sqlite3_stmt *stmt, const char *what, Error *reterr) {
        return sqlite3_step(stmt) == SQLITE_DONE ? 0 : store_fault(s, what, reterr);
}

static int run_simple(Store *s, StatementId id, const char *what, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *stmt = statement_get(s, id, reterr);

        return stmt ? statement_run(s, stmt, what, reterr) : -EIO;
}

static void store_close(Store *s) {
        for (size_t i = 0; i < _SQL_MAX; i++) {
                (void) sqlite3_finalize(s->statements[i]);
                s->statements[i] = NULL;
        }
        (void) sqlite3_close(s->db);
        s->db = NULL;
}

static int fault_open(Store *s, Error *reterr) {
        switch (sqlite3_errcode(s->db) & 0xff) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return error_set(reterr, EBUSY, "locked", "%s is in use by another process",
                                 s->path);
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                (void) error_set(reterr, EUCLEAN, "damaged", "%s is damaged: %s", s->path,
                                 sqlite3_errmsg(s->db));
                error_hint(reterr,
                           "updd --check-state tells more; move the file away (keep it) and "
                           "put a backup in its place");
                return -EUCLEAN;
        default: return store_fault(s, "open the database", reterr);
        }
}

static int check_version(Store *s, int *ret, Error *reterr) {
        int version = 0;

        if (schema_version_read(s->db, &version) != SQLITE_OK)
                return fault_open(s, reterr);
        if (version > SCHEMA_VERSION)
                return error_set(reterr, ENOTSUP, "newer-schema",
                                 "%s has schema version %d, this updd knows up to %d: it was "
                                 "written by a newer updd",
                                 s->path, version, SCHEMA_VERSION);
        *ret = version;
        return 0;
}

static int store_connect(Store *s, int flags, Error *reterr) {
        int version = 0, r;

        if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | flags,
                            NULL) != SQLITE_OK)
                return fault_open(s, reterr);
        /* Before the first look, or SQLite makes a shared index beside the file, for which a full
         * disk has no room. */
        if (sqlite3_exec(s->db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL) != SQLITE_OK)
                return fault_open(s, reterr);
        /* The version is read before anything is written: a newer file stays untouched. */
        r = check_version(s, &version, reterr);
        if (r < 0)
                return r;
        if (sqlite3_exec(s->db, settings, NULL, NULL, NULL) != SQLITE_OK)
                return fault_open(s, reterr);
        if (schema_migrate(s->db, version) != SQLITE_OK)
                return fault_open(s, reterr);
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

int store_open(const char *state_dir, Store **ret, Error *reterr) {
        _cleanup_(store_freep) Store *s = calloc(1, sizeof(Store));
        int r;

        if (!s || !(s->path = path_join(state_dir, "updd.db")))
                return error_oom(reterr);
        make_private(s->path);
        r = store_connect(s, SQLITE_OPEN_CREATE, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(s);
        return 0;
}

int store_reopen(Store *s, Error *reterr) {
        store_close(s);
        /* A file that is gone is not made anew: an empty one would say that there were no jobs. */
        return store_connect(s, 0, reterr);
}

Store *store_free(Store *s) {
        if (s) {
                store_close(s);
                free(s->path);
                free(s);
        }
        return NULL;
}

static int first_text(void *userdata, int n, char **values, char **names) {
        char **ret = userdata;

        if (!*ret && n > 0 && values[0])
                *ret = strdup(values[0]);
        return 0;
}

int store_verify(const char *state_dir, Error *reterr) {
        _cleanup_(store_freep) Store *s = calloc(1, sizeof(Store));
        _cleanup_free_ char *verdict = NULL;
        int version = 0, r;

        if (!s || !(s->path = path_join(state_dir, "updd.db")))
                return error_oom(reterr);
        if (access(s->path, F_OK) < 0)
                return error_set(reterr, errno, "no-database", "There is no database at %s",
                                 s->path);
        if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
                return fault_open(s, reterr);
        r = check_version(s, &version, reterr);
        if (r < 0)
                return r;
        if (sqlite3_exec(s->db, "PRAGMA integrity_check(1)", first_text, &verdict, NULL) !=
            SQLITE_OK)
                return fault_open(s, reterr);
        if (!streq0(verdict, "ok"))
                return error_set(reterr, EUCLEAN, "damaged", "%s is damaged: %s", s->path,
                                 verdict ? verdict : "unreadable");
        return 0;
}

int store_begin(Store *s, Error *reterr) {
        int moved = 0;

        /* What is written to a file that nobody will find again must not be acknowledged. */
        if (s->db &&
            sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
            moved)
                return error_set(reterr, EIO, "store-failed", "%s was moved or deleted", s->path);
        return run_simple(s, SQL_BEGIN, "begin a transaction", reterr);
}

int store_commit(Store *s, Error *reterr) {
        return run_simple(s, SQL_COMMIT, "commit", reterr);
}

void store_rollback(Store *s) {
        if (store_in_transaction(s))
                (void) run_simple(s, SQL_ROLLBACK, "roll back", NULL);
}

bool store_in_transaction(const Store *s) {
        return s->db && !sqlite3_get_autocommit(s->db);
}

void store_checkpoint(Store *s) {
        if (s->db)
                (void) sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL,
                                                 NULL);
}
