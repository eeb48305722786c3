/* SPDX-License-Identifier: MIT */
/*
 * The two state machines of updd as const data: a job's and a step's. Only job_next() and
 * step_next() move anything; a (state, event) pair that is not in the table is refused.
 *
 *            checks refuse                                  way back ends: finalise steps run
 *   queued ───────────────► failed (nothing touched)                 ┌──────┐
 *     │  │                                          steps done       │      ▼
 *     │  └─ checks pass ─┐                    ┌─────────────────► succeeded
 *     ▼                  ▼                    │                      │ rollback, while it is open
 *  cancelled          running ────────────────┘                      │
 *                      │  ▲ │                                        │
 *                      │  │ └─ gate, question, hold ──► waiting      │
 *                      │  └─── confirm, answer, retry ───┘  │        │
 *   step failed,       ▼                                    ▼        ▼
 *   rollback, cancel  rolling_back ◄──── rollback, missed deadline ──┘
 *                      │   └──────────────────────────► rolled_back
 *                      ▼ an undo failed
 *                    stuck ── retry | skip ──► rolling_back, ── abandon ──► abandoned
 *
 * What is true on disk in each state, and what a restart does:
 * - queued: the job row and its frozen plan are there; no action has begun; the step "@checks" may
 *   be in flight. Restart: re-attach to it, or begin it when a slot is free.
 * - running: every step that began has a row; attempts in flight are "starting" rows of the attempt
 *   table with a folder. Restart: look at each one's lock, result, claim; go on.
 * - waiting: no attempt runs but those whose step waits for an answer; the list of waits is not
 *   empty. Restart: deadlines are set again, staged answers delivered again.
 * - rolling_back: the strategy stands in the row; steps of direction do still in flight have a
 *   wanted stop. Restart: stop them again, then go on with the next undo.
 * - stuck: nothing runs; the failed undo is "undo_failed". Restart: nothing to do.
 * - succeeded: all main steps are done or skipped; the way back is open until its deadline, or
 *   closed and finalise steps run. Restart: deadline set again, finalise goes on.
 * - failed, rolled_back, cancelled, abandoned: the end; only hooks may still run.
 */
#pragma once

#include "api/util.h"

typedef enum JobState {
        JOB_QUEUED,
        JOB_RUNNING,
        JOB_WAITING,
        JOB_ROLLING_BACK,
        JOB_STUCK,
        JOB_SUCCEEDED,
        JOB_FAILED,
        JOB_ROLLED_BACK,
        JOB_CANCELLED,
        JOB_ABANDONED,
        _JOB_STATE_MAX,
} JobState;

typedef enum JobEvent {
        JOB_EVENT_CHECKS_PASSED,
        JOB_EVENT_CHECKS_REFUSED,
        JOB_EVENT_PARK,    /* nothing runs and the list of waits is not empty */
        JOB_EVENT_REQUEUE, /* a wait from before the first step is settled */
        JOB_EVENT_RESUME,  /* a wait was settled by itself: deadline "continue", a step went on */
        JOB_EVENT_CONFIRM,
        JOB_EVENT_ANSWER,
        JOB_EVENT_STEPS_DONE,
        JOB_EVENT_STEP_FAILED,
        JOB_EVENT_DRY_RUN_FAILED,
        JOB_EVENT_DEADLINE, /* a missed deadline whose consequence is a rollback */
        JOB_EVENT_ROLLBACK,
        JOB_EVENT_CANCEL,
        JOB_EVENT_WITHDRAW, /* cancel, before any step began */
        JOB_EVENT_UNDO_DONE,
        JOB_EVENT_UNDO_FAILED,
        JOB_EVENT_RETRY,
        JOB_EVENT_SKIP,
        JOB_EVENT_ABANDON,
        JOB_EVENT_FINALISE,
        _JOB_EVENT_MAX,
} JobEvent;

typedef enum StepStatus {
        STEP_PENDING,
        STEP_RUNNING,
        STEP_WAITING,
        STEP_DONE,
        STEP_FAILED,
        STEP_INTERRUPTED,
        STEP_SKIPPED,
        STEP_UNDOING,
        STEP_UNDONE,
        STEP_UNDO_FAILED,
        _STEP_STATUS_MAX,
} StepStatus;

typedef enum StepEvent {
        STEP_EVENT_BEGIN,
        STEP_EVENT_PASS_OVER, /* `when` is false, or a person skips it */
        STEP_EVENT_ASK,       /* a gate opens, a question is asked */
        STEP_EVENT_GO_ON,     /* the question is answered */
        STEP_EVENT_SUCCEED,
        STEP_EVENT_FAIL,
        STEP_EVENT_INTERRUPT,
        STEP_EVENT_AGAIN, /* retry, rerun */
        STEP_EVENT_UNDO,
        STEP_EVENT_UNDO_SUCCEED,
        STEP_EVENT_UNDO_FAIL,
        STEP_EVENT_LEAVE, /* nothing to undo, or left as it is */
        _STEP_EVENT_MAX,
} StepEvent;

const char *job_state_to_text(JobState s);
const char *job_event_to_text(JobEvent e);
const char *step_status_to_text(StepStatus s);
const char *step_event_to_text(StepEvent e);
/* -EINVAL on an unknown word. */
int job_state_from_text(const char *text);
int step_status_from_text(const char *text);

/* The state after the event, or -EPERM when the pair is not in the table. */
_must_check_ int job_next(JobState from, JobEvent event);
_must_check_ int step_next(StepStatus from, StepEvent event);

/* Nothing more happens to the job's steps, save the finalise steps of a succeeded one. */
bool job_state_is_end(JobState s);
/* The job holds its target: no other job may start there. */
bool job_state_holds_target(JobState s);
