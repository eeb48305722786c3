/* SPDX-License-Identifier: MIT */
/* A job's report over HTTP: which form, read page by page, and what becomes of it midway. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/http/server.h"
#include "http_harness.h"

#define REPORT "{\"id\": 7, \"plan\": \"a\", \"title\": \"<b>\", \"state\": \"stuck\"}"

static Harness *with_job(void) {
        Harness *h = harness_new(NULL);

        fake_job_set(h->engine, 7, 3, REPORT);
        return h;
}

static void the_form_is_the_one_that_the_client_likes_best(void **state) {
        static const struct {
                const char *query, *accept, *type;
        } cases[] = {
                {"", NULL, "application/json"},
                {"", "*/*", "application/json"},
                {"", "text/html", "text/html; charset=utf-8"},
                {"", "text/markdown", "text/markdown; charset=utf-8"},
                {"", "text/*", "text/markdown; charset=utf-8"},
                /* What browsers send. */
                {"", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                 "text/html; charset=utf-8"},
                {"", "application/json;q=0.2, text/markdown;q=0.9, text/html;q=0.85",
                 "text/markdown; charset=utf-8"},
                {"", "*/*, application/json;q=0", "text/markdown; charset=utf-8"},
                {"", "text/html;q=0, */*;q=0.1", "application/json"},
                {"?format=html", "application/json", "text/html; charset=utf-8"},
                {"?format=markdown", NULL, "text/markdown; charset=utf-8"},
                {"?format=json", "text/html", "application/json"},
        };
        _cleanup_harness_ Harness *h = with_job();

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *request = strf("GET /v1/jobs/7/report%s", cases[i].query);
                _cleanup_free_ char *accept =
                        cases[i].accept ? strf("Accept: %s\r\n", cases[i].accept) : NULL;
                _cleanup_free_ char *a = ask(h, request, accept, NULL);
                _cleanup_free_ char *type = answer_header(a, "Content-Type");

                assert_int_equal(answer_status(a), 200);
                assert_string_equal(type, cases[i].type);
                assert_int_equal(h->engine->reports, 0);
        }
}

static void each_form_holds_the_job(void **state) {
        _cleanup_harness_ Harness *h = with_job();
        _cleanup_free_ char *json = ask(h, "GET /v1/jobs/7/report", NULL, NULL);
        _cleanup_free_ char *markdown = ask(h, "GET /v1/jobs/7/report?format=markdown", NULL, NULL);
        _cleanup_free_ char *html = ask(h, "GET /v1/jobs/7/report?format=html", NULL, NULL);
        _cleanup_free_ char *policy = answer_header(html, "Content-Security-Policy");
        json_auto_t *document = answer_json(json);

        assert_int_equal(json_integer_value(json_object_get(document, "id")), 7);
        assert_true(startswith(answer_body(markdown), "# Job 7: \\<b\\>\n"));
        assert_non_null(strstr(answer_body(html), "<h1>Job 7: &lt;b&gt;</h1>"));
        assert_non_null(strstr(policy, "default-src 'none'"));
}

static void what_is_no_form_is_refused(void **state) {
        _cleanup_harness_ Harness *h = with_job();
        _cleanup_free_ char *pdf =
                ask(h, "GET /v1/jobs/7/report", "Accept: application/pdf\r\n", NULL);
        _cleanup_free_ char *none = ask(h, "GET /v1/jobs/7/report", "Accept: */*;q=0\r\n", NULL);
        _cleanup_free_ char *name = ask(h, "GET /v1/jobs/7/report?format=pdf", NULL, NULL);
        _cleanup_free_ char *other = ask(h, "GET /v1/jobs/7/report?as=html", NULL, NULL);
        _cleanup_free_ char *job = ask(h, "GET /v1/jobs/8/report", NULL, NULL);

        assert_problem(pdf, 406, "not-acceptable");
        assert_problem(none, 406, "not-acceptable");
        assert_problem(name, 400, "bad-request");
        assert_problem(other, 400, "bad-request");
        assert_problem(job, 404, "no-such-job");
        assert_int_equal(h->engine->reports, 0);
}

static void a_store_that_fails_midway_is_told(void **state) {
        _cleanup_harness_ Harness *h = with_job();
        _cleanup_free_ char *a = NULL, *b = NULL;

        h->engine->unhealthy = true;
        a = ask(h, "GET /v1/jobs/7/report?format=html", NULL, NULL);
        assert_problem(a, 503, "store-failed");
        h->engine->unhealthy = false;
        b = ask(h, "GET /v1/jobs/7/report?format=html", NULL, NULL);
        assert_int_equal(answer_status(b), 200);
        assert_int_equal(h->engine->reports, 0);
}

static void others_are_answered_between_two_pages(void **state) {
        static const char request[] = "GET /v1/jobs/7/report HTTP/1.1\r\nHost: localhost\r\n\r\n";
        _cleanup_harness_ Harness *h = with_job();
        _cleanup_free_ char *report = NULL;
        int fd = client_open(h);

        h->engine->endless = true;
        client_send(h, fd, request, strlen(request));
        for (unsigned i = 0; i < 5; i++) {
                _cleanup_free_ char *a = ask(h, "GET /v1/health", NULL, NULL);

                assert_int_equal(answer_status(a), 200);
        }
        assert_int_equal(h->engine->reports, 1);
        h->engine->endless = false;
        report = client_read(h, fd, NULL);
        assert_int_equal(answer_status(report), 200);
        close(fd);
}

/* Whoever leaves midway leaves nothing behind. */
static void there_are_only_so_many_reports_at_once(void **state) {
        static const char request[] = "GET /v1/jobs/7/report HTTP/1.1\r\nHost: localhost\r\n\r\n";
        _cleanup_harness_ Harness *h = with_job();
        unsigned ok = 0, busy = 0;
        int fds[20];

        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = client_open(h);
                client_send(h, fds[i], request, strlen(request));
        }
        close(fds[0]);
        for (size_t i = 1; i < ELEMENTSOF(fds); i++) {
                _cleanup_free_ char *a = client_read(h, fds[i], NULL);

                ok += answer_status(a) == 200;
                busy += answer_status(a) == 503;
                close(fds[i]);
        }
        assert_int_equal(ok + busy, ELEMENTSOF(fds) - 1);
        assert_true(ok >= 15);
        harness_turn(h, 50);
        assert_int_equal(h->engine->reports, 0);
}

static void the_server_ends_while_reports_are_made(void **state) {
        static const char request[] = "GET /v1/jobs/7/report HTTP/1.1\r\nHost: localhost\r\n\r\n";
        _cleanup_harness_ Harness *h = with_job();
        int fd = client_open(h);

        client_send(h, fd, request, strlen(request));
        for (unsigned i = 0; i < 1000 && h->engine->reports == 0; i++)
                (void) sd_event_run(h->event, 1000);
        assert_int_equal(h->engine->reports, 1);
        http_stop(h->http);
        assert_int_equal(h->engine->reports, 0);
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_form_is_the_one_that_the_client_likes_best),
                cmocka_unit_test(each_form_holds_the_job),
                cmocka_unit_test(what_is_no_form_is_refused),
                cmocka_unit_test(a_store_that_fails_midway_is_told),
                cmocka_unit_test(others_are_answered_between_two_pages),
                cmocka_unit_test(there_are_only_so_many_reports_at_once),
                cmocka_unit_test(the_server_ends_while_reports_are_made),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
