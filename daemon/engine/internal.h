/* SPDX-License-Identifier: MIT */
/*
 * The engine's inside: the jobs in memory, the queues of what has come in, and the watches over
 * attempts in flight. For the engine room only.
 */
#pragma once

#include <sys/types.h>

#include "daemon/bus/bus.h"
#include "daemon/engine/engine.h"
#include "daemon/engine/turn.h"

#define TRY_AGAIN_MS 1000 /* after a write that failed */
#define REQUESTS_KEPT_MS (INT64_C(7) * 24 * 3600 * 1000)

/* A job in memory, its rendered view, and when it wants to be looked at. */
typedef struct Slot {
        Job *job;
        char *json; /* rendered at `json_version`, or NULL */
        size_t json_size;
        int64_t json_version;
        int64_t wakes_at; /* CLOCK_BOOTTIME ms */
        bool kick;        /* look at it in the next turn */
} Slot;

typedef struct ScheduleLook ScheduleLook;
typedef struct AheadLook AheadLook;

/* A running (or just begun, or just ended) attempt. */
typedef struct Watch {
        Engine *engine;
        int64_t job;
        unsigned step;
        unsigned n;
        char id[ID128_TEXT_MAX];
        char *dir;
        int dirfd, pidfd;
        pid_t pid;
        bool child; /* started by this daemon: to be reaped */
        bool stop_wanted;
        bool told;       /* its end is in the queue of facts */
        bool unprepared; /* its folder or task.json is still to be written */
        bool too_late;   /* its window has closed, and nobody has claimed it */
        unsigned spawns;
        int trouble;     /* what kept it from starting, as was told; 0: nothing */
        int64_t started; /* CLOCK_MONOTONIC ms of the first spawn: a suspend is no time to claim */
        unsigned question; /* highest question told */
        long progress_at;  /* how far `progress` has been read */
        json_t *secrets;   /* until it is claimed */
        json_t *limits;    /* of its unit */
        int64_t grace_ms;
        bool unit_gone;    /* its unit was asked for, and nothing of it is left */
        sd_bus_slot *call; /* a question to systemd that is on its way */
        sd_event_source *pid_source, *progress_source, *claim_source, *timer;
} Watch;

/* A job that cannot be carried on: see unread.c. */
typedef struct Unread {
        int64_t id, version, created;
        char *plan, *target, *state, *why;
        bool lost;     /* it has no row */
        bool given_up; /* in this turn */
} Unread;

typedef enum FactKind { FACT_ENDED, FACT_QUESTION, FACT_GOES_ON } FactKind;

typedef struct Fact {
        FactKind kind;
        int64_t job;
        unsigned step, n;
        json_t *data; /* owned: result (NULL: interrupted), or {"k","prompt","echo"} */
} Fact;

struct Engine {
        sd_event *event;
        char *state_dir, *step_program;
        const char *const *plan_dirs; /* the config's */
        unsigned max_jobs;
        Bus *bus; /* borrowed; NULL: the plain backend */
        int lock_fd;
        Store *store;
        bool sick;      /* the store failed, and nothing has been written since */
        bool reopen;    /* what it holds is not known: reopen and reload first */
        bool loading;   /* for the first time */
        bool unwatched; /* memory had no room for an attempt's watch: it is tried again */
        bool damaged;   /* nothing is decided or written any more by this daemon */
        Error sickness;
        int64_t sick_since; /* wall ms */
        int64_t tried_at;   /* CLOCK_BOOTTIME ms of the last try to write while it is sick */
        uint64_t failures;  /* turns that were not written */
        unsigned untold;    /* events that the system's journal did not take */
        int64_t tell_at;    /* CLOCK_BOOTTIME ms: not before then is it asked to take more */
        int64_t run;        /* this daemon's row of when it runs; 0: not written yet */
        RunRow run_before;  /* n 0: none */
        Slot *slots;        /* by ascending job id */
        unsigned n_slots;
        Unread *unreads;
        unsigned n_unreads;
        Watch **watches;
        unsigned n_watches;
        Fact *facts;
        unsigned n_facts;
        Call **calls;
        unsigned n_calls;
        int64_t last_job;
        sd_event_source *timer;
        sd_event_source *clock_source;
        sd_event_source *anchor; /* keeps the loop's inotify descriptor: closing one takes 10 ms */
        int64_t armed_for;       /* CLOCK_BOOTTIME ms, INT64_MAX: not armed */
        int64_t checkpoint_at;   /* when an idle store moves its WAL back; 0: nothing to move */
        ChangeFunc change;
        void *change_userdata;
        json_t *tokens;
        json_t *schedules;   /* name -> {"active"?, "change"?: {"job","wanted"?}, "job"?, "ran"?} */
        ScheduleLook *looks; /* questions to systemd about schedules that are on their way */
        AheadLook *ahead;    /* the same about their next elapses */
        int64_t ahead_at;    /* CLOCK_BOOTTIME ms: when to ask for those again */
        int64_t started;
        char *history_json; /* the last view of a job that is not in memory */
        size_t history_size;
};

