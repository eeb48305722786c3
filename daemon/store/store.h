/* SPDX-License-Identifier: MIT */
/*
 * The one room that knows SQLite. It keeps rows and promises that what was committed is there
 * after a crash (WAL, synchronous=FULL, exclusive locking: a second daemon cannot open it).
 * It decides nothing. Every call runs its statements to the end: no SELECT outlives it.
 *
 * A write that fails (-EIO, -ENOSPC, …) leaves the outcome of the transaction unknown; the caller
 * calls store_reopen() and reloads before it decides again.
 */
#pragma once

#include "api/error.h"
#include "api/text.h"

typedef struct Store Store;

/* Opens (and creates or migrates) STATE/updd.db. -EBUSY: another daemon has it. -ENOTSUP: its
 * schema is newer; -EUCLEAN: it is damaged, or of another program. In both the file and its log are
 * left as they were. A file of an older schema is copied beside itself, then migrated in one
 * transaction; when either fails it is left as it was. */
_must_check_ int store_open(const char *state_dir, Store **ret, Error *reterr);
/* The schema that store_open() found and migrated, and where it keeps the file as it was; 0: it
 * had nothing to migrate. */
int store_migrated(const Store *s, const char **ret_copy);
Store *store_free(Store *s);
DEFINE_CLEANUP(Store *, store_free)
_must_check_ int store_reopen(Store *s, Error *reterr);

/* For readers only: neither the file nor its log is changed or locked, and none is made. The caller
 * sees to it that no daemon has it. */
_must_check_ int store_open_readers(const char *state_dir, Store **ret, int *ret_version,
                                    Error *reterr);
/* Reads the whole database and adds to the array `findings` a text for all that is not as a daemon
 * would have written it. -EUCLEAN: it could not be read to its end. */
_must_check_ int store_verify(Store *s, json_t *findings, Error *reterr);

_must_check_ int store_begin(Store *s, Error *reterr);
_must_check_ int store_commit(Store *s, Error *reterr);
void store_rollback(Store *s);
/* Rows written, ever; what was rolled back too. */
uint64_t store_changes(const Store *s);
/* Damage was met: nothing more is to be written. */
bool store_is_damaged(const Store *s);
/* False once an error has made SQLite give the transaction up by itself: what is written after that
 * would stand alone. */
bool store_in_transaction(const Store *s);
/* Moves the WAL back into the database; for idle moments. */
void store_checkpoint(Store *s);

typedef struct JobRow {
        int64_t id;
        const char *plan, *title, *target, *state, *who, *reason, *sha256;
        int64_t created, started, ended; /* wall ms, 0 = not yet */
        int64_t version;                 /* number of its last event */
        bool dry_run;
        bool live;        /* belongs into memory at the next start */
        const char *data; /* JSON: everything else */
} JobRow;

_must_check_ int store_job_insert(Store *s, const JobRow *row, Error *reterr);
/* Compare-and-set on state and version: -ESTALE when the row was not as expected. */
_must_check_ int store_job_update(Store *s, const JobRow *row, const char *old_state,
                                  int64_t old_version, Error *reterr);
/* Ends a job whose rows nobody can read as abandoned, with the events that say so; `data` is the
 * decision's. */
_must_check_ int store_job_give_up(Store *s, int64_t job, int64_t now, const char *who,
                                   const char *data, Error *reterr);
_must_check_ int store_document_put(Store *s, const char *sha256, const char *text, Error *reterr);
_must_check_ int store_document_get(Store *s, const char *sha256, char **ret, Error *reterr);

_must_check_ int store_step_put(Store *s, int64_t job, unsigned idx, const char *id,
                                const char *state, const char *data, Error *reterr);
/* Drops all step rows of a job, before they are put again under another numbering. */
_must_check_ int store_steps_clear(Store *s, int64_t job, Error *reterr);

typedef struct AttemptRow {
        int64_t job;
        const char *step;
        unsigned n;
        const char *id, *direction, *state; /* starting, done, failed, interrupted, withdrawn */
        int64_t started, ended;
        const char *data; /* JSON: the result, trimmed */
} AttemptRow;

_must_check_ int store_attempt_put(Store *s, const AttemptRow *row, Error *reterr);

