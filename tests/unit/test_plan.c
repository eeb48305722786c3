/* SPDX-License-Identifier: MIT */
/* Plans from text to normal form: the two example plans, and what the normal form promises. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "api/args.h"
#include "daemon/plan/table.h"

#define HEAD "format: 1\nplan: p\ncwd: /srv\n"

static Plan *parse(const char *text) {
        json_auto_t *faults = NULL;
        Plan *plan = NULL;
        int r = plan_parse("test.yaml", text, strlen(text), &plan, &faults);

        if (r < 0) {
                _cleanup_free_ char *told = json_dumps(faults, JSON_INDENT(1));

                fail_msg("%s", told ? told : "no faults");
        }
        return plan;
}

static Plan *parse_file(const char *name) {
        _cleanup_free_ char *path = strf("%s/%s", PLANS, name), *text = NULL;
        size_t size;

        assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &text, &size), 0);
        return parse(text);
}

/* A value of the normal form by RFC 6901, without escapes. */
static const json_t *at(const json_t *value, const char *pointer) {
        _cleanup_free_ char *copy = strdup(pointer);
        char *rest = NULL;

        for (char *p = strtok_r(copy, "/", &rest); p; p = strtok_r(NULL, "/", &rest))
                value = json_is_array(value) ? json_array_get(value, strtoul(p, NULL, 10))
                                             : json_object_get(value, p);
        return value;
}

static void assert_json(const Plan *plan, const char *pointer, const char *expected) {
        _cleanup_free_ char *found = json_canonical(at(plan->norm, pointer));

        if (!found || !streq(found, expected))
                fail_msg("%s is %s, not %s", pointer, found ? found : "missing", expected);
}

static void assert_canonical_is_stable(const Plan *plan) {
        _cleanup_plan_ Plan *again = parse(plan->canonical);

        assert_string_equal(again->canonical, plan->canonical);
        assert_string_equal(again->sha256, plan->sha256);
        assert_true(json_equal(again->norm, plan->norm));
}

static void the_example_of_the_design_has_no_fault(void **state) {
        _cleanup_plan_ Plan *plan = parse_file("design.yaml");

        assert_json(plan, "/plan", "\"kimi-proxy-v2\"");
        assert_json(plan, "/steps/0",
                    "{\"args\":{\"services\":[\"proxy\"]},\"id\":\"stop\","
                    "\"verb\":\"stop\"}");
        assert_json(plan, "/steps/2/undo",
                    "[{\"args\":{\"from\":\"backup\"},\"id\":\"restore-1\",\"verb\":\"restore\"}]");
        assert_json(plan, "/steps/4/retry",
                    "{\"factor\":2,\"first\":\"1s\",\"max\":\"1m\",\"tries\":3}");
        assert_json(plan, "/hooks/failed/0/args/services", "[\"proxy\"]");
        assert_canonical_is_stable(plan);
}

static void the_whole_grammar_is_read_and_read_again(void **state) {
        _cleanup_plan_ Plan *plan = parse_file("whole-grammar.yaml");

        assert_canonical_is_stable(plan);
}

/* Marks the keys of an object in `seen`, as "spec.key". */
static void see(json_t *seen, const char *spec, const json_t *object) {
        const char *key;
        json_t *value;

        json_object_foreach ((json_t *) object, key, value) {
                _cleanup_free_ char *name = strf("%s.%s", spec, key);

                assert_int_equal(json_object_set_new(seen, name, json_true()), 0);
        }
}

static void see_all(json_t *seen, const json_t *value) {
        const char *key, *verb = args_text(value, "verb", NULL),
                         *check = args_text(value, "check", NULL);
        const json_t *args = json_object_get(value, "args");
        _cleanup_free_ char *spec = NULL;
        json_t *v;
        size_t i;

        if (args && (verb || check)) {
                spec = strf("%s %s", verb ? "verb" : "check", verb ? verb : check);
                see(seen, spec, args);
                see(seen, verb ? "step" : "check", value);
        }
        json_object_foreach ((json_t *) value, key, v)
                see_all(seen, v);
        json_array_foreach (value, i, v)
                see_all(seen, v);
}

