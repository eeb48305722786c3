/* SPDX-License-Identifier: MIT */
/* The API over a real Unix socket: routes, bodies, calls, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/http/server.h"
#include "http_harness.h"

#define JSON_BODY "Content-Type: application/json\r\n"

static void it_says_what_it_is(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = ask(h, "GET /v1", NULL, NULL);
        json_auto_t *about = answer_json(a);

        assert_int_equal(answer_status(a), 200);
        assert_string_equal(json_string_value(json_object_get(about, "name")), "updd");
        assert_string_equal(json_string_value(json_object_get(about, "version")), UPDD_VERSION);
        assert_non_null(strstr(a, "X-Content-Type-Options: nosniff"));
        assert_non_null(strstr(a, "Cache-Control: no-store"));
}

static void an_unknown_path_is_a_problem_document(void **state) {
        static const char *const paths[] = {"/",
                                            "/v2",
                                            "/v1/",
                                            "/v1/jobs/",
                                            "/v1/jobs/1/nothing",
                                            "/v1/jobs//events",
                                            "/v1/jobs/1/steps/a/log/more"};
        _cleanup_harness_ Harness *h = harness_new(NULL);

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                _cleanup_free_ char *request = strf("GET %s", paths[i]);
                _cleanup_free_ char *a = ask(h, request, NULL, NULL);
                assert_problem(a, 404, "not-found");
        }
}

static void what_is_no_job_number_is_refused_with_a_hint(void **state) {
        static const char *const ids[] = {
                "0", "-1", "01", "x", "1x", "9223372036854775808", "1%00", "1%2F", "4294967338"};
        _cleanup_harness_ Harness *h = harness_new(NULL);

        fake_job_set(h->engine, 1, 1, "{}");
        fake_job_set(h->engine, 42, 1, "{}");
        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                _cleanup_free_ char *request = strf("GET /v1/jobs/%s", ids[i]);
                _cleanup_free_ char *a = ask(h, request, NULL, NULL);

                assert_int_equal(answer_status(a), 404);
        }
}

static void a_wrong_method_names_the_right_ones(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = ask(h, "DELETE /v1/jobs", NULL, NULL);
        _cleanup_free_ char *allow = answer_header(a, "Allow");
        assert_problem(a, 405, "method-not-allowed");

        assert_string_equal(allow, "GET, HEAD, POST");
}

static void head_is_get_without_its_body(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *get = ask(h, "GET /v1", NULL, NULL);
        _cleanup_free_ char *head = ask(h, "HEAD /v1", NULL, NULL);
        _cleanup_free_ char *a = answer_header(get, "Content-Length");
        _cleanup_free_ char *b = answer_header(head, "Content-Length");

        assert_int_equal(answer_status(head), 200);
        assert_string_equal(a, b);
        assert_string_equal(answer_body(head), "");
}

static void only_a_form_that_the_client_accepts_is_sent(void **state) {
        static const struct {
                const char *request, *accept;
                unsigned status;
        } cases[] = {
                {"GET /v1", "text/html", 406},
                {"GET /v1", "application/json;q=0", 406},
                {"GET /v1", "text/html, application/*;q=0.8", 200},
                {"GET /v1", "APPLICATION/JSON", 200},
                {"GET /v1", "text/html;q=0.9, */*;q=0.1", 200},
                {"GET /metrics", "application/json", 406},
                {"GET /metrics", "text/*", 200},
        };
        _cleanup_harness_ Harness *h = harness_new(NULL);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *accept = strf("Accept: %s\r\n", cases[i].accept);
                _cleanup_free_ char *a = ask(h, cases[i].request, accept, NULL);

                if (answer_status(a) != cases[i].status)
                        fail_msg("%s: %s", cases[i].accept, a);
        }
}

static void an_unknown_query_parameter_is_refused(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = ask(h, "GET /v1/jobs?sate=waiting", NULL, NULL);
        json_auto_t *doc = answer_problem(a, 400, "bad-request");

        assert_string_equal(json_string_value(json_object_get(doc, "hint")),
                            "there are: state plan target limit after");
}

