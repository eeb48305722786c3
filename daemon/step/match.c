/* SPDX-License-Identifier: MIT */
/* PCRE2 behind two functions: see daemon/step/match.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "daemon/step/match.h"

#include <pcre2.h>

#include "api/text.h"

DEFINE_CLEANUP(pcre2_code *, pcre2_code_free)
DEFINE_CLEANUP(pcre2_match_data *, pcre2_match_data_free)
DEFINE_CLEANUP(pcre2_match_context *, pcre2_match_context_free)

/* Enough for any honest pattern; a pattern that explodes ends as an error instead of a hang. */
#define MATCH_STEPS_MAX 5000000U

static int compile(const char *pattern, pcre2_code **ret, Error *reterr) {
        PCRE2_SIZE where = 0;
        PCRE2_UCHAR why[160];
        int code = 0;

        *ret = pcre2_compile((PCRE2_SPTR) pattern, PCRE2_ZERO_TERMINATED,
                             PCRE2_MULTILINE | PCRE2_UTF, &code, &where, NULL);
        if (*ret)
                return 0;
        (void) pcre2_get_error_message(code, why, sizeof(why));
        return error_set(reterr, EINVAL, "bad-regex",
                         "'%s' is no regular expression: %s (at character %zu)", pattern,
                         (const char *) why, (size_t) where + 1);
}

static int group_of(const char *text, pcre2_match_data *data, int groups, char **ret) {
        PCRE2_SIZE *ends = pcre2_get_ovector_pointer(data);
        size_t k = groups > 1 && ends[2] != PCRE2_UNSET ? 1 : 0;

        *ret = strndup(text + ends[2 * k], ends[2 * k + 1] - ends[2 * k]);
        return *ret ? 0 : -ENOMEM;
}

static int match(const char *pattern, const char *text, size_t size, char **ret_group,
                 Error *reterr) {
        _cleanup_(pcre2_code_freep) pcre2_code *code = NULL;
        _cleanup_(pcre2_match_data_freep) pcre2_match_data *data = NULL;
        _cleanup_(pcre2_match_context_freep) pcre2_match_context *context = NULL;
        int r = compile(pattern, &code, reterr);

        if (ret_group)
                *ret_group = NULL;
        if (r < 0)
                return r;
        data = pcre2_match_data_create_from_pattern(code, NULL);
        context = pcre2_match_context_create(NULL);
        if (!data || !context)
                return error_oom(reterr);
        (void) pcre2_set_match_limit(context, MATCH_STEPS_MAX);
        r = pcre2_match(code, (PCRE2_SPTR) text, size, 0, PCRE2_NO_UTF_CHECK, data, context);
        if (r == PCRE2_ERROR_NOMATCH)
                return 0;
        if (r < 0)
                return error_set(reterr, EINVAL, "bad-regex",
                                 "'%s' gave up on this text (PCRE2 error %d)", pattern, r);
        if (ret_group && group_of(text, data, r, ret_group) < 0)
                return error_oom(reterr);
        return 1;
}

int match_text(const char *pattern, const char *text, size_t size, char **ret_group,
               Error *reterr) {
        _cleanup_free_ char *clean = NULL;

        if (utf8_is_text(text, size))
                return match(pattern, text, size, ret_group, reterr);
        clean = utf8_clean(text, size);
        return clean ? match(pattern, clean, strlen(clean), ret_group, reterr) : error_oom(reterr);
}

static int expect_one(const char *pattern, bool wanted, const char *text, size_t size,
                      const char *what, Error *reterr) {
        _cleanup_free_ char *found = NULL;
        int r = match_text(pattern, text, size, &found, reterr);

        if (r < 0 || (r > 0) == wanted)
                return MIN(r, 0);
        if (wanted)
                return error_set(reterr, EBADE, "check-failed", "%s does not have '%s'", what,
                                 pattern);
        return error_set(reterr, EBADE, "check-failed", "%s has '%s' ('%.200s')", what, pattern,
                         found);
}

static int expect_all(const json_t *patterns, bool wanted, const char *text, size_t size,
                      const char *what, Error *reterr) {
        const json_t *pattern;
        size_t i;

        if (json_is_string(patterns))
                return expect_one(json_string_value(patterns), wanted, text, size, what, reterr);
        json_array_foreach (patterns, i, pattern) {
                int r;

                if (!json_is_string(pattern))
                        continue;
                r = expect_one(json_string_value(pattern), wanted, text, size, what, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

int match_expect(const json_t *args, const char *text, size_t size, const char *what,
                 Error *reterr) {
        int r = expect_all(json_object_get(args, "has"), true, text, size, what, reterr);

        if (r < 0)
                return r;
        return expect_all(json_object_get(args, "lacks"), false, text, size, what, reterr);
}
