/* SPDX-License-Identifier: MIT */
/* Rows of attempts, events, requests and tokens. */
#include "api/args.h"
#include "daemon/store/internal.h"

int store_attempt_put(Store *s, const AttemptRow *row, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_ATTEMPT_PUT, reterr);

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, row->job);
        bind_text(q, 2, row->step);
        (void) sqlite3_bind_int64(q, 3, row->n);
        bind_text(q, 4, row->id);
        bind_text(q, 5, row->direction);
        bind_text(q, 6, row->state);
        (void) sqlite3_bind_int64(q, 7, row->started);
        (void) sqlite3_bind_int64(q, 8, row->ended);
        bind_text(q, 9, row->data);
        return statement_run(s, q, "write an attempt", reterr);
}

int store_attempts(Store *s, int64_t job, const char *step, unsigned n, unsigned limit,
                   AttemptRowFunc func, void *userdata, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_ATTEMPTS, reterr);
        int r;

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, job);
        bind_text(q, 2, step);
        (void) sqlite3_bind_int64(q, 3, n);
        (void) sqlite3_bind_int64(q, 4, limit);
        while ((r = sqlite3_step(q)) == SQLITE_ROW) {
                AttemptRow row = {
                        .job = job,
                        .step = column_needed(q, 0),
                        .n = (unsigned) sqlite3_column_int64(q, 1),
                        .id = column_needed(q, 2),
                        .direction = column_needed(q, 3),
                        .state = column_needed(q, 4),
                        .started = sqlite3_column_int64(q, 5),
                        .ended = sqlite3_column_int64(q, 6),
                        .data = column_text(q, 7),
                };

                r = func(userdata, &row);
                if (r < 0)
                        return r == -ENOMEM ? error_oom(reterr) : r;
        }
        return r == SQLITE_DONE ? 0 : store_fault(s, "read attempts", reterr);
}

int store_attempt_find(Store *s, int64_t job, const char *step, unsigned n, unsigned *ret_n,
                       Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q =
                statement_get(s, n > 0 ? SQL_ATTEMPT_ONE : SQL_ATTEMPT_NEWEST, reterr);
        int r;

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, job);
        bind_text(q, 2, step);
        if (n > 0)
                (void) sqlite3_bind_int64(q, 3, n);
        r = sqlite3_step(q);
        if (r == SQLITE_DONE || (r == SQLITE_ROW && sqlite3_column_type(q, 0) == SQLITE_NULL))
                return -ENOENT;
        if (r != SQLITE_ROW)
                return store_fault(s, "read an attempt", reterr);
        *ret_n = (unsigned) sqlite3_column_int64(q, 0);
        return 0;
}

int store_event_add(Store *s, int64_t job, int64_t seq, int64_t time, const char *type,
                    const char *step, unsigned attempt, const char *who, const char *data,
                    Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_EVENT_ADD, reterr);

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, job);
        (void) sqlite3_bind_int64(q, 2, seq);
        (void) sqlite3_bind_int64(q, 3, time);
        bind_text(q, 4, type);
        bind_text(q, 5, step);
        if (attempt > 0)
                (void) sqlite3_bind_int64(q, 6, attempt);
        bind_text(q, 7, who);
        bind_text(q, 8, data);
        return statement_run(s, q, "write an event", reterr);
}

static json_t *event_read(sqlite3_stmt *q, bool global) {
        char time[TIME_TEXT_MAX];
        json_t *event = json_pack(
                "{s:I, s:s, s:s, s:s*, s:s*}", "seq", (json_int_t) sqlite3_column_int64(q, 2),
                "time", time_format(sqlite3_column_int64(q, 3), time), "type", column_needed(q, 4),
                "step", column_text(q, 5), "by", column_text(q, 7));

        if (!event)
                return NULL;
        if (global) {
                (void) json_put(event, "id", json_integer(sqlite3_column_int64(q, 0)));
                (void) json_put(event, "job", json_integer(sqlite3_column_int64(q, 1)));
        }
        if (sqlite3_column_type(q, 6) != SQLITE_NULL)
                (void) json_put(event, "attempt", json_integer(sqlite3_column_int64(q, 6)));
        if (sqlite3_column_type(q, 8) != SQLITE_NULL)
                (void) json_put(event, "data", json_loads(column_document(q, 8), 0, NULL));
        return event;
}

