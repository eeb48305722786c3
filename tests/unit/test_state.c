/* SPDX-License-Identifier: MIT */
/* The two state tables, pair by pair: what DESIGN's diagram shows, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/state/state.h"

typedef struct JobArc {
        JobState from;
        JobEvent event;
        JobState to;
} JobArc;

static const JobArc job_arcs[] = {
        {JOB_QUEUED, JOB_EVENT_CHECKS_PASSED, JOB_RUNNING},
        {JOB_QUEUED, JOB_EVENT_CHECKS_REFUSED, JOB_FAILED},
        {JOB_QUEUED, JOB_EVENT_PARK, JOB_WAITING},
        {JOB_QUEUED, JOB_EVENT_WITHDRAW, JOB_CANCELLED},
        {JOB_RUNNING, JOB_EVENT_PARK, JOB_WAITING},
        {JOB_RUNNING, JOB_EVENT_ANSWER, JOB_RUNNING},
        {JOB_RUNNING, JOB_EVENT_STEPS_DONE, JOB_SUCCEEDED},
        {JOB_RUNNING, JOB_EVENT_STEP_FAILED, JOB_ROLLING_BACK},
        {JOB_RUNNING, JOB_EVENT_DRY_RUN_FAILED, JOB_FAILED},
        {JOB_RUNNING, JOB_EVENT_DEADLINE, JOB_ROLLING_BACK},
        {JOB_RUNNING, JOB_EVENT_ROLLBACK, JOB_ROLLING_BACK},
        {JOB_RUNNING, JOB_EVENT_CANCEL, JOB_ROLLING_BACK},
        {JOB_RUNNING, JOB_EVENT_WITHDRAW, JOB_CANCELLED},
        {JOB_WAITING, JOB_EVENT_REQUEUE, JOB_QUEUED},
        {JOB_WAITING, JOB_EVENT_RESUME, JOB_RUNNING},
        {JOB_WAITING, JOB_EVENT_CONFIRM, JOB_RUNNING},
        {JOB_WAITING, JOB_EVENT_ANSWER, JOB_RUNNING},
        {JOB_WAITING, JOB_EVENT_RETRY, JOB_RUNNING},
        {JOB_WAITING, JOB_EVENT_SKIP, JOB_RUNNING},
        {JOB_WAITING, JOB_EVENT_STEP_FAILED, JOB_ROLLING_BACK},
        {JOB_WAITING, JOB_EVENT_DEADLINE, JOB_ROLLING_BACK},
        {JOB_WAITING, JOB_EVENT_ROLLBACK, JOB_ROLLING_BACK},
        {JOB_WAITING, JOB_EVENT_CANCEL, JOB_ROLLING_BACK},
        {JOB_WAITING, JOB_EVENT_WITHDRAW, JOB_CANCELLED},
        {JOB_ROLLING_BACK, JOB_EVENT_ANSWER, JOB_ROLLING_BACK},
        {JOB_ROLLING_BACK, JOB_EVENT_UNDO_DONE, JOB_ROLLED_BACK},
        {JOB_ROLLING_BACK, JOB_EVENT_UNDO_FAILED, JOB_STUCK},
        {JOB_STUCK, JOB_EVENT_RETRY, JOB_ROLLING_BACK},
        {JOB_STUCK, JOB_EVENT_SKIP, JOB_ROLLING_BACK},
        {JOB_STUCK, JOB_EVENT_ABANDON, JOB_ABANDONED},
        {JOB_SUCCEEDED, JOB_EVENT_ROLLBACK, JOB_ROLLING_BACK},
        {JOB_SUCCEEDED, JOB_EVENT_FINALISE, JOB_SUCCEEDED},
        {JOB_SUCCEEDED, JOB_EVENT_ANSWER, JOB_SUCCEEDED},
        {JOB_SUCCEEDED, JOB_EVENT_RETRY, JOB_SUCCEEDED},
        {JOB_SUCCEEDED, JOB_EVENT_SKIP, JOB_SUCCEEDED},
};

static int job_expected(JobState from, JobEvent event) {
        for (size_t i = 0; i < ELEMENTSOF(job_arcs); i++)
                if (job_arcs[i].from == from && job_arcs[i].event == event)
                        return (int) job_arcs[i].to;
        return -EPERM;
}

static void every_job_pair_leads_where_it_should_or_is_refused(void **state) {
        for (int from = 0; from < _JOB_STATE_MAX; from++)
                for (int event = 0; event < _JOB_EVENT_MAX; event++) {
                        int expected = job_expected((JobState) from, (JobEvent) event);
                        int found = job_next((JobState) from, (JobEvent) event);

                        if (found != expected)
                                print_error("%s + %s: %d, expected %d\n",
                                            job_state_to_text((JobState) from),
                                            job_event_to_text((JobEvent) event), found, expected);
                        assert_int_equal(found, expected);
                }
}

static void an_ended_job_moves_only_back_or_through_finalise(void **state) {
        static const JobState ends[] = {JOB_FAILED, JOB_ROLLED_BACK, JOB_CANCELLED, JOB_ABANDONED};

        for (size_t i = 0; i < ELEMENTSOF(ends); i++)
                for (int event = 0; event < _JOB_EVENT_MAX; event++)
                        assert_int_equal(job_next(ends[i], (JobEvent) event), -EPERM);
        for (int s = 0; s < _JOB_STATE_MAX; s++)
                assert_int_equal(job_state_is_end((JobState) s),
                                 !job_state_holds_target((JobState) s));
}

static void every_state_can_be_reached_and_left_as_the_diagram_says(void **state) {
        bool reached[_JOB_STATE_MAX] = {[JOB_QUEUED] = true};

        for (int round = 0; round < _JOB_STATE_MAX; round++)
                for (int from = 0; from < _JOB_STATE_MAX; from++)
                        for (int event = 0; reached[from] && event < _JOB_EVENT_MAX; event++) {
                                int to = job_next((JobState) from, (JobEvent) event);

                                if (to >= 0)
                                        reached[to] = true;
                        }
        for (int s = 0; s < _JOB_STATE_MAX; s++)
                assert_true(reached[s]);
}

static void undo_cannot_be_cancelled(void **state) {
        assert_int_equal(job_next(JOB_ROLLING_BACK, JOB_EVENT_CANCEL), -EPERM);
        assert_int_equal(job_next(JOB_ROLLING_BACK, JOB_EVENT_ROLLBACK), -EPERM);
        assert_int_equal(job_next(JOB_STUCK, JOB_EVENT_CANCEL), -EPERM);
}

static void names_and_states_lead_to_each_other(void **state) {
        for (int s = 0; s < _JOB_STATE_MAX; s++)
                assert_int_equal(job_state_from_text(job_state_to_text((JobState) s)), s);
        for (int s = 0; s < _STEP_STATUS_MAX; s++)
                assert_int_equal(step_status_from_text(step_status_to_text((StepStatus) s)), s);
        for (int e = 0; e < _JOB_EVENT_MAX; e++)
                assert_non_null(job_event_to_text((JobEvent) e));
        for (int e = 0; e < _STEP_EVENT_MAX; e++)
                assert_non_null(step_event_to_text((StepEvent) e));
        assert_int_equal(job_state_from_text("sleeping"), -EINVAL);
        assert_int_equal(step_status_from_text(""), -EINVAL);
}

/* One row a state, one letter an event in the order of the enum: the first letter of the next state
 * (p r w d f i s U u x for pending running waiting done failed interrupted skipped undoing undone
 * undo_failed), or '.' where the pair is refused. */
