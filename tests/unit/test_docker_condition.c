/* SPDX-License-Identifier: MIT */
/* What a container's description says of it when the clock was set since it began. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/step/docker.h"

/* A container without a healthcheck that began so long ago (by the wall clock). */
static Condition condition_of(int64_t age_ms, int restarts) {
        char began[TIME_TEXT_MAX];
        json_auto_t *container =
                json_pack("{s:i, s:{s:b, s:s, s:i, s:s}}", "RestartCount", restarts, "State",
                          "Running", 1, "Status", "running", "ExitCode", 0, "StartedAt",
                          time_format(now_wall_ms() - age_ms, began));

        assert_non_null(container);
        return docker_condition(container, NULL);
}

static void one_that_has_only_just_begun_is_not_running_yet(void **state) {
        assert_int_equal(condition_of(0, 0), CONDITION_STARTING);
        assert_int_equal(condition_of(5000, 0), CONDITION_RUNNING);
}

static void one_that_was_restarted_has_to_settle(void **state) {
        assert_int_equal(condition_of(5000, 3), CONDITION_LOOPING);
        assert_int_equal(condition_of(60000, 3), CONDITION_RUNNING);
}

static void a_clock_that_was_set_back_makes_none_young_again(void **state) {
        assert_int_equal(condition_of(-86400000, 0), CONDITION_RUNNING);
        assert_int_equal(condition_of(-86400000, 3), CONDITION_RUNNING);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(one_that_has_only_just_begun_is_not_running_yet),
                cmocka_unit_test(one_that_was_restarted_has_to_settle),
                cmocka_unit_test(a_clock_that_was_set_back_makes_none_young_again),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
