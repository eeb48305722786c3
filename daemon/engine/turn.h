/* SPDX-License-Identifier: MIT */
/*
 * One turn of the loop, as the deciding functions see it: what time it is, and where effects go
 * that may happen only once the decision is on disk. Deciding functions change a Job copy and this,
 * and nothing else; they read secrets' files, because a missing one is a fact to decide on.
 */
#pragma once

#include "daemon/engine/job.h"

typedef enum EffectKind {
        EFFECT_SPAWN,     /* write task.json and start updd-step */
        EFFECT_STOP,      /* write the stop file, then TERM */
        EFFECT_DELIVER,   /* deliver answer `k` */
        EFFECT_RETIRE,    /* drop the job from memory, and its secrets from the disk */
        EFFECT_UNRESERVE, /* give back what the state folder reserves for its way back */
} EffectKind;

typedef struct Effect {
        EffectKind kind;
        int64_t job;
        unsigned step;
        unsigned k;
        json_t *task;    /* owned */
        json_t *secrets; /* owned: object of values, or NULL */
} Effect;

typedef struct Turn {
        const char *state_dir;
        int64_t boot_now, wall_now; /* when it is decided; events carry this time */
        unsigned running;           /* jobs that hold a slot, this turn's included */
        unsigned max_jobs;
        Effect *effects;
        unsigned n_effects;
        bool oom;
} Turn;

void turn_done(Turn *t);
/* Adds an effect; steals task and secrets. */
void turn_effect(Turn *t, Effect effect);

/* STATE/jobs/<job>[/<step>[/<n>]]; caller frees. */
_must_check_ char *job_dir(const char *state_dir, int64_t job);
_must_check_ char *step_dir_of(const char *state_dir, const Job *job, unsigned idx);
_must_check_ char *attempt_dir(const char *state_dir, const Job *job, unsigned idx, unsigned n);

/* ---- scope.c, task.c, secrets.c ---- */
/* What `${…}` and expressions see. */
_must_check_ int job_scope(const Turn *t, const Job *job, json_t **ret);
/* The task of an attempt that is about to begin: its number and id must stand in the step's state.
 */
_must_check_ int task_build(const Turn *t, const Job *job, unsigned idx, Direction direction,
                            json_t **ret, Error *reterr);
/* True when the undo of this step comes from the plan (a list), false when the verb knows it. */
bool undo_is_written(const Job *job, unsigned idx);
/* "none": left as it is; NULL: the verb's own; else the list. Looks at the strategy's `instead`
 * first. */
const json_t *undo_of(const Job *job, unsigned idx);
/* One plain sentence of what undoing the step does, for cards and strategies. Caller frees. */
_must_check_ char *undo_words(const Job *job, unsigned idx, const json_t *strategy);

/* Resolves what a task needs. 0 and an object of values (NULL when it needs none); -ENOENT and the
 * names that are missing, with an error where one of them has a source that cannot be read. */
_must_check_ int secrets_resolve(const Turn *t, const Job *job, const json_t *task,
                                 json_t **ret_values, json_t **ret_missing, Error *reterr);
/* Names of the plan's secrets that no source gives now; *why (not NULL) stays empty unless one of
 * them has a source that cannot be read. */
_must_check_ int secrets_missing(const Turn *t, const Job *job, json_t **ret_missing, Error *why);
/* Of either: what a person is told, `plain` or the error with its hint. Caller frees. */
_must_check_ char *secrets_why(const Error *why, const char *plain);
/* Refuses names that the plan does not have. They become file names, so this comes before
 * secrets_keep(). */
_must_check_ int secrets_known(const Plan *plan, const json_t *given, Error *reterr);
/* Writes values that came with a request into the job's secrets folder (0600). */
_must_check_ int secrets_keep(const char *state_dir, int64_t job, const json_t *values,
                              Error *reterr);

/* ---- lists.c ---- */
/* Remembers how many entries of a written undo or a `then` were done when the next one failed. */
void list_done_note(Job *job, unsigned idx, const json_t *result);
/* Puts into the task from where on its list is to be carried out. */
_must_check_ int list_from(const Job *job, unsigned idx, Direction direction, json_t *task,
                           Error *reterr);
/* All lists begin anew: what they expand to may be another. */
void lists_forget(Job *job);

