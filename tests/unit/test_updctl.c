/* SPDX-License-Identifier: MIT */
/* What updctl lets through to a terminal, how wide it takes it to be, and how it reads its line. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api/text.h"
#include "client/updctl/ctl.h"

static void assert_clean(const char *text, const char *expected) {
        _cleanup_free_ char *clean = text_clean(text, strlen(text), true);

        assert_string_equal(clean, expected);
}

static void escape_sequences_are_taken_out_whole(void **state) {
        assert_clean("a\033[31mb\033[0mc", "abc");
        assert_clean("a\033[?25lb\033[2Jc", "abc");
        assert_clean("a\033]0;title\ab", "ab");
        assert_clean("a\033]0;title\033\\b", "ab");
        assert_clean("a\033Pq#0\033\\b", "ab");
        assert_clean("a\033(Bb\033=c\033cd", "abcd");
}

static void a_sequence_that_is_cut_off_swallows_no_later_line(void **state) {
        assert_clean("a\033", "a");
        assert_clean("a\033[", "a");
        assert_clean("a\033[31", "a");
        assert_clean("a\033[31\nb", "a\nb");
        assert_clean("a\033]0;title\nb", "a\nb");
        assert_clean("\033\033[31mb", "b");
}

static void control_characters_of_both_sets_are_dropped(void **state) {
        assert_clean("a\x01\x07\x08\x7f"
                     "b\tc",
                     "ab c");
        assert_clean("a\xc2\x85"
                     "b\xc2\x9b"
                     "31mc",
                     "ab31mc");
        assert_clean("a\u202eb\u2066c\u200fd\ufeff", "abcd");
}

static void a_carriage_return_draws_over_its_line(void **state) {
        assert_clean("10%\r100%\ndone\r\n", "100%\ndone\n");
        assert_clean("first\n10%\r20%\r", "first\n20%");
}

static void what_is_no_utf_8_becomes_a_question_mark(void **state) {
        assert_clean("a\xff"
                     "b\xc3",
                     "a?b?");
        assert_clean("\xc0\xaf", "??");           /* overlong */
        assert_clean("\xed\xa0\x80", "???");      /* a surrogate */
        assert_clean("\xf4\x90\x80\x80", "????"); /* beyond Unicode */
        assert_clean("gr\u00fc\u00df \u2713 \U0001f600", "gr\u00fc\u00df \u2713 \U0001f600");
}

static void every_pair_of_bytes_comes_out_harmless(void **state) {
        for (unsigned i = 0; i < 65536; i++) {
                char text[] = {'x', (char) (i >> 8), (char) i, 'y', '\0'};
                _cleanup_free_ char *clean = text_clean(text, 4, false);

                for (const unsigned char *p = (unsigned char *) clean; *p; p++)
                        assert_true(*p >= 0x20 && *p != 0x7f);
        }
}

static void wide_and_combining_characters_have_their_width(void **state) {
        assert_int_equal(text_width("abc"), 3);
        assert_int_equal(text_width("\u2713"), 1);
        assert_int_equal(text_width("\u6f22\u5b57"), 4);
        assert_int_equal(text_width("e\u0301"), 1);
}

/* A terminal of that width, written into memory. */
static Screen memory_screen(char **text, size_t *size, int width) {
        Screen s = {.tty = true, .utf8 = true, .width = width, .height = 24};

        s.f = open_memstream(text, size);
        return s;
}

static void a_row_is_never_wider_than_the_window(void **state) {
        static const char *const texts[] = {"short", "a text that is much too long for its cell",
                                            "\u6f22\u5b57\u6f22\u5b57\u6f22\u5b57\u6f22\u5b57"};

        for (int width = 1; width < 60; width++)
                for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                        _cleanup_free_ char *out = NULL;
                        size_t size;
                        Screen s = memory_screen(&out, &size, width);

                        put_cells(&s, 2, {PLAIN, 1, "+"}, {PLAIN, 10, texts[i]},
                                  {PLAIN, 0, texts[i]}, {PLAIN, -8, "1m02s"});
                        assert_int_equal(fclose(s.f), 0);
                        out[strcspn(out, "\n")] = '\0';
                        assert_true(text_width(out) <= MAX(width, 2));
                }
}

static void a_long_text_is_wrapped_between_words(void **state) {
        _cleanup_free_ char *out = NULL;
        size_t size;
        Screen s = memory_screen(&out, &size, 30);

        put_text(&s, 2, "asks: ", PLAIN, "one two three four five six\nseven");
        assert_int_equal(fclose(s.f), 0);
        assert_string_equal(out, "  asks: one two three four\n"
                                 "        five six\n"
                                 "        seven\n");
}

