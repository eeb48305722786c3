/* SPDX-License-Identifier: MIT */
/* What changes while a client looks: versions, long polls, event streams, logs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "api/text.h"
#include "daemon/http/server.h"
#include "http_harness.h"

static void send_get(Harness *h, int fd, const char *path, const char *headers) {
        _cleanup_free_ char *text =
                strf("GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, headers);

        client_send(h, fd, text, strlen(text));
        harness_turn(h, 20);
}

static void a_job_that_has_not_changed_is_not_sent_again(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *first = NULL, *etag = NULL, *same = NULL, *other = NULL, *weak = NULL;

        fake_job_set(h->engine, 42, 17, "{\"id\":42}");
        first = ask(h, "GET /v1/jobs/42", NULL, NULL);
        etag = answer_header(first, "ETag");
        same = ask(h, "GET /v1/jobs/42", "If-None-Match: \"17\"\r\n", NULL);
        weak = ask(h, "GET /v1/jobs/by-name/sesame", "If-None-Match: \"3\", W/\"17\"\r\n", NULL);
        other = ask(h, "GET /v1/jobs/42", "If-None-Match: \"7\"\r\n", NULL);
        assert_string_equal(etag, "\"17\"");
        assert_int_equal(answer_status(same), 304);
        assert_int_equal(answer_status(weak), 304);
        assert_int_equal(answer_status(other), 200);
        assert_string_equal(answer_body(other), "{\"id\":42}");
}

static void a_job_that_has_changed_is_never_answered_with_the_old_text(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);

        /* Jobs 1, 65 and 129 meet in one place of the cache; a progress note keeps the version. */
        for (unsigned round = 0; round < 4; round++)
                for (int64_t id = 1; id < 130; id += 64) {
                        _cleanup_free_ char *json =
                                strf("{\"id\":%ld,\"note\":%u}", (long) id, round);
                        _cleanup_free_ char *request = strf("GET /v1/jobs/%ld", (long) id);
                        _cleanup_free_ char *a = NULL, *b = NULL;

                        fake_job_set(h->engine, id, 1 + round / 2, json);
                        a = ask(h, request, NULL, NULL);
                        b = ask(h, request, NULL, NULL);
                        assert_string_equal(answer_body(a), json);
                        assert_string_equal(answer_body(b), json);
                }
}

static void a_long_poll_ends_with_the_change(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = NULL;
        int fd = client_open(h);

        fake_job_set(h->engine, 42, 17, "{\"v\":17}");
        fake_job_set(h->engine, 43, 1, "{}");
        send_get(h, fd, "/v1/jobs/42", "If-None-Match: \"17\"\r\nPrefer: wait=30\r\n");
        fake_job_set(h->engine, 43, 2, "{}"); /* another job's change is none of ours */
        harness_turn(h, 30);
        assert_int_equal(recv(fd, &(char){0}, 1, MSG_PEEK), -1);
        fake_job_set(h->engine, 42, 18, "{\"v\":18}");
        a = client_read(h, fd, NULL);
        assert_int_equal(answer_status(a), 200);
        assert_string_equal(answer_body(a), "{\"v\":18}");
        (void) close(fd);
}

static void a_long_poll_ends_with_its_time(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = NULL;
        int64_t began = now_mono_us();

        fake_job_set(h->engine, 42, 17, "{}");
        a = ask(h, "GET /v1/jobs/42", "If-None-Match: \"17\"\r\nPrefer: respond-async, wait=1\r\n",
                NULL);
        assert_int_equal(answer_status(a), 304);
        assert_in_range(now_mono_us() - began, 900 * 1000, 3000 * 1000);
}

static void a_version_that_is_old_already_is_not_waited_for(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = NULL;
        int64_t began = now_mono_us();

        fake_job_set(h->engine, 42, 17, "{}");
        a = ask(h, "GET /v1/jobs/42", "If-None-Match: \"16\"\r\nPrefer: wait=30\r\n", NULL);
        assert_int_equal(answer_status(a), 200);
        assert_true(now_mono_us() - began < 1000 * 1000);
}

