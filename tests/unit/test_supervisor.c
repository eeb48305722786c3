/* SPDX-License-Identifier: MIT */
/*
 * Supervisor and worker with verbs of the tests' own: what a verb may rely on. Each attempt runs in
 * a child, because a supervisor makes itself a subreaper and takes the signals over.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "daemon/attempt/attempt.h"
#include "daemon/attempt/tree.h"
#include "daemon/step/supervisor.h"
#include "daemon/step/worker.h"

#define ID "0123456789abcdef0123456789abcdef"

static int spawn_service(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *log = path_join(step_job_dir(s), "service.log");
        pid_t pid;
        int r;

        r = step_spawn_service(s, &(Exec){.argv = json_object_get(args, "argv")}, log, &pid,
                               reterr);
        if (r < 0)
                return r;
        return step_output(s, "pid", json_integer(pid));
}

static int ask_twice(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *first = NULL, *second = NULL;
        int r;

        r = step_ask(s, "Which colour?", true, &first, reterr);
        if (r >= 0)
                r = step_ask(s, "Which password?", false, &second, reterr);
        if (r < 0)
                return r;
        step_log(s, "%s and %s", first, second);
        return step_output(s, "colour", json_string(first));
}

static int note_undo(Step *s, const json_t *args, Error *reterr) {
        const char *kept;
        int r;

        r = step_kept_dir(s, &kept, reterr);
        if (r >= 0)
                r = step_undo_note(s, json_pack("{s:s, s:s}", "was", "first token", "kept", kept),
                                   reterr);
        if (r >= 0)
                r = step_undo_note(s, json_pack("{s:s}", "was", "second"), reterr);
        return r;
}

static int count_undo(Step *s, const json_t *args, Error *reterr) {
        const json_t *entries;
        int r;

        r = step_undo_entries(s, &entries, reterr);
        if (r < 0)
                return r;
        r = step_output(s, "entries", json_deep_copy(entries));
        /* A record that is read may be appended to, and is then longer. */
        if (r >= 0)
                r = step_undo_note(s, json_pack("{s:s}", "was", "third"), reterr);
        if (r >= 0)
                r = step_undo_entries(s, &entries, reterr);
        return r < 0 ? r : step_output(s, "n", json_integer((json_int_t) json_array_size(entries)));
}

static int crash(Step *s, const json_t *args, Error *reterr) {
        (void) step_output(s, "before", json_true());
        (void) raise(SIGKILL);
        return 0;
}

static int sleep_long(Step *s, const json_t *args, Error *reterr) {
        int r = step_sleep(s, 300 * 1000);

        return r < 0 ? error_set(reterr, -r, "stopped", "Stopped") : 0;
}

static const Verb verb_service = {"service", spawn_service, NULL},
                  verb_ask = {"ask", ask_twice, NULL}, verb_note = {"note", note_undo, count_undo},
                  verb_crash = {"crash", crash, NULL}, verb_sleep = {"sleep", sleep_long, NULL};
const Verb *const step_verbs[] = {&verb_service, &verb_ask,   &verb_note,
                                  &verb_crash,   &verb_sleep, NULL};
const Check *const step_checks[] = {NULL};

typedef struct World {
        char root[64];
        char *dir, *record, *job;
        int fd;
        pid_t pid;
} World;

static int world_make(void **state) {
        World *w = calloc(1, sizeof(World));

        strcpy(w->root, "/tmp/test-supervisor-XXXXXX");
        if (!mkdtemp(w->root))
                return -1;
        w->job = strf("%s/jobs/7", w->root);
        w->record = strf("%s/s", w->job);
        w->dir = strf("%s/1", w->record);
        if (attempt_open(w->dir, true, &w->fd) < 0)
                return -1;
        *state = w;
        return 0;
}

static int world_end(void **state) {
        World *w = *state;
        int r = remove_tree(w->root);

        (void) close(w->fd);
        free(w->dir);
        free(w->record);
        free(w->job);
        free(w);
        return r;
}

