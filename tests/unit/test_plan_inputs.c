/* SPDX-License-Identifier: MIT */
/* The job's inputs: types, defaults, limits, and all faults at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "api/args.h"
#include "daemon/plan/plan.h"

static const char plan_text[] =
        "format: 1\nplan: p\ncwd: '${in.root}'\n"
        "inputs:\n"
        "  root: {type: path, default: /srv/p}\n"
        "  version: {type: string, match: '^v2'}\n"
        "  base: {type: url, default: 'http://127.0.0.1:${in.port}/${in.version}'}\n"
        "  port: {type: int, min: 1, max: 65535, default: 8000}\n"
        "  fast: {type: bool, default: no}\n"
        "  mode: {type: enum, values: [full, fast], default: full}\n"
        "  watch: {type: duration, min: 1m, max: 1d, default: 15m}\n"
        "  venv: {type: path, default: venv}\n"
        "  old: {type: backup, default: b-1}\n"
        "steps: [{wait: {for: 1s}}]\n";

/* The inputs as canonical JSON, or "type: message" and all faults' inputs. */
static char *take_from(const char *document, const char *given) {
        json_auto_t *faults = NULL, *value = json_loads(given, 0, NULL), *made = NULL;
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_plan_ Plan *plan = NULL;
        char *text;
        json_t *f;
        size_t i;
        int r;

        assert_non_null(value);
        assert_int_equal(plan_parse("p", document, strlen(document), &plan, &faults), 0);
        r = plan_inputs(plan, value, &made, &error);
        if (r >= 0)
                return json_canonical(made);
        assert_int_equal(r, -EINVAL);
        assert_null(made);
        assert_string_equal(error.type, "bad-inputs");
        assert_non_null(error.message);
        text = strdup("");
        json_array_foreach (json_object_get(error.details, "faults"), i, f) {
                char *more = strf("%s[%s]%s%s", text, args_text(f, "input", "?"),
                                  args_text(f, "message", "?"), args_text(f, "hint", ""));

                free(text);
                text = more;
        }
        return text;
}

static char *take(const char *given) {
        return take_from(plan_text, given);
}

static void assert_taken(const char *given, const char *expected) {
        _cleanup_free_ char *found = take(given);

        assert_string_equal(found, expected);
}

static void assert_refused(const char *given, const char *part) {
        _cleanup_free_ char *found = take(given);

        if (!strstr(found, part))
                fail_msg("%s gives %s, without %s", given, found, part);
}

static void defaults_are_filled_in_from_other_inputs(void **state) {
        assert_taken("{\"version\": \"v2.1\"}",
                     "{\"base\":\"http://127.0.0.1:8000/v2.1\",\"fast\":false,\"mode\":\"full\","
                     "\"old\":\"b-1\",\"port\":8000,\"root\":\"/srv/p\",\"venv\":\"venv\","
                     "\"version\":\"v2.1\",\"watch\":\"15m\"}");
}

/* Its keys are sorted: what a default uses then stands where it did not stand in the text. */
static void a_plan_that_was_frozen_gives_the_same_inputs(void **state) {
        _cleanup_free_ char *first = take("{\"version\": \"v2\"}"), *again = NULL;
        json_auto_t *faults = NULL;
        _cleanup_plan_ Plan *plan = NULL;

        assert_int_equal(plan_parse("p", plan_text, strlen(plan_text), &plan, &faults), 0);
        again = take_from(plan->canonical, "{\"version\": \"v2\"}");
        assert_string_equal(first, again);
}