static void who_waits_cannot_shut_out_who_acts(void **state) {
        _cleanup_harness_ Harness *h = harness_new(&(HttpConfig){.max_connections = 8});
        _cleanup_free_ char *seventh = NULL, *acts = NULL;
        int fds[6];

        fake_job_set(h->engine, 42, 17, "{}");
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = client_open(h);
                send_get(h, fds[i], "/v1/jobs/42", "If-None-Match: \"17\"\r\nPrefer: wait=30\r\n");
        }
        seventh = ask(h, "GET /v1/jobs/42", "If-None-Match: \"17\"\r\nPrefer: wait=30\r\n", NULL);
        assert_problem(seventh, 503, "too-busy");
        acts = ask(h, "POST /v1/jobs/42/cancel", NULL, NULL);
        assert_int_equal(answer_status(acts), 200);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                (void) close(fds[i]);
}

static void events_are_paged(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = NULL, *missing = NULL;
        json_auto_t *page = NULL;

        fake_job_set(h->engine, 42, 3, "{}");
        fake_event_add(h->engine, 42, "created");
        fake_event_add(h->engine, 41, "created");
        fake_event_add(h->engine, 42, "queued");
        fake_event_add(h->engine, 42, "started");
        a = ask(h, "GET /v1/jobs/42/events?after=1&limit=1", NULL, NULL);
        missing = ask(h, "GET /v1/jobs/9/events", NULL, NULL);
        page = answer_json(a);
        assert_problem(missing, 404, "no-such-job");
        assert_int_equal(json_array_size(json_object_get(page, "events")), 1);
        assert_int_equal(json_integer_value(json_object_get(page, "next")), 2);
}

static void a_stream_shows_events_as_they_come(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *first = NULL, *second = NULL, *third = NULL;
        int fd = client_open(h);

        fake_job_set(h->engine, 42, 1, "{}");
        fake_event_add(h->engine, 42, "created");
        fake_event_add(h->engine, 42, "queued");
        send_get(h, fd, "/v1/jobs/42/events", "Accept: text/event-stream\r\nLast-Event-ID: 1\r\n");
        first = client_read(h, fd, "id: 2\nevent: queued\ndata: {");
        assert_non_null(strstr(first, "Content-Type: text/event-stream"));
        assert_null(strstr(first, "id: 1\n"));
        fake_event_add(h->engine, 42, "started");
        second = client_read(h, fd, "id: 3\nevent: started\n");
        assert_null(strstr(second, "id: 2\n"));
        fake_event_add(h->engine, 41, "created"); /* another job's */
        fake_event_add(h->engine, 42, "state");
        third = client_read(h, fd, "id: 4\nevent: state\n");
        assert_null(strstr(third, "\"job\":41"));
        (void) close(fd);
}

static void a_stream_of_all_jobs_counts_by_id(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = NULL;
        int fd = client_open(h);

        fake_event_add(h->engine, 41, "created");
        fake_event_add(h->engine, 42, "created");
        send_get(h, fd, "/v1/events", "Accept: text/event-stream\r\n");
        a = client_read(h, fd, "id: 2\nevent: created\n");
        assert_non_null(strstr(a, "id: 1\nevent: created\n"));
        (void) close(fd);
}

static void a_long_history_comes_through_a_stream_whole(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = NULL;
        int fd = client_open(h);

        for (unsigned i = 0; i < 1000; i++)
                fake_event_add(h->engine, 42, "step_done");
        send_get(h, fd, "/v1/events", "Accept: text/event-stream\r\n");
        a = client_read(h, fd, "id: 1000\nevent: step_done\n");
        for (unsigned i = 1; i <= 1000; i++) {
                _cleanup_free_ char *id = strf("id: %u\n", i);
                const char *found = strstr(a, id);

                assert_non_null(found);
                assert_null(strstr(found + 1, id));
        }
        (void) close(fd);
}