/* What one turn works on: copies of jobs, and the replies that wait for the commit. */
typedef struct Pending {
        Call *call;
        Reply reply;
} Pending;

typedef struct Batch {
        Turn turn;
        Engine *engine;
        Job **jobs;
        unsigned n_jobs;
        Pending *pending;
        unsigned n_pending;
        json_t *schedules; /* as they are changed in this turn; NULL: they are not */
        bool tokens_changed, wrote, written;
        bool torn; /* a call failed when it had changed something */
} Batch;

Slot *slot_find(Engine *e, int64_t job);
/* The turn's copy of a job in memory: made at the first call. NULL: there is none, or memory is
 * out. */
Job *batch_job(Batch *b, int64_t job);
/* Adds a fresh job; steals it on success. */
_must_check_ int batch_add(Batch *b, Job *job);

/* One call: changes copies, fills the reply's error or leaves it to the turn to render the job.
 * Runs inside the transaction. Returns -errno with the reply's error set when refused. */
_must_check_ int call_handle(Batch *b, Call *call, Reply *reply);
_must_check_ int call_start(Batch *b, Call *call, Reply *reply);
/* Whether such a call could start a job, whatever the target does now. Nothing is begun. How long
 * before its window a notice of it is to go out, in ms; 0: none is. */
_must_check_ int call_check_start(Batch *b, const Call *call, int64_t *ret_notice, Error *reterr);
/* Begins a job of that definition. */
_must_check_ int call_begin(Batch *b, const Call *call, JobDef *def, Reply *reply);
/* The way back of the target's former job ends where the job begins: "after" names the one that has
 * to come to its end first. -ENOMEM. */
_must_check_ int former_close(Batch *b, Job *job);
/* The replan of a retry: 0 changed or nothing to change; 1 only looked at, as the call wanted: the
 * reply has what would change. */
_must_check_ int call_replan(Batch *b, Job *job, const Call *call, Reply *reply);
_must_check_ int call_token(Batch *b, Call *call, Reply *reply);
int refuse_now(const Job *job, const char *verb, Error *reterr);

/* ---- call-schedule.c: schedules are kept and started here; what of them systemd has to know is
 * brought to it by a job of updd's own plan ---- */
_must_check_ int call_schedule(Batch *b, Call *call, Reply *reply);
/* What becomes of the schedule when that job has ended, or one that was made ahead was withdrawn. */
_must_check_ int schedule_settle(Batch *b, const Job *job, Error *reterr);
/* As the API tells it, but for what systemd knows. NULL: memory is out. */
json_t *schedule_view(Engine *e, const char *name, const json_t *row);
/* -ENOENT: there is none of that name. */
_must_check_ int schedule_find(const json_t *schedules, const char *name, const json_t **ret,
                               Error *reterr);
/* -ENOTSUP: this daemon has no systemd that it could ask. */
_must_check_ int schedules_possible(const Engine *e, Error *reterr);
/* ---- elapses.c ---- */
/* Wall ms: the moment that the calendar event names, and when the timer fired for it. 0: none. */
typedef struct Elapse {
        int64_t of, at; /* made ahead: when the timer is to fire */
        int64_t ends;   /* of its window, when the job is made ahead; else 0 */
} Elapse;

