/* SPDX-License-Identifier: MIT */
/*
 * Users' SQLite databases, as `databases` of the plan names them. A wait for a lock ends after
 * 10 s, and any statement ends when the step is to stop.
 */
#pragma once

#include "daemon/step/step.h"

#include <sqlite3.h>

static inline void sqlite3_closep(sqlite3 **db) {
        (void) sqlite3_close_v2(*db);
}
static inline void sqlite3_finalizep(sqlite3_stmt **statement) {
        (void) sqlite3_finalize(*statement);
}
#define _cleanup_db_ _cleanup_(sqlite3_closep)
#define _cleanup_stmt_ _cleanup_(sqlite3_finalizep)

/* The file of databases.<name>, absolute. -EPROTONOSUPPORT when it is none of SQLite. Caller frees.
 */
_must_check_ int database_path(Step *s, const char *name, char **ret, Error *reterr);

typedef enum DatabaseMode {
        DATABASE_LOOK,   /* nothing can be changed */
        DATABASE_CHANGE, /* the file must exist */
        DATABASE_COPY,   /* a file that nobody else has: no locks, no side files, nothing changed */
        DATABASE_NEW,    /* made, empty */
} DatabaseMode;

/* Opens a file. -ENOENT when it is missing, -EBADMSG when it is no database. */
_must_check_ int database_open(Step *s, const char *path, DatabaseMode mode, sqlite3 **ret,
                               Error *reterr);

/* Fills the error from what SQLite says and returns -errno: -EBUSY locked, -ENOSPC full, … */
int database_error(sqlite3 *db, const char *path, Error *reterr);

/* The first row of a query as an object by column; empty when there is no row. */
_must_check_ int database_row(sqlite3 *db, const char *path, const char *query, json_t **ret,
                              Error *reterr);
/* {TABLE: rows} of the tables (an array of names), or of all of them when NULL. */
_must_check_ int database_counts(sqlite3 *db, const char *path, const json_t *tables, json_t **ret,
                                 Error *reterr);
/* {TABLE: [COLUMN, …]} of every table and view. */
_must_check_ int database_columns(sqlite3 *db, const char *path, json_t **ret, Error *reterr);
/* PRAGMA integrity_check. -EBADMSG with its first complaint. */
_must_check_ int database_integrity(sqlite3 *db, const char *path, Error *reterr);

/* A consistent copy of a database that others may be writing to. `to` is made, and durable on
 * return; a copy that failed is removed. */
_must_check_ int database_copy(Step *s, const char *from, const char *to, Error *reterr);

/* Who has the file (or its -wal, -shm, -journal) open: array of "name (pid N)". What this user may
 * not look at is not in it. */
_must_check_ int database_users(const char *path, json_t **ret);

/* Makes sure that nobody else is connected and leaves the file without -wal, -shm and -journal
 * beside it. -EBUSY names who is connected. A file that is no database any more is fine. */
_must_check_ int database_vacate(Step *s, const char *path, Error *reterr);
