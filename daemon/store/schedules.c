/* SPDX-License-Identifier: MIT */
/* Rows of schedules. */
#include "daemon/store/internal.h"

int store_schedule_put(Store *s, const char *name, const char *data, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_SCHEDULE_PUT, reterr);

        if (!q)
                return -EIO;
        bind_text(q, 1, name);
        bind_text(q, 2, data);
        return statement_run(s, q, "write a schedule", reterr);
}

int store_schedule_remove(Store *s, const char *name, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_SCHEDULE_REMOVE, reterr);

        if (!q)
                return -EIO;
        bind_text(q, 1, name);
        return statement_run(s, q, "remove a schedule", reterr);
}

int store_schedules(Store *s, json_t **ret, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_SCHEDULES, reterr);
        json_auto_t *schedules = json_object();
        int r;

        if (!q)
                return -EIO;
        while ((r = sqlite3_step(q)) == SQLITE_ROW) {
                json_t *data = json_loads(column_needed(q, 1), 0, NULL);

                /* One that cannot be read must not keep all else from going on. */
                if (!json_is_object(data)) {
                        json_decref(data);
                        data = json_object();
                }
                if (json_object_set_new(schedules, column_needed(q, 0), data) < 0)
                        return error_oom(reterr);
        }
        if (r != SQLITE_DONE)
                return store_fault(s, "read schedules", reterr);
        *ret = TAKE(schedules);
        return 0;
}
