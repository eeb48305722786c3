/* SPDX-License-Identifier: MIT */
/*
 * The database's schema and its history.
 *
 *   version 1   jobs, plan documents, steps, attempts, events, requests, tokens
 *
 * One function a migration; each runs in one transaction with the change of user_version, so a
 * migration that fails leaves the file as it was. Old databases are kept as fixtures in the tests.
 */
#include "daemon/store/schema.h"

static const char version_1[] =
        "CREATE TABLE job ("
        "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
        "  plan TEXT NOT NULL, title TEXT, target TEXT NOT NULL, state TEXT NOT NULL,"
        "  who TEXT NOT NULL, reason TEXT, sha256 TEXT NOT NULL,"
        "  created INTEGER NOT NULL, started INTEGER NOT NULL, ended INTEGER NOT NULL,"
        "  version INTEGER NOT NULL, dry_run INTEGER NOT NULL, live INTEGER NOT NULL,"
        "  data TEXT NOT NULL) STRICT;"
        "CREATE INDEX job_live ON job (id) WHERE live = 1;"
        "CREATE INDEX job_by_plan ON job (plan, id);"
        "CREATE INDEX job_by_target ON job (target, id);"
        "CREATE INDEX job_by_state ON job (state, id);"
        "CREATE TABLE document ("
        "  sha256 TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE TABLE step ("
        "  job INTEGER NOT NULL, idx INTEGER NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL,"
        "  data TEXT NOT NULL, PRIMARY KEY (job, idx)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE attempt ("
        "  job INTEGER NOT NULL, step TEXT NOT NULL, n INTEGER NOT NULL, id TEXT NOT NULL,"
        "  direction TEXT NOT NULL, state TEXT NOT NULL,"
        "  started INTEGER NOT NULL, ended INTEGER NOT NULL, data TEXT,"
        "  PRIMARY KEY (job, step, n)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE event ("
        "  id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, seq INTEGER NOT NULL,"
        "  time INTEGER NOT NULL, type TEXT NOT NULL, step TEXT, attempt INTEGER, who TEXT,"
        "  data TEXT) STRICT;"
        "CREATE UNIQUE INDEX event_by_job ON event (job, seq);"
        "CREATE TABLE request ("
        "  key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, time INTEGER NOT NULL,"
        "  reply TEXT NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE INDEX request_by_time ON request (time);"
        "CREATE TABLE token ("
        "  name TEXT PRIMARY KEY, role TEXT NOT NULL, hash TEXT NOT NULL, created INTEGER NOT NULL,"
        "  who TEXT NOT NULL) STRICT, WITHOUT ROWID;";

static int migrate_to_1(sqlite3 *db) {
        return sqlite3_exec(db, version_1, NULL, NULL, NULL);
}

typedef int (*Migration)(sqlite3 *db);

/* Entry i leads from version i to i + 1. */
static const Migration migrations[] = {migrate_to_1};

int schema_version_read(sqlite3 *db, int *ret) {
        sqlite3_stmt *stmt = NULL;
        int r = sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL);

        if (r == SQLITE_OK)
                r = sqlite3_step(stmt);
        if (r == SQLITE_ROW) {
                *ret = sqlite3_column_int(stmt, 0);
                r = SQLITE_OK;
        }
        (void) sqlite3_finalize(stmt);
        return r;
}

static int migrate_one(sqlite3 *db, int from) {
        char pragma[64];
        int r = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

        if (r != SQLITE_OK)
                return r;
        r = migrations[from](db);
        (void) snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", from + 1);
        if (r == SQLITE_OK)
                r = sqlite3_exec(db, pragma, NULL, NULL, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
        if (r != SQLITE_OK)
                (void) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        return r;
}

int schema_migrate(sqlite3 *db, int from) {
        for (int v = from; v < SCHEMA_VERSION; v++) {
                int r = migrate_one(db, v);

                if (r != SQLITE_OK)
                        return r;
        }
        return SQLITE_OK;
}

_Static_assert(ELEMENTSOF(migrations) == SCHEMA_VERSION, "one migration for each version");