static json_t *make_task(const World *w, const char *verb, const char *direction, json_t *args) {
        return json_pack("{s:i, s:s, s:i, s:s, s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:[{s:s, s:s, "
                         "s:s, s:o}], s:{}}",
                         "format", 1, "id", ID, "job", 7, "step", "s", "n", 1, "direction",
                         direction, "dir", w->dir, "record", w->record, "job_dir", w->job,
                         "timeout_ms", 20000, "grace_ms", 1000, "ops", "verb", verb, "direction",
                         direction, "record", w->record, "args", args, "context");
}

static void begin(World *w, const char *verb, const char *direction, json_t *args) {
        w->pid = fork();
        if (w->pid == 0) {
                json_auto_t *task = make_task(w, verb, direction, args);
                json_auto_t *secrets = json_pack("{s:s}", "t", "token");
                _cleanup_error_ Error error = ERROR_INIT;

                _exit(supervisor_run(w->fd, -EBADF, -EBADF, task, secrets, &error) < 0);
        }
        json_decref(args);
}

static json_t *end(World *w) {
        json_t *result = NULL;
        int status;

        assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
        assert_int_equal(status, 0);
        assert_int_equal(attempt_result_read(w->fd, ID, &result), 0);
        return result;
}

static bool is_done(const json_t *result) {
        return streq(args_text(result, "state", ""), "done");
}

static json_t *outputs(const json_t *result) {
        return json_object_get(result, "outputs");
}

static void wait_for(World *w, const char *file, const char *text) {
        for (int i = 0; i < 1000; i++) {
                _cleanup_free_ char *found = NULL;

                if (file_read(w->fd, file, 1 << 20, &found, NULL) >= 0 && strstr(found, text))
                        return;
                (void) usleep(10 * 1000);
        }
        fail_msg("%s never held %s", file, text);
}

static void a_service_outlives_its_attempt_with_all_it_starts(void **state) {
        World *w = *state;
        json_auto_t *result = NULL;
        _cleanup_free_ char *log = path_join(w->job, "service.log"), *text = NULL,
                            *environment = NULL, *path = NULL;
        pid_t service, child;

        begin(w, "service", "do",
              json_pack("{s:[s, s, s]}", "argv", "sh", "-c",
                        "(env -i sleep 300 & echo child $!); sleep 0.5; exec sleep 300"));
        result = end(w);
        assert_true(is_done(result));
        service = (pid_t) json_integer_value(json_object_get(outputs(result), "pid"));
        assert_int_equal(file_read(AT_FDCWD, log, 1000, &text, NULL), 0);
        assert_int_equal(sscanf(text, "child %d", &child), 1);
        assert_int_equal(getsid(service), service);
        assert_int_equal(kill(child, 0), 0);
        assert_int_equal(tree_signal_marked(ID, 0), 0);
        path = strf("/proc/%d/environ", (int) service);
        assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &environment, NULL), 0);
        assert_int_equal(kill(service, SIGKILL), 0);
        assert_int_equal(kill(child, SIGKILL), 0);
}

static void a_service_that_cannot_start_says_why(void **state) {
        World *w = *state;
        json_auto_t *result = NULL;

        begin(w, "service", "do", json_pack("{s:[s]}", "argv", "/no/such/program"));
        result = end(w);
        assert_string_equal(args_text(result, "reason", ""), "spawn");
        assert_non_null(strstr(args_text(json_object_get(result, "error"), "message", ""),
                               "/no/such/program"));
}

