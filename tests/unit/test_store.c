/* SPDX-License-Identifier: MIT */
/* The store over real database files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "daemon/store/store.h"

typedef struct Fixture {
        char dir[64];
        char *db;
        Store *store;
} Fixture;

static int set_up(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));
        _cleanup_error_ Error error = ERROR_INIT;

        (void) snprintf(f->dir, sizeof(f->dir), "/tmp/updd-store-XXXXXX");
        if (!mkdtemp(f->dir))
                return -1;
        f->db = path_join(f->dir, "updd.db");
        *state = f;
        return store_open(f->dir, &f->store, &error);
}

static int tear_down(void **state) {
        Fixture *f = *state;

        store_free(f->store);
        (void) remove_tree(f->dir);
        free(f->db);
        free(f);
        return 0;
}

static JobRow row(int64_t id, const char *state, int64_t version) {
        return (JobRow){.id = id,
                        .plan = id % 2 ? "odd" : "even",
                        .title = "A title",
                        .target = "web",
                        .state = state,
                        .who = "uid:0 (root)",
                        .sha256 = "abc",
                        .created = 1000 + id,
                        .version = version,
                        .live = !streq(state, "succeeded"),
                        .data = "{}"};
}

static void insert(Store *s, int64_t id, const char *state) {
        JobRow r = row(id, state, 1);

        assert_int_equal(store_job_insert(s, &r, NULL), 0);
}

static int collect(void *userdata, const JobRow *r) {
        json_array_append_new(userdata, json_integer(r->id));
        return 0;
}

static void assert_page(Store *s, const char *state, const char *plan, int64_t before,
                        unsigned limit, const char *expected) {
        json_auto_t *ids = json_array();
        _cleanup_free_ char *text = NULL;

        assert_int_equal(store_jobs_page(s, state, plan, NULL, before, limit, collect, ids, NULL),
                         0);
        text = json_dumps(ids, JSON_COMPACT);
        assert_string_equal(text, expected);
}

static void what_was_committed_is_there_after_reopening(void **state) {
        Fixture *f = *state;

        assert_int_equal(store_begin(f->store, NULL), 0);
        insert(f->store, 1, "running");
        assert_int_equal(store_commit(f->store, NULL), 0);
        assert_int_equal(store_begin(f->store, NULL), 0);
        insert(f->store, 2, "running");
        assert_int_equal(store_reopen(f->store, NULL), 0);
        assert_page(f->store, NULL, NULL, 0, 10, "[1]");
}

static void a_transition_is_compare_and_set(void **state) {
        Fixture *f = *state;
        JobRow r = row(1, "waiting", 2);
        _cleanup_error_ Error error = ERROR_INIT;

        insert(f->store, 1, "running");
        assert_int_equal(store_job_update(f->store, &r, "queued", 1, &error), -ESTALE);
        assert_int_equal(store_job_update(f->store, &r, "running", 7, &error), -ESTALE);
        assert_int_equal(store_job_update(f->store, &r, "running", 1, &error), 0);
        assert_int_equal(store_job_update(f->store, &r, "running", 1, &error), -ESTALE);
}

static void events_of_a_job_have_each_number_once(void **state) {
        Fixture *f = *state;
        json_auto_t *events = NULL;

        insert(f->store, 1, "running");
        for (int64_t seq = 1; seq <= 3; seq++)
                assert_int_equal(store_event_add(f->store, 1, seq, 5, "created", "one", 1, "me",
                                                 "{\"a\":1}", NULL),
                                 0);
        assert_true(store_event_add(f->store, 1, 2, 5, "created", NULL, 0, NULL, NULL, NULL) < 0);
        assert_int_equal(store_events(f->store, 1, 1, 10, &events, NULL), 0);
        assert_int_equal(json_array_size(events), 2);
        assert_int_equal(json_integer_value(json_object_get(json_array_get(events, 0), "seq")), 2);
}

static void pages_go_from_the_newest_and_filter(void **state) {
        Fixture *f = *state;

        for (int64_t id = 1; id <= 6; id++)
                insert(f->store, id, id <= 3 ? "succeeded" : "running");
        assert_page(f->store, NULL, NULL, 0, 4, "[6,5,4,3]");
        assert_page(f->store, NULL, NULL, 3, 4, "[2,1]");
        assert_page(f->store, "succeeded", NULL, 0, 2, "[3,2]");
        assert_page(f->store, NULL, "odd", 0, 9, "[5,3,1]");
        assert_page(f->store, "unfinished", NULL, 6, 9, "[5,4]");
}

static void a_job_number_is_never_given_twice(void **state) {
        Fixture *f = *state;
        sqlite3 *db = NULL;
        int64_t last = 0;

        insert(f->store, 41, "succeeded");
        f->store = store_free(f->store);
        assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, "DELETE FROM job", NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        assert_int_equal(store_open(f->dir, &f->store, NULL), 0);
        assert_int_equal(store_last_job(f->store, &last, NULL), 0);
        assert_int_equal(last, 41);
}

static void a_second_daemon_cannot_open_it(void **state) {
        Fixture *f = *state;
        _cleanup_error_ Error error = ERROR_INIT;
        Store *second = NULL;

        assert_int_equal(store_begin(f->store, NULL), 0);
        assert_int_equal(store_commit(f->store, NULL), 0);
        assert_int_equal(store_open(f->dir, &second, &error), -EBUSY);
        assert_null(second);
        assert_non_null(strstr(error.message, "in use"));
}

static char *bytes_of(const char *path) {
        char hash[SHA256_TEXT_MAX];
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(sha256_fd(fd, hash, NULL), 0);
        close(fd);
        return strdup(hash);
}

static void a_newer_schema_is_refused_and_left_untouched(void **state) {
        Fixture *f = *state;
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_free_ char *before = NULL, *after = NULL;
        sqlite3 *db = NULL;

        f->store = store_free(f->store);
        assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode = DELETE; PRAGMA user_version = 999",
                                      NULL, NULL, NULL),
                         SQLITE_OK);
        sqlite3_close(db);
        before = bytes_of(f->db);
        assert_int_equal(store_open(f->dir, &f->store, &error), -ENOTSUP);
        assert_non_null(strstr(error.message, "newer"));
        after = bytes_of(f->db);
        assert_string_equal(before, after);
}

static void a_damaged_file_is_refused_with_what_to_do(void **state) {
        Fixture *f = *state;
        _cleanup_error_ Error error = ERROR_INIT, verdict = ERROR_INIT;
        int fd, version = 0;

        f->store = store_free(f->store);
        fd = open(f->db, O_WRONLY | O_CLOEXEC | O_TRUNC);
        assert_int_equal(write_all(fd, "this is no database, it is a text of some length", 48), 0);
        close(fd);
        assert_int_equal(store_open(f->dir, &f->store, &error), -EUCLEAN);
        assert_non_null(strstr(error.hint, "--check-state"));
        assert_int_equal(store_open_readers(f->dir, &f->store, &version, &verdict), -EUCLEAN);
}

static void an_idempotency_key_keeps_its_first_answer(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *fingerprint = NULL, *reply = NULL;

        assert_int_equal(store_request_get(f->store, "k", &fingerprint, &reply, NULL), 0);
        assert_int_equal(store_request_put(f->store, "k", "abc", 10, "{}", NULL), 0);
        assert_true(store_request_put(f->store, "k", "xyz", 11, "[]", NULL) < 0);
        assert_int_equal(store_request_get(f->store, "k", &fingerprint, &reply, NULL), 1);
        assert_string_equal(fingerprint, "abc");
}

static bool key_is_known(Fixture *f, const char *key) {
        _cleanup_free_ char *fingerprint = NULL, *reply = NULL;

        return store_request_get(f->store, key, &fingerprint, &reply, NULL) == 1;
}

static void an_old_key_is_forgotten_but_not_because_the_clock_is_ahead(void **state) {
        Fixture *f = *state;

        assert_int_equal(store_request_put(f->store, "old", "a", 10, "{}", NULL), 0);
        assert_int_equal(store_requests_prune(f->store, 1000000, 5, NULL), 0);
        assert_true(key_is_known(f, "old"));
        assert_int_equal(store_request_put(f->store, "new", "b", 16, "{}", NULL), 0);
        assert_int_equal(store_requests_prune(f->store, 15, 5, NULL), 0);
        assert_true(key_is_known(f, "old"));
        assert_int_equal(store_requests_prune(f->store, 1000000, 5, NULL), 0);
        assert_false(key_is_known(f, "old"));
        assert_true(key_is_known(f, "new"));
}

static int assert_readable(void *userdata, const JobRow *r) {
        (*(unsigned *) userdata)++;
        assert_string_equal(r->plan, "");   /* null */
        assert_string_equal(r->target, ""); /* no UTF-8 */
        assert_null(r->title);              /* may be null, and is no UTF-8 */
        assert_string_equal(r->state, "running");
        return 0;
}