/* ---- strategy.c ---- */
typedef struct Choice {
        const char *strategy; /* borrowed name, or NULL: hold */
        bool named;           /* on_failure names it for that stretch */
        const char *stretch;  /* the on_failure entry that decided: a step's id or "default" */
} Choice;

Choice strategy_for(const Job *job, unsigned idx);
/* The strategy's object, NULL for an undeclared `full`. -ENOENT: there is none of that name. */
_must_check_ int strategy_find(const Job *job, const char *name, const json_t **ret);
/* -EPERM, with the reason, when its `when` does not hold now. `strategy` may be NULL. */
_must_check_ int strategy_allowed(const Turn *t, const Job *job, const json_t *strategy,
                                  Error *reterr);
/* What the strategy loses if it were begun now, in words; "nothing" when nothing. Caller frees. */
_must_check_ char *strategy_loses(const Job *job, const char *name);
bool strategy_loses_data(const Job *job, const char *name);
bool strategy_keeps(const Job *job, const json_t *strategy, unsigned idx);
/* The next step to undo, or -ENOENT; `strategy` may be NULL. */
int strategy_next(const Job *job, const json_t *strategy);
/* Array of {"step","title"?,"what"}: what the strategy still undoes, in its order. */
json_t *strategy_pending(const Job *job, const json_t *strategy);
/* Array for the API's "strategies". */
_must_check_ int strategies_view(const Turn *t, const Job *job, json_t **ret);

/* ---- forward.c, back.c, attempt-end.c, waits.c, hooks.c ---- */
/* Moves the job by an event and queues the hooks of the state entered. */
_must_check_ int job_enter(Turn *t, Job *job, JobEvent event);
/* The way back of a succeeded job closes when its time is up. */
void way_back_check(Turn *t, Job *job);
/* Does what can be done now; sets job->advance when there is more at once. */
_must_check_ int job_advance(Turn *t, Job *job, Error *reterr);
_must_check_ int forward_advance(Turn *t, Job *job, Error *reterr);
_must_check_ int queued_advance(Turn *t, Job *job, Error *reterr);
_must_check_ int finalise_advance(Turn *t, Job *job, Error *reterr);
_must_check_ int back_advance(Turn *t, Job *job, Error *reterr);
/* Sets out on the way back: closes waits, fixes the strategy. */
_must_check_ int back_begin(Turn *t, Job *job, JobEvent event, const char *strategy,
                            const char *why, const char *who);
/* No step of the plan has begun. */
bool job_untouched(const Job *job);
/* The step stays as it is; this names it, in the job and in its journal. `who` may be NULL. */
void step_leave(Job *job, unsigned idx, const char *why, const char *who);
/* Records one attempt and lets it begin after the commit. 0 begun; 1 a wait was opened instead (a
 * secret is missing); -errno it cannot begin, and nothing has changed. */
_must_check_ int attempt_begin(Turn *t, Job *job, unsigned idx, Direction direction, Error *reterr);
/* The same, and what cannot begin fails its step (1). Only -ENOMEM and -EPERM are errors. */
_must_check_ int attempt_try(Turn *t, Job *job, unsigned idx, Direction direction);
/* An attempt's end; `result` NULL: claimed and dead without one. Borrowed. */
_must_check_ int attempt_ended(Turn *t, Job *job, unsigned idx, const json_t *result);
/* The job's failure is now that of the step's undo; one of the way forward becomes its cause. */
void undo_failure_note(Job *job, unsigned idx);
/* A person has dealt with the failed undo: what is left of the failure is its cause, if any. */
void undo_failure_settle(Job *job);
void attempt_stop(Turn *t, Job *job, unsigned idx);
void step_fail(Job *job, unsigned idx, const char *type, const char *message, const char *hint);
void step_succeed(Job *job, unsigned idx, json_t *outputs);
bool job_has_in_flight(const Job *job, bool hooks_too);

/* A wait: steals `more` (its further members); returns its borrowed object. */
json_t *wait_open(Job *job, const char *kind, int step, int64_t within_ms, json_t *more);
json_t *wait_find(const Job *job, const char *id);
json_t *wait_find_step(const Job *job, const char *kind, const char *step);
void wait_close(Job *job, const char *id, const char *who, json_t *data);
void waits_close_all(Job *job, const char *why);
/* The strategy that a missed deadline at the step leads to; NULL: hold, for the reason *ret_why. */
const char *missed_leads_to(const Turn *t, const Job *job, unsigned idx, const char *on_timeout,
                            const char **ret_why);