static void questions_are_told_and_answered_in_turn(void **state) {
        World *w = *state;
        json_auto_t *result = NULL;
        _cleanup_free_ char *progress = NULL, *log = NULL;

        begin(w, "ask", "do", json_object());
        wait_for(w, "progress", "Which colour?");
        assert_int_equal(attempt_answer_stage(w->fd, 1, "green"), 0);
        assert_int_equal(attempt_answer_deliver(w->fd, 1), 0);
        wait_for(w, "progress", "Which password?");
        assert_int_equal(attempt_answer_stage(w->fd, 2, "sesame"), 0);
        assert_int_equal(attempt_answer_deliver(w->fd, 2), 0);
        result = end(w);
        assert_true(is_done(result));
        assert_string_equal(args_text(outputs(result), "colour", ""), "green");
        assert_int_equal(file_read(w->fd, "progress", 1 << 20, &progress, NULL), 0);
        assert_non_null(strstr(progress, "\"answered\":1"));
        assert_non_null(strstr(progress, "\"echo\":false"));
        assert_int_equal(file_read(w->fd, "log", 1 << 20, &log, NULL), 0);
        assert_string_equal(log, "green and ********\n");
}

static void the_undo_record_is_masked_and_survives_attempts_and_torn_lines(void **state) {
        World *w = *state;
        json_auto_t *first = NULL, *second = NULL;
        _cleanup_free_ char *path = path_join(w->record, "undo");
        _cleanup_close_ int fd = -EBADF;
        const json_t *entries;

        begin(w, "note", "do", json_object());
        first = end(w);
        assert_true(is_done(first));
        fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
        assert_int_equal(write_all(fd, "{\"was\": \"to", 11), 0);
        begin(w, "note", "undo", json_object());
        second = end(w);
        assert_true(is_done(second));
        entries = json_object_get(outputs(second), "entries");
        assert_int_equal(json_array_size(entries), 2);
        assert_string_equal(args_text(json_array_get(entries, 0), "was", ""), "first ********");
        assert_string_equal(args_text(json_array_get(entries, 1), "was", ""), "second");
        assert_int_equal(json_integer_value(json_object_get(outputs(second), "n")), 3);
}

static void a_worker_that_dies_leaves_its_outputs(void **state) {
        World *w = *state;
        json_auto_t *result = NULL;

        begin(w, "crash", "do", json_object());
        result = end(w);
        assert_string_equal(args_text(result, "state", ""), "failed");
        assert_string_equal(args_text(result, "reason", ""), "signal");
        assert_true(json_is_true(json_object_get(outputs(result), "before")));
}

static void a_stop_wakes_a_verb_that_sleeps(void **state) {
        World *w = *state;
        json_auto_t *result = NULL;

        begin(w, "sleep", "do", json_object());
        (void) usleep(200 * 1000);
        assert_int_equal(attempt_stop_write(w->fd, "cancel"), 0);
        assert_int_equal(kill(w->pid, SIGTERM), 0);
        result = end(w);
        assert_string_equal(args_text(result, "reason", ""), "stopped");
}

static void an_unknown_verb_and_a_missing_undo_fail(void **state) {
        World *w = *state;
        json_auto_t *unknown = NULL, *missing = NULL;

        begin(w, "dance", "do", json_object());
        unknown = end(w);
        assert_string_equal(args_text(json_object_get(unknown, "error"), "type", ""),
                            "unknown-verb");
        begin(w, "sleep", "undo", json_object());
        missing = end(w);
        assert_string_equal(args_text(json_object_get(missing, "error"), "type", ""), "no-undo");
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_make, world_end)

int main(void) {
        const struct CMUnitTest tests[] = {
                WORLD_TEST(a_service_outlives_its_attempt_with_all_it_starts),
                WORLD_TEST(a_service_that_cannot_start_says_why),
                WORLD_TEST(questions_are_told_and_answered_in_turn),
                WORLD_TEST(the_undo_record_is_masked_and_survives_attempts_and_torn_lines),
                WORLD_TEST(a_worker_that_dies_leaves_its_outputs),
                WORLD_TEST(a_stop_wakes_a_verb_that_sleeps),
                WORLD_TEST(an_unknown_verb_and_a_missing_undo_fail),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