/* As a request names it; none is no error. */
_must_check_ int elapse_read(const json_t *body, Elapse *ret, Error *reterr);
/* When the job's window begins: what was missed and is made up for has all of it. */
int64_t elapse_begins(const Elapse *e);
/* The job that was started for it; 0: none. */
int64_t elapse_job(const json_t *row, const Elapse *e);
_must_check_ int elapse_note(json_t *row, const Elapse *e, int64_t job);
/* The timer has fired for it. 1: the row is changed. */
_must_check_ int elapse_settle(json_t *row, const Elapse *e);
bool elapse_has_job(const json_t *row, int64_t job);
/* Its elapse has no job any more. 1: the row is changed. */
_must_check_ int elapse_forget(json_t *row, int64_t job);
/* Those that are still to come: what was made ahead for them is of another schedule now. */
_must_check_ int elapses_forget(json_t *row, int64_t wall_now);
/* ---- ahead.c ---- */
/* When it is due (`ahead_at`). */
void ahead_look(Engine *e);
/* A call may be heard before the clock is: what was made ahead, and whose window has passed meanwhile,
 * is withdrawn first, so that it stands for no elapse and holds no target. */
_must_check_ int ahead_withdraw_missed(Batch *b, Error *reterr);
void ahead_free(Engine *e);
/* ---- schedules.c ---- */
void schedule_looks_free(Engine *e);

/* Reads a plan's file by the plan's name or file name. Caller frees. */
_must_check_ int plan_file_find(Engine *e, const char *name, char **ret_path, char **ret_text,
                                size_t *ret_size, Error *reterr);

/* ---- handover.c ---- */
/* What both backends hand on: the secrets as a sealed memfd (or /dev/null), and of the daemon's
 * environment only what a sanitizer or a loader needs; the caller frees each text. */
#define SPAWN_ENVIRONMENT_MAX 8
_must_check_ int secrets_fd(const json_t *secrets, int *ret_fd);
void spawn_environment(char *ret[static SPAWN_ENVIRONMENT_MAX]);

/* ---- spawn.c ---- */
/* Starts updd-step for the attempt, in a session of its own: it outlives the daemon, whose child it
 * is only so that the pid cannot be taken by another before a pidfd holds it. */
_must_check_ int step_spawn(const Watch *w, pid_t *ret);

/* ---- units.c ---- */
/* Starts updd-step as a transient service. How that went is told to watch.c later. */
_must_check_ int unit_start(Watch *w);
/* Looks whether the unit of an attempt that nobody has claimed is still to come. */
void unit_ask(Watch *w);
/* Kills what is left of an attempt that was claimed and is dead; `unit_gone` says when it is. */
void unit_end(Watch *w);
/* Kills one that was withdrawn. */
void unit_kill(const Watch *w);

/* ---- progress.c ---- */
/* Read as it grows; where that cannot be heard of (no room for the file, no watches left), it is
 * looked at again and again. */
void watch_progress(Watch *w);
void watch_deliver(Engine *e, int64_t job, unsigned step, unsigned k);
/* Reads on where it stopped. */
void watch_progress_read(Watch *w);

/* ---- rebuild.c ---- */
/* What of a task the watch keeps for the unit. */
void watch_task(Watch *w, const json_t *task);
/* Writes task.json and reads the secrets anew, as they are now. */
_must_check_ int watch_rebuild(Watch *w, const Job *job);

/* ---- own-results.c ---- */
/* Why an attempt never began, as the daemon's claim and its result say it. */
const char *withdrawn_reason(const Watch *w);
/* For such an attempt. NULL: memory is out. */
json_t *withdrawn_result(const Watch *w);
/* Another version's: what it says is not guessed at. NULL: memory is out. */
json_t *foreign_result(const Watch *w);

/* ---- watch.c ---- */
void watch_spawn(Engine *e, const Job *job, Effect *effect);
void watch_attach(Engine *e, const Job *job, unsigned step);
void watch_make_up(Watch *w, const StepState *s);
void watch_stop(Engine *e, int64_t job, unsigned step);
/* Where no timer could be set. */
void watch_look_if_idle(Watch *w);
Watch *watch_find(Engine *e, int64_t job, unsigned step, unsigned n);
void watch_free(Watch *w);
/* For the backend: look once more (at once, or after a pause), it could not be started, it lives and
 * does not come to its claim. */
void watch_look_again(Watch *w, bool later);
void watch_start_failed(Watch *w, int r, const char *why);
void watch_unclaimed(Watch *w);
void watches_end(Engine *e, int64_t job, unsigned step, unsigned n);
/* Steals data. */
_must_check_ int fact_add(Engine *e, FactKind kind, int64_t job, unsigned step, unsigned n,
                          json_t *data);

