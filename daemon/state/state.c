/* SPDX-License-Identifier: MIT */
/* The tables of daemon/state/state.h. */
#include "daemon/state/state.h"

#include <assert.h>

static const char *const job_state_names[_JOB_STATE_MAX] = {
        [JOB_QUEUED] = "queued",       [JOB_RUNNING] = "running",
        [JOB_WAITING] = "waiting",     [JOB_ROLLING_BACK] = "rolling_back",
        [JOB_STUCK] = "stuck",         [JOB_SUCCEEDED] = "succeeded",
        [JOB_FAILED] = "failed",       [JOB_ROLLED_BACK] = "rolled_back",
        [JOB_CANCELLED] = "cancelled", [JOB_ABANDONED] = "abandoned",
};

static const char *const job_event_names[_JOB_EVENT_MAX] = {
        [JOB_EVENT_CHECKS_PASSED] = "checks-passed",
        [JOB_EVENT_CHECKS_REFUSED] = "checks-refused",
        [JOB_EVENT_PARK] = "park",
        [JOB_EVENT_REQUEUE] = "requeue",
        [JOB_EVENT_RESUME] = "resume",
        [JOB_EVENT_CONFIRM] = "confirm",
        [JOB_EVENT_ANSWER] = "answer",
        [JOB_EVENT_STEPS_DONE] = "steps-done",
        [JOB_EVENT_STEP_FAILED] = "step-failed",
        [JOB_EVENT_DRY_RUN_FAILED] = "dry-run-failed",
        [JOB_EVENT_DEADLINE] = "deadline",
        [JOB_EVENT_ROLLBACK] = "rollback",
        [JOB_EVENT_CANCEL] = "cancel",
        [JOB_EVENT_WITHDRAW] = "withdraw",
        [JOB_EVENT_UNDO_DONE] = "undo-done",
        [JOB_EVENT_UNDO_FAILED] = "undo-failed",
        [JOB_EVENT_RETRY] = "retry",
        [JOB_EVENT_SKIP] = "skip",
        [JOB_EVENT_ABANDON] = "abandon",
        [JOB_EVENT_FINALISE] = "finalise",
};

static const char *const step_status_names[_STEP_STATUS_MAX] = {
        [STEP_PENDING] = "pending", [STEP_RUNNING] = "running",
        [STEP_WAITING] = "waiting", [STEP_DONE] = "done",
        [STEP_FAILED] = "failed",   [STEP_INTERRUPTED] = "interrupted",
        [STEP_SKIPPED] = "skipped", [STEP_UNDOING] = "undoing",
        [STEP_UNDONE] = "undone",   [STEP_UNDO_FAILED] = "undo_failed",
};

static const char *const step_event_names[_STEP_EVENT_MAX] = {
        [STEP_EVENT_BEGIN] = "begin",
        [STEP_EVENT_PASS_OVER] = "pass-over",
        [STEP_EVENT_ASK] = "ask",
        [STEP_EVENT_GO_ON] = "go-on",
        [STEP_EVENT_SUCCEED] = "succeed",
        [STEP_EVENT_FAIL] = "fail",
        [STEP_EVENT_INTERRUPT] = "interrupt",
        [STEP_EVENT_AGAIN] = "again",
        [STEP_EVENT_UNDO] = "undo",
        [STEP_EVENT_UNDO_SUCCEED] = "undo-succeed",
        [STEP_EVENT_UNDO_FAIL] = "undo-fail",
        [STEP_EVENT_LEAVE] = "leave",
};

static_assert(ELEMENTSOF(job_state_names) == _JOB_STATE_MAX, "every job state has a name");
static_assert(ELEMENTSOF(step_status_names) == _STEP_STATUS_MAX, "every step state has a name");

/* Entries are the next state plus one, so that an absent pair is zero. */
#define TO(state) ((state) + 1)

static const uint8_t job_table[_JOB_STATE_MAX][_JOB_EVENT_MAX] = {
        [JOB_QUEUED] =
                {
                        [JOB_EVENT_CHECKS_PASSED] = TO(JOB_RUNNING),
                        [JOB_EVENT_CHECKS_REFUSED] = TO(JOB_FAILED),
                        [JOB_EVENT_PARK] = TO(JOB_WAITING),
                        [JOB_EVENT_WITHDRAW] = TO(JOB_CANCELLED),
                },
        [JOB_RUNNING] =
                {
                        [JOB_EVENT_PARK] = TO(JOB_WAITING),
                        [JOB_EVENT_ANSWER] = TO(JOB_RUNNING),
                        [JOB_EVENT_STEPS_DONE] = TO(JOB_SUCCEEDED),
                        [JOB_EVENT_STEP_FAILED] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_DRY_RUN_FAILED] = TO(JOB_FAILED),
                        [JOB_EVENT_DEADLINE] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_ROLLBACK] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_CANCEL] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_WITHDRAW] = TO(JOB_CANCELLED),
                },
        [JOB_WAITING] =
                {
                        [JOB_EVENT_REQUEUE] = TO(JOB_QUEUED),
                        [JOB_EVENT_RESUME] = TO(JOB_RUNNING),
                        [JOB_EVENT_CONFIRM] = TO(JOB_RUNNING),
                        [JOB_EVENT_ANSWER] = TO(JOB_RUNNING),
                        [JOB_EVENT_RETRY] = TO(JOB_RUNNING),
                        [JOB_EVENT_SKIP] = TO(JOB_RUNNING),
                        [JOB_EVENT_STEP_FAILED] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_DEADLINE] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_ROLLBACK] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_CANCEL] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_WITHDRAW] = TO(JOB_CANCELLED),
                },
        [JOB_ROLLING_BACK] =
                {
                        [JOB_EVENT_ANSWER] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_UNDO_DONE] = TO(JOB_ROLLED_BACK),
                        [JOB_EVENT_UNDO_FAILED] = TO(JOB_STUCK),
                },
        [JOB_STUCK] =
                {
                        [JOB_EVENT_RETRY] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_SKIP] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_ABANDON] = TO(JOB_ABANDONED),
                },
        [JOB_SUCCEEDED] =
                {
                        [JOB_EVENT_ROLLBACK] = TO(JOB_ROLLING_BACK),
                        [JOB_EVENT_FINALISE] = TO(JOB_SUCCEEDED),
                        [JOB_EVENT_ANSWER] = TO(JOB_SUCCEEDED),
                        [JOB_EVENT_RETRY] = TO(JOB_SUCCEEDED),
                        [JOB_EVENT_SKIP] = TO(JOB_SUCCEEDED),
                },
};

