/* SPDX-License-Identifier: MIT */
/* `${…}`: what is put in, what stays as it is, and where a secret goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "api/args.h"
#include "daemon/plan/expand.h"

static const char scope_text[] =
        "{\"in\": {\"root\": \"/srv/a b\", \"port\": 8000, \"fast\": true, \"sly\": \"${in.root}\","
        " \"big\": \"0123456789\"},"
        " \"db\": {\"s\": {\"url\": \"sqlite:/x.db\"},"
        " \"p\": {\"url\": {\"$secret\": [\"pg://u:\", {\"name\": \"pw\"}, \"@h\"]}}},"
        " \"steps\": {\"old-code\": {\"old\": \"abc\", \"none\": null,"
        " \"counts\": {\"b\": 2, \"a\": 1}},"
        " \"login\": {\"token\": {\"$secret\": \"steps.login.token\"}}},"
        " \"job\": {\"id\": 42, \"stamp\": \"20260131\"}}";

static json_t *read_json(const char *text) {
        json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

        assert_non_null(value);
        return value;
}

static void assert_expands(const char *value_text, const char *expected) {
        json_auto_t *scope = read_json(scope_text), *value = read_json(value_text), *made = NULL;
        _cleanup_free_ char *found = NULL;
        _cleanup_error_ Error e = ERROR_INIT;

        if (plan_expand(value, scope, &made, &e) < 0)
                fail_msg("%s: %s", value_text, e.message);
        found = json_canonical(made);
        assert_string_equal(found, expected);
}

static void assert_refused(const char *value_text, int err, const char *in_message) {
        json_auto_t *scope = read_json(scope_text), *value = read_json(value_text), *made = NULL;
        _cleanup_error_ Error e = ERROR_INIT;

        assert_int_equal(plan_expand(value, scope, &made, &e), -err);
        assert_null(made);
        if (!strstr(e.message, in_message))
                fail_msg("'%s' does not say '%s'", e.message, in_message);
}

static void names_are_replaced_inside_texts_at_every_depth(void **state) {
        assert_expands("\"a ${in.root}/x\"", "\"a /srv/a b/x\"");
        assert_expands("[{\"k\": [\"${in.root}\"]}, 1]", "[{\"k\":[\"/srv/a b\"]},1]");
        assert_expands("\"${db.s.url}-${job.stamp}-${steps.old-code.old}\"",
                       "\"sqlite:/x.db-20260131-abc\"");
}

static void keys_are_left_as_they_are(void **state) {
        assert_expands("{\"${in.root}\": \"${in.root}\"}", "{\"${in.root}\":\"/srv/a b\"}");
}

static void a_lone_reference_keeps_numbers_and_bools(void **state) {
        assert_expands("[\"${in.port}\", \"${in.fast}\", \"${job.id}\"]", "[8000,true,42]");
        assert_expands("[\":${in.port}\", \"${in.fast} \"]", "[\":8000\",\"true \"]");
}

static void what_is_put_in_is_never_parsed_again(void **state) {
        assert_expands("\"${in.sly}\"", "\"${in.root}\"");
        assert_expands("\"<${in.sly}>\"", "\"<${in.root}>\"");
}

static void a_doubled_dollar_gives_the_shells_own(void **state) {
        assert_expands("\"$${HOME} $HOME $$ $$x 5$\"", "\"${HOME} $HOME $$ $$x 5$\"");
        assert_expands("\"$${in.root}\"", "\"${in.root}\"");
}

static void what_no_step_has_given_is_empty(void **state) {
        assert_expands("\"<${steps.gone.old}${steps.old-code.new}${steps.old-code.none}>\"",
                       "\"<>\"");
        assert_expands("\"${steps.gone.old}\"", "\"\"");
}

static void lists_and_objects_come_out_as_canonical_json(void **state) {
        assert_expands("\"${steps.old-code.counts}\"", "\"{\\\"a\\\":1,\\\"b\\\":2}\"");
        assert_expands("\"${steps.old-code.counts.b}\"", "2");
}

static void a_text_with_a_secret_becomes_its_parts(void **state) {
        assert_expands("\"${secret.token}\"", "{\"$secret\":[{\"name\":\"token\"}]}");
        assert_expands("\"Bearer ${secret.token}, ${in.port}\"",
                       "{\"$secret\":[\"Bearer \",{\"name\":\"token\"},\", 8000\"]}");
}

static void a_secret_output_and_a_secret_url_are_secret_too(void **state) {
        assert_expands("\"t=${steps.login.token}\"",
                       "{\"$secret\":[\"t=\",{\"name\":\"steps.login.token\"}]}");
        assert_expands("\"<${db.p.url}>\"",
                       "{\"$secret\":[\"<pg://u:\",{\"name\":\"pw\"},\"@h>\"]}");
}

static void what_was_expanded_before_is_copied(void **state) {
        assert_expands("{\"$secret\": [\"${in.root}\", {\"name\": \"token\"}]}",
                       "{\"$secret\":[\"${in.root}\",{\"name\":\"token\"}]}");
}

static void an_undefined_name_is_an_error(void **state) {
        assert_refused("\"${in.rot}\"", ENOKEY, "'in.rot' is not defined");
        assert_refused("[\"${db.q.url}\"]", ENOKEY, "db.q.url");
        assert_refused("{\"a\": \"${job.took}\"}", ENOKEY, "job.took");
}

static void a_malformed_reference_is_an_error(void **state) {
        assert_refused("\"${HOME}\"", EINVAL, "${HOME}");
        assert_refused("\"${in.root\"", EINVAL, "reference");
        assert_refused("\"${ in.root }\"", EINVAL, "reference");
        assert_refused("\"${in.}\"", EINVAL, "reference");
        assert_refused("\"${}\"", EINVAL, "reference");
        assert_refused("\"${in.a.b}\"", EINVAL, "in.a.b");
        assert_refused("\"${db.s.password}\"", EINVAL, "db.s.password");
        assert_refused("\"${env.HOME}\"", EINVAL, "env.HOME");
        assert_refused("\"${job.color}\"", EINVAL, "job.color");
}

static void a_text_that_grows_without_bounds_is_refused(void **state) {
        enum { TIMES = 2 * 1024 * 1024 };
        static const char name[] = "${in.big}";
        size_t n = sizeof(name) - 1;
        _cleanup_free_ char *text = malloc(TIMES * n + 1), *made = NULL;
        json_auto_t *scope = read_json(scope_text);
        _cleanup_error_ Error e = ERROR_INIT;

        assert_non_null(text);
        for (size_t i = 0; i < TIMES; i++)
                memcpy(text + i * n, name, n);
        text[TIMES * n] = 0;
        assert_int_equal(plan_expand_text(text, scope, &made, &e), -E2BIG);
        assert_string_equal(e.type, "too-large");
}

static void one_text_expands_and_refuses_secrets(void **state) {
        json_auto_t *scope = read_json(scope_text);
        _cleanup_free_ char *made = NULL;
        _cleanup_error_ Error e = ERROR_INIT;

        assert_int_equal(plan_expand_text("${in.port}/${in.root}", scope, &made, NULL), 0);
        assert_string_equal(made, "8000//srv/a b");
        free(TAKE(made));
        assert_int_equal(plan_expand_text("", scope, &made, NULL), 0);
        assert_string_equal(made, "");
        free(TAKE(made));
        assert_int_equal(plan_expand_text("x${secret.token}", scope, &made, &e), -EINVAL);
        assert_null(made);
        assert_string_equal(e.type, "secret-not-here");
}

static void the_names_used_are_sorted_without_doubles(void **state) {
        json_auto_t *value = read_json("[\"${steps.b-c.x}${in.a}\", {\"${in.key}\": \"${in.a}\"},"
                                       " \"$${in.not} ${secret.t} $5\", 7]");
        json_auto_t *names = NULL, *wrong = read_json("\"${oops\""), *none = NULL;
        _cleanup_free_ char *text = NULL;

        assert_int_equal(plan_names_used(value, &names), 0);
        text = json_canonical(names);
        assert_string_equal(text, "[\"in.a\",\"secret.t\",\"steps.b-c.x\"]");
        assert_int_equal(plan_names_used(wrong, &none), -EINVAL);
        assert_null(none);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_are_replaced_inside_texts_at_every_depth),
                cmocka_unit_test(keys_are_left_as_they_are),
                cmocka_unit_test(a_lone_reference_keeps_numbers_and_bools),
                cmocka_unit_test(what_is_put_in_is_never_parsed_again),
                cmocka_unit_test(a_doubled_dollar_gives_the_shells_own),
                cmocka_unit_test(what_no_step_has_given_is_empty),
                cmocka_unit_test(lists_and_objects_come_out_as_canonical_json),
                cmocka_unit_test(a_text_with_a_secret_becomes_its_parts),
                cmocka_unit_test(a_secret_output_and_a_secret_url_are_secret_too),
                cmocka_unit_test(what_was_expanded_before_is_copied),
                cmocka_unit_test(an_undefined_name_is_an_error),
                cmocka_unit_test(a_malformed_reference_is_an_error),
                cmocka_unit_test(a_text_that_grows_without_bounds_is_refused),
                cmocka_unit_test(one_text_expands_and_refuses_secrets),
                cmocka_unit_test(the_names_used_are_sorted_without_doubles),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