/* Appends an event; `seq` must be the job's next number (a gap or a double is -ESTALE). */
_must_check_ int store_event_add(Store *s, int64_t job, int64_t seq, int64_t time, const char *type,
                                 const char *step, unsigned attempt, const char *who,
                                 const char *data, Error *reterr);

/* Reads call `func` once a row, in order; a negative return ends the read and is returned. Texts
 * are borrowed for the call. */
typedef int (*JobRowFunc)(void *userdata, const JobRow *row);
typedef int (*StepRowFunc)(void *userdata, unsigned idx, const char *id, const char *state,
                           const char *data);

_must_check_ int store_jobs_live(Store *s, JobRowFunc func, void *userdata, Error *reterr);
_must_check_ int store_job_get(Store *s, int64_t job, JobRowFunc func, void *userdata,
                               Error *reterr); /* -ENOENT */
/* Newest first; any of the filters may be NULL; `state` "unfinished" is every state before an end.
 */
_must_check_ int store_jobs_page(Store *s, const char *state, const char *plan, const char *target,
                                 int64_t before, unsigned limit, JobRowFunc func, void *userdata,
                                 Error *reterr);
_must_check_ int store_steps(Store *s, int64_t job, StepRowFunc func, void *userdata,
                             Error *reterr);
/* Array of event objects as the API gives them; job 0: of all jobs, after the global id. */
_must_check_ int store_events(Store *s, int64_t job, int64_t after, unsigned limit, json_t **ret,
                              Error *reterr);
/* A page of a job's attempts, by step id and number, behind (`step`, `n`); "" and 0: from the first.
 */
typedef int (*AttemptRowFunc)(void *userdata, const AttemptRow *row);
_must_check_ int store_attempts(Store *s, int64_t job, const char *step, unsigned n, unsigned limit,
                                AttemptRowFunc func, void *userdata, Error *reterr);
/* The newest attempt of a step (n 0) or that one: its number; -ENOENT. */
_must_check_ int store_attempt_find(Store *s, int64_t job, const char *step, unsigned n,
                                    unsigned *ret_n, Error *reterr);
/* The highest job id ever given out, unfinished and removed ones included. */
_must_check_ int store_last_job(Store *s, int64_t *ret, Error *reterr);

/* Idempotency keys. get: 1 found, 0 not. */
_must_check_ int store_request_get(Store *s, const char *key, char **ret_fingerprint,
                                   char **ret_reply, Error *reterr);
_must_check_ int store_request_put(Store *s, const char *key, const char *fingerprint, int64_t time,
                                   const char *reply, Error *reterr);
/* Forgets keys that are older than `kept_ms`, by the newest of them or `now`, whichever is earlier: a
 * clock that was set far ahead makes no request new again. */
_must_check_ int store_requests_prune(Store *s, int64_t now, int64_t kept_ms, Error *reterr);

/* ---- when a daemon had the store open (wall ms) ---- */
typedef struct RunRow {
        int64_t n;
        char version[32];
        int64_t started, seen,
                ended; /* `seen`: the last sign of it; ended 0: it did not end, it died */
} RunRow;

_must_check_ int store_run_add(Store *s, const char *version, const char *boot, int64_t now,
                               int64_t *ret, Error *reterr);
/* Also a write that shows that the store works. */
_must_check_ int store_run_seen(Store *s, int64_t n, int64_t now, bool ended, Error *reterr);
_must_check_ int store_run_last(Store *s, RunRow *ret, Error *reterr); /* -ENOENT: never */

/* Tokens: name, role, SHA-256 of the token, created (wall ms), who. */
_must_check_ int store_token_put(Store *s, const char *name, const char *role, const char *hash,
                                 int64_t created, const char *who, Error *reterr);
_must_check_ int store_token_remove(Store *s, const char *name, Error *reterr); /* -ENOENT */
/* Array of {"name","role","hash","created" (wall ms),"by"}. */
_must_check_ int store_tokens(Store *s, json_t **ret, Error *reterr);

/* Schedules: `data` is JSON, an object. */
_must_check_ int store_schedule_put(Store *s, const char *name, const char *data, Error *reterr);
/* One that is not there is as good. */
_must_check_ int store_schedule_remove(Store *s, const char *name, Error *reterr);
/* An object: name -> data, by name; an empty one where the data cannot be read. */
_must_check_ int store_schedules(Store *s, json_t **ret, Error *reterr);
