/* SPDX-License-Identifier: MIT */
/*
 * The database's schema and its history.
 *
 *   version 1   jobs, plan documents, steps, attempts, events, requests, tokens
 *   version 2   runs: when which updd had the store open; the file says that it is updd's
 *   version 3   schedules
 *
 * One function a migration; all that are needed run in one transaction with the change of
 * user_version, so a migration that fails leaves the file as it was. Old databases are kept as
 * fixtures in the tests (tests/integration/fixtures).
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

static int migrate_to_2(sqlite3 *db) {
        char mark[64];

        (void) snprintf(mark, sizeof(mark), "PRAGMA application_id = %d", SCHEMA_APPLICATION_ID);
        if (sqlite3_exec(db, mark, NULL, NULL, NULL) != SQLITE_OK)
                return sqlite3_errcode(db);
        return sqlite3_exec(db,
                            "CREATE TABLE run ("
                            "  n INTEGER PRIMARY KEY AUTOINCREMENT, version TEXT NOT NULL,"
                            "  boot TEXT NOT NULL, started INTEGER NOT NULL, seen INTEGER NOT NULL,"
                            "  ended INTEGER NOT NULL) STRICT",
                            NULL, NULL, NULL);
}

static int migrate_to_3(sqlite3 *db) {
        return sqlite3_exec(db,
                            "CREATE TABLE schedule ("
                            "  name TEXT PRIMARY KEY, data TEXT NOT NULL) STRICT, WITHOUT ROWID",
                            NULL, NULL, NULL);
}

typedef int (*Migration)(sqlite3 *db);

/* Entry i leads from version i to i + 1. */
static const Migration migrations[] = {migrate_to_1, migrate_to_2, migrate_to_3};

static int number_read(sqlite3 *db, const char *sql, int *ret) {
        sqlite3_stmt *stmt = NULL;
        int r = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

        if (r == SQLITE_OK)
                r = sqlite3_step(stmt);
        if (r == SQLITE_ROW) {
                *ret = sqlite3_column_int(stmt, 0);
                r = SQLITE_OK;
        }
        (void) sqlite3_finalize(stmt);
        return r;
}

int schema_version_read(sqlite3 *db, int *ret) {
        int version = 0, application = 0, tables = 0, r;

        r = number_read(db, "PRAGMA user_version", &version);
        if (r == SQLITE_OK)
                r = number_read(db, "PRAGMA application_id", &application);
        if (r == SQLITE_OK && version == 0)
                r = number_read(db, "SELECT count(*) FROM sqlite_schema", &tables);
        if (r != SQLITE_OK)
                return r;
        /* Version 1 did not say whose it is. */
        if (tables > 0 || (version < 2 ? application != 0 : application != SCHEMA_APPLICATION_ID))
                return SQLITE_MISMATCH;
        *ret = version;
        return SQLITE_OK;
}

static int migrate_all(sqlite3 *db, int from) {
        char pragma[64];
        int r = SQLITE_OK;

        for (int v = from; r == SQLITE_OK && v < SCHEMA_VERSION; v++)
                r = migrations[v](db);
        (void) snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", SCHEMA_VERSION);
        return r == SQLITE_OK ? sqlite3_exec(db, pragma, NULL, NULL, NULL) : r;
}

int schema_migrate(sqlite3 *db, int from) {
        int r;

        if (from == SCHEMA_VERSION)
                return SQLITE_OK;
        r = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        if (r == SQLITE_OK)
                r = migrate_all(db, from);
        /* What fails is rolled back when the connection is closed: the error is to be read first. */
        return r == SQLITE_OK ? sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) : r;
}

_Static_assert(ELEMENTSOF(migrations) == SCHEMA_VERSION, "one migration for each version");