static void assert_seen(json_t *seen, const char *kind, const Spec *spec) {
        for (const FieldInfo *f = spec->fields; f->name; f++) {
                _cleanup_free_ char *name =
                        strf("%s%s%s.%s", kind, *kind ? " " : "", spec->name, f->name);

                if (!json_object_get(seen, name))
                        fail_msg("%s is in no plan of this test", name);
        }
}

static void every_row_of_the_tables_is_decoded(void **state) {
        _cleanup_plan_ Plan *plan = parse_file("whole-grammar.yaml");
        json_auto_t *seen = json_object();

        see_all(seen, plan->norm);
        see(seen, "plan", plan->norm);
        assert_seen(seen, "", &plan_spec);
        assert_seen(seen, "", &step_spec);
        assert_seen(seen, "", &check_spec);
        for (const VerbInfo *v = plan_verbs; v->spec.name; v++)
                assert_seen(seen, "verb", &v->spec);
        for (const CheckInfo *c = plan_checks; c->spec.name; c++)
                assert_seen(seen, "check", &c->spec);
}

static void json_and_yaml_give_the_same_plan(void **state) {
        _cleanup_plan_ Plan *yaml = parse(HEAD "steps:\n  - {id: nap, wait: {for: 5s}}\n");
        _cleanup_plan_ Plan *json = parse("{\"plan\": \"p\", \"cwd\": \"/srv\", \"format\": 1,\n"
                                          "\t\"steps\": [{\"wait\": {\"for\": \"5s\"}, \"id\": "
                                          "\"nap\"}]}");

        assert_string_equal(yaml->sha256, json->sha256);
        assert_true(json_equal(yaml->norm, json->norm));
}

static void plain_words_keep_their_spelling(void **state) {
        _cleanup_plan_ Plan *plan =
                parse(HEAD "env: {A: no, B: 1.10, C: 007, D: 0x1F, E: 2024-01-01, F: '5', G: ~}\n"
                           "steps:\n  - {id: w, write: {to: a, text: yes, mode: 0644}}\n");

        assert_json(
                plan, "/env",
                "{\"A\":\"no\",\"B\":\"1.10\",\"C\":\"007\",\"D\":\"0x1F\",\"E\":\"2024-01-01\","
                "\"F\":\"5\",\"G\":\"~\"}");
        assert_json(plan, "/steps/0/args/text", "\"yes\"");
        assert_json(plan, "/steps/0/args/mode", "\"0644\"");
        assert_canonical_is_stable(plan);
}

static void the_schema_types_what_it_knows(void **state) {
        _cleanup_plan_ Plan *plan = parse(
                HEAD "inputs: {n: {type: int, default: 3}}\n"
                     "steps:\n"
                     "  - {id: a, run: {argv: [make, 1, yes], log: no, exit: 3}, undo: none}\n"
                     "  - {id: b, observe: {for: 1m, tolerate: '2', checks: {tool: git}}}\n"
                     "  - id: c\n"
                     "    check:\n"
                     "      - {http: {url: 'http://h/', json: {a: 1, b: '1', c: 1.5, d: true, "
                     "e: null, f: no}}}\n"
                     "      - {logs: {step: a, lines: '${in.n}', has: x}}\n");

        assert_json(plan, "/steps/0/args",
                    "{\"argv\":[\"make\",\"1\",\"yes\"],\"exit\":3,\"log\":false}");
        assert_json(plan, "/steps/1/args/tolerate", "2");
        assert_json(plan, "/steps/2/args/checks/0/args/json",
                    "{\"a\":1,\"b\":\"1\",\"c\":1.5,\"d\":true,\"e\":null,\"f\":\"no\"}");
        assert_json(plan, "/steps/2/args/checks/1/args/lines", "\"${in.n}\"");
        assert_json(plan, "/inputs/n/default", "3");
        assert_canonical_is_stable(plan);
}

