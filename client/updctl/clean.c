/* SPDX-License-Identifier: MIT */
/*
 * Takes out of a text whatever a terminal would obey: escape sequences (ECMA-48) whole, control
 * characters of both sets, and the Unicode marks that turn the order of what is read around.
 */
#include <wchar.h>

#include "client/updctl/term.h"

/* Bytes of the escape sequence that starts at `p`, where an ESC stands. */
static size_t escape_size(const char *p, const char *end) {
        const char *q = p + 1;

        if (q >= end)
                return 1;
        if (*q == '[') {
                for (q++; q < end && *q >= 0x20 && *q <= 0x3f; q++)
                        ;
                return (size_t) (q - p) + (q < end && *q >= 0x40 && *q <= 0x7e);
        }
        if (strchr("]PX^_", *q)) { /* strings, ended by BEL or ESC \ */
                for (q++; q < end && *q != '\a' && *q != '\n'; q++)
                        if (*q == '\033')
                                return (size_t) (q - p) + (q + 1 < end && q[1] == '\\' ? 2 : 0);
                return (size_t) (q - p) + (q < end && *q == '\a');
        }
        while (q < end && *q >= 0x20 && *q <= 0x2f)
                q++;
        return (size_t) (q - p) + (q < end && *q >= 0x30 && *q <= 0x7e);
}

/* Bytes of the character at `p` and its value; 0 when it is no UTF-8. */
static size_t decode(const char *p, const char *end, uint32_t *ret) {
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        unsigned char c = (unsigned char) *p;
        size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        uint32_t v = n == 1 ? c : c & (0xffu >> (n + 1));

        if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || (size_t) (end - p) < n)
                return 0;
        for (size_t i = 1; i < n; i++) {
                if (((unsigned char) p[i] & 0xc0) != 0x80)
                        return 0;
                v = v << 6 | ((unsigned char) p[i] & 0x3f);
        }
        if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
                return 0;
        *ret = v;
        return n;
}

static bool turns_text(uint32_t v) {
        return v == 0x061c || v == 0x200e || v == 0x200f || (v >= 0x2028 && v <= 0x202e) ||
               (v >= 0x2066 && v <= 0x2069) || v == 0xfeff;
}

/* A progress bar draws over its line with carriage returns: what was drawn last counts. */
static bool starts_line_over(const char *p, const char *end) {
        return p + 1 < end && p[1] != '\n' && p[1] != '\r';
}

char *text_clean(const char *text, size_t size, bool newlines) {
        char *out = malloc(2 * size + 1), *o = out, *line = out;
        const char *end = text + size;

        for (const char *p = text; out && p < end;) {
                uint32_t v = 0;
                size_t n = decode(p, end, &v);

                if (v == '\033')
                        n = escape_size(p, end);
                else if (n == 0)
                        *o++ = '?', n = 1;
                else if (v == '\n') {
                        *o++ = newlines ? '\n' : ' ';
                        line = o;
                } else if (v == '\t')
                        *o++ = ' ';
                else if (v == '\r')
                        o = starts_line_over(p, end) ? line : o;
                else if (v >= 0x20 && v != 0x7f && !(v >= 0x80 && v < 0xa0) && !turns_text(v)) {
                        memcpy(o, p, n);
                        o += n;
                }
                p += n;
        }
        if (out)
                *o = '\0';
        return out;
}

int text_width(const char *text) {
        const char *end = text + strlen(text);
        int width = 0;

        while (text < end) {
                uint32_t v = 0;
                size_t n = decode(text, end, &v);
                int columns = n > 0 ? wcwidth((wchar_t) v) : 1;

                width += columns >= 0 ? columns : 1;
                text += n > 0 ? n : 1;
        }
        return width;
}
