/* SPDX-License-Identifier: MIT */
/*
 * The engine's face towards HTTP and main. It owns the jobs and the turn of the loop: events in,
 * decisions on copies, one COMMIT, then copies swapped in, effects and replies let out. HTTP hands
 * in a Call and hears of it once, after the commit that made it durable (or the refusal).
 */
#pragma once

#include <systemd/sd-event.h>

#include "api/error.h"
#include "api/text.h"

typedef struct Engine Engine;

typedef struct Bus Bus;

typedef enum Role { ROLE_NONE, ROLE_VIEW, ROLE_OPERATE, ROLE_ADMIN } Role;

typedef struct EngineConfig {
        const char *state_dir;
        const char *const
                *plan_dirs; /* NULL-terminated, first wins; borrowed until another is given */
        const char *step_program;
        unsigned max_jobs; /* jobs that run at once; 0 = 64 */
        Bus *bus;          /* steps run as units of its systemd; NULL: in sessions of their own */
} EngineConfig;

typedef enum CallKind {
        CALL_START,   /* body: plan | document, inputs, reason, dry_run, labels, overrides, secrets,
                       window */
        CALL_CONFIRM, /* body: wait, ticks [text], all bool, reason, typed */
        CALL_ANSWER,  /* body: wait, text */
        CALL_ROLLBACK,        /* body: strategy, reason, typed */
        CALL_CANCEL,          /* body: reason */
        CALL_RETRY,           /* body: wait, inputs, document, reason */
        CALL_SKIP,            /* body: wait, reason */
        CALL_ABANDON,         /* body: reason */
        CALL_FINALISE,        /* body: reason */
        CALL_TOKEN_ADD,       /* body: name, role; the reply alone holds the token */
        CALL_TOKEN_REMOVE,    /* body: name */
        CALL_SCHEDULE_PUT,    /* body: name, plan, on, window, inputs, labels, overrides, missed */
        CALL_SCHEDULE_REMOVE, /* body: name */
        CALL_SCHEDULE_RUN,    /* body: name, elapse, reason; the reply is the job's */
        _CALL_KIND_MAX,
} CallKind;

typedef struct Reply {
        int err; /* 0, or positive errno and then `error` says why */
        Error error;
        json_t *body; /* owned */
        int64_t job;  /* the job it is about, or 0 */
        bool created;
        bool replayed; /* an Idempotency-Key's stored answer */
} Reply;

typedef void (*ReplyFunc)(void *userdata, const Reply *reply);

typedef struct Call {
        CallKind kind;
        int64_t job;           /* 0 for CALL_START and tokens */
        json_t *body;          /* owned: an object */
        char *who;             /* "uid:0 (root)" or "token:grafana"; owned */
        char *idempotency_key; /* or NULL; owned */
        ReplyFunc reply; /* called exactly once, from the loop, never from engine_submit; userdata
                            must live */
        void *userdata;
} Call;

/* Opens the state folder (lock, store, migrations), loads unfinished jobs and re-attaches to
 * attempts. */
_must_check_ int engine_new(sd_event *event, const EngineConfig *config, Engine **ret,
                            Error *reterr);
void engine_free(Engine *e);
DEFINE_CLEANUP(Engine *, engine_free)

/* Looks through a state folder and changes nothing in it: an array of texts, one for all that is not
 * as a daemon would have left it, and {"schema", "jobs": unfinished ones, "version", "seen", "ended":
 * of the last run}. -EBUSY: a daemon serves the folder at the moment. */
_must_check_ int engine_check_state(const char *state_dir, json_t **ret_findings,
                                    json_t **ret_state, Error *reterr);

/* Takes over what may change while it runs: plan_dirs, max_jobs. It cannot fail, so that of several
 * that take over a new config none is left behind. */
void engine_reconfigure(Engine *e, const EngineConfig *config);
/* Looks whether the store answers: a small read. One that fails counts as a write that failed. */
void engine_look(Engine *e);

/* Runs the loop until sd_event_exit(): a bounded number of events, then a turn. The turn is no
 * event source, so no busy descriptor can starve it. Returns the exit code or -errno. */
int engine_loop(Engine *e);

/* Steals `call`, whatever it returns. -EBUSY when too many wait already (the caller answers 503).
 */
int engine_submit(Engine *e, Call *call);
Call *call_free(Call *call);