static void shorthands_are_spelled_out(void **state) {
        _cleanup_plan_ Plan *plan =
                parse(HEAD "services: {web: {unit: web.service}, api: {unit: api.service}}\n"
                           "steps:\n"
                           "  - {stop: all}\n"
                           "  - {id: g, group: {stop: web}}\n"
                           "  - {check: {tool: git}}\n"
                           "  - {id: stop-1, start: [web], verify: {healthy: web}}\n"
                           "  - {undo: {run: [x]}}\n");

        assert_json(plan, "/steps/0/args/services", "[\"web\",\"api\"]");
        /* "stop-1" is taken by a step that the plan names so. */
        assert_json(plan, "/steps/0/id", "\"stop-2\"");
        assert_json(plan, "/steps/1/args/steps/0/id", "\"stop-3\"");
        assert_json(plan, "/steps/2/args/checks",
                    "[{\"args\":{\"name\":\"git\"},\"check\":\"tool\"}]");
        assert_json(plan, "/steps/3/verify",
                    "[{\"args\":{\"services\":[\"web\"]},\"check\":\"healthy\"}]");
        assert_json(plan, "/steps/4/verb", "\"mark\"");
        assert_json(plan, "/target", "\"p\"");
        assert_json(plan, "/finalise", "[]");
        assert_json(plan, "/stores", "{}");
        assert_canonical_is_stable(plan);
}

static void odd_characters_survive_both_readers(void **state) {
        _cleanup_plan_ Plan *plan = parse(
                "{\"format\": 1, \"plan\": \"p\", \"title\": \"\\ud83d\\ude00 \\u2028 \\u007f "
                "\\/ \\\"\", \"steps\": [{\"wait\": {\"for\": \"1s\"}}]}");

        assert_string_equal(args_text(plan->norm, "title", ""), "😀 \u2028 \x7f / \"");
        assert_canonical_is_stable(plan);
}

static const json_t *first_fault(const char *text, json_t **ret_faults) {
        Plan *plan = NULL;

        assert_int_equal(plan_parse("f.yaml", text, strlen(text), &plan, ret_faults), -EBADMSG);
        assert_null(plan);
        assert_true(json_array_size(*ret_faults) > 0);
        return json_array_get(*ret_faults, 0);
}

static void a_fault_names_file_place_and_pointer(void **state) {
        json_auto_t *faults = NULL;
        const json_t *f = first_fault("format: 1\nplan: p\ntitle: 'äöü', \nsteps: []\n", &faults);

        assert_string_equal(args_text(f, "code", ""), "bad-yaml");
        json_decref(TAKE(faults));
        f = first_fault("format: 1\nplan: p\nenv: {ä: ok, a/b: [x]}\nsteps: [{wait: {for: 1s}}]\n",
                        &faults);
        assert_string_equal(args_text(f, "severity", ""), "error");
        assert_string_equal(args_text(f, "code", ""), "wrong-type");
        assert_string_equal(args_text(f, "file", ""), "f.yaml");
        assert_string_equal(args_text(f, "path", ""), "/env/a~1b");
        assert_int_equal(json_integer_value(json_object_get(f, "line")), 3);
        assert_int_equal(json_integer_value(json_object_get(f, "column")), 19);
}

static void faults_stand_in_order_of_their_place(void **state) {
        json_auto_t *faults = NULL;
        json_int_t last = 0;
        json_t *f;
        size_t i;

        (void) first_fault("steps:\n  - {id: a, run: x}\n  - {id: a, stop: [b]}\nformat: 2\nz: 1\n",
                           &faults);
        assert_true(json_array_size(faults) >= 5);
        json_array_foreach (faults, i, f) {
                json_int_t line = json_integer_value(json_object_get(f, "line"));

                assert_true(line >= last);
                last = line;
        }
}

