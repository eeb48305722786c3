/* SPDX-License-Identifier: MIT */
/*
 * What a verb and a check of updd-step see. updd-step is two processes: the supervisor
 * (supervisor.c: lock, claim, time limit, log, result, killing the tree) and the worker that it
 * forks, which runs the verbs of this header one after another, blocking as it likes. Whatever the
 * worker and its children write to stdout or stderr goes through the supervisor into the log,
 * bounded and with secrets masked.
 *
 * A verb is one file verb_<name>.c and one row in verbs.c; a check is check_<name>.c and a row in
 * checks.c. Both return 0 or -errno with *reterr set; -ECANCELED when step_stopping().
 */
#pragma once

#include "api/args.h"
#include "api/error.h"
#include "api/text.h"

typedef struct Step Step;

/* ---- the task ---- */
const json_t *step_task(const Step *s);     /* borrowed */
const json_t *step_context(const Step *s);  /* services, databases, compose, scope … */
const char *step_id(const Step *s);         /* the step whose op this is */
const char *step_record_dir(const Step *s); /* the step's folder: survives attempts */
const char *step_dir(const Step *s);        /* the attempt's folder */
const char *step_job_dir(const Step *s);
const json_t *step_op(const Step *s);    /* the op being executed, secrets put in */
const json_t *step_scope(const Step *s); /* for `that`: in, steps (own outputs included), job */
bool step_is_undo(const Step *s);

/* An absolute path: `path` as it is, or below the op's cwd. -EINVAL with a message when it is
 * relative and there is no cwd. Caller frees. */
_must_check_ int step_path(Step *s, const char *path, char **ret, Error *reterr);

/* ---- telling ---- */
_printf_(2, 3) void step_log(Step *s, const char *format, ...); /* one line into the log */
int step_output(Step *s, const char *key, json_t *value);       /* steals value */
int step_output_secret(Step *s, const char *key,
                       const char *value); /* file in secrets/, masked from now on */
void step_progress(Step *s, const char *format, ...) _printf_(2, 3);
/* One check's outcome for result.json; steals. {"name","check","ok",…} */
int step_check_result(Step *s, json_t *outcome);
/* From a check's look: what it found, as a sentence (may be NULL) and for machines; the outcome
 * carries both. Steals `space`. */
int step_found(Step *s, const char *message, json_t *space);
/* Last lines of an unhealthy service's log, for the failure's report. Steals. */
int step_service_log(Step *s, const char *service, json_t *lines);

/* Asks a person (DESIGN: a question of the job) and waits for the answer, the time limit resting.
 * `echo` false: the answer is a secret (masked, never stored). Caller frees *ret. */
_must_check_ int step_ask(Step *s, const char *prompt, bool echo, char **ret, Error *reterr);

/* ---- undo record (protocol rule 3) ---- */
/* Appends one entry to <record>/undo and fsyncs it, before the change that it undoes. Steals
 * `entry`. */
_must_check_ int step_undo_note(Step *s, json_t *entry, Error *reterr);
/* All whole entries so far, oldest first (a torn last line is dropped); borrowed array. */
_must_check_ int step_undo_entries(Step *s, const json_t **ret, Error *reterr);
/* <record>/kept, created. Borrowed. */
_must_check_ int step_kept_dir(Step *s, const char **ret, Error *reterr);

/* ---- time ---- */
bool step_stopping(Step *s); /* a stop is wanted or the limit is reached */
/* The same, also for a stop that is written down while word of it is still on its way: to be asked
 * before what nothing can take back. */
bool step_stop_wanted(Step *s);
int step_sleep(Step *s, int64_t ms); /* 0 or -ECANCELED */
/* What is left of the current check's own `timeout`; INT64_MAX outside of checks. step_exec() heeds
 * it by itself. */
int64_t step_time_left_ms(const Step *s);

/* ---- children ---- */
typedef struct Exec {
        const json_t *argv; /* array of texts */
        const char *cwd;    /* default: the op's */
        const json_t *env;  /* further variables; the op's env, env_file, PATH, HOME, USER, LANG,
                               UPDD_* are  always there, the daemon's own never */
        const char *user;   /* default: the op's; "" forces none */
        const char *input;  /* stdin text, or NULL for /dev/null */
        size_t input_size;
        const json_t *answers; /* not NULL: a pty, `answers` of the plan; an unmet prompt asks */
        bool quiet;            /* output is not copied into the log (it is still captured) */
        bool merge;            /* stderr goes into `out` too */
        size_t max_out; /* captured at most; 0 = 64 KiB; what is beyond is dropped from the middle
                         */
        int out_fd;     /* > 0: stdout goes there instead of being captured (caller's descriptor) */
        int64_t timeout_ms; /* 0: the attempt's own limit only */
} Exec;

typedef struct ExecResult {
        int exit;   /* exit code, or -1 */
        int signal; /* or 0 */
        bool timed_out;
        char *out; /* NUL-terminated stdout (pty: everything) */
        size_t out_size;
        char *err;
        size_t err_size;
        bool cut; /* the middle of one of them is missing */
} ExecResult;

void exec_result_done(ExecResult *r);
#define _cleanup_exec_ _cleanup_(exec_result_done)

/* Runs a child to its end in a process group of its own and kills what it leaves behind. 0 whenever
 * it was started, whatever its exit; -ENOENT etc. with a message when it could not be started;
 * -ECANCELED when stopped meanwhile. */
_must_check_ int step_exec(Step *s, const Exec *x, ExecResult *ret, Error *reterr);

/* Short form: argv as C strings, output captured, not logged; exit 0 demanded (else -EREMOTEIO with
 * a message that ends in the command's last line of stderr). `ret_out` may be NULL. */
_must_check_ int step_exec_simple(Step *s, char **ret_out, Error *reterr, const char *file, ...)
        __attribute__((sentinel));

/* A service that must outlive the attempt: started in its own session, outside the tree that is
 * killed. */
_must_check_ int step_spawn_service(Step *s, const Exec *x, const char *log_path, pid_t *ret_pid,
                                    Error *reterr);

/* ---- checks ---- */
/* Runs normal-form CHECKs. `all` tells every failure together, else the first ends it. Honours
 * when, within/every, timeout, warn, overrides; records each outcome with step_check_result().
 * 0 when all hold; -EBADE with *reterr naming what did not. */
_must_check_ int checks_run(Step *s, const json_t *checks, bool all, Error *reterr);
/* The same, once each, without polling, recording or logging: for wait, observe. 0, -EBADE. */
_must_check_ int checks_look(Step *s, const json_t *checks, Error *reterr);

/* ---- rows ---- */
typedef int (*VerbFunc)(Step *s, const json_t *args, Error *reterr);

typedef struct Verb {
        const char *name;
        VerbFunc run;
        VerbFunc undo; /* NULL: nothing to undo, or the plan says */
} Verb;

typedef struct Check {
        const char *name;
        VerbFunc look; /* 0 it holds; -EBADE it does not (message says what was found); else an
                          error */
} Check;

extern const Verb *const step_verbs[];   /* ends in NULL; verbs.c */
extern const Check *const step_checks[]; /* ends in NULL; checks.c */
