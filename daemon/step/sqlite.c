/* SPDX-License-Identifier: MIT */
/* Opening and asking SQLite databases: see daemon/step/sqlite.h. Copying: sqlite_copy.c. */
#include "daemon/step/sqlite.h"

#include <sys/stat.h>

#define BUSY_MS 10000

int database_error(sqlite3 *db, const char *path, Error *reterr) {
        int code = sqlite3_errcode(db) & 0xff, err = EIO;

        switch (code) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED: err = EBUSY; break;
        case SQLITE_FULL: err = ENOSPC; break;
        case SQLITE_READONLY:
        case SQLITE_PERM: err = EACCES; break;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB: err = EBADMSG; break;
        case SQLITE_INTERRUPT: err = ECANCELED; break;
        case SQLITE_NOMEM: err = ENOMEM; break;
        case SQLITE_ERROR:
        case SQLITE_CONSTRAINT: err = EINVAL; break;
        default: break;
        }
        return error_set(reterr, err, err == ENOSPC ? "disk-full" : "sql-failed", "%s: %s", path,
                         sqlite3_errmsg(db));
}

static int on_progress(void *userdata) {
        return step_stopping(userdata) ? 1 : 0;
}

/* As a URI, with what would mean something in one spelled out. */
static char *uri_of(const char *path, const char *query) {
        _cleanup_free_ char *text = malloc(strlen(path) * 3 + 1);
        char *out = text;

        for (const char *p = path; out && *p; p++) {
                if (*p == '%' || *p == '?' || *p == '#')
                        out += sprintf(out, "%%%02X", (unsigned) *p);
                else
                        *out++ = *p;
        }
        if (!out)
                return NULL;
        *out = '\0';
        return strf("file:%s%s", text, query);
}

int database_open(Step *s, const char *path, DatabaseMode mode, sqlite3 **ret, Error *reterr) {
        _cleanup_free_ char *uri = uri_of(path, mode == DATABASE_COPY ? "?immutable=1" : "");
        int flags = mode == DATABASE_NEW    ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                    : mode == DATABASE_COPY ? SQLITE_OPEN_READONLY
                                            : SQLITE_OPEN_READWRITE;
        _cleanup_db_ sqlite3 *db = NULL;
        struct stat st;

        if (!uri)
                return error_oom(reterr);
        if (mode != DATABASE_NEW && stat(path, &st) < 0)
                return error_set(reterr, errno, "no-such-database", "Cannot open %s: %s", path,
                                 strerror(errno));
        /* A file that cannot be written is still opened, read-only, by SQLite itself. */
        if (sqlite3_open_v2(uri, &db, flags | SQLITE_OPEN_URI | SQLITE_OPEN_EXRESCODE, NULL) !=
            SQLITE_OK)
                return db ? database_error(db, path, reterr) : error_oom(reterr);
        (void) sqlite3_busy_timeout(db, BUSY_MS);
        if (s)
                sqlite3_progress_handler(db, 20000, on_progress, s);
        if (mode != DATABASE_NEW &&
            sqlite3_exec(db, "SELECT 1 FROM sqlite_master LIMIT 1", NULL, NULL, NULL) != SQLITE_OK)
                return database_error(db, path, reterr);
        if (mode == DATABASE_LOOK &&
            sqlite3_exec(db, "PRAGMA query_only = 1", NULL, NULL, NULL) != SQLITE_OK)
                return database_error(db, path, reterr);
        *ret = TAKE(db);
        return 0;
}

static json_t *column_value(sqlite3_stmt *statement, int i) {
        switch (sqlite3_column_type(statement, i)) {
        case SQLITE_NULL: return json_null();
        case SQLITE_INTEGER: return json_integer(sqlite3_column_int64(statement, i));
        case SQLITE_FLOAT: return json_real(sqlite3_column_double(statement, i));
        case SQLITE_BLOB: return json_sprintf("%d bytes", sqlite3_column_bytes(statement, i));
        default: return json_string((const char *) sqlite3_column_text(statement, i));
        }
}

