/* SPDX-License-Identifier: MIT */
/* The bounded log, its end for the report, and the bounded capture of a child's output. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api/text.h"
#include "daemon/step/capture.h"
#include "daemon/step/logfile.h"

typedef struct Folder {
        char path[64];
        int fd;
} Folder;

static int folder_make(void **state) {
        Folder *f = calloc(1, sizeof(Folder));

        strcpy(f->path, "/tmp/test-logfile-XXXXXX");
        if (!mkdtemp(f->path))
                return -1;
        f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = f;
        return 0;
}

static int folder_remove(void **state) {
        Folder *f = *state;
        int r;

        (void) close(f->fd);
        r = remove_tree(f->path);
        free(f);
        return r;
}

static char *log_text(const Folder *f) {
        char *text = NULL;

        assert_int_equal(file_read(f->fd, "log", 1 << 20, &text, NULL), 0);
        return text;
}

/* `n` bytes of running digits, written in pieces of `piece`. */
static void write_digits(LogFile *log, size_t n, size_t piece) {
        _cleanup_free_ char *data = malloc(n);

        for (size_t i = 0; i < n; i++)
                data[i] = (char) ('0' + i % 10);
        for (size_t at = 0; at < n; at += piece)
                logfile_write(log, data + at, MIN(piece, n - at));
}

static void what_fits_is_kept_whole(void **state) {
        Folder *f = *state;
        _cleanup_(logfile_done) LogFile log = LOGFILE_INIT;
        _cleanup_free_ char *text = NULL;

        assert_int_equal(logfile_open(&log, f->fd, 20), 0);
        write_digits(&log, 20, 3);
        logfile_finish(&log);
        text = log_text(f);
        assert_string_equal(text, "01234567890123456789");
        assert_int_equal(logfile_dropped(&log), 0);
        assert_int_equal(logfile_size(&log), 20);
        assert_int_not_equal(faccessat(f->fd, "log.tail", F_OK, 0), 0);
}

static void the_middle_of_a_long_log_is_dropped_and_told(void **state) {
        Folder *f = *state;
        _cleanup_(logfile_done) LogFile log = LOGFILE_INIT;
        _cleanup_free_ char *text = NULL;

        assert_int_equal(logfile_open(&log, f->fd, 20), 0);
        write_digits(&log, 58, 7);
        logfile_finish(&log);
        text = log_text(f);
        assert_string_equal(text,
                            "0123456789\n[updd: 38 bytes of output were dropped here]\n8901234567");
        assert_int_equal(logfile_dropped(&log), 38);
        assert_int_equal(logfile_size(&log), strlen(text));
}

/* As if the writer had been killed: what stands on the disk is all there is. */
static void a_killed_writers_tail_is_joined_by_somebody_else(void **state) {
        Folder *f = *state;

        for (size_t n = 10; n < 60; n++) {
                LogFile log = LOGFILE_INIT;
                _cleanup_free_ char *text = NULL, *whole = NULL;

                assert_int_equal(logfile_open(&log, f->fd, 20), 0);
                write_digits(&log, n, 7);
                assert_int_equal(logtail_settle(f->fd), 0);
                text = log_text(f);
                logfile_done(&log);
                /* Once more by the book, which must come to the same. */
                assert_int_equal(unlinkat(f->fd, "log", 0), 0);
                assert_int_equal(logfile_open(&log, f->fd, 20), 0);
                write_digits(&log, n, 7);
                logfile_finish(&log);
                whole = log_text(f);
                assert_string_equal(text, whole);
                assert_int_equal(unlinkat(f->fd, "log", 0), 0);
                logfile_done(&log);
        }
        assert_int_equal(logtail_settle(f->fd), 0);
}