static void a_query_that_is_no_text_is_refused(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *answer = ask(h, "POST /v1/plans:check?file=%ff.yaml",
                                          "Content-Type: application/yaml\r\n", "format: 1");

        assert_problem(answer, 400, "bad-request");
        assert_non_null(strstr(answer, "'file' is not UTF-8"));
}

static void a_page_of_jobs_is_asked_for_as_the_query_says(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a =
                ask(h, "GET /v1/jobs?state=unfinished&target=a%20b&limit=7&after=9", NULL, NULL);
        _cleanup_free_ char *b = ask(h, "GET /v1/jobs?limit=201", NULL, NULL);
        _cleanup_free_ char *c = ask(h, "GET /v1/jobs?state=waitng", NULL, NULL);
        json_auto_t *page = answer_json(a), *word = answer_problem(c, 400, "bad-request");
        const json_t *query = json_object_get(page, "query");

        assert_problem(b, 400, "bad-request");
        assert_string_equal(json_string_value(json_object_get(query, "target")), "a b");
        assert_int_equal(json_integer_value(json_object_get(query, "limit")), 7);
        assert_int_equal(json_integer_value(json_object_get(query, "after")), 9);
        assert_string_equal(json_string_value(json_object_get(word, "hint")),
                            "did you mean 'waiting'?");
}

static void bad_json_is_told_with_its_place(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = ask(h, "POST /v1/jobs", JSON_BODY, "{\"plan\": \"a\",\n  oops}");
        json_auto_t *doc = answer_problem(a, 400, "bad-json");

        assert_int_equal(json_integer_value(json_object_get(doc, "line")), 2);
        assert_true(json_integer_value(json_object_get(doc, "column")) > 0);
        assert_null(h->engine->last);
}

static void a_body_of_another_form_is_refused_by_name(void **state) {
        static const struct {
                const char *request, *body, *type, *member, *hint;
        } cases[] = {
                {"POST /v1/jobs", "[]", "bad-request", NULL, NULL},
                {"POST /v1/jobs", "{\"plan\": 1}", "bad-request", "plan", NULL},
                {"POST /v1/jobs", "{\"plan\": \"a\", \"dry_run\": \"no\"}", "bad-request",
                 "dry_run", NULL},
                {"POST /v1/jobs", "{\"plan\": \"a\", \"inptus\": {}}", "bad-request", "inptus",
                 "did you mean 'inputs'?"},
                {"POST /v1/jobs", "{\"plan\": \"a\", \"secrets\": {\"t\": 1}}", "bad-request",
                 "secrets", NULL},
                {"POST /v1/jobs", "{\"plan\": \"a\", \"plan\": \"b\"}", "bad-json", NULL, NULL},
                {"POST /v1/jobs", "{}", "bad-request", NULL, NULL},
                {"POST /v1/jobs", "{\"plan\": \"a\", \"document\": \"b\"}", "bad-request", NULL,
                 NULL},
                {"POST /v1/jobs/42/answer", "{\"wait\": \"w1\"}", "bad-request", "text", NULL},
                {"POST /v1/jobs/42/answer", "{\"text\": null}", "bad-request", "text", NULL},
                {"POST /v1/jobs/42/confirm", "{\"ticks\": [1]}", "bad-request", "ticks", NULL},
        };
        _cleanup_harness_ Harness *h = harness_new(NULL);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *a = ask(h, cases[i].request, JSON_BODY, cases[i].body);
                json_auto_t *doc = answer_problem(a, 400, cases[i].type);
                const char *member = json_string_value(json_object_get(doc, "member"));
                const char *hint = json_string_value(json_object_get(doc, "hint"));

                if (!streq0(member, cases[i].member) || !streq0(hint, cases[i].hint))
                        fail_msg("%s: %s", cases[i].body, a);
        }
        assert_null(h->engine->last);
}

static void a_body_must_say_that_it_is_json(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = ask(h, "POST /v1/jobs", "Content-Type: text/plain\r\n", "{}");
        _cleanup_free_ char *b = ask(h, "POST /v1/jobs", NULL, "{}");
        _cleanup_free_ char *c = ask(h, "POST /v1/plans:check?file=x.yaml", NULL, "format: 1");
        json_auto_t *z = answer_json(c);

        assert_problem(a, 415, "unsupported-media-type");
        assert_problem(b, 415, "unsupported-media-type");
        assert_string_equal(json_string_value(json_object_get(z, "file")), "x.yaml");
        assert_int_equal(json_integer_value(json_object_get(z, "size")), 9);
}