static void a_quiet_stream_has_a_heartbeat(void **state) {
        _cleanup_harness_ Harness *h = harness_new(&(HttpConfig){.heartbeat_ms = 100});
        _cleanup_free_ char *a = NULL, *b = NULL, *c = NULL;
        int fd = client_open(h);

        send_get(h, fd, "/v1/events", "Accept: text/event-stream\r\n");
        a = client_read(h, fd, "retry: 2000\n");
        b = client_read(h, fd, ":\n\n");
        c = client_read(h, fd, ":\n\n");
        fake_event_add(h->engine, 1, "created");
        free(TAKE(c));
        c = client_read(h, fd, "id: 1\nevent: created\n");
        (void) close(fd);
}

static void a_client_that_leaves_a_stream_is_forgotten(void **state) {
        _cleanup_harness_ Harness *h = harness_new(&(HttpConfig){.heartbeat_ms = 50});
        _cleanup_free_ char *a = NULL, *metrics = NULL;
        int fd = client_open(h);

        send_get(h, fd, "/v1/events", "Accept: text/event-stream\r\n");
        a = client_read(h, fd, "retry: 2000\n");
        (void) close(fd);
        harness_turn(h, 300);
        metrics = ask(h, "GET /metrics", NULL, NULL);
        assert_non_null(strstr(metrics, "\nupdd_http_waiting 0\n"));
}

static void the_server_ends_while_clients_wait(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        int poll = client_open(h), stream = client_open(h);

        fake_job_set(h->engine, 42, 17, "{}");
        send_get(h, poll, "/v1/jobs/42", "If-None-Match: \"17\"\r\nPrefer: wait=30\r\n");
        send_get(h, stream, "/v1/events", "Accept: text/event-stream\r\n");
        harness_turn(h, 20);
        http_stop(h->http); /* what is left would be told by the sanitizer */
        assert_null(h->engine->change);
        (void) close(poll);
        (void) close(stream);
}

static void write_log(Harness *h, const char *text) {
        h->engine->log_path = strf("%s/log", h->dir);
        assert_int_equal(file_write_atomic(AT_FDCWD, h->engine->log_path, text, strlen(text), 0600),
                         0);
}

static void a_log_is_read_on_from_an_offset(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *whole = NULL, *rest = NULL, *beyond = NULL, *none = NULL;

        write_log(h, "0123456789");
        h->engine->log_running = true;
        whole = ask(h, "GET /v1/jobs/42/steps/install/log", NULL, NULL);
        h->engine->log_running = false;
        rest = ask(h, "GET /v1/jobs/42/steps/install/log?attempt=1&offset=7", NULL, NULL);
        beyond = ask(h, "GET /v1/jobs/42/steps/install/log?offset=11", NULL, NULL);
        none = ask(h, "GET /v1/jobs/42/steps/nothing/log", NULL, NULL);
        assert_problem(none, 404, "no-such-step");
        assert_string_equal(answer_body(whole), "0123456789");
        assert_non_null(strstr(whole, "Updd-Attempt: 2\r\n"));
        assert_non_null(strstr(whole, "Updd-Log-Size: 10\r\n"));
        assert_non_null(strstr(whole, "Updd-Log-More: yes\r\n"));
        assert_non_null(strstr(whole, "Content-Type: text/plain; charset=utf-8\r\n"));
        assert_string_equal(answer_body(rest), "789");
        assert_non_null(strstr(rest, "Updd-Attempt: 1\r\n"));
        assert_non_null(strstr(rest, "Updd-Log-More: no\r\n"));
        assert_int_equal(answer_status(beyond), 200);
        assert_string_equal(answer_body(beyond), "");
}