static const char *const step_rows[_STEP_STATUS_MAX] = {
        [STEP_PENDING] = "rsw.df..U..u", [STEP_RUNNING] = "..w.dfip....",
        [STEP_WAITING] = "...rdfi.....", [STEP_DONE] = "........U..u",
        [STEP_FAILED] = ".s.....pU..u",  [STEP_INTERRUPTED] = "rs...f.pU..u",
        [STEP_SKIPPED] = "........U..u", [STEP_UNDOING] = ".........ux.",
        [STEP_UNDONE] = "............",  [STEP_UNDO_FAILED] = "........U..u",
};

static void every_step_pair_leads_where_it_should_or_is_refused(void **state) {
        static const char letters[] = "prwdfisUux";

        for (int from = 0; from < _STEP_STATUS_MAX; from++)
                for (int event = 0; event < _STEP_EVENT_MAX; event++) {
                        int found = step_next((StepStatus) from, (StepEvent) event);

                        assert_int_equal(found < 0 ? '.' : letters[found], step_rows[from][event]);
                }
}

static void a_step_that_began_never_becomes_one_that_did_not(void **state) {
        /* pending is left by a beginning and entered only to begin again */
        for (int from = 0; from < _STEP_STATUS_MAX; from++)
                for (int event = 0; event < _STEP_EVENT_MAX; event++)
                        if (step_next((StepStatus) from, (StepEvent) event) == STEP_PENDING)
                                assert_int_equal(event, STEP_EVENT_AGAIN);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_job_pair_leads_where_it_should_or_is_refused),
                cmocka_unit_test(an_ended_job_moves_only_back_or_through_finalise),
                cmocka_unit_test(every_state_can_be_reached_and_left_as_the_diagram_says),
                cmocka_unit_test(undo_cannot_be_cancelled),
                cmocka_unit_test(names_and_states_lead_to_each_other),
                cmocka_unit_test(every_step_pair_leads_where_it_should_or_is_refused),
                cmocka_unit_test(a_step_that_began_never_becomes_one_that_did_not),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