static void
a_torn_write_and_a_join_that_was_cut_short_cost_no_more_than_they_touched(void **state) {
        uint64_t header[5] = {10, 10, 0, 23, 25}; /* half, head, lost, ringed, going */
        Folder *f = *state;
        _cleanup_free_ char *text = NULL, *bytes = strf("updd-log%*s0123456789", 40, "");
        _cleanup_close_ int log = openat(f->fd, "log", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        _cleanup_close_ int tail = openat(f->fd, "log.tail", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

        memcpy(bytes + 8, header, sizeof(header));
        assert_int_equal(write_all(tail, bytes, 58), 0);
        assert_int_equal(write_all(log, "abcdefghij and half of a join", 29), 0);
        assert_int_equal(logtail_settle(f->fd), 0);
        text = log_text(f);
        /* Of 25 bytes 8 are left: two were being written, in place of two of the oldest. */
        assert_string_equal(text,
                            "abcdefghij\n[updd: 17 bytes of output were dropped here]\n56789012");
}

static void a_tail_that_makes_no_sense_is_left_alone(void **state) {
        Folder *f = *state;
        _cleanup_close_ int tail = openat(f->fd, "log.tail", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

        assert_int_equal(write_all(tail, "updd-log and then nonsense of some length", 41), 0);
        assert_int_equal(logtail_settle(f->fd), -EBADMSG);
        assert_int_equal(faccessat(f->fd, "log.tail", F_OK, 0), 0);
}

static void the_first_half_can_be_read_at_once(void **state) {
        Folder *f = *state;
        _cleanup_(logfile_done) LogFile log = LOGFILE_INIT;
        _cleanup_free_ char *text = NULL;

        assert_int_equal(logfile_open(&log, f->fd, 20), 0);
        write_digits(&log, 5, 5);
        text = log_text(f);
        assert_string_equal(text, "01234");
}

static void the_tail_has_the_last_lines(void **state) {
        Folder *f = *state;
        _cleanup_(logfile_done) LogFile log = LOGFILE_INIT;
        json_auto_t *tail = NULL, *wanted = json_pack("[s, s, s]", "b", "", "c\xef\xbf\xbd");

        assert_int_equal(logfile_open(&log, f->fd, 1000), 0);
        logfile_write(&log, "a\nb\r\n\nc\xff", 8);
        tail = logfile_tail(&log, 3);
        assert_true(json_equal(tail, wanted));
}

static void the_tail_outlives_the_ring_of_recent_bytes(void **state) {
        Folder *f = *state;
        _cleanup_(logfile_done) LogFile log = LOGFILE_INIT;
        json_auto_t *tail = NULL;

        assert_int_equal(logfile_open(&log, f->fd, 100), 0);
        for (int i = 0; i < 20000; i++) {
                _cleanup_free_ char *line = strf("line %d\n", i);

                logfile_write(&log, line, strlen(line));
        }
        tail = logfile_tail(&log, 20);
        assert_int_equal(json_array_size(tail), 20);
        assert_string_equal(json_string_value(json_array_get(tail, 0)), "line 19980");
        assert_string_equal(json_string_value(json_array_get(tail, 19)), "line 19999");
}

static void an_empty_log_has_an_empty_tail(void **state) {
        Folder *f = *state;
        _cleanup_(logfile_done) LogFile log = LOGFILE_INIT;
        json_auto_t *tail = NULL;

        assert_int_equal(logfile_open(&log, f->fd, 100), 0);
        tail = logfile_tail(&log, 20);
        assert_int_equal(json_array_size(tail), 0);
}

static void what_is_no_utf8_is_replaced(void **state) {
        static const char *const pairs[][2] = {
                {"plain", "plain"},
                {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
                {"\xc3", "\xef\xbf\xbd"},
                {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
                {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
                {"a\xe2\x82", "a\xef\xbf\xbd\xef\xbf\xbd"},
        };

        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                _cleanup_free_ char *out = utf8_clean(pairs[i][0], strlen(pairs[i][0]));

                assert_string_equal(out, pairs[i][1]);
        }
}

static void assert_comes_back(const char *name) {
        _cleanup_free_ char *text = name_to_text(name), *back = NULL;

        assert_true(utf8_is_text(text, strlen(text)));
        back = name_from_text(text);
        assert_string_equal(back, name);
}

/* Every byte beside every other, and what looks as if it had been converted already. */
static void a_name_that_is_no_text_comes_back_as_it_was(void **state) {
        _cleanup_free_ char *twice = name_to_text("caf\xe9 \xf4\x8f\xbf\xa9");
        _cleanup_free_ char *same = name_to_text("plain \xc3\xa9");

        for (unsigned a = 1; a < 256; a++)
                for (unsigned b = 1; b < 256; b++)
                        assert_comes_back((const char[]){(char) a, (char) b, 'x', (char) a, '\0'});
        assert_comes_back("\xf4\x8f\xbe\x80\xf4\x8f\xbf\xbf\xf4\x8f\xbf");
        assert_comes_back(twice);
        assert_comes_back("");
        assert_string_equal(same, "plain \xc3\xa9");
}

static void a_capture_keeps_both_ends(void **state) {
        for (size_t piece = 1; piece < 40; piece++) {
                _cleanup_(capture_done) Capture c;
                _cleanup_free_ char *out = NULL;
                char data[101];

                capture_init(&c, 10);
                for (size_t i = 0; i < 100; i++)
                        data[i] = (char) ('0' + i % 10);
                data[100] = '\0';
                for (size_t at = 0; at < 100; at += piece)
                        assert_int_equal(capture_add(&c, data + at, MIN(piece, 100 - at)), 0);
                out = capture_take(&c, NULL, NULL);
                assert_string_equal(out, "01234\n[… 90 bytes …]\n56789");
        }
}

static void a_capture_that_fits_is_whole(void **state) {
        _cleanup_(capture_done) Capture c;
        _cleanup_free_ char *out = NULL;
        size_t size;

        capture_init(&c, 10);
        assert_int_equal(capture_add(&c, "0123456789", 10), 0);
        out = capture_take(&c, NULL, &size);
        assert_string_equal(out, "0123456789");
        assert_int_equal(size, 10);
}

static void a_capture_drops_the_secrets_that_its_cut_tears(void **state) {
        _cleanup_(capture_done) Capture c;
        _cleanup_(masks_done) Masks masks = {0};
        _cleanup_free_ char *out = NULL;

        assert_int_equal(masks_add(&masks, "SECRET"), 0);
        capture_init(&c, 20);
        assert_int_equal(capture_add(&c, "12345SECRET and more and SECRET7890", 35), 0);
        out = capture_take(&c, &masks, NULL);
        assert_string_equal(out, "12345\n[… 26 bytes …]\n7890");
}

#define FOLDER_TEST(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)

int main(void) {
        const struct CMUnitTest tests[] = {
                FOLDER_TEST(what_fits_is_kept_whole),
                FOLDER_TEST(the_middle_of_a_long_log_is_dropped_and_told),
                FOLDER_TEST(a_killed_writers_tail_is_joined_by_somebody_else),
                FOLDER_TEST(
                        a_torn_write_and_a_join_that_was_cut_short_cost_no_more_than_they_touched),
                FOLDER_TEST(a_tail_that_makes_no_sense_is_left_alone),
                FOLDER_TEST(the_first_half_can_be_read_at_once),
                FOLDER_TEST(the_tail_has_the_last_lines),
                FOLDER_TEST(the_tail_outlives_the_ring_of_recent_bytes),
                FOLDER_TEST(an_empty_log_has_an_empty_tail),
                cmocka_unit_test(what_is_no_utf8_is_replaced),
                cmocka_unit_test(a_name_that_is_no_text_comes_back_as_it_was),
                cmocka_unit_test(a_capture_keeps_both_ends),
                cmocka_unit_test(a_capture_that_fits_is_whole),
                cmocka_unit_test(a_capture_drops_the_secrets_that_its_cut_tears),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
