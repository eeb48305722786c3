/* SPDX-License-Identifier: MIT */
/*
 * The store's inside: one table of statements, prepared once and reset by cleanup. For the store
 * room only.
 */
#pragma once

#include <sqlite3.h>

#include "daemon/store/store.h"

typedef enum StatementId {
        SQL_BEGIN,
        SQL_COMMIT,
        SQL_ROLLBACK,
        SQL_JOB_INSERT,
        SQL_JOB_UPDATE,
        SQL_JOBS_LIVE,
        SQL_JOB_GET,
        SQL_JOBS_ALL,
        SQL_JOBS_STATE,
        SQL_JOBS_PLAN,
        SQL_JOBS_TARGET,
        SQL_JOBS_UNFINISHED,
        SQL_JOB_LAST,
        SQL_DOCUMENT_PUT,
        SQL_DOCUMENT_GET,
        SQL_STEP_PUT,
        SQL_STEPS_CLEAR,
        SQL_STEPS,
        SQL_ATTEMPT_PUT,
        SQL_ATTEMPT_NEWEST,
        SQL_ATTEMPT_ONE,
        SQL_EVENT_ADD,
        SQL_EVENTS_JOB,
        SQL_EVENTS_ALL,
        SQL_REQUEST_GET,
        SQL_REQUEST_PUT,
        SQL_REQUESTS_PRUNE,
        SQL_TOKEN_PUT,
        SQL_TOKEN_REMOVE,
        SQL_TOKENS,
        _SQL_MAX,
} StatementId;

struct Store {
        char *path;
        sqlite3 *db;
        sqlite3_stmt *statements[_SQL_MAX];
};

/* The statement, prepared at its first use. NULL with *reterr set when that fails. */
sqlite3_stmt *statement_get(Store *s, StatementId id, Error *reterr);
void statement_resetp(sqlite3_stmt **stmt);
#define _cleanup_reset_ _cleanup_(statement_resetp)

/* Turns SQLite's last error into ours: type "store-failed" or "disk-full". */
int store_fault(Store *s, const char *what, Error *reterr);
/* Binds NULL for a NULL text; the text must live until the statement is reset. */
void bind_text(sqlite3_stmt *stmt, int i, const char *text);
/* Steps a statement that returns no row. */
_must_check_ int statement_run(Store *s, sqlite3_stmt *stmt, const char *what, Error *reterr);
/* A column as text, NULL where it is null. */
const char *column_text(sqlite3_stmt *stmt, int i);
