/* SPDX-License-Identifier: MIT */
/* The expressions of `when` and `that`: what is true, and what is refused with a good message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "api/args.h"
#include "daemon/plan/expand.h"

static const char scope_text[] =
        "{\"in\": {\"source\": \"git\", \"port\": 8000, \"fast\": true, \"slow\": false,"
        " \"version\": \"1.10\", \"empty\": \"\", \"zero\": 0, \"word\": \"false\"},"
        " \"steps\": {\"old-code\": {\"exit\": 3, \"stdout\": \"3\", \"said\": \"yes\"},"
        " \"login\": {\"token\": {\"$secret\": \"steps.login.token\"}}}}";

typedef struct Row {
        const char *text;
        int expected;
} Row;

static int eval(const char *text, Error *reterr) {
        json_auto_t *scope = json_loads(scope_text, 0, NULL);

        assert_non_null(scope);
        return expr_eval(text, scope, reterr);
}

static void assert_rows(const Row *rows, size_t n) {
        for (size_t i = 0; i < n; i++) {
                _cleanup_error_ Error e = ERROR_INIT;
                int r = eval(rows[i].text, &e);

                if (r != rows[i].expected)
                        fail_msg("%s gives %d (%s), not %d", rows[i].text, r,
                                 e.message ? e.message : "", rows[i].expected);
        }
}

static void texts_numbers_and_bools_compare_as_what_they_are(void **state) {
        static const Row rows[] = {
                {"in.source == 'git'", 1},
                {"in.source == \"git\"", 1},
                {"in.source != 'git'", 0},
                {"in.source=='archive'", 0},
                {"in.port == 8000", 1},
                {"in.port == 8000.0", 1},
                {"in.port != 8001", 1},
                {"in.port == '8000'", 1},
                {"-1 == -1.0", 1},
                {"steps.old-code.exit == 3", 1},
                {"steps.old-code.stdout == 3", 1},
                {"steps.old-code.stdout == 3.0", 1},
                {"in.fast == yes", 1},
                {"in.fast == true", 1},
                {"in.slow == no", 1},
                {"in.fast == 'true'", 1},
                {"steps.old-code.said == yes", 1},
                {"steps.old-code.said == no", 0},
                {"in.source == yes", 0},
                {"9223372036854775807 == 9223372036854775806", 1},
                {"123456789012345678 == 123456789012345677", 0},
        };

        assert_rows(rows, ELEMENTSOF(rows));
}

static void two_texts_compare_as_text(void **state) {
        static const Row rows[] = {
                {"in.version == '1.10'", 1}, {"in.version == '1.1'", 0},  {"in.version == 1.1", 1},
                {"'a' == \"a\"", 1},         {"\"it's\" == \"it's\"", 1}, {"'' == in.empty", 1},
        };

        assert_rows(rows, ELEMENTSOF(rows));
}

static void a_bare_value_is_true_unless_it_says_no(void **state) {
        static const Row rows[] = {
                {"in.fast", 1},      {"in.slow", 0},   {"in.port", 1}, {"in.zero", 0},
                {"in.empty", 0},     {"in.word", 0},   {"'x'", 1},     {"0", 0},
                {"0.0", 0},          {"yes", 1},       {"no", 0},      {"false", 0},
                {"steps.gone.x", 0}, {"in.source", 1},
        };

        assert_rows(rows, ELEMENTSOF(rows));
}

static void not_binds_before_and_and_and_before_or(void **state) {
        static const Row rows[] = {
                {"yes or no and no", 1},
                {"(yes or no) and no", 0},
                {"not no and no", 0},
                {"not (no and no)", 1},
                {"not in.source == 'git'", 0},
                {"not not yes", 1},
                {"no or no or yes", 1},
                {"yes and yes and no", 0},
                {"(in.source == 'git') == yes", 1},
                {"not(yes)", 0},
                {"in.fast and(in.slow or in.port == 8000)", 1},
                {"  \tyes\n", 1},
        };

        assert_rows(rows, ELEMENTSOF(rows));
}

static void what_no_step_has_given_is_the_empty_text(void **state) {
        static const Row rows[] = {
                {"steps.gone.old == ''", 1},
                {"steps.old-code.none == ''", 1},
                {"steps.gone.old != '' or yes", 1},
        };

        assert_rows(rows, ELEMENTSOF(rows));
}

typedef struct Refusal {
        const char *text;
        int err;
        const char *in_message;
} Refusal;

static void mistakes_are_refused_with_their_place(void **state) {
        static const Refusal rows[] = {
                {"", EINVAL, "it ends where"},
                {"in.source ==", EINVAL, "it ends where"},
                {"in.source = 'git'", EINVAL, "column 11"},
                {"in.source === 'git'", EINVAL, "'= 'git''"},
                {"in.port > 5", EINVAL, "'> 5'"},
                {"in.fast && in.slow", EINVAL, "&&"},
                {"!in.fast", EINVAL, "column 1"},
                {"(yes", EINVAL, "')'"},
                {"yes)", EINVAL, "column 4"},
                {"'open", EINVAL, "closing quote"},
                {"yes no", EINVAL, "'no'"},
                {"secret.token", EINVAL, "in.N"},
                {"job.id == 1", EINVAL, "in.N"},
                {"${in.fast}", EINVAL, "column 1"},
                {"git == in.source", EINVAL, "quotes"},
                {"1.2.3 == in.version", EINVAL, "number"},
                {"in.a.b", EINVAL, "in.a.b"},
                {"in. == 1", EINVAL, "in.N"},
                {"'a' == 'a' == 'a'", EINVAL, "column 12"},
                {"in.sorce == 'git'", ENOKEY, "in.sorce"},
                {"yes or in.sorce", ENOKEY, "in.sorce"},
                {"steps.login.token == 'x'", EINVAL, "secret"},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_error_ Error e = ERROR_INIT;
                int r = eval(rows[i].text, &e);

                if (r != -rows[i].err || !strstr(e.message, rows[i].in_message))
                        fail_msg("%s gives %d: %s", rows[i].text, r, e.message ? e.message : "-");
        }
}

static void depth_is_bounded(void **state) {
        enum { DEEP = 100000 };
        static const char *const openings[] = {"(", "not "};

        for (size_t i = 0; i < ELEMENTSOF(openings); i++) {
                size_t n = strlen(openings[i]);
                _cleanup_free_ char *text = malloc(DEEP * n + 4);
                _cleanup_error_ Error e = ERROR_INIT;

                assert_non_null(text);
                for (size_t k = 0; k < DEEP; k++)
                        memcpy(text + k * n, openings[i], n);
                memcpy(text + DEEP * n, "yes", 4);
                assert_int_equal(eval(text, &e), -EINVAL);
                assert_non_null(strstr(e.message, "levels"));
        }
        assert_int_equal(eval("((((((((((yes))))))))))", NULL), 1);
}

static void the_names_used_are_found_without_a_scope(void **state) {
        json_auto_t *names = NULL, *none = NULL;
        _cleanup_free_ char *text = NULL;
        _cleanup_error_ Error e = ERROR_INIT;

        assert_int_equal(expr_names_used("steps.b-c.x == in.z or not in.a and in.z", &names, &e),
                         0);
        text = json_canonical(names);
        assert_string_equal(text, "[\"in.a\",\"in.z\",\"steps.b-c.x\"]");
        assert_int_equal(expr_names_used("in.a ==", &none, &e), -EINVAL);
        assert_null(none);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(texts_numbers_and_bools_compare_as_what_they_are),
                cmocka_unit_test(two_texts_compare_as_text),
                cmocka_unit_test(a_bare_value_is_true_unless_it_says_no),
                cmocka_unit_test(not_binds_before_and_and_and_before_or),
                cmocka_unit_test(what_no_step_has_given_is_the_empty_text),
                cmocka_unit_test(mistakes_are_refused_with_their_place),
                cmocka_unit_test(depth_is_bounded),
                cmocka_unit_test(the_names_used_are_found_without_a_scope),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
