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
        SQL_JOB_GIVE_UP_SAY,
        SQL_JOB_GIVE_UP,
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
        SQL_ATTEMPTS,
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
        SQL_SCHEDULE_PUT,
        SQL_SCHEDULE_REMOVE,
        SQL_SCHEDULES,
        SQL_RUN_ADD,
        SQL_RUN_SEEN,
        SQL_RUNS,
        SQL_EVENT_LAST,
        _SQL_MAX,
} StatementId;

#define STORE_DAMAGED_HINT                                                                         \
        "stop updd; updd --check-state tells more; keep the files and put a backup in their place"

struct Store {
        char *path;
        sqlite3 *db;
        bool readonly;     /* it could not be opened for writing; only readers are served */
        bool damaged;      /* seen while it was open: nothing is written any more */
        int migrated_from; /* the schema that was found, when it was an older one */
        char *copy;        /* where the file is kept as it was then */
        sqlite3_stmt *statements[_SQL_MAX];
};

/* The statement, prepared at its first use. NULL with *reterr set when that fails. */
sqlite3_stmt *statement_get(Store *s, StatementId id, Error *reterr);
void statement_resetp(sqlite3_stmt **stmt);
#define _cleanup_reset_ _cleanup_(statement_resetp)

/* Turns SQLite's last error into ours: type "store-failed", "disk-full" (-ENOSPC), "store-damaged"
 * (-EUCLEAN) or "out-of-memory". */
int store_fault(Store *s, const char *what, Error *reterr);
/* Binds NULL for a NULL text; the text must live until the statement is reset. */
void bind_text(sqlite3_stmt *stmt, int i, const char *text);
/* ---- open.c ---- */
void store_close(Store *s);
/* The same for what fails while it is opened: it names the file, and says what to do. */
int store_fault_open(Store *s, Error *reterr);
/* Refuses a schema that is newer (-ENOTSUP) and a file of another program (-EUCLEAN). */
_must_check_ int store_check_version(Store *s, int *ret, Error *reterr);
/* ---- disk.c ---- */
/* From now on the reasons of failed writes are known. */
void disk_watch(void);
/* The errno of the last write that failed, and 0 from then on until the next. */
int disk_error(void);
/* ---- copy.c ---- */
/* Keeps the whole database (its log included) in a file beside it, and proves it by reading it. */
_must_check_ int store_keep_copy(Store *s, int version, Error *reterr);

/* Steps a statement that returns no row. */
_must_check_ int statement_run(Store *s, sqlite3_stmt *stmt, const char *what, Error *reterr);
/* A column as text, NULL where it is null or, in a damaged file, no UTF-8. */
const char *column_text(sqlite3_stmt *stmt, int i);
/* The same of a column that is NOT NULL, which damage alone can make so: then it is empty, and whoever
 * reads it refuses that as any other text that makes no sense. */
const char *column_needed(sqlite3_stmt *stmt, int i);
/* A document, of which its parser knows what to think; empty where it is null. */
const char *column_document(sqlite3_stmt *stmt, int i);
/* Were the row's columns what is stored, or was there no memory for them? 0 or -ENOMEM. */
_must_check_ int row_is_read(Store *s, Error *reterr);