static void text_and_json_values_are_typed_alike(void **state) {
        static const char expected[] =
                "{\"base\":\"http://x/\",\"fast\":true,\"mode\":\"fast\",\"old\":\"b-1\","
                "\"port\":9000,\"root\":\"/srv/p\",\"venv\":\"/v\",\"version\":\"v2\","
                "\"watch\":\"1h\"}";

        assert_taken("{\"version\": \"v2\", \"port\": \"9000\", \"fast\": \"yes\", \"mode\": "
                     "\"fast\", \"base\": \"http://x/\", \"venv\": \"/v\", \"watch\": \"1h\"}",
                     expected);
        assert_taken("{\"version\": \"v2\", \"port\": 9000, \"fast\": true, \"mode\": \"fast\", "
                     "\"base\": \"http://x/\", \"venv\": \"/v\", \"watch\": \"1h\"}",
                     expected);
}

static void what_a_person_gives_is_never_expanded(void **state) {
        _cleanup_free_ char *found = take("{\"version\": \"v2${in.root}\"}");

        assert_non_null(strstr(found, "\"version\":\"v2${in.root}\""));
        assert_non_null(strstr(found, "\"base\":\"http://127.0.0.1:8000/v2${in.root}\""));
}

static void a_missing_input_is_asked_for(void **state) {
        assert_refused("{}", "[version]'version' must be given-i version=…");
        assert_refused("{\"version\": null}", "'version' must be given");
}

static void an_unknown_input_has_a_near_name(void **state) {
        assert_refused("{\"version\": \"v2\", \"prot\": 1}", "the plan has no input 'prot'");
        assert_refused("{\"version\": \"v2\", \"modes\": 1}", "did you mean 'mode'?");
}

static void every_type_refuses_what_it_is_not(void **state) {
        assert_refused("{\"version\": \"v1\"}", "'version' is 'v1', which does not match ^v2");
        assert_refused("{\"version\": [1]}", "must be text");
        assert_refused("{\"version\": \"v2\", \"port\": \"80 \"}", "expected a whole number");
        assert_refused("{\"version\": \"v2\", \"port\": \"\"}", "expected a whole number");
        assert_refused("{\"version\": \"v2\", \"port\": 0}", "expected at least 1");
        assert_refused("{\"version\": \"v2\", \"port\": 65536}", "expected at most 65535");
        assert_refused("{\"version\": \"v2\", \"fast\": \"maybe\"}", "expected yes or no");
        assert_refused("{\"version\": \"v2\", \"mode\": \"ful\"}", "did you mean 'full'?");
        assert_refused("{\"version\": \"v2\", \"watch\": \"15\"}", "expected a duration");
        assert_refused("{\"version\": \"v2\", \"watch\": \"30s\"}", "expected at least 1m");
        assert_refused("{\"version\": \"v2\", \"base\": \"localhost\"}", "expected a url");
        assert_refused("{\"version\": \"v2\", \"venv\": \"~/v\"}", "expected a path");
        assert_refused("{\"version\": \"v2\", \"old\": \"a b\"}", "expected a backup's id");
}

static void the_path_that_cwd_begins_with_is_absolute(void **state) {
        assert_refused("{\"version\": \"v2\", \"root\": \"p\"}", "begins with '/'");
}

static void all_faults_are_told_together(void **state) {
        _cleanup_free_ char *found = take("{\"port\": \"x\", \"nope\": 1, \"fast\": 3}");

        assert_non_null(strstr(found, "[nope]"));
        assert_non_null(strstr(found, "[version]"));
        assert_non_null(strstr(found, "[port]"));
        assert_non_null(strstr(found, "[fast]"));
        /* Its default uses inputs that are at fault: they have said so themselves. */
        assert_null(strstr(found, "[base]"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(defaults_are_filled_in_from_other_inputs),
                cmocka_unit_test(a_plan_that_was_frozen_gives_the_same_inputs),
                cmocka_unit_test(text_and_json_values_are_typed_alike),
                cmocka_unit_test(what_a_person_gives_is_never_expanded),
                cmocka_unit_test(a_missing_input_is_asked_for),
                cmocka_unit_test(an_unknown_input_has_a_near_name),
                cmocka_unit_test(every_type_refuses_what_it_is_not),
                cmocka_unit_test(the_path_that_cwd_begins_with_is_absolute),
                cmocka_unit_test(all_faults_are_told_together),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