static void a_body_that_is_too_large_is_refused_at_once(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        int fd = client_open(h);
        static const char text[] = "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: "
                                   "application/json\r\nContent-Length: 1048577\r\n\r\n";
        _cleanup_free_ char *a = NULL;

        client_send(h, fd, text, sizeof(text) - 1);
        a = client_read(h, fd, NULL);
        (void) close(fd);
        assert_problem(a, 413, "too-large");
}

static void a_chunked_body_that_grows_too_large_is_refused(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *block = malloc(65536), *a = NULL;
        int fd = client_open(h);
        static const char head[] = "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: "
                                   "application/json\r\nTransfer-Encoding: chunked\r\n\r\n";

        memset(block, ' ', 65536);
        client_send(h, fd, head, sizeof(head) - 1);
        for (unsigned i = 0; i < 17; i++) {
                client_send(h, fd, "10000\r\n", 7);
                client_send(h, fd, block, 65536);
                client_send(h, fd, "\r\n", 2);
        }
        client_send(h, fd, "0\r\n\r\n", 5);
        a = client_read(h, fd, NULL);
        (void) close(fd);
        assert_problem(a, 413, "too-large");
        assert_null(h->engine->last);
}

static void a_start_is_answered_with_the_job_and_its_place(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = NULL, *location = NULL, *who = NULL;
        json_auto_t *job = NULL;

        fake_job_set(h->engine, 42, 1, "{\"id\":42}");
        a = ask(h, "POST /v1/jobs", JSON_BODY "Idempotency-Key: k-1\r\n",
                "{\"plan\": \"a\", \"reason\": null, \"inputs\": {\"n\": 1}}");
        location = answer_header(a, "Location");
        job = answer_json(a);
        who = strf("uid:%ld", (long) geteuid());
        assert_int_equal(answer_status(a), 201);
        assert_string_equal(location, "/v1/jobs/42");
        assert_int_equal(json_integer_value(json_object_get(job, "id")), 42);
        assert_true(startswith(json_string_value(json_object_get(h->engine->last, "who")), who));
        assert_string_equal(json_string_value(json_object_get(h->engine->last, "key")), "k-1");
        assert_null(json_object_get(json_object_get(h->engine->last, "body"), "reason"));
}

static void every_call_reaches_the_engine_as_itself(void **state) {
        static const struct {
                const char *verb, *body;
                CallKind kind;
        } cases[] = {
                {"confirm", "{\"wait\":\"w1\",\"all\":true}", CALL_CONFIRM},
                {"answer", "{\"wait\":\"w1\",\"text\":\"y\"}", CALL_ANSWER},
                {"rollback", "{\"strategy\":\"full\"}", CALL_ROLLBACK},
                {"cancel", NULL, CALL_CANCEL},
                {"retry", "{}", CALL_RETRY},
                {"skip", "{\"reason\":\"r\"}", CALL_SKIP},
                {"abandon", "{\"reason\":\"r\"}", CALL_ABANDON},
                {"finalise", "{}", CALL_FINALISE},
        };
        _cleanup_harness_ Harness *h = harness_new(NULL);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *request = strf("POST /v1/jobs/7/%s", cases[i].verb);
                _cleanup_free_ char *a = ask(h, request, JSON_BODY, cases[i].body);
                json_auto_t *echo = answer_json(a);

                assert_int_equal(answer_status(a), 200);
                assert_int_equal(json_integer_value(json_object_get(echo, "kind")), cases[i].kind);
                assert_int_equal(json_integer_value(json_object_get(echo, "job")), 7);
        }
}

static void a_refusal_of_the_engine_becomes_a_problem_document(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = NULL;
        json_auto_t *doc = NULL;

        (void) error_set(&h->engine->refusal, EBUSY, "target-busy", "job 41 is on this target");
        error_hint(&h->engine->refusal, "updctl status 41");
        error_detail(&h->engine->refusal, "job", json_integer(41));
        a = ask(h, "POST /v1/jobs", JSON_BODY, "{\"plan\":\"a\"}");
        doc = answer_problem(a, 409, "target-busy");
        assert_string_equal(json_string_value(json_object_get(doc, "detail")),
                            "job 41 is on this target");
        assert_string_equal(json_string_value(json_object_get(doc, "hint")), "updctl status 41");
        assert_int_equal(json_integer_value(json_object_get(doc, "job")), 41);
}