/* ---- reads, answered at once from memory or one bounded SELECT ---- */

typedef struct JobView {
        const char *json; /* borrowed until the next turn */
        size_t size;
        uint64_t version; /* number of the job's last event: the ETag */
} JobView;

/* -ENOENT: no such job. Finished jobs of the history are rendered from the store. */
_must_check_ int engine_job_view(Engine *e, int64_t job, JobView *ret);
/* A plan's or target's name -> its unfinished job (else the newest job of that name). -ENOENT. */
_must_check_ int engine_job_find(Engine *e, const char *name, int64_t *ret);

typedef struct JobsQuery {
        const char *state, *plan, *target; /* or NULL; state may be "unfinished" */
        int64_t after;                     /* a job id: only older ones; 0 = from the newest */
        unsigned limit;                    /* 1..200 */
} JobsQuery;

/* {"jobs": [{id, plan, title, target, state, created, started, ended, dry_run, reason, by,
 * waits…}], "next": id | null} */
_must_check_ int engine_jobs(Engine *e, const JobsQuery *query, json_t **ret, Error *reterr);
/* {"events": [...], "next": seq}; `job` 0: of all jobs, numbered by "id". */
_must_check_ int engine_events(Engine *e, int64_t job, int64_t after, unsigned limit, json_t **ret,
                               Error *reterr);
/* Path of a step's log, newest attempt when `attempt` is 0; "step" may be a pseudo-step. Caller
 * frees. */
_must_check_ int engine_log_path(Engine *e, int64_t job, const char *step, unsigned attempt,
                                 char **ret, unsigned *ret_attempt, bool *ret_running,
                                 Error *reterr);
/* {"plans": [{"plan","title","target","file","sha256","ok","faults"}]} */
_must_check_ int engine_plans(Engine *e, json_t **ret, Error *reterr);
/* One plan:
 * {"plan","title","about","target","file","sha256","inputs","secrets","steps":[{id,title,verb,…}],
 * "gates","strategies","expected_ms","faults","unsupported","text"} */
_must_check_ int engine_plan(Engine *e, const char *name, json_t **ret, Error *reterr);
/* Lints a document: {"ok", "plan", "sha256", "faults": […], "unsupported": […]} */
_must_check_ int engine_check(Engine *e, const char *file, const char *text, size_t size,
                              json_t **ret, Error *reterr);
_must_check_ int engine_tokens(Engine *e, json_t **ret, Error *reterr);
/* All schedules, or one (`name` not NULL), with what systemd knows of their timers: {"schedules":
 * […]}, or the one. 0 with *ret, or 1 and `reply` is called from the loop, unless the engine is freed
 * before. -ENOTSUP: schedules need systemd. */
_must_check_ int engine_schedules(Engine *e, const char *name, ReplyFunc reply, void *userdata,
                                  json_t **ret, Error *reterr);
/* The role of a bearer token and its name (caller frees); ROLE_NONE when unknown. Constant-time
 * compare. */
Role engine_token_role(Engine *e, const char *token, char **ret_name);
/* {"ok", "state": "ok"|"degraded"|"damaged", "jobs": {state: n}, "attempts", "store": "ok"|why,
 * "since"?, "failures", "started", "version"} */
_must_check_ int engine_health(Engine *e, json_t **ret);
/* {"n", "started", "before"?: {"n", "version", "started", "seen", "ended": false when it died}} */
_must_check_ int engine_run(Engine *e, json_t **ret);

/* ---- a job's report, as api/openapi.yaml describes it ---- */
typedef struct Report Report;

/* Begins the report of the job as it is now. It must be freed before the engine is. -ENOENT. */
_must_check_ int engine_report_new(Engine *e, int64_t job, Report **ret, Error *reterr);
/* Reads one page of the job's history: 1 there is more, 0 the report is whole. */
_must_check_ int engine_report_read(Report *r, Error *reterr);
/* The document, once it is whole; borrowed. */
const json_t *engine_report_json(const Report *r);
Report *report_free(Report *r);
DEFINE_CLEANUP(Report *, report_free)

/* ---- waiting for change (long poll) ---- */
typedef void (*ChangeFunc)(void *userdata, int64_t job, uint64_t version);
/* Called after every turn for each job that it changed. One listener. */
void engine_on_change(Engine *e, ChangeFunc func, void *userdata);
