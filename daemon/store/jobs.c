/* SPDX-License-Identifier: MIT */
/* Rows of jobs, plan documents and steps. */
#include "daemon/store/internal.h"

int store_job_insert(Store *s, const JobRow *row, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_JOB_INSERT, reterr);

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, row->id);
        bind_text(q, 2, row->plan);
        bind_text(q, 3, row->title);
        bind_text(q, 4, row->target);
        bind_text(q, 5, row->state);
        bind_text(q, 6, row->who);
        bind_text(q, 7, row->reason);
        bind_text(q, 8, row->sha256);
        (void) sqlite3_bind_int64(q, 9, row->created);
        (void) sqlite3_bind_int64(q, 10, row->started);
        (void) sqlite3_bind_int64(q, 11, row->ended);
        (void) sqlite3_bind_int64(q, 12, row->version);
        (void) sqlite3_bind_int(q, 13, row->dry_run);
        (void) sqlite3_bind_int(q, 14, row->live);
        bind_text(q, 15, row->data);
        return statement_run(s, q, "write a job", reterr);
}

int store_job_update(Store *s, const JobRow *row, const char *old_state, int64_t old_version,
                     Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_JOB_UPDATE, reterr);
        int r;

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, row->id);
        bind_text(q, 2, row->state);
        (void) sqlite3_bind_int64(q, 3, row->started);
        (void) sqlite3_bind_int64(q, 4, row->ended);
        (void) sqlite3_bind_int64(q, 5, row->version);
        (void) sqlite3_bind_int(q, 6, row->live);
        bind_text(q, 7, row->data);
        bind_text(q, 8, row->sha256);
        bind_text(q, 9, old_state);
        (void) sqlite3_bind_int64(q, 10, old_version);
        r = statement_run(s, q, "write a job", reterr);
        if (r < 0)
                return r;
        if (sqlite3_changes(s->db) != 1)
                return error_set(reterr, ESTALE, "internal",
                                 "Job %lld is not in the state that was decided upon",
                                 (long long) row->id);
        return 0;
}

static void job_row_read(sqlite3_stmt *q, JobRow *ret) {
        *ret = (JobRow){
                .id = sqlite3_column_int64(q, 0),
                .plan = column_needed(q, 1),
                .title = column_text(q, 2),
                .target = column_needed(q, 3),
                .state = column_needed(q, 4),
                .who = column_needed(q, 5),
                .reason = column_text(q, 6),
                .sha256 = column_needed(q, 7),
                .created = sqlite3_column_int64(q, 8),
                .started = sqlite3_column_int64(q, 9),
                .ended = sqlite3_column_int64(q, 10),
                .version = sqlite3_column_int64(q, 11),
                .dry_run = sqlite3_column_int(q, 12) != 0,
                .live = sqlite3_column_int(q, 13) != 0,
                .data = column_document(q, 14),
        };
}

/* Hands every row on; *ret_n counts them. */
static int job_rows(Store *s, sqlite3_stmt *q, JobRowFunc func, void *userdata, unsigned *ret_n,
                    Error *reterr) {
        int r;

        *ret_n = 0;
        while ((r = sqlite3_step(q)) == SQLITE_ROW) {
                JobRow row;

                job_row_read(q, &row);
                r = row_is_read(s, reterr);
                if (r >= 0)
                        r = func(userdata, &row);
                if (r < 0)
                        return r;
                (*ret_n)++;
        }
        return r == SQLITE_DONE ? 0 : store_fault(s, "read jobs", reterr);
}

int store_jobs_live(Store *s, JobRowFunc func, void *userdata, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_JOBS_LIVE, reterr);
        unsigned n;

        return q ? job_rows(s, q, func, userdata, &n, reterr) : -EIO;
}

int store_job_get(Store *s, int64_t job, JobRowFunc func, void *userdata, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_JOB_GET, reterr);
        unsigned n = 0;
        int r;

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, job);
        r = job_rows(s, q, func, userdata, &n, reterr);
        return r < 0 ? r : n == 0 ? -ENOENT : 0;
}

