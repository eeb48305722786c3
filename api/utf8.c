/* SPDX-License-Identifier: MIT */
/* Bytes that need not be text, made into text: see api/text.h. */
#include "api/text.h"

/* RFC 3629: the second byte's range keeps overlong forms, surrogates and what lies beyond U+10FFFF
 * out; the further ones are 80 to BF. */
typedef struct Lead {
        unsigned char from, to, low, high;
        size_t length;
} Lead;

static const Lead leads[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

static bool follows(const Lead *lead, const unsigned char *p) {
        if (lead->length > 1 && (p[1] < lead->low || p[1] > lead->high))
                return false;
        for (size_t i = 2; i < lead->length; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return false;
        return true;
}

/* How many bytes the character at `p` takes; 0 when it is none, or NUL. */
static size_t utf8_length(const unsigned char *p, size_t left) {
        for (size_t i = 0; i < ELEMENTSOF(leads); i++)
                if (p[0] >= leads[i].from && p[0] <= leads[i].to)
                        return leads[i].length <= left && follows(&leads[i], p) ? leads[i].length
                                                                                : 0;
        return 0;
}

bool utf8_is_text(const char *text, size_t size) {
        for (size_t i = 0, n; i < size; i += n) {
                n = utf8_length((const unsigned char *) text + i, size - i);
                if (n == 0)
                        return false;
        }
        return true;
}

char *utf8_clean(const char *text, size_t size) {
        static const char replacement[] = "\xef\xbf\xbd";
        char *out = malloc(size * 3 + 1), *to = out;

        if (!out)
                return NULL;
        for (size_t i = 0; i < size;) {
                size_t n = utf8_length((const unsigned char *) text + i, size - i);
                bool good = n > 0;

                memcpy(to, good ? text + i : replacement, good ? n : 3);
                to += good ? n : 3;
                i += good ? n : 1;
        }
        *to = '\0';
        return out;
}

/* ---- names ---- */

/* U+10FF80 to U+10FFFF, which nobody uses, stand for the bytes 80 to FF. */
#define ESCAPE_SIZE 4

static bool is_escape(const char *p, size_t left) {
        return left >= ESCAPE_SIZE && memcmp(p, "\xf4\x8f", 2) == 0 &&
               ((unsigned char) p[2] & 0xfe) == 0xbe && ((unsigned char) p[3] & 0xc0) == 0x80;
}

static size_t put_escape(char *to, unsigned char byte) {
        const char escape[ESCAPE_SIZE] = {'\xf4', '\x8f', (char) (byte < 0xc0 ? 0xbe : 0xbf),
                                          (char) (0x80 | (byte & 0x3f))};

        memcpy(to, escape, ESCAPE_SIZE);
        return ESCAPE_SIZE;
}

char *name_to_text(const char *name) {
        size_t size = strlen(name), n;
        char *out = malloc(size * ESCAPE_SIZE + 1), *to = out;

        for (size_t i = 0; out && i < size; i += n) {
                n = utf8_length((const unsigned char *) name + i, size - i);
                if (n > 0 && !is_escape(name + i, size - i)) {
                        memcpy(to, name + i, n);
                        to += n;
                        continue;
                }
                n = 1;
                to += put_escape(to, (unsigned char) name[i]);
        }
        if (out)
                *to = '\0';
        return out;
}

char *name_from_text(const char *text) {
        char *out = strdup(text), *to = out;
        size_t left = strlen(text);

        while (out && left > 0) {
                size_t n = is_escape(text, left) ? ESCAPE_SIZE : 1;

                *to++ = n == 1 ? *text
                               : (char) (0x80 | ((unsigned char) text[2] & 1) << 6 |
                                         ((unsigned char) text[3] & 0x3f));
                text += n;
                left -= n;
        }
        if (out)
                *to = '\0';
        return out;
}
