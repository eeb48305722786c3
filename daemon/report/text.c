/* SPDX-License-Identifier: MIT */
/* Values of the report's document as texts for people. */
#include "daemon/report/writer.h"

#include <inttypes.h>

#include "api/text.h"

const char *text_of(const json_t *object, const char *key) {
        return json_string_value(json_object_get(object, key));
}

int64_t int_of(const json_t *object, const char *key) {
        return json_integer_value(json_object_get(object, key));
}

const char *step_name(const json_t *object, const char *key) {
        const char *name = text_of(object, key);

        return name ? name + (*name == '@') : "";
}

/* The length of the escape sequence that begins at `s` (ESC), at least 1. */
static size_t escape_length(const char *s) {
        size_t n = 1;

        if (s[n] == '[') { /* CSI: parameters, then one final byte */
                n++;
                while (s[n] >= 0x20 && s[n] < 0x40)
                        n++;
                return s[n] >= 0x40 && s[n] < 0x7f ? n + 1 : n;
        }
        if (s[n] == ']') { /* OSC: to BEL or ESC \ */
                while (s[n] && s[n] != '\a' && s[n] != '\033' && s[n] != '\n')
                        n++;
                return s[n] == '\a' ? n + 1 : s[n] == '\033' && s[n + 1] == '\\' ? n + 2 : n;
        }
        return s[n] > 0x20 && s[n] < 0x7f ? 2 : 1;
}

/* Characters that would change what a reader sees: C1 controls, directions, line separators. */
static size_t sly_length(const unsigned char *s) {
        if (s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0)
                return 2;
        if (s[0] == 0xe2 && s[1] == 0x80 &&
            (s[2] == 0x8e || s[2] == 0x8f || (s[2] >= 0xa8 && s[2] <= 0xae)))
                return 3;
        if (s[0] == 0xe2 && s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9)
                return 3;
        return 0;
}

char *text_clean(const char *text) {
        static const char replacement[] = "\xef\xbf\xbd";
        char *out = malloc(strlen(text) * 3 + 1), *o = out;

        for (const char *p = text; out && *p;) {
                size_t sly = sly_length((const unsigned char *) p);

                if (*p == '\033') {
                        p += escape_length(p);
                } else if (sly > 0 || ((unsigned char) *p < 0x20 && !strchr("\t\r\n", *p)) ||
                           *p == 0x7f) {
                        o = stpcpy(o, replacement);
                        p += MAX(sly, (size_t) 1);
                } else if (*p == '\t' || *p == '\r') {
                        *o++ = ' ';
                        p++;
                } else
                        *o++ = *p++;
        }
        if (out)
                *o = '\0';
        return out;
}

const char *moment_of(const json_t *object, const char *key, char buf[static MOMENT_MAX]) {
        const char *text = text_of(object, key);

        if (!text || strlen(text) < strlen("2026-01-31T12:34:56"))
                return "";
        (void) snprintf(buf, MOMENT_MAX, "%.10s %.8s UTC", text, text + 11);
        return buf;
}

char *span_text(int64_t ms) {
        int64_t s = ms / 1000;

        if (ms < 0)
                return strdup("");
        if (ms < 1000)
                return strf("%" PRId64 " ms", ms);
        if (s < 60)
                return strf("%" PRId64 ".%" PRId64 " s", s, ms % 1000 / 100);
        if (s < 3600)
                return strf("%" PRId64 " min %02" PRId64 " s", s / 60, s % 60);
        return strf("%" PRId64 " h %02" PRId64 " min", s / 3600, s % 3600 / 60);
}

char *span_of(const json_t *object, const char *key) {
        const json_t *ms = json_object_get(object, key);

        return span_text(json_is_integer(ms) ? json_integer_value(ms) : -1);
}

char *value_text(const json_t *value) {
        if (json_is_string(value))
                return strdup(json_string_value(value));
        return value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : strdup("");
}

char *joined(const json_t *array, const char *key) {
        char *out = strdup("");
        json_t *item;
        size_t i;

        json_array_foreach ((json_t *) array, i, item) {
                const char *text = key ? step_name(item, key) : json_string_value(item);
                char *longer =
                        out ? strf("%s%s%s", out, i > 0 ? ", " : "", text ? text : "") : NULL;

                free(out);
                out = longer;
        }
        return out;
}

void fact(Writer *w, const char *name, const char *value) {
        if (!isempty(value))
                row_of(w, name, value);
}