/* Its columns are NOT NULL, but a damaged schema says otherwise. */
static void a_row_without_its_texts_is_read_as_empty_texts(void **state) {
        static const char damage[] =
                "PRAGMA writable_schema = ON;"
                "UPDATE sqlite_schema SET sql = replace(sql, 'plan TEXT NOT NULL', 'plan TEXT') "
                "WHERE name = 'job'; PRAGMA writable_schema = RESET;"
                "UPDATE job SET plan = NULL, target = CAST(x'61ff' AS TEXT), "
                "title = CAST(x'eda080' AS TEXT);";
        Fixture *f = *state;
        sqlite3 *db = NULL;
        unsigned n = 0;

        insert(f->store, 1, "running");
        f->store = store_free(f->store);
        assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, damage, NULL, NULL, NULL), SQLITE_OK);
        (void) sqlite3_close(db);
        assert_int_equal(store_open(f->dir, &f->store, NULL), 0);
        assert_int_equal(store_jobs_live(f->store, assert_readable, &n, NULL), 0);
        assert_int_equal(n, 1);
}

static void the_state_folder_is_for_its_owner_only(void **state) {
        Fixture *f = *state;
        struct stat st;

        assert_int_equal(stat(f->db, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(what_was_committed_is_there_after_reopening),
                TEST(a_transition_is_compare_and_set),
                TEST(events_of_a_job_have_each_number_once),
                TEST(pages_go_from_the_newest_and_filter),
                TEST(a_job_number_is_never_given_twice),
                TEST(a_second_daemon_cannot_open_it),
                TEST(a_newer_schema_is_refused_and_left_untouched),
                TEST(a_damaged_file_is_refused_with_what_to_do),
                TEST(an_idempotency_key_keeps_its_first_answer),
                TEST(an_old_key_is_forgotten_but_not_because_the_clock_is_ahead),
                TEST(a_row_without_its_texts_is_read_as_empty_texts),
                TEST(the_state_folder_is_for_its_owner_only),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