int store_events(Store *s, int64_t job, int64_t after, unsigned limit, json_t **ret,
                 Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q =
                statement_get(s, job > 0 ? SQL_EVENTS_JOB : SQL_EVENTS_ALL, reterr);
        json_auto_t *events = json_array();
        int r;

        if (!q)
                return -EIO;
        if (job > 0)
                (void) sqlite3_bind_int64(q, 1, job);
        (void) sqlite3_bind_int64(q, 2, after);
        (void) sqlite3_bind_int64(q, 3, limit);
        while ((r = sqlite3_step(q)) == SQLITE_ROW)
                if (json_array_append_new(events, event_read(q, job == 0)) < 0)
                        return error_oom(reterr);
        if (r != SQLITE_DONE)
                return store_fault(s, "read events", reterr);
        *ret = TAKE(events);
        return 0;
}

int store_request_get(Store *s, const char *key, char **ret_fingerprint, char **ret_reply,
                      Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_REQUEST_GET, reterr);
        _cleanup_free_ char *fingerprint = NULL, *reply = NULL;
        int r;

        if (!q)
                return -EIO;
        bind_text(q, 1, key);
        r = sqlite3_step(q);
        if (r == SQLITE_DONE)
                return 0;
        if (r != SQLITE_ROW)
                return store_fault(s, "look up an Idempotency-Key", reterr);
        fingerprint = strdup(column_needed(q, 0));
        reply = strdup(column_document(q, 1));
        if (!fingerprint || !reply)
                return error_oom(reterr);
        *ret_fingerprint = TAKE(fingerprint);
        *ret_reply = TAKE(reply);
        return 1;
}

int store_request_put(Store *s, const char *key, const char *fingerprint, int64_t time,
                      const char *reply, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_REQUEST_PUT, reterr);

        if (!q)
                return -EIO;
        bind_text(q, 1, key);
        bind_text(q, 2, fingerprint);
        (void) sqlite3_bind_int64(q, 3, time);
        bind_text(q, 4, reply);
        return statement_run(s, q, "write an Idempotency-Key", reterr);
}

int store_requests_prune(Store *s, int64_t now, int64_t kept_ms, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_REQUESTS_PRUNE, reterr);

        if (!q)
                return -EIO;
        (void) sqlite3_bind_int64(q, 1, now);
        (void) sqlite3_bind_int64(q, 2, kept_ms);
        return statement_run(s, q, "prune Idempotency-Keys", reterr);
}

int store_token_put(Store *s, const char *name, const char *role, const char *hash, int64_t created,
                    const char *who, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_TOKEN_PUT, reterr);

        if (!q)
                return -EIO;
        bind_text(q, 1, name);
        bind_text(q, 2, role);
        bind_text(q, 3, hash);
        (void) sqlite3_bind_int64(q, 4, created);
        bind_text(q, 5, who);
        if (sqlite3_step(q) == SQLITE_DONE)
                return 0;
        if ((sqlite3_errcode(s->db) & 0xff) == SQLITE_CONSTRAINT)
                return error_set(reterr, EEXIST, "exists", "There is a token '%s' already", name);
        return store_fault(s, "write a token", reterr);
}

int store_token_remove(Store *s, const char *name, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_TOKEN_REMOVE, reterr);
        int r;

        if (!q)
                return -EIO;
        bind_text(q, 1, name);
        r = statement_run(s, q, "remove a token", reterr);
        if (r < 0)
                return r;
        if (sqlite3_changes(s->db) == 0)
                return error_set(reterr, ENOENT, "not-found", "There is no token '%s'", name);
        return 0;
}

int store_tokens(Store *s, json_t **ret, Error *reterr) {
        _cleanup_reset_ sqlite3_stmt *q = statement_get(s, SQL_TOKENS, reterr);
        json_auto_t *tokens = json_array();
        int r;

        if (!q)
                return -EIO;
        while ((r = sqlite3_step(q)) == SQLITE_ROW) {
                json_t *token = json_pack("{s:s, s:s, s:s, s:I, s:s}", "name", column_needed(q, 0),
                                          "role", column_needed(q, 1), "hash", column_needed(q, 2),
                                          "created", (json_int_t) sqlite3_column_int64(q, 3), "by",
                                          column_needed(q, 4));

                if (json_array_append_new(tokens, token) < 0)
                        return error_oom(reterr);
        }
        if (r != SQLITE_DONE)
                return store_fault(s, "read tokens", reterr);
        *ret = TAKE(tokens);
        return 0;
}
