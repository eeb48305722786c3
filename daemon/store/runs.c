/* SPDX-License-Identifier: MIT */
/* One row for each time that a daemon has opened the store. */
#include "daemon/store/internal.h"

int store_run_add(Store *s, const char *version, const char *boot, int64_t now, int64_t *ret,
                  Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_RUN_ADD, reterr);
        int r;

        if (!q)
                return -EIO;
        bind_text(q, 1, version);
        bind_text(q, 2, boot);
        (void) sqlite3_bind_int64(q, 3, now);
        r = statement_run(s, q, "write that updd runs", reterr);
        if (r >= 0)
                *ret = sqlite3_last_insert_rowid(s->db);
        return r;
}

int store_run_seen(Store *s, int64_t n, int64_t now, bool ended, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_RUN_SEEN, reterr);

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, n);
        (void) sqlite3_bind_int64(q, 2, now);
        (void) sqlite3_bind_int64(q, 3, ended ? now : 0);
        return statement_run(s, q, "write that updd runs", reterr);
}

/* The last event may be younger than what the row says. */
static int last_event(Store *s, int64_t *ret, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_EVENT_LAST, reterr);
        int r;

        if (!q)
                return -EIO;
        r = sqlite3_step(q);
        if (r != SQLITE_ROW && r != SQLITE_DONE)
                return store_fault(s, "read the last event", reterr);
        *ret = r == SQLITE_ROW ? sqlite3_column_int64(q, 0) : 0;
        return 0;
}

int store_run_last(Store *s, RunRow *ret, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_RUNS, reterr);
        int64_t event = 0;
        const char *version;
        int r;

        if (!q)
                return -EIO;
        r = last_event(s, &event, reterr);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(q, 1, 1);
        r = sqlite3_step(q);
        if (r == SQLITE_DONE)
                return -ENOENT;
        if (r != SQLITE_ROW)
                return store_fault(s, "read when updd ran", reterr);
        *ret = (RunRow){
                .n = sqlite3_column_int64(q, 0),
                .started = sqlite3_column_int64(q, 3),
                .seen = MAX(sqlite3_column_int64(q, 4), event),
                .ended = sqlite3_column_int64(q, 5),
        };
        version = column_text(q, 1);
        (void) snprintf(ret->version, sizeof(ret->version), "%s", version ? version : "?");
        return 0;
}