static void bytes_that_are_no_text_are_refused(void **state) {
        static const char *const texts[] = {
                "format: 1\nplan: \"a\\0b\"\n",
                "format: 1\nplan: \xff\xfe\n",
                "{\"format\": 1, \"plan\": \"\xc3\x28\"}",
                "{\"format\": 1, \"plan\": \"a\\u0000b\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                json_auto_t *faults = NULL;

                (void) first_fault(texts[i], &faults);
        }
}

static const json_t *step_of(const Plan *plan, size_t i) {
        return json_array_get(json_object_get(plan->norm, "steps"), i);
}

/* Around the length at which they are cut. */
static void long_messages_are_cut_to_their_limit(void **state) {
        for (size_t n = 380; n < 500; n++) {
                _cleanup_free_ char *name = strf("%0*d", (int) n, 0), *text = NULL;
                json_auto_t *faults = NULL;
                const char *message;
                Plan *plan = NULL;

                text = strf("format: 1\nplan: p\ntitle: '${a.%s}'\n"
                            "steps: [{run: [a], undo: none}]\n",
                            name);
                assert_int_equal(plan_parse("f", text, strlen(text), &plan, &faults), -EBADMSG);
                message = args_text(json_array_get(faults, 0), "message", "");
                assert_in_range(strlen(message), 300, 500);
                assert_true(endswith(message, "…") || n < 450);
        }
}

/* Only the first is what names refer to. */
static void inputs_that_stand_there_twice_are_a_fault_and_no_more(void **state) {
        static const char text[] = "format: 1\nplan: p\nsteps: [{run: [a], undo: none}]\n"
                                   "inputs:\n  a: {type: string, default: b}\n"
                                   "inputs:\n  b: {type: string}\n  c: {type: string}\n"
                                   "  d: {type: string, default: '${in.a}'}\n";
        json_auto_t *faults = NULL;
        Plan *plan = NULL;

        assert_int_equal(plan_parse("f", text, strlen(text), &plan, &faults), -EBADMSG);
        assert_string_equal(args_text(json_array_get(faults, 0), "code", ""), "duplicate-key");
}

static void a_verb_says_what_it_is(void **state) {
        _cleanup_plan_ Plan *plan = parse(
                HEAD "databases: {db: {url: 'sqlite:a.db'}}\nsteps:\n"
                     "  - {http: 'http://h/'}\n"
                     "  - {http: {url: 'http://h/', method: POST}, undo: none, on_crash: ask}\n"
                     "  - {sql: {db: db, count: t}}\n"
                     "  - {sql: {db: db, exec: x}, undo: none}\n"
                     "  - {confirm: sure}\n"
                     "  - {group: [{run: [x], undo: none, probe: [{path: a}]}]}\n"
                     "  - {undo: {run: [x]}}\n"
                     "  - {id: w, write: {to: a, text: b}}\n"
                     "  - {revert: w}\n"
                     "  - {wait: {for: 1s}}\n");
        static const struct {
                VerbClass class;
                UndoKind undo;
                OnCrash on_crash;
        } expected[] = {
                {VERB_ACTION, UNDO_NOTHING, ON_CRASH_RERUN},
                {VERB_ACTION, UNDO_SAY, ON_CRASH_ASK},
                {VERB_ACTION, UNDO_NOTHING, ON_CRASH_RERUN},
                {VERB_ACTION, UNDO_SAY, ON_CRASH_UNDO},
                {VERB_GATE, UNDO_NOTHING, ON_CRASH_RERUN},
                {VERB_GROUP, UNDO_MEMBERS, ON_CRASH_RERUN},
                {VERB_MARK, UNDO_NOTHING, ON_CRASH_RERUN},
                {VERB_ACTION, UNDO_KNOWN, ON_CRASH_RERUN},
                {VERB_REVERT, UNDO_KNOWN, ON_CRASH_RERUN},
                {VERB_LOOK, UNDO_NOTHING, ON_CRASH_RERUN},
        };
        json_auto_t *unknown = json_pack("{s:s}", "verb", "teleport");

        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                assert_int_equal(verb_class(step_of(plan, i)), expected[i].class);
                assert_int_equal(verb_undo(step_of(plan, i)), expected[i].undo);
                assert_int_equal(verb_on_crash(step_of(plan, i)), expected[i].on_crash);
        }
        assert_int_equal(verb_on_crash(at(step_of(plan, 5), "/args/steps/0")), ON_CRASH_PROBE);
        assert_int_equal(verb_class(unknown), VERB_ACTION);
        assert_int_equal(verb_undo(unknown), UNDO_SAY);
        assert_int_equal(verb_on_crash(unknown), ON_CRASH_UNDO);
}

