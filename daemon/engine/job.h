/* SPDX-License-Identifier: MIT */
/*
 * One job in memory: what its rows in the store say, and nothing that they do not. Decisions are
 * made on a copy (job_copy); what they change is marked and written by job_store(); then the copy
 * takes the original's place. JSON values inside are never changed in place once a job is shared:
 * they are replaced whole.
 */
#pragma once

#include "daemon/engine/def.h"
#include "daemon/state/state.h"
#include "daemon/store/store.h"

/* A moment to come, kept so that it survives restarts, reboots and changed clocks: within one boot
 * CLOCK_BOOTTIME decides, after a reboot the wall clock does, never later than first given. The
 * table of what happens when stands in deadline.c. */
typedef struct Deadline {
        int64_t wall; /* ms, 0 = none; what people are shown */
        int64_t boot; /* ms of CLOCK_BOOTTIME, in this boot */
} Deadline;

typedef enum Direction { DIRECTION_DO, DIRECTION_UNDO, DIRECTION_PROBE } Direction;

typedef enum AttemptState {
        ATTEMPT_STARTING,
        ATTEMPT_DONE,
        ATTEMPT_FAILED,
        ATTEMPT_INTERRUPTED,
        ATTEMPT_WITHDRAWN,
} AttemptState;

const char *direction_to_text(Direction d);

typedef struct StepState {
        uint8_t status;    /* StepStatus */
        uint8_t direction; /* of the newest attempt */
        uint8_t outcome;   /* AttemptState of the newest attempt */
        bool in_flight;    /* the newest attempt is recorded as starting and not as ended */
        bool begun;       /* a do has been recorded at least once: there may be something to undo */
        bool stop_wanted; /* of the attempt in flight */
        bool dirty;       /* not written to the store yet */
        bool attempt_dirty; /* the same of the newest attempt's row */
        unsigned attempts;  /* number of the newest attempt */
        unsigned tries;     /* dos of the present run, for `retry` */
        unsigned order;     /* place in the order of completion, 0 = not yet */
        int64_t started, ended;
        Deadline again;          /* when the next try is due */
        char id[ID128_TEXT_MAX]; /* of the newest attempt */
        json_t *outputs;         /* object or NULL */
        json_t *result;          /* the newest result, trimmed, or NULL */
        json_t *more; /* object or NULL: "left", "would", "pending" (hooks), "skipped_by",
                         "questions" */
} StepState;

typedef struct JobNews {
        const char *type;
        char *step;
        unsigned attempt;
        char *who;
        json_t *data;
} JobNews;

typedef struct Job {
        int64_t id;
        JobDef *def;
        JobState state;
        int64_t version; /* number of the last event */
        int64_t created, started, ended;
        bool dry_run;
        bool live;       /* stays in memory */
        bool advance;    /* has more to do at once, in the next turn */
        bool taken_over; /* the target's former job was closed for it, by this daemon */
        char *who, *reason;
        StepState *steps;
        unsigned next_order; /* last number given out */
        unsigned next_wait;
        json_t *waits; /* array */
        json_t *facts; /* object: "stamp", "strategy", "decided", "failure", "labels", "overrides",
                          "way_back", "deferred", "closed" (waits: by, at, how), "window"
                          (window.c), "remind" */
        Deadline way_back;
        bool way_back_open, finalising;
        int64_t told;   /* wall ms of the last event; the next one's is not before it */
        int64_t offset; /* wall clock minus CLOCK_BOOTTIME, as the deadlines' wall times have it */

        /* what the store still has, for compare-and-set */
        JobState stored_state;
        int64_t stored_version;
        bool stored;     /* there is a row */
        bool renumbered; /* step rows must be dropped first: the definition changed */
        bool rewrite;    /* its row is to be written although nothing was told */
        JobNews *news;   /* events that are not written yet */
        unsigned n_news;
        json_t *past; /* array: attempts that ended in the turn in which the next one of their step
                         begins, or NULL */
} Job;

_must_check_ int job_new(int64_t id, JobDef *def, Job **ret);
Job *job_free(Job *job);
DEFINE_CLEANUP(Job *, job_free)
#define _cleanup_job_ _cleanup_(job_freep)
_must_check_ int job_copy(const Job *job, Job **ret);

/* Adds an event to the journal. `data` is stolen and may be NULL. Running out of memory is
 * remembered and fails job_store(). */
void job_tell(Job *job, const char *type, int step, const char *who, json_t *data);

/* Moves the job or a step through the tables; a refused pair is a bug here and returns -EPERM. */
_must_check_ int job_move(Job *job, JobEvent event);
int job_step_move(Job *job, unsigned idx, StepEvent event);

/* Replaces one of a step's "more" members; a NULL value removes it. Steals. */
void job_step_note(Job *job, unsigned idx, const char *key, json_t *value);
/* The same for the job's facts. */
void job_fact(Job *job, const char *key, json_t *value);
/* What was decided, as a sentence: shown with the job from then on, and told. `step` -1: about all
 * of it; `who` NULL: updd itself. */
void job_decide(Job *job, int step, const char *who, const char *why);

/* Keeps the end of the step's newest attempt, if it is not written yet, before the next one takes
 * its place. -ENOMEM. */
_must_check_ int job_attempt_pass(Job *job, unsigned idx);

/* Writes all that changed, inside the caller's transaction, as decided at `wall`. */
_must_check_ int job_store(Job *job, Store *store, int64_t wall, Error *reterr);
/* After COMMIT: nothing is left to write. */
void job_stored(Job *job);

/* Makes a job of its rows; the plan is read again from the store's frozen document. */
_must_check_ int job_load(Store *store, const JobRow *row, Job **ret, Error *reterr);

/* ---- deadline.c ---- */
/* Two clocks read one after the other, a suspend that is measured in seconds, a leap second. */
#define CLOCK_SLACK_MS 2000
Deadline deadline_in(int64_t ms);
bool deadline_is_set(const Deadline *d);
/* Milliseconds until it, negative when it has passed; INT64_MAX when not set. */
int64_t deadline_left(const Deadline *d, int64_t boot_now);
json_t *deadline_to_json(const Deadline *d);
/* In terms of this boot, whatever boot it was written in. */
Deadline deadline_from_json(const json_t *value);

/* The wall clock, but never before the job's last event. */
int64_t job_now(const Job *job);
/* The clock as it is when a job comes into being, as its row keeps it, and read from there: waits
 * and their deadlines must be loaded by then. */
void job_clock_init(Job *job);
json_t *job_clock_to_json(const Job *job);
void job_clock_load(Job *job, const json_t *value);
/* Tells that the wall clock was set since the job last looked, and sets what is shown of its
 * deadlines with it. */
void job_heed_clock(Job *job);