int store_jobs_page(Store *s, const char *state, const char *plan, const char *target,
                    int64_t before, unsigned limit, JobRowFunc func, void *userdata,
                    Error *reterr) {
        bool unfinished = streq0(state, "unfinished");
        /* One index serves one filter; the caller applies the others to what comes. */
        StatementId id = target       ? SQL_JOBS_TARGET
                         : plan       ? SQL_JOBS_PLAN
                         : unfinished ? SQL_JOBS_UNFINISHED
                         : state      ? SQL_JOBS_STATE
                                      : SQL_JOBS_ALL;
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, id, reterr);
        unsigned n;

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, before > 0 ? before : INT64_MAX);
        (void) sqlite3_bind_int64(q, 2, limit);
        if (id == SQL_JOBS_TARGET || id == SQL_JOBS_PLAN || id == SQL_JOBS_STATE)
                bind_text(q, 3, target ? target : plan ? plan : state);
        return job_rows(s, q, func, userdata, &n, reterr);
}

int store_last_job(Store *s, int64_t *ret, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_JOB_LAST, reterr);
        int r;

        if (!q)
                return -EIO;
        r = sqlite3_step(q);
        if (r != SQLITE_ROW && r != SQLITE_DONE)
                return store_fault(s, "read the last job's number", reterr);
        *ret = r == SQLITE_ROW ? sqlite3_column_int64(q, 0) : 0;
        return 0;
}

static int give_up_say(Store *s, int64_t job, int64_t now, const char *type, const char *who,
                       const char *data, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_JOB_GIVE_UP_SAY, reterr);

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, job);
        (void) sqlite3_bind_int64(q, 2, now);
        bind_text(q, 3, type);
        bind_text(q, 4, who);
        bind_text(q, 5, data);
        return statement_run(s, q, "write an event", reterr);
}

int store_job_give_up(Store *s, int64_t job, int64_t now, const char *who, const char *data,
                      Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_JOB_GIVE_UP, reterr);
        int r;

        if (!q)
                return -EIO;
        r = give_up_say(s, job, now, "decided", who, data, reterr);
        if (r >= 0)
                r = give_up_say(s, job, now, "state", who,
                                "{\"from\":\"stuck\",\"to\":\"abandoned\",\"event\":\"abandon\"}",
                                reterr);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(q, 1, job);
        (void) sqlite3_bind_int64(q, 2, now);
        return statement_run(s, q, "abandon a job", reterr);
}

int store_document_put(Store *s, const char *sha256, const char *text, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_DOCUMENT_PUT, reterr);

        if (!q)
                return -EIO;
        bind_text(q, 1, sha256);
        bind_text(q, 2, text);
        return statement_run(s, q, "write a plan", reterr);
}

int store_document_get(Store *s, const char *sha256, char **ret, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_DOCUMENT_GET, reterr);
        char *text;
        int r;

        if (!q)
                return -EIO;
        bind_text(q, 1, sha256);
        r = sqlite3_step(q);
        if (r == SQLITE_DONE)
                return error_set(reterr, ENOENT, "store-failed", "The plan %s is not in the store",
                                 sha256);
        if (r != SQLITE_ROW)
                return store_fault(s, "read a plan", reterr);
        text = strdup(column_document(q, 0));
        if (!text)
                return error_oom(reterr);
        *ret = text;
        return 0;
}

int store_step_put(Store *s, int64_t job, unsigned idx, const char *id, const char *state,
                   const char *data, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_STEP_PUT, reterr);

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, job);
        (void) sqlite3_bind_int64(q, 2, idx);
        bind_text(q, 3, id);
        bind_text(q, 4, state);
        bind_text(q, 5, data);
        return statement_run(s, q, "write a step", reterr);
}

int store_steps_clear(Store *s, int64_t job, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_STEPS_CLEAR, reterr);

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, job);
        return statement_run(s, q, "drop steps", reterr);
}

int store_steps(Store *s, int64_t job, StepRowFunc func, void *userdata, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_STEPS, reterr);
        int r;

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, job);
        while ((r = sqlite3_step(q)) == SQLITE_ROW) {
                const char *id = column_needed(q, 1), *state = column_needed(q, 2);
                const char *data = column_document(q, 3);

                r = row_is_read(s, reterr);
                if (r >= 0)
                        r = func(userdata, (unsigned) sqlite3_column_int64(q, 0), id, state, data);
                if (r < 0)
                        return r;
        }
        return r == SQLITE_DONE ? 0 : store_fault(s, "read steps", reterr);
}