static void crash_policies_have_names_both_ways(void **state) {
        for (int i = 0; i < _ON_CRASH_MAX; i++)
                assert_int_equal(on_crash_from_text(on_crash_to_text((OnCrash) i)), i);
        assert_int_equal(on_crash_from_text("panic"), -EINVAL);
        assert_int_equal(on_crash_from_text(NULL), -EINVAL);
}

static void what_comes_later_is_told_before_a_start(void **state) {
        _cleanup_plan_ Plan *plain = parse_file("design.yaml");
        _cleanup_plan_ Plan *whole = parse_file("whole-grammar.yaml");
        json_auto_t *none = NULL, *some = NULL;
        static const char *const expected[] = {"postgresql", "stores",  "kube", "helm",
                                               "reboot",     "buckets", "mail", "limits"};

        assert_int_equal(plan_unsupported(plain, false, &none), 0);
        assert_int_equal(json_array_size(none), 0);
        assert_int_equal(plan_unsupported(whole, false, &some), 0);
        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                bool found = false;
                json_t *o;
                size_t k;

                json_array_foreach (some, k, o)
                        found = found || streq(args_text(o, "what", ""), expected[i]);
                if (!found)
                        fail_msg("%s is not told", expected[i]);
        }
        assert_int_equal(json_array_size(some), ELEMENTSOF(expected) + 2); /* kube, limits: twice */
}

static void a_plan_lives_as_long_as_it_is_held(void **state) {
        Plan *plan = parse_file("design.yaml"), *other = plan_ref(plan);

        plan_unref(plan);
        assert_string_equal(args_text(other->norm, "plan", ""), "kimi-proxy-v2");
        plan_unref(other);
        plan_unref(NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_example_of_the_design_has_no_fault),
                cmocka_unit_test(the_whole_grammar_is_read_and_read_again),
                cmocka_unit_test(every_row_of_the_tables_is_decoded),
                cmocka_unit_test(json_and_yaml_give_the_same_plan),
                cmocka_unit_test(plain_words_keep_their_spelling),
                cmocka_unit_test(the_schema_types_what_it_knows),
                cmocka_unit_test(shorthands_are_spelled_out),
                cmocka_unit_test(odd_characters_survive_both_readers),
                cmocka_unit_test(a_fault_names_file_place_and_pointer),
                cmocka_unit_test(faults_stand_in_order_of_their_place),
                cmocka_unit_test(bytes_that_are_no_text_are_refused),
                cmocka_unit_test(long_messages_are_cut_to_their_limit),
                cmocka_unit_test(inputs_that_stand_there_twice_are_a_fault_and_no_more),
                cmocka_unit_test(a_verb_says_what_it_is),
                cmocka_unit_test(crash_policies_have_names_both_ways),
                cmocka_unit_test(what_comes_later_is_told_before_a_start),
                cmocka_unit_test(a_plan_lives_as_long_as_it_is_held),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