static const uint8_t step_table[_STEP_STATUS_MAX][_STEP_EVENT_MAX] = {
        [STEP_PENDING] =
                {
                        [STEP_EVENT_BEGIN] = TO(STEP_RUNNING),
                        [STEP_EVENT_PASS_OVER] = TO(STEP_SKIPPED),
                        [STEP_EVENT_ASK] = TO(STEP_WAITING),
                        [STEP_EVENT_SUCCEED] = TO(STEP_DONE),
                        [STEP_EVENT_FAIL] = TO(STEP_FAILED),
                        [STEP_EVENT_UNDO] = TO(STEP_UNDOING),
                        [STEP_EVENT_LEAVE] = TO(STEP_UNDONE),
                },
        [STEP_RUNNING] =
                {
                        [STEP_EVENT_ASK] = TO(STEP_WAITING),
                        [STEP_EVENT_SUCCEED] = TO(STEP_DONE),
                        [STEP_EVENT_FAIL] = TO(STEP_FAILED),
                        [STEP_EVENT_INTERRUPT] = TO(STEP_INTERRUPTED),
                        [STEP_EVENT_AGAIN] = TO(STEP_PENDING),
                },
        [STEP_WAITING] =
                {
                        [STEP_EVENT_GO_ON] = TO(STEP_RUNNING),
                        [STEP_EVENT_SUCCEED] = TO(STEP_DONE),
                        [STEP_EVENT_FAIL] = TO(STEP_FAILED),
                        [STEP_EVENT_INTERRUPT] = TO(STEP_INTERRUPTED),
                },
        [STEP_DONE] =
                {
                        [STEP_EVENT_UNDO] = TO(STEP_UNDOING),
                        [STEP_EVENT_LEAVE] = TO(STEP_UNDONE),
                },
        [STEP_FAILED] =
                {
                        [STEP_EVENT_AGAIN] = TO(STEP_PENDING),
                        [STEP_EVENT_PASS_OVER] = TO(STEP_SKIPPED),
                        [STEP_EVENT_UNDO] = TO(STEP_UNDOING),
                        [STEP_EVENT_LEAVE] = TO(STEP_UNDONE),
                },
        [STEP_INTERRUPTED] =
                {
                        [STEP_EVENT_AGAIN] = TO(STEP_PENDING),
                        [STEP_EVENT_BEGIN] = TO(STEP_RUNNING),
                        [STEP_EVENT_FAIL] = TO(STEP_FAILED),
                        [STEP_EVENT_PASS_OVER] = TO(STEP_SKIPPED),
                        [STEP_EVENT_UNDO] = TO(STEP_UNDOING),
                        [STEP_EVENT_LEAVE] = TO(STEP_UNDONE),
                },
        [STEP_SKIPPED] =
                {
                        [STEP_EVENT_UNDO] = TO(STEP_UNDOING),
                        [STEP_EVENT_LEAVE] = TO(STEP_UNDONE),
                },
        [STEP_UNDOING] =
                {
                        [STEP_EVENT_UNDO_SUCCEED] = TO(STEP_UNDONE),
                        [STEP_EVENT_UNDO_FAIL] = TO(STEP_UNDO_FAILED),
                },
        [STEP_UNDO_FAILED] =
                {
                        [STEP_EVENT_UNDO] = TO(STEP_UNDOING),
                        [STEP_EVENT_LEAVE] = TO(STEP_UNDONE),
                },
};

const char *job_state_to_text(JobState s) {
        return job_state_names[s];
}

const char *job_event_to_text(JobEvent e) {
        return job_event_names[e];
}

const char *step_status_to_text(StepStatus s) {
        return step_status_names[s];
}

const char *step_event_to_text(StepEvent e) {
        return step_event_names[e];
}

static int name_find(const char *const *names, size_t n, const char *text) {
        for (size_t i = 0; i < n; i++)
                if (streq(names[i], text))
                        return (int) i;
        return -EINVAL;
}

int job_state_from_text(const char *text) {
        return name_find(job_state_names, _JOB_STATE_MAX, text);
}

int step_status_from_text(const char *text) {
        return name_find(step_status_names, _STEP_STATUS_MAX, text);
}

int job_next(JobState from, JobEvent event) {
        uint8_t to = job_table[from][event];

        return to == 0 ? -EPERM : to - 1;
}

int step_next(StepStatus from, StepEvent event) {
        uint8_t to = step_table[from][event];

        return to == 0 ? -EPERM : to - 1;
}

bool job_state_is_end(JobState s) {
        switch (s) {
        case JOB_SUCCEEDED:
        case JOB_FAILED:
        case JOB_ROLLED_BACK:
        case JOB_CANCELLED:
        case JOB_ABANDONED: return true;
        default: return false;
        }
}

bool job_state_holds_target(JobState s) {
        return !job_state_is_end(s);
}
