/* SPDX-License-Identifier: MIT */
/*
 * sql {db, query | count | exec | file}, on SQLite. What asks can change nothing. What changes does
 * so in one transaction, all or nothing, unless the script brings its own.
 */
#include "daemon/step/match.h"
#include "daemon/step/sqlite.h"

#include <fcntl.h>

#define SCRIPT_MAX (64U * 1024 * 1024)

static int outputs_from(Step *s, const json_t *row) {
        const char *key;
        json_t *value;

        json_object_foreach ((json_t *) row, key, value) {
                int r = step_output(s, key, json_incref(value));

                if (r < 0)
                        return r;
        }
        return 0;
}

static int ask(Step *s, const char *path, const json_t *args, Error *reterr) {
        const char *query = args_text(args, "query", NULL);
        json_t *count = json_object_get(args, "count");
        json_auto_t *row = NULL;
        json_auto_t *tables = json_is_string(count) ? json_pack("[O]", count) : json_incref(count);
        _cleanup_db_ sqlite3 *db = NULL;
        int r = database_open(s, path, DATABASE_LOOK, &db, reterr);

        if (r < 0)
                return r;
        if (query)
                r = database_row(db, path, query, &row, reterr);
        else
                r = database_counts(db, path, tables, &row, reterr);
        return r < 0 ? r : outputs_from(s, row);
}

/* Comments and texts may mention BEGIN; only a statement that starts with it counts. */
static bool has_own_transaction(const char *script) {
        _cleanup_error_ Error e = ERROR_INIT;

        return match_text("(?i)(^|;)\\s*(BEGIN(\\s+(DEFERRED|IMMEDIATE|EXCLUSIVE))?"
                          "(\\s+TRANSACTION)?|SAVEPOINT\\s+\\w+)\\s*;",
                          script, strlen(script), NULL, &e) > 0;
}

static int change(Step *s, const char *path, const char *script, Error *reterr) {
        bool own = has_own_transaction(script);
        _cleanup_db_ sqlite3 *db = NULL;
        int before, r = database_open(s, path, DATABASE_CHANGE, &db, reterr);

        if (r < 0)
                return r;
        if (!own && sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
                return database_error(db, path, reterr);
        before = sqlite3_total_changes(db);
        if (sqlite3_exec(db, script, NULL, NULL, NULL) != SQLITE_OK ||
            (!own && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)) {
                r = database_error(db, path, reterr);
                (void) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
                return r;
        }
        return step_output(s, "rows", json_integer(sqlite3_total_changes(db) - before));
}

static int sql_run(Step *s, const json_t *args, Error *reterr) {
        const char *exec = args_text(args, "exec", NULL), *file = args_text(args, "file", NULL);
        _cleanup_free_ char *path = NULL, *script = NULL, *text = NULL;
        int r = database_path(s, args_text(args, "db", ""), &path, reterr);

        if (r < 0)
                return r;
        if (!exec && !file)
                return ask(s, path, args, reterr);
        if (file) {
                r = step_path(s, file, &script, reterr);
                if (r < 0)
                        return r;
                r = file_read(AT_FDCWD, script, SCRIPT_MAX, &text, NULL);
                if (r < 0)
                        return error_set(reterr, -r, "read-failed", "Cannot read %s: %s", script,
                                         strerror(-r));
        }
        return change(s, path, file ? text : exec, reterr);
}

const Verb verb_sql = {"sql", sql_run, NULL};
