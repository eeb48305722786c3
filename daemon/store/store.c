/* SPDX-License-Identifier: MIT */
/* Statements, transactions and faults of the store: see daemon/store/store.h. */
#include "daemon/store/store.h"

#include "daemon/store/internal.h"

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
        [SQL_JOB_GIVE_UP_SAY] =
                "INSERT INTO event (job, seq, time, type, who, data) "
                "SELECT ?1, 1 + ifnull(max(seq), 0), ?2, ?3, ?4, ?5 FROM event WHERE job = ?1",
        [SQL_JOB_GIVE_UP] = "UPDATE job SET state = 'abandoned', live = 0, ended = ?2, version = "
                            "(SELECT max(seq) FROM event WHERE job = ?1) WHERE id = ?1",
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
        [SQL_ATTEMPTS] = "SELECT step, n, id, direction, state, started, ended, data FROM attempt "
                         "WHERE job = ?1 AND (step, n) > (?2, ?3) ORDER BY step, n LIMIT ?4",
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
        [SQL_REQUESTS_PRUNE] = "DELETE FROM request WHERE time < "
                               "min(?1, (SELECT max(time) FROM request)) - ?2",
        [SQL_TOKEN_PUT] = "INSERT INTO token (name, role, hash, created, who) "
                          "VALUES (?1,?2,?3,?4,?5)",
        [SQL_TOKEN_REMOVE] = "DELETE FROM token WHERE name = ?1",
        [SQL_RUN_ADD] =
                "INSERT INTO run (version, boot, started, seen, ended) VALUES (?1,?2,?3,?3,0)",
        [SQL_RUN_SEEN] = "UPDATE run SET seen = ?2, ended = ?3 WHERE n = ?1",
        [SQL_RUNS] =
                "SELECT n, version, boot, started, seen, ended FROM run ORDER BY n DESC LIMIT ?1",
        [SQL_EVENT_LAST] = "SELECT time FROM event ORDER BY id DESC LIMIT 1",
        [SQL_TOKENS] = "SELECT name, role, hash, created, who FROM token ORDER BY name",
        [SQL_SCHEDULE_PUT] = "INSERT INTO schedule (name, data) VALUES (?1, ?2) "
                             "ON CONFLICT (name) DO UPDATE SET data = excluded.data",
        [SQL_SCHEDULE_REMOVE] = "DELETE FROM schedule WHERE name = ?1",
        [SQL_SCHEDULES] = "SELECT name, data FROM schedule ORDER BY name",
};

/* What is damaged stays as it is: its log is not moved into it, not even when it is closed. */
static int fault_damaged(Store *s, const char *what, Error *reterr) {
        (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        s->damaged = true;
        (void) error_set(reterr, EUCLEAN, "store-damaged", "Cannot %s: %s is damaged: %s", what,
                         s->path, sqlite3_errmsg(s->db));
        error_hint(reterr, STORE_DAMAGED_HINT);
        return -EUCLEAN;
}

int store_fault(Store *s, const char *what, Error *reterr) {
        int code = s->db ? sqlite3_errcode(s->db) & 0xff : SQLITE_CANTOPEN, err = disk_error();
        const char *text = s->db ? sqlite3_errmsg(s->db) : "not open";

        switch (code) {
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB: return fault_damaged(s, what, reterr);
        case SQLITE_NOMEM: return error_oom(reterr);
        case SQLITE_FULL:
                return error_set(reterr, ENOSPC, "disk-full", "Cannot %s: %s", what,
                                 err == EDQUOT ? strerror(EDQUOT) : text);
        case SQLITE_IOERR:
                if (err != 0)
                        return error_set(reterr, EIO, "store-failed", "Cannot %s: %s", what,
                                         strerror(err));
                break;
        case SQLITE_READONLY:
                return error_set(reterr, EROFS, "store-failed", "Cannot %s: %s", what,
                                 strerror(EROFS));
        default: break;
        }
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
        const char *text = (const char *) sqlite3_column_text(stmt, i);

        return text && utf8_is_text(text, strlen(text)) ? text : NULL;
}

const char *column_needed(sqlite3_stmt *stmt, int i) {
        const char *text = column_text(stmt, i);

        return text ? text : "";
}

const char *column_document(sqlite3_stmt *stmt, int i) {
        const char *text = (const char *) sqlite3_column_text(stmt, i);

        return text ? text : "";
}

int row_is_read(Store *s, Error *reterr) {
        return (sqlite3_errcode(s->db) & 0xff) == SQLITE_NOMEM ? error_oom(reterr) : 0;
}

int statement_run(Store *s, sqlite3_stmt *stmt, const char *what, Error *reterr) {
        return sqlite3_step(stmt) == SQLITE_DONE ? 0 : store_fault(s, what, reterr);
}

static int run_simple(Store *s, StatementId id, const char *what, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *stmt = statement_get(s, id, reterr);

        return stmt ? statement_run(s, stmt, what, reterr) : -EIO;
}

int store_begin(Store *s, Error *reterr) {
        int moved = 0;

        if (s->readonly)
                return error_set(reterr, EROFS, "store-failed", "%s can only be read now", s->path);
        /* What is written to a file that nobody will find again must not be acknowledged. */
        if (s->db &&
            sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
            moved)
                return error_set(reterr, EIO, "store-failed", "%s was moved or deleted", s->path);
        return run_simple(s, SQL_BEGIN, "begin a transaction", reterr);
}

int store_commit(Store *s, Error *reterr) {
        int r = run_simple(s, SQL_COMMIT, "commit", reterr);

        /* It can be read and written: its log may be moved into it when it is closed. */
        if (r >= 0 && !s->damaged)
                (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        return r;
}

void store_rollback(Store *s) {
        if (store_in_transaction(s))
                (void) run_simple(s, SQL_ROLLBACK, "roll back", NULL);
}

uint64_t store_changes(const Store *s) {
        return s->db ? (uint64_t) sqlite3_total_changes64(s->db) : 0;
}

bool store_is_damaged(const Store *s) {
        return s->damaged;
}

bool store_in_transaction(const Store *s) {
        return s->db && !sqlite3_get_autocommit(s->db);
}

void store_checkpoint(Store *s) {
        if (s->db && !s->damaged)
                (void) sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL,
                                                 NULL);
}