static int parse(Args *args, const char *a, const char *b, const char *c, const char *d) {
        char *argv[] = {(char *) "updctl", (char *) a, (char *) b, (char *) c, (char *) d, NULL};
        _cleanup_free_ char *out = NULL;
        int argc = 1, r;
        size_t size;
        Screen s = {0};

        while (argc < 5 && argv[argc])
                argc++;
        s.f = open_memstream(&out, &size);
        r = args_parse(args, argc, argv, &s);
        assert_int_equal(fclose(s.f), 0);
        return r;
}

static void an_option_of_several_commands_is_the_given_commands_own(void **state) {
        _cleanup_(args_done) Args list = {0}, confirm = {0};

        assert_int_equal(parse(&list, "list", "--all", NULL, NULL), 0);
        assert_true(args_has(&list, OPT_ALL_JOBS) && !args_has(&list, OPT_ALL_ITEMS));
        assert_int_equal(parse(&confirm, "--all", "confirm", "42", NULL), 0);
        assert_true(args_has(&confirm, OPT_ALL_ITEMS) && !args_has(&confirm, OPT_ALL_JOBS));
        assert_string_equal(args_word(&confirm, 0), "42");
}

static void what_follows_two_dashes_is_no_option(void **state) {
        _cleanup_(args_done) Args args = {0};

        assert_int_equal(parse(&args, "answer", "--", "42", "--yes"), 0);
        assert_string_equal(args_word(&args, 1), "--yes");
}

static void every_command_has_options_that_have_rows(void **state) {
        for (size_t i = 0; i < n_commands; i++) {
                assert_ptr_equal(command_find(commands[i].name), &commands[i]);
                assert_true(commands[i].min <= commands[i].max);
                for (size_t k = 0; k < ELEMENTSOF(commands[i].options); k++)
                        if (commands[i].options[k] != OPT_NONE)
                                assert_non_null(option_row(commands[i].options[k]));
        }
        for (int id = OPT_NONE + 1; id < _OPT_MAX; id++)
                assert_non_null(option_row((OptionId) id));
}

static void slips_of_the_keyboard_are_understood(void **state) {
        assert_string_equal(command_nearest("strat"), "start");
        assert_string_equal(command_nearest("rollbck"), "rollback");
        assert_string_equal(command_nearest("stat"), "status");
        assert_null(command_nearest("frobnicate"));
}

static void spans_are_short_and_exact(void **state) {
        static const struct {
                int64_t ms;
                const char *text, *words;
        } rows[] = {
                {-5, "0.0s", "0 s"},
                {1234, "1.2s", "1 s"},
                {59999, "59s", "59 s"},
                {62000, "1m02s", "1 min"},
                {47 * 60000, "47m00s", "47 min"},
                {185 * 60000, "3h05m", "3 h 05 min"},
                {INT64_C(52) * 3600000, "2d04h", "2 days 4 h"},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_free_ char *text = span_text(rows[i].ms);
                _cleanup_free_ char *words = long_span_text(rows[i].ms);

                assert_string_equal(text, rows[i].text);
                assert_string_equal(words, rows[i].words);
        }
}

static void an_escaped_name_is_one_part_of_a_path(void **state) {
        _cleanup_free_ char *escaped = url_escape("a b/c?d#\u00fc~.-_");

        assert_string_equal(escaped, "a%20b%2Fc%3Fd%23%C3%BC~.-_");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(escape_sequences_are_taken_out_whole),
                cmocka_unit_test(a_sequence_that_is_cut_off_swallows_no_later_line),
                cmocka_unit_test(control_characters_of_both_sets_are_dropped),
                cmocka_unit_test(a_carriage_return_draws_over_its_line),
                cmocka_unit_test(what_is_no_utf_8_becomes_a_question_mark),
                cmocka_unit_test(every_pair_of_bytes_comes_out_harmless),
                cmocka_unit_test(wide_and_combining_characters_have_their_width),
                cmocka_unit_test(a_row_is_never_wider_than_the_window),
                cmocka_unit_test(a_long_text_is_wrapped_between_words),
                cmocka_unit_test(an_option_of_several_commands_is_the_given_commands_own),
                cmocka_unit_test(what_follows_two_dashes_is_no_option),
                cmocka_unit_test(every_command_has_options_that_have_rows),
                cmocka_unit_test(slips_of_the_keyboard_are_understood),
                cmocka_unit_test(spans_are_short_and_exact),
                cmocka_unit_test(an_escaped_name_is_one_part_of_a_path),
        };

        if (!setlocale(LC_CTYPE, "C.UTF-8"))
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
