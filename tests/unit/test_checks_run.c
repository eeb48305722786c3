/* SPDX-License-Identifier: MIT */
/* Lists of checks: when, within, warn, overrides, and what is told of each. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/step/worker.h"

/* Checks of the tests' own. Each look happens in a process of its own, so they count in memory that
 * is shared with it. */
static unsigned *looks;

static int holds(Step *s, const json_t *args, Error *reterr) {
        (*looks)++;
        return 0;
}

static int fails(Step *s, const json_t *args, Error *reterr) {
        (*looks)++;
        return error_set(reterr, EBADE, "check", "%s", args_text(args, "say", "found nothing"));
}

static int holds_the_third_time(Step *s, const json_t *args, Error *reterr) {
        return ++*looks >= 3 ? 0 : error_set(reterr, ECONNREFUSED, "http", "not up yet");
}

static int tells_its_time(Step *s, const json_t *args, Error *reterr) {
        const char *user = json_string_value(step_setting(s, "user"));
        const char *cwd = json_string_value(step_setting(s, "cwd"));
        int64_t left = step_time_left_ms(s);

        if (left < 1 || left > 400 || !streq0(user, "checker") || !streq0(cwd, "/op"))
                return error_set(reterr, EBADE, "check", "%lld ms, %s, %s", (long long) left, user,
                                 cwd);
        return 0;
}

static int hangs(Step *s, const json_t *args, Error *reterr) {
        while (pause() < 0)
                ;
        return 0;
}

static const Check check_holds = {"holds", holds}, check_fails = {"fails", fails},
                   check_third = {"third", holds_the_third_time},
                   check_time = {"time", tells_its_time}, check_hangs = {"hangs", hangs};
const Check *const step_checks[] = {&check_holds, &check_fails, &check_third,
                                    &check_time,  &check_hangs, NULL};

typedef struct World {
        Step s;
        int supervisor;
        int out; /* the real standard output: what is logged goes to /dev/null meanwhile */
} World;

