/* SPDX-License-Identifier: MIT */
/* sql {db, query | count, equals, min, max, same_as, tables, columns}, on SQLite. */
#include "daemon/step/expect.h"
#include "daemon/step/sqlite.h"

#include <strings.h>

static bool has_name(const json_t *names, const char *name) {
        json_t *item;
        size_t i;

        json_array_foreach ((json_t *) names, i, item) {
                if (strcasecmp(json_string_value(item), name) == 0)
                        return true;
        }
        return false;
}

/* SQLite takes names of tables without regard to case. */
static const json_t *find_table(const json_t *all, const char *table) {
        const char *name;
        json_t *columns;

        json_object_foreach ((json_t *) all, name, columns) {
                if (strcasecmp(name, table) == 0)
                        return columns;
        }
        return NULL;
}

static int missing(Error *all, const char *what, const char *name) {
        _cleanup_free_ char *so_far = all->message ? strdup(all->message) : NULL;

        return error_set(all, EBADE, "check-failed", "%s%s%s %s is missing", so_far ? so_far : "",
                         so_far ? ", " : "", what, name);
}

static void expect_tables(const json_t *tables, const json_t *found, Error *all) {
        json_t *table;
        size_t i;

        if (json_is_string(tables) && !find_table(found, json_string_value(tables)))
                (void) missing(all, "table", json_string_value(tables));
        json_array_foreach ((json_t *) tables, i, table) {
                if (!find_table(found, json_string_value(table)))
                        (void) missing(all, "table", json_string_value(table));
        }
}

static void expect_columns(const json_t *wanted, const json_t *found, Error *all) {
        const char *table;
        json_t *columns, *column;
        size_t i;

        json_object_foreach ((json_t *) wanted, table, columns) {
                const json_t *have = find_table(found, table);

                if (!have) {
                        (void) missing(all, "table", table);
                        continue;
                }
                json_array_foreach (columns, i, column) {
                        _cleanup_free_ char *full = strf("%s.%s", table, json_string_value(column));

                        if (full && !has_name(have, json_string_value(column)))
                                (void) missing(all, "column", full);
                }
        }
}

static int look_at_schema(sqlite3 *db, const char *path, const json_t *args, Error *reterr) {
        const json_t *tables = json_object_get(args, "tables"),
                     *columns = json_object_get(args, "columns");
        _cleanup_error_ Error all = ERROR_INIT;
        json_auto_t *found = NULL;
        int r;

        if (!tables && !columns)
                return 0;
        r = database_columns(db, path, &found, reterr);
        if (r < 0)
                return r;
        expect_tables(tables, found, &all);
        expect_columns(columns, found, &all);
        if (!all.message)
                return 0;
        error_move(reterr, &all);
        return -EBADE;
}

/* Every value that was found is compared with the output of that name. */
static int expect_same_as(Step *s, const char *step, const json_t *found, Error *reterr) {
        const json_t *outputs = json_object_get(json_object_get(step_scope(s), "steps"), step);
        const char *name;
        json_t *value;

        if (!step)
                return 0;
        json_object_foreach ((json_t *) found, name, value) {
                const json_t *want = json_object_get(outputs, name);
                _cleanup_free_ char *have = NULL, *wanted = NULL;

                if (!want)
                        return error_set(reterr, EBADE, "check-failed",
                                         "The step %s has no output '%s' to compare with", step,
                                         name);
                if (expect_same(value, want))
                        continue;
                have = expect_spell(value);
                wanted = expect_spell(want);
                return error_set(reterr, EBADE, "check-failed",
                                 "%s is %.200s, and was %.200s in the step %s", name,
                                 have ? have : "?", wanted ? wanted : "?", step);
        }
        return 0;
}

static int look_at_values(Step *s, sqlite3 *db, const char *path, const json_t *args,
                          Error *reterr) {
        const char *query = args_text(args, "query", NULL);
        json_t *count = json_object_get(args, "count");
        json_auto_t *found = NULL, *tables = NULL;
        int r;

        if (!query && !count)
                return 0;
        tables = json_is_string(count) ? json_pack("[O]", count) : json_incref(count);
        r = query ? database_row(db, path, query, &found, reterr)
                  : database_counts(db, path, tables, &found, reterr);
        if (r >= 0)
                r = expect_values(args, found, reterr);
        if (r >= 0)
                r = expect_same_as(s, args_text(args, "same_as", NULL), found, reterr);
        if (r >= 0 && json_object_size(found) == 0)
                return error_set(reterr, EBADE, "check-failed", "The query found no row");
        return r;
}

static int sql_look(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        _cleanup_db_ sqlite3 *db = NULL;
        int r;

        r = database_path(s, args_text(args, "db", ""), &path, reterr);
        if (r >= 0)
                r = database_open(s, path, DATABASE_LOOK, &db, reterr);
        if (r >= 0)
                r = look_at_schema(db, path, args, reterr);
        if (r >= 0)
                r = look_at_values(s, db, path, args, reterr);
        return r;
}

const Check check_sql = {"sql", sql_look};
