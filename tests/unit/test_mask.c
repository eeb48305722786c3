/* SPDX-License-Identifier: MIT */
/* Secrets stay out of what is written, however it is cut into pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/step/mask.h"

static char *masked(const Masks *m, const char *text) {
        return masks_text(m, text, strlen(text), NULL);
}

/* The stream over `text`, in pieces of `piece` bytes. */
static char *streamed(const Masks *m, const char *text, size_t piece) {
        _cleanup_(mask_stream_done) MaskStream s = {0};
        size_t size = strlen(text), out_size = 0;
        char *out = NULL;

        for (size_t at = 0; at < size; at += piece)
                assert_int_equal(mask_stream_feed(&s, m, text + at, MIN(piece, size - at), false,
                                                  &out, &out_size),
                                 0);
        assert_int_equal(mask_stream_feed(&s, m, "", 0, true, &out, &out_size), 0);
        return out ? out : strdup("");
}

static void each_spelling_is_masked(void **state) {
        static const char *const texts[] = {
                "a\"b/c d\xc3\xa9",    /* as it is */
                "a\\\"b/c d\xc3\xa9",  /* JSON */
                "a\\\"b/c d\\u00E9",   /* JSON in ASCII */
                "a%22b%2Fc%20d%C3%A9", /* URL */
                "a%22b%2fc%20d%c3%a9", /* URL, lower case */
        };
        _cleanup_(masks_done) Masks m = {0};

        assert_int_equal(masks_add(&m, texts[0]), 0);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_free_ char *text = strf("<%s>", texts[i]), *out = masked(&m, text);

                assert_string_equal(out, "<" MASK_TEXT ">");
        }
}

static void base64_is_masked(void **state) {
        _cleanup_(masks_done) Masks m = {0};
        _cleanup_free_ char *out = NULL;

        assert_int_equal(masks_add(&m, "abcdef"), 0);
        out = masked(&m, "YWJjZGVm");
        assert_string_equal(out, MASK_TEXT);
}

static void a_long_line_of_a_key_is_masked_by_itself(void **state) {
        _cleanup_(masks_done) Masks m = {0};
        _cleanup_free_ char *out = NULL;

        assert_int_equal(masks_add(&m, "-----BEGIN-----\nMIIEpAIBAAKC\nshort\n"), 0);
        out = masked(&m, "x MIIEpAIBAAKC short");
        assert_string_equal(out, "x " MASK_TEXT " short");
}

static void very_short_secrets_would_only_spoil_the_log(void **state) {
        _cleanup_(masks_done) Masks m = {0};
        _cleanup_free_ char *out = NULL;

        assert_int_equal(masks_add(&m, "y"), 0);
        assert_int_equal(masks_add(&m, ""), 0);
        out = masked(&m, "yes, y");
        assert_string_equal(out, "yes, y");
}

static void overlapping_secrets_leave_nothing(void **state) {
        _cleanup_(masks_done) Masks m = {0};
        _cleanup_free_ char *out = NULL, *longest = NULL;

        assert_int_equal(masks_add(&m, "abcXdef"), 0);
        assert_int_equal(masks_add(&m, "defYghi"), 0);
        assert_int_equal(masks_add(&m, "abc"), 0);
        out = masked(&m, "-abcXdefYghi-abc-");
        assert_string_equal(out, "-" MASK_TEXT "-" MASK_TEXT "-");
        longest = masked(&m, "abcXdef");
        assert_string_equal(longest, MASK_TEXT);
}

static void any_cut_gives_the_same(void **state) {
        static const char text[] = "tok token tokentoken to\ntoke abcabcabd end token";
        _cleanup_(masks_done) Masks m = {0};
        _cleanup_free_ char *whole = NULL;

        assert_int_equal(masks_add(&m, "token"), 0);
        assert_int_equal(masks_add(&m, "abcabd"), 0);
        whole = masked(&m, text);
        assert_string_equal(whole,
                            "tok ******** **************** to\ntoke abc******** end ********");
        for (size_t piece = 1; piece <= sizeof(text); piece++) {
                _cleanup_free_ char *out = streamed(&m, text, piece);

                assert_string_equal(out, whole);
        }
}

static void a_prompt_is_not_held_back(void **state) {
        _cleanup_(masks_done) Masks m = {0};
        _cleanup_(mask_stream_done) MaskStream s = {0};
        _cleanup_free_ char *out = NULL;
        size_t size = 0;

        assert_int_equal(masks_add(&m, "swordfish"), 0);
        assert_int_equal(mask_stream_feed(&s, &m, "Password: ", 10, false, &out, &size), 0);
        assert_string_equal(out, "Password: ");
        assert_int_equal(mask_stream_feed(&s, &m, "sword", 5, false, &out, &size), 0);
        assert_int_equal(size, 10);
        assert_int_equal(mask_stream_feed(&s, &m, "smith", 5, false, &out, &size), 0);
        assert_string_equal(out, "Password: swordsmith");
}

static void a_secret_that_is_cut_off_at_the_end_is_masked(void **state) {
        _cleanup_(masks_done) Masks m = {0};
        _cleanup_free_ char *most = NULL, *little = NULL;

        assert_int_equal(masks_add(&m, "swordfish"), 0);
        most = streamed(&m, "it is swordfi", 4);
        assert_string_equal(most, "it is " MASK_TEXT);
        little = streamed(&m, "it is sw", 3);
        assert_string_equal(little, "it is sw");
}

static void json_is_masked_in_depth_and_has_no_nul(void **state) {
        _cleanup_(masks_done) Masks m = {0};
        json_auto_t *value = json_pack("{s:[s, i, {s:s}], s:s%}", "list", "x token y", 7, "token",
                                       "z", "nul", "a\0b", (size_t) 3);
        json_auto_t *wanted = json_pack("{s:[s, i, {s:s}], s:s}", "list", "x ******** y", 7,
                                        "********", "z", "nul",
                                        "a\xef\xbf\xbd"
                                        "b");
        json_auto_t *out = NULL;

        assert_int_equal(masks_add(&m, "token"), 0);
        out = masks_json(&m, value);
        assert_true(json_equal(out, wanted));
}

static void a_secret_is_found_when_long_enough(void **state) {
        _cleanup_(masks_done) Masks m = {0};

        assert_int_equal(masks_add(&m, "abcd"), 0);
        assert_true(masks_found(&m, "xabcdx", 3));
        assert_false(masks_found(&m, "xabcdx", 6));
        assert_false(masks_found(&m, "xabcx", 3));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_spelling_is_masked),
                cmocka_unit_test(base64_is_masked),
                cmocka_unit_test(a_long_line_of_a_key_is_masked_by_itself),
                cmocka_unit_test(very_short_secrets_would_only_spoil_the_log),
                cmocka_unit_test(overlapping_secrets_leave_nothing),
                cmocka_unit_test(any_cut_gives_the_same),
                cmocka_unit_test(a_prompt_is_not_held_back),
                cmocka_unit_test(a_secret_that_is_cut_off_at_the_end_is_masked),
                cmocka_unit_test(json_is_masked_in_depth_and_has_no_nul),
                cmocka_unit_test(a_secret_is_found_when_long_enough),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