static void a_range_of_a_log_is_honoured(void **state) {
        static const struct {
                const char *range;
                unsigned status;
                const char *body, *content_range;
        } cases[] = {
                {"bytes=2-4", 206, "234", "bytes 2-4/10"},
                {"bytes=7-", 206, "789", "bytes 7-9/10"},
                {"bytes=-3", 206, "789", "bytes 7-9/10"},
                {"bytes=-30", 206, "0123456789", "bytes 0-9/10"},
                {"bytes=8-99", 206, "89", "bytes 8-9/10"},
                {"bytes=10-", 416, NULL, "bytes */10"},
                {"bytes=-0", 416, NULL, "bytes */10"},
                {"bytes=1-2,4-5", 200, "0123456789", ""},
                {"lines=1-2", 200, "0123456789", ""},
                {"bytes=4-2", 200, "0123456789", ""},
                {"bytes=a-", 200, "0123456789", ""},
        };
        _cleanup_harness_ Harness *h = harness_new(NULL);

        write_log(h, "0123456789");
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *header = strf("Range: %s\r\n", cases[i].range);
                _cleanup_free_ char *a = ask(h, "GET /v1/jobs/42/steps/install/log", header, NULL);
                _cleanup_free_ char *range = answer_header(a, "Content-Range");

                if (answer_status(a) != cases[i].status ||
                    (cases[i].body && !streq(answer_body(a), cases[i].body)) ||
                    !streq(range, cases[i].content_range))
                        fail_msg("%s: %s", cases[i].range, a);
        }
}

static void a_log_that_is_not_there_yet_is_empty(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_free_ char *a = NULL;

        h->engine->log_path = strf("%s/none", h->dir);
        h->engine->log_running = true;
        a = ask(h, "GET /v1/jobs/42/steps/install/log", NULL, NULL);
        assert_int_equal(answer_status(a), 200);
        assert_string_equal(answer_body(a), "");
        assert_non_null(strstr(a, "Updd-Log-More: yes\r\n"));
}

static void on_answered(void *userdata) {
        (*(int *) userdata)++;
}

static void the_server_answers_its_own_daemon(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        int answered = 0;

        for (int i = 1; i <= 3; i++) {
                assert_int_equal(http_probe(h->http, on_answered, &answered), 0);
                assert_int_equal(http_probe(h->http, on_answered, &answered), -EALREADY);
                harness_turn(h, 100);
                assert_int_equal(answered, i);
        }
        /* One that is under way when it ends. */
        assert_int_equal(http_probe(h->http, on_answered, &answered), 0);
}

static void a_server_that_has_fallen_silent_does_not_answer(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        Listener *l = &h->http->unix_listener;
        int answered = 0;

        assert_true(sd_event_source_set_enabled(l->io, SD_EVENT_OFF) >= 0);
        assert_true(sd_event_source_set_enabled(l->timer, SD_EVENT_OFF) >= 0);
        assert_int_equal(http_probe(h->http, on_answered, &answered), 0);
        assert_true(sd_event_source_set_enabled(l->again, SD_EVENT_OFF) >= 0);
        harness_turn(h, 200);
        assert_int_equal(answered, 0);
        assert_int_equal(http_probe(h->http, on_answered, &answered), -EALREADY);
        assert_true(sd_event_source_set_enabled(l->io, SD_EVENT_ON) >= 0);
        harness_turn(h, 200);
        assert_int_equal(answered, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_server_answers_its_own_daemon),
                cmocka_unit_test(a_server_that_has_fallen_silent_does_not_answer),
                cmocka_unit_test(a_job_that_has_not_changed_is_not_sent_again),
                cmocka_unit_test(a_job_that_has_changed_is_never_answered_with_the_old_text),
                cmocka_unit_test(a_long_poll_ends_with_the_change),
                cmocka_unit_test(a_long_poll_ends_with_its_time),
                cmocka_unit_test(a_version_that_is_old_already_is_not_waited_for),
                cmocka_unit_test(who_waits_cannot_shut_out_who_acts),
                cmocka_unit_test(events_are_paged),
                cmocka_unit_test(a_stream_shows_events_as_they_come),
                cmocka_unit_test(a_stream_of_all_jobs_counts_by_id),
                cmocka_unit_test(a_long_history_comes_through_a_stream_whole),
                cmocka_unit_test(a_quiet_stream_has_a_heartbeat),
                cmocka_unit_test(a_client_that_leaves_a_stream_is_forgotten),
                cmocka_unit_test(the_server_ends_while_clients_wait),
                cmocka_unit_test(a_log_is_read_on_from_an_offset),
                cmocka_unit_test(a_range_of_a_log_is_honoured),
                cmocka_unit_test(a_log_that_is_not_there_yet_is_empty),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