/* Deadlines that have passed: the window's, gates'. */
_must_check_ int waits_check(Turn *t, Job *job, Error *reterr);
/* The earliest moment (CLOCK_BOOTTIME ms) at which the job wants to be looked at; INT64_MAX: none.
 */
int64_t job_wakes_at(const Job *job);
_must_check_ int gate_open(Turn *t, Job *job, unsigned idx, Error *reterr);

void hooks_queue(Job *job, const char *event);
_must_check_ int hooks_advance(Turn *t, Job *job, Error *reterr);
/* The hook attempt's end: again, or on with the next. */
void hook_ended(Job *job, unsigned idx, bool ok, const char *why);

/* ---- window.c ---- */
#define WITHDRAWN_WINDOW "window" /* why an attempt was withdrawn, in its result's `reason` */
#define WINDOW_OVERRIDE "window"  /* what `--override` calls a window that is too short */
#define GATE_OVERRIDE "gate"      /* and a gate that nobody attends in it */
/* Reads the window of a job that is about to begin, or tells why it cannot have it; `given` may be
 * NULL. */
_must_check_ int window_set(const Turn *t, Job *job, const json_t *given, Error *reterr);
/* Tells, after the job's first event, what of it was overridden. */
void window_tell(const Turn *t, Job *job);
/* Members of the fact; 0 and "" when there is none. */
int64_t window_ms(const Job *job, const char *key);
const char *window_text(const Job *job, const char *key);
bool window_is(const Job *job, const char *state);
/* As the API shows it; NULL: the job has none. */
json_t *window_view(const Job *job);

/* ---- window-time.c ---- */
/* What the clock has made of it since: it opens, the notice goes out, it closes and with that the
 * job may go back. */
_must_check_ int window_check(Turn *t, Job *job);
/* It was withdrawn by that: made ahead of its schedule's elapse, it could not begin in all of it. */
bool window_was_missed(const Job *job);
/* How long before it opens its notice goes out, ms; 0: no such time is given, or nobody is told. */
int64_t window_notice(const Job *job);
/* No step of the way forward may begin now. */
bool window_holds(const Job *job);
/* The same of one step and by the clock alone: the turn that closes it may be still to come. */
bool window_forbids(const Job *job, unsigned idx);
/* Then the job waits: until it opens, or for a person. -ENOMEM. */
_must_check_ int window_wait(Job *job);
/* The job goes on outside of it. -ENOMEM. */
_must_check_ int window_lift(Job *job, const char *who, const char *reason);
/* Milliseconds until no further step begins; INT64_MAX: that does not come by itself. */
int64_t window_closes_in(const Job *job, int64_t wall_now, int64_t boot_now);
/* CLOCK_BOOTTIME ms; INT64_MAX: never. */
int64_t window_wakes_at(const Job *job);
/* For more than a window that is still to open. */
bool job_waits_for_person(const Job *job);

/* ---- remind.c ---- */
/* Sends the reminder that is due, and plans the next. */
void remind_settle(Turn *t, Job *job);
int64_t remind_wakes_at(const Job *job);
/* How long before its end what takes so long is reminded of; 0: not at all. */
int64_t remind_lead(int64_t ms);

/* ---- reserve.c ---- */
/* A job that has ended needs nothing reserved any more. */
void reserve_settle(Turn *t, Job *job);
/* One whose way back is closed needs no former images any more. */
void images_settle(Turn *t, Job *job);

/* ---- view.c ---- */
_must_check_ int job_view(const Turn *t, const Job *job, json_t **ret);
/* The short form for lists. */
_must_check_ int job_view_short(const Job *job, json_t **ret);
/* Array of the waits, without what is the engine's own. */
json_t *job_waits(const Job *job);
/* Array of the verbs allowed now. */
json_t *job_actions(const Job *job);
/* ---- view-failure.c ---- */
/* The failure as the API tells it, NULL when there is none. */
json_t *job_failure(const Job *job);
/* Where the way back stands, NULL for a job that has not gone back. */
json_t *job_back(const Job *job);
/* Array of {"command","does"}: what can be typed next. */
json_t *job_choices(const Job *job);