/* ---- take.c, turn.c, commit.c ---- */
_must_check_ int batch_take_fact(Batch *b, const Fact *fact);
/* Handles the first `n` calls of the queue; each has a Pending afterwards, refused or not. */
_must_check_ int batch_take_calls(Batch *b, unsigned n, Error *reterr);
void reply_refuse(Reply *reply, int r);
/* Lets the reply out and frees the call. */
void pending_answer(Pending *p);
void engine_drop_calls(Engine *e, unsigned n);
/* There is something of it to write. */
bool job_changed(const Job *job);
/* A place or a target may have become free. */
void engine_kick_queued(Engine *e);
void batch_committed(Batch *b, unsigned n_facts, unsigned n_calls);
void engine_turn(Engine *e);
bool engine_has_work(const Engine *e);
_must_check_ int engine_load(Engine *e, Error *reterr);
void engine_arm(Engine *e);
/* Watches the attempts in flight that nobody watches yet. */
void engine_attach_all(Engine *e);

/* ---- tell.c ---- */
/* After the commit and before the copies take their places: the batch's events. */
void batch_tell(const Batch *b);
/* Tells a journal that goes on what it missed, once it is time to ask. */
void engine_tell_missed(Engine *e);
/* The same at the daemon's end, which is the last moment. */
void engine_tell_end(Engine *e);

/* ---- sick.c ---- */
/* A write has failed: until one succeeds, changes are refused with this reason. */
void engine_sicken(Engine *e, const Error *error);
/* What the store holds is known, and it may be tried. False: not yet. */
bool engine_recover(Engine *e);
void engine_is_well(Engine *e);
/* A failed write is not repeated at once, unless somebody asks for a change. */
bool engine_may_try(const Engine *e);
void engine_refuse_all(Engine *e);

/* ---- unread.c ---- */
/* Why the job's folder says that its rows are too old; NULL: it does not. Caller frees. */
_must_check_ char *unread_by_folder(const Engine *e, const Job *job);
/* Copies what it is given. `quiet`: it was told of before. */
_must_check_ int unread_add(Engine *e, const Unread *what, bool quiet);
Unread *unread_find(const Engine *e, int64_t job);
const Unread *unread_of_target(const Engine *e, const char *target);
void unreads_free(Unread *unreads, unsigned n);
/* After the turn in which they were given up. */
void unreads_settle(Engine *e, bool committed);
/* Adds the jobs whose folders have numbers above `last`, the highest that the database knows. */
void unread_find_lost(Engine *e, int64_t last, bool quiet);
_must_check_ json_t *unread_view(const Engine *e, const Unread *u);
_must_check_ json_t *unread_row_view(const JobRow *row);
/* -EBUSY when such a job holds the target. */
_must_check_ int unread_refuse_target(const Engine *e, const char *target, Error *reterr);
/* What can be asked of one: to be abandoned. */
_must_check_ int unread_call(Batch *b, Call *call, Reply *reply);

/* ---- check.c ---- */
/* For the next start, which then reads the whole database first. */
void engine_mark_damaged(Engine *e, const char *why);
_must_check_ int engine_check_mark(Engine *e, Error *reterr);

/* ---- run.c ---- */
/* Tells of the last run, and writes that this one began. A store that cannot be written makes the
 * daemon sick, and keeps it from nothing else. */
void engine_run_begin(Engine *e);
/* A write for its own sake, inside a transaction: is the store well? */
_must_check_ int engine_run_seen(Engine *e, Error *reterr);
void engine_run_end(Engine *e);

/* The highest number of a job's folder, 0 when there is none. */
int64_t engine_newest_folder(Engine *e);
/* From now on all jobs look at their deadlines when the wall clock is set (clock.c). */
_must_check_ int engine_watch_clock(Engine *e);
/* ---- reserve.c ---- */
/* Gives back what the state folder reserves for a job, unless it may still go back by itself. */
void engine_unreserve(Engine *e, int64_t job);
/* The disk is full: what the jobs keep for the daemon itself is given back. */
void engine_spare(Engine *e);

/* Removes old jobs' folders. */
void engine_prune(Engine *e);