static void a_busy_engine_says_when_to_come_back(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = NULL, *after = NULL;

        h->engine->busy = true;
        a = ask(h, "POST /v1/jobs/1/cancel", NULL, NULL);
        after = answer_header(a, "Retry-After");
        assert_problem(a, 503, "too-busy");
        assert_string_equal(after, "1");
}

static void an_idempotency_key_must_be_visible_ascii(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *ok = NULL, *long_key = calloc(1, 300), *header = NULL;
        _cleanup_free_ char *blank =
                ask(h, "POST /v1/jobs/1/cancel", "Idempotency-Key: a b\r\n", NULL);
        _cleanup_free_ char *too_long = NULL;

        assert_problem(blank, 400, "bad-request");
        memset(long_key, 'k', 256);
        header = strf("Idempotency-Key: %s\r\n", long_key);
        too_long = ask(h, "POST /v1/jobs/1/cancel", header, NULL);
        assert_problem(too_long, 400, "bad-request");
        assert_null(h->engine->last);
        h->engine->replayed = true;
        ok = ask(h, "POST /v1/jobs/1/cancel", "Idempotency-Key: a-b\r\n", NULL);
        assert_int_equal(answer_status(ok), 200);
        assert_non_null(strstr(ok, "Idempotency-Replayed: true"));
}

static void tokens_are_made_and_removed(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a =
                ask(h, "POST /v1/tokens", JSON_BODY, "{\"name\":\"g\",\"role\":\"view\"}");
        _cleanup_free_ char *location = answer_header(a, "Location");
        _cleanup_free_ char *b = ask(h, "DELETE /v1/tokens/g", NULL, NULL);

        assert_int_equal(answer_status(a), 201);
        assert_string_equal(location, "/v1/tokens/g");
        assert_non_null(strstr(a, "\"token\":\"t0p\""));
        assert_int_equal(answer_status(b), 204);
        assert_int_equal(json_integer_value(json_object_get(h->engine->last, "kind")),
                         CALL_TOKEN_REMOVE);
        assert_string_equal(json_string_value(json_object_get(
                                    json_object_get(h->engine->last, "body"), "name")),
                            "g");
}

static void health_and_metrics_tell_the_same(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *well = ask(h, "GET /v1/health", NULL, NULL);
        _cleanup_free_ char *metrics = ask(h, "GET /metrics", NULL, NULL), *ill = NULL;

        h->engine->unhealthy = true;
        ill = ask(h, "GET /v1/health", NULL, NULL);
        assert_int_equal(answer_status(well), 200);
        assert_int_equal(answer_status(ill), 503);
        assert_non_null(strstr(ill, "Content-Type: application/json"));
        assert_non_null(strstr(metrics, "\nupdd_up 1\n"));
        assert_non_null(strstr(metrics, "\nupdd_jobs{state=\"running\"} 3\n"));
        assert_non_null(strstr(metrics, "\nupdd_http_requests_total{code=\"2xx\"} 1\n"));
}

static void many_requests_sent_at_once_are_all_answered(void **state) {
        static const char one[] = "GET /v1/jobs/5 HTTP/1.1\r\nHost: x\r\n\r\n",
                          last[] =
                                  "GET /v1/jobs/6 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = NULL;
        int fd = client_open(h);
        const char *p;
        unsigned n = 0;

        fake_job_set(h->engine, 5, 1, "{\"id\":5}");
        for (unsigned i = 0; i < 200; i++)
                client_send(h, fd, one, sizeof(one) - 1);
        client_send(h, fd, last, sizeof(last) - 1);
        a = client_read(h, fd, "there is no job 6");
        (void) close(fd);
        for (p = a; (p = strstr(p, "{\"id\":5}")) != NULL; p++)
                n++;
        assert_int_equal(n, 200);
}