int database_row(sqlite3 *db, const char *path, const char *query, json_t **ret, Error *reterr) {
        _cleanup_stmt_ sqlite3_stmt *statement = NULL;
        json_auto_t *row = json_object();
        int code;

        if (!row)
                return error_oom(reterr);
        if (sqlite3_prepare_v2(db, query, -1, &statement, NULL) != SQLITE_OK)
                return database_error(db, path, reterr);
        if (!statement)
                return error_set(reterr, EINVAL, "sql-failed", "The query is empty");
        code = sqlite3_step(statement);
        if (code != SQLITE_ROW && code != SQLITE_DONE)
                return database_error(db, path, reterr);
        for (int i = 0; code == SQLITE_ROW && i < sqlite3_column_count(statement); i++)
                if (json_put(row, sqlite3_column_name(statement, i), column_value(statement, i)) <
                    0)
                        return error_oom(reterr);
        *ret = TAKE(row);
        return 0;
}

static int count_one(sqlite3 *db, const char *path, const char *table, json_t *counts,
                     Error *reterr) {
        char *query = sqlite3_mprintf("SELECT count(*) AS n FROM \"%w\"", table);
        json_auto_t *row = NULL;
        int r = query ? database_row(db, path, query, &row, reterr) : error_oom(reterr);

        sqlite3_free(query);
        if (r < 0)
                return r;
        return json_object_set(counts, table, json_object_get(row, "n")) < 0 ? error_oom(reterr)
                                                                             : 0;
}

static int names_of(sqlite3 *db, const char *path, const char *query, json_t **ret, Error *reterr) {
        _cleanup_stmt_ sqlite3_stmt *statement = NULL;
        json_auto_t *names = json_array();
        int code;

        if (!names || sqlite3_prepare_v2(db, query, -1, &statement, NULL) != SQLITE_OK)
                return database_error(db, path, reterr);
        while ((code = sqlite3_step(statement)) == SQLITE_ROW)
                if (json_array_append_new(names, column_value(statement, 0)) < 0)
                        return error_oom(reterr);
        if (code != SQLITE_DONE)
                return database_error(db, path, reterr);
        *ret = TAKE(names);
        return 0;
}

int database_counts(sqlite3 *db, const char *path, const json_t *tables, json_t **ret,
                    Error *reterr) {
        json_auto_t *all = NULL, *counts = json_object();
        const json_t *name;
        size_t i;

        if (!counts)
                return error_oom(reterr);
        if (!tables) {
                int r = names_of(db, path,
                                 "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT "
                                 "LIKE 'sqlite_%' ORDER BY name",
                                 &all, reterr);

                if (r < 0)
                        return r;
                tables = all;
        }
        json_array_foreach (tables, i, name) {
                int r = count_one(db, path, json_string_value(name), counts, reterr);

                if (r < 0)
                        return r;
        }
        *ret = TAKE(counts);
        return 0;
}

int database_columns(sqlite3 *db, const char *path, json_t **ret, Error *reterr) {
        json_auto_t *tables = NULL, *columns = json_object();
        const json_t *name;
        size_t i;
        int r = names_of(db, path, "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')",
                         &tables, reterr);

        if (r < 0)
                return r;
        json_array_foreach (tables, i, name) {
                char *query = sqlite3_mprintf("SELECT name FROM pragma_table_info(%Q)",
                                              json_string_value(name));
                json_t *list = NULL;

                r = query ? names_of(db, path, query, &list, reterr) : error_oom(reterr);
                sqlite3_free(query);
                if (r < 0)
                        return r;
                if (json_put(columns, json_string_value(name), list) < 0)
                        return error_oom(reterr);
        }
        *ret = TAKE(columns);
        return 0;
}

int database_integrity(sqlite3 *db, const char *path, Error *reterr) {
        json_auto_t *row = NULL;
        const char *said;
        int r = database_row(db, path, "PRAGMA integrity_check(1)", &row, reterr);

        if (r < 0)
                return r;
        said = args_text(row, "integrity_check", "no answer");
        return streq(said, "ok")
                       ? 0
                       : error_set(reterr, EBADMSG, "bad-backup", "%s is damaged: %s", path, said);
}
