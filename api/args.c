/* SPDX-License-Identifier: MIT */
/* Typed reads out of JSON objects: see api/args.h. */
#include "api/args.h"

#include <stdarg.h>

#include "api/text.h"

static const json_t *args_get(const json_t *args, const char *key) {
        const json_t *v = json_object_get(args, key);

        return json_is_null(v) ? NULL : v;
}

static int args_fault(Error *reterr, const char *key, const json_t *value, const char *expected) {
        _cleanup_free_ char *found = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

        return error_set(reterr, EINVAL, "bad-value", "'%s' is %.60s, expected %s", key,
                         found ? found : "unreadable", expected);
}

const char *args_text(const json_t *args, const char *key, const char *fallback) {
        const json_t *v = args_get(args, key);

        return json_is_string(v) ? json_string_value(v) : fallback;
}

int args_ms(const json_t *args, const char *key, int64_t fallback, int64_t *ret, Error *reterr) {
        const json_t *v = args_get(args, key);
        int64_t ms = fallback;

        if (v && (!json_is_string(v) || duration_parse(json_string_value(v), &ms) < 0))
                return args_fault(reterr, key, v, "a duration such as 500ms, 5s, 10m, 2h or 1d");
        *ret = ms;
        return 0;
}

int args_bytes(const json_t *args, const char *key, int64_t fallback, int64_t *ret, Error *reterr) {
        const json_t *v = args_get(args, key);
        int64_t bytes = fallback;

        if (v && (!json_is_string(v) || size_parse(json_string_value(v), &bytes) < 0))
                return args_fault(reterr, key, v, "a size such as 64K, 10M or 1G");
        *ret = bytes;
        return 0;
}

int args_share(const json_t *args, const char *key, int64_t *ret, Error *reterr) {
        const json_t *v = args_get(args, key);
        int64_t us = 0;

        if (v && (!json_is_string(v) || share_parse(json_string_value(v), &us) < 0))
                return args_fault(reterr, key, v, "a share of a processor such as 50%");
        *ret = us;
        return 0;
}

static int text_to_int(const char *text, int64_t *ret) {
        char *end = NULL;
        long long n;

        errno = 0;
        n = strtoll(text, &end, 10);
        if (errno != 0 || end == text || *end)
                return -EINVAL;
        *ret = n;
        return 0;
}

int args_int(const json_t *args, const char *key, int64_t fallback, int64_t *ret, Error *reterr) {
        const json_t *v = args_get(args, key);
        int64_t n = fallback;

        if (json_is_integer(v))
                n = json_integer_value(v);
        else if (v && (!json_is_string(v) || text_to_int(json_string_value(v), &n) < 0))
                return args_fault(reterr, key, v, "a whole number");
        *ret = n;
        return 0;
}

static int text_to_bool(const char *text) {
        static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (streq(text, words[i]))
                        return (int) (i % 2);
        return -EINVAL;
}

int args_bool(const json_t *args, const char *key, bool fallback, bool *ret, Error *reterr) {
        const json_t *v = args_get(args, key);
        int r = fallback;

        if (json_is_boolean(v))
                r = json_is_true(v);
        else if (v)
                r = json_is_string(v) ? text_to_bool(json_string_value(v)) : -EINVAL;
        if (r < 0)
                return args_fault(reterr, key, v, "yes or no");
        *ret = r > 0;
        return 0;
}

bool json_has_text(const json_t *list, const char *text) {
        json_t *item;
        size_t i;

        if (!text)
                return false;
        json_array_foreach ((json_t *) list, i, item) {
                if (streq0(json_string_value(item), text))
                        return true;
        }
        return false;
}

char *json_canonical(const json_t *value) {
        return json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
}

int json_put(json_t *object, const char *key, json_t *value) {
        if (!value)
                return -ENOMEM;
        return json_object_set_new(object, key, value) < 0 ? -ENOMEM : 0;
}

int json_putf(json_t *object, const char *key, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0) {
                text = NULL;
                return -ENOMEM;
        }
        return json_put(object, key, json_string(text));
}