static void the_server_ends_while_calls_wait(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        int fd = client_open(h);
        static const char text[] = "POST /v1/jobs/1/cancel HTTP/1.1\r\nHost: x\r\n\r\n";

        h->engine->hold = true;
        client_send(h, fd, text, sizeof(text) - 1);
        while (h->engine->n_held == 0)
                harness_turn(h, 1);
        http_stop(h->http);
        fake_release(h->engine); /* its request is gone: this must go nowhere */
        assert_int_equal(access(h->socket, F_OK), -1);
        (void) close(fd);
}

static void a_slow_client_is_not_waited_for(void **state) {
        _cleanup_harness_ Harness *h = harness_new(&(HttpConfig){.timeout_s = 1});
        _cleanup_free_ char *a = NULL;
        int fd = client_open(h);

        client_send(h, fd, "GET /v1 HTT", 11);
        a = client_read(h, fd, "never");
        (void) close(fd);
        assert_string_equal(a, "");
}

static void the_description_and_the_routes_are_the_same(void **state) {
        json_auto_t *doc = json_loads(openapi_json, 0, NULL);
        json_t *paths = json_object_get(doc, "paths"), *path, *operation;
        const char *pattern, *method;
        size_t described = 0;

        assert_non_null(paths);
        for (size_t i = 0; i < n_routes; i++) {
                _cleanup_free_ char *lower = strdup(routes[i].method);

                for (char *p = lower; *p; p++)
                        *p = (char) (*p | 0x20);
                if (!json_object_get(json_object_get(paths, routes[i].pattern), lower))
                        fail_msg("%s %s is not described", routes[i].method, routes[i].pattern);
        }
        json_object_foreach (paths, pattern, path) {
                json_object_foreach (path, method, operation) {
                        described += !streq(method, "parameters");
                }
        }
        assert_int_equal(described, n_routes);
}

static void every_described_problem_has_its_status(void **state) {
        const char *words = strstr(openapi_json, "and one of ");
        char word[64];
        unsigned n = 0;
        int used = 0;

        assert_non_null(words);
        for (words += strlen("and one of "); sscanf(words, "%63[a-z-]%n", word, &used) == 1;
             words += used + 2, n++) {
                if (problem_status(word) < 400)
                        fail_msg("%s has no status", word);
                if (words[used] == '"')
                        break;
        }
        assert_true(n >= 30);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(it_says_what_it_is),
                cmocka_unit_test(an_unknown_path_is_a_problem_document),
                cmocka_unit_test(what_is_no_job_number_is_refused_with_a_hint),
                cmocka_unit_test(a_wrong_method_names_the_right_ones),
                cmocka_unit_test(head_is_get_without_its_body),
                cmocka_unit_test(only_a_form_that_the_client_accepts_is_sent),
                cmocka_unit_test(an_unknown_query_parameter_is_refused),
                cmocka_unit_test(a_query_that_is_no_text_is_refused),
                cmocka_unit_test(a_page_of_jobs_is_asked_for_as_the_query_says),
                cmocka_unit_test(bad_json_is_told_with_its_place),
                cmocka_unit_test(a_body_of_another_form_is_refused_by_name),
                cmocka_unit_test(a_body_must_say_that_it_is_json),
                cmocka_unit_test(a_body_that_is_too_large_is_refused_at_once),
                cmocka_unit_test(a_chunked_body_that_grows_too_large_is_refused),
                cmocka_unit_test(a_start_is_answered_with_the_job_and_its_place),
                cmocka_unit_test(every_call_reaches_the_engine_as_itself),
                cmocka_unit_test(a_refusal_of_the_engine_becomes_a_problem_document),
                cmocka_unit_test(a_busy_engine_says_when_to_come_back),
                cmocka_unit_test(an_idempotency_key_must_be_visible_ascii),
                cmocka_unit_test(tokens_are_made_and_removed),
                cmocka_unit_test(health_and_metrics_tell_the_same),
                cmocka_unit_test(many_requests_sent_at_once_are_all_answered),
                cmocka_unit_test(the_server_ends_while_calls_wait),
                cmocka_unit_test(a_slow_client_is_not_waited_for),
                cmocka_unit_test(the_description_and_the_routes_are_the_same),
                cmocka_unit_test(every_described_problem_has_its_status),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