static int world_make(void **state) {
        World *w = calloc(1, sizeof(World));
        int sockets[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
                return -1;
        w->supervisor = sockets[0];
        w->s = (Step){.dirfd = -EBADF,
                      .control = sockets[1],
                      .stop_fd = -EBADF,
                      .task = json_pack("{s:s, s:[s], s:{}}", "step", "s", "overrides", "stale",
                                        "context"),
                      .scope = json_pack("{s:{s:i}, s:{}}", "in", "n", 1, "steps")};
        w->s.op = json_pack("{s:s, s:s}", "cwd", "/op", "user", "somebody");
        *looks = 0;
        (void) fflush(stdout);
        w->out = dup(STDOUT_FILENO);
        (void) dup2(null, STDOUT_FILENO);
        (void) close(null);
        *state = w;
        return 0;
}

static int world_end(void **state) {
        World *w = *state;

        (void) dup2(w->out, STDOUT_FILENO);
        (void) close(w->out);
        (void) close(w->supervisor);
        (void) close(w->s.control);
        json_decref(w->s.task);
        json_decref(w->s.scope);
        json_decref((json_t *) w->s.op);
        free(w);
        return 0;
}

/* What was told of the checks, in order. */
static json_t *told(World *w) {
        json_t *all = json_array();
        char buf[16 * 1024], *rest = buf;
        ssize_t n = recv(w->supervisor, buf, sizeof(buf) - 1, MSG_DONTWAIT);

        buf[MAX(n, 0)] = '\0';
        while (*rest) {
                char *line = strsep(&rest, "\n");
                json_auto_t *message = json_loads(line, 0, NULL);

                assert_non_null(message);
                assert_int_equal(json_array_append(all, json_object_get(message, "check")), 0);
                if (!rest)
                        break;
        }
        return all;
}

#define CHECKS(text)                                                                               \
        json_auto_t *checks = json_loads(text, 0, NULL);                                           \
        World *w = *state;                                                                         \
        _cleanup_error_ Error error = ERROR_INIT;                                                  \
        assert_non_null(checks)

static void all_failures_are_told_together(void **state) {
        CHECKS("[{\"check\":\"fails\",\"name\":\"one\",\"args\":{\"say\":\"A\"},\"hint\":\"do "
               "B\"},{\"check\":\"holds\"},{\"check\":\"fails\",\"args\":{\"say\":\"C\"}}]");
        json_auto_t *outcomes = NULL;

        assert_int_equal(checks_run(&w->s, checks, true, &error), -EBADE);
        assert_string_equal(error.message, "one: A; fails: C");
        assert_string_equal(error.hint, "do B");
        outcomes = told(w);
        assert_int_equal(json_array_size(outcomes), 3);
        assert_string_equal(args_text(json_array_get(outcomes, 0), "hint", ""), "do B");
        assert_true(json_is_true(json_object_get(json_array_get(outcomes, 1), "ok")));
        assert_true(json_is_false(json_object_get(json_array_get(outcomes, 2), "ok")));
}

static void or_the_first_one_ends_it(void **state) {
        CHECKS("[{\"check\":\"fails\"},{\"check\":\"fails\"}]");

        assert_int_equal(checks_run(&w->s, checks, false, &error), -EBADE);
        assert_int_equal(*looks, 1);
        assert_string_equal(error.message, "fails: found nothing");
}

static void a_warning_and_an_override_let_it_pass_and_are_recorded(void **state) {
        CHECKS("[{\"check\":\"fails\",\"warn\":true},{\"check\":\"fails\",\"override\":\"stale\"}"
               "]");
        json_auto_t *outcomes = NULL;

        assert_int_equal(checks_run(&w->s, checks, true, &error), 0);
        outcomes = told(w);
        assert_true(json_is_true(json_object_get(json_array_get(outcomes, 0), "warn")));
        assert_true(json_is_true(json_object_get(json_array_get(outcomes, 1), "overridden")));
        assert_true(json_is_false(json_object_get(json_array_get(outcomes, 1), "ok")));
}

static void an_override_that_was_not_asked_for_does_not_count(void **state) {
        CHECKS("[{\"check\":\"fails\",\"override\":\"other\"}]");

        assert_int_equal(checks_run(&w->s, checks, true, &error), -EBADE);
}

static void what_is_not_wanted_is_not_looked_at(void **state) {
        CHECKS("[{\"check\":\"fails\",\"when\":\"in.n == 2\"},{\"check\":\"holds\",\"when\":"
               "\"in.n == 1\"}]");
        json_auto_t *outcomes = NULL;

        assert_int_equal(checks_run(&w->s, checks, true, &error), 0);
        outcomes = told(w);
        assert_int_equal(json_array_size(outcomes), 1);
}

static void within_polls_until_it_holds(void **state) {
        CHECKS("[{\"check\":\"third\",\"within\":\"20s\",\"every\":\"10ms\"}]");
        json_auto_t *outcomes = NULL;

        assert_int_equal(checks_run(&w->s, checks, true, &error), 0);
        assert_int_equal(*looks, 3);
        outcomes = told(w);
        assert_int_equal(json_array_size(outcomes), 1);
}

static void within_has_an_end(void **state) {
        CHECKS("[{\"check\":\"fails\",\"within\":\"50ms\",\"every\":\"10ms\"}]");

        assert_int_equal(checks_run(&w->s, checks, true, &error), -EBADE);
        assert_in_range(*looks, 2, 7);
}

static void a_check_has_its_own_time_and_settings(void **state) {
        CHECKS("[{\"check\":\"time\",\"timeout\":\"400ms\",\"user\":\"checker\"}]");

        assert_int_equal(checks_run(&w->s, checks, true, &error), 0);
        assert_true(step_time_left_ms(&w->s) == INT64_MAX);
        assert_string_equal(json_string_value(step_setting(&w->s, "user")), "somebody");
}

static void a_check_that_hangs_is_cut_off(void **state) {
        CHECKS("[{\"check\":\"hangs\",\"timeout\":\"100ms\"}]");

        assert_int_equal(checks_run(&w->s, checks, true, &error), -EBADE);
        assert_non_null(strstr(error.message, "100ms"));
}

static void an_unknown_check_fails(void **state) {
        CHECKS("[{\"check\":\"horoscope\"}]");

        assert_int_equal(checks_run(&w->s, checks, true, &error), -EBADE);
        assert_non_null(strstr(error.message, "horoscope"));
}

static void looking_polls_and_records_nothing(void **state) {
        CHECKS("[{\"check\":\"holds\"},{\"check\":\"third\",\"within\":\"20s\"}]");
        json_auto_t *outcomes = NULL;

        assert_int_equal(checks_look(&w->s, checks, &error), -EBADE);
        assert_string_equal(error.message, "third: not up yet");
        assert_int_equal(checks_look(&w->s, checks, &error), 0);
        outcomes = told(w);
        assert_int_equal(json_array_size(outcomes), 0);
        assert_false(w->s.looking);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_make, world_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                WORLD_TEST(all_failures_are_told_together),
                WORLD_TEST(or_the_first_one_ends_it),
                WORLD_TEST(a_warning_and_an_override_let_it_pass_and_are_recorded),
                WORLD_TEST(an_override_that_was_not_asked_for_does_not_count),
                WORLD_TEST(what_is_not_wanted_is_not_looked_at),
                WORLD_TEST(within_polls_until_it_holds),
                WORLD_TEST(within_has_an_end),
                WORLD_TEST(a_check_has_its_own_time_and_settings),
                WORLD_TEST(a_check_that_hangs_is_cut_off),
                WORLD_TEST(an_unknown_check_fails),
                WORLD_TEST(looking_polls_and_records_nothing),
        };

        looks = mmap(NULL, sizeof(*looks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                     0);
        if (looks == MAP_FAILED)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
