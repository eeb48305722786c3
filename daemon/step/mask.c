/* SPDX-License-Identifier: MIT */
/* Masking: see mask.h. */
#include "daemon/step/mask.h"

#include <ctype.h>
#include <nettle/base64.h>

#include "api/args.h"

#define LINE_MIN 8 /* a line of a secret (of a key, say) is masked by itself from this length */

void masks_done(Masks *m) {
        for (size_t i = 0; i < m->n; i++)
                free(m->patterns[i]);
        free(m->patterns);
        *m = (Masks){0};
}

/* Steals `pattern`, NULL included. */
static int add_pattern(Masks *m, char *pattern) {
        _cleanup_free_ char *owned = pattern;
        char **grown;

        if (!owned)
                return -ENOMEM;
        if (strlen(owned) < MASK_MIN)
                return 0;
        for (size_t i = 0; i < m->n; i++)
                if (streq(m->patterns[i], owned))
                        return 0;
        grown = reallocarray(m->patterns, m->n + 1, sizeof(char *));
        if (!grown)
                return -ENOMEM;
        m->patterns = grown;
        m->first[(unsigned char) owned[0]] = true;
        m->patterns[m->n++] = TAKE(owned);
        return 0;
}

/* `quoted` is a JSON text with its quotes; "/" may be written as "\/", which nobody does. */
static int add_json(Masks *m, const char *secret, size_t flags) {
        json_auto_t *text = json_string(secret);
        _cleanup_free_ char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY | flags) : NULL;

        if (!text)
                return 0; /* not UTF-8: it has no spelling in JSON */
        if (!quoted)
                return -ENOMEM;
        return add_pattern(m, strndup(quoted + 1, strlen(quoted) - 2));
}

static int add_url(Masks *m, const char *secret, bool upper) {
        char *out = malloc(strlen(secret) * 3 + 1), *p = out;

        if (!out)
                return -ENOMEM;
        for (const unsigned char *c = (const unsigned char *) secret; *c; c++)
                if (isalnum(*c) || strchr("-._~", *c))
                        *p++ = (char) *c;
                else
                        p += sprintf(p, upper ? "%%%02X" : "%%%02x", *c);
        *p = '\0';
        return add_pattern(m, out);
}

static int add_base64(Masks *m, const char *secret) {
        size_t n = strlen(secret);
        char *out = calloc(1, BASE64_ENCODE_RAW_LENGTH(n) + 1);

        if (!out)
                return -ENOMEM;
        base64_encode_raw(out, n, (const uint8_t *) secret);
        /* The last group changes when something follows the secret. */
        out[n / 3 * 4] = '\0';
        return add_pattern(m, out);
}

static int add_lines(Masks *m, const char *secret) {
        for (const char *line = secret; *line;) {
                size_t n = strcspn(line, "\r\n");

                if (n >= LINE_MIN && add_pattern(m, strndup(line, n)) < 0)
                        return -ENOMEM;
                line += n + (line[n] != '\0');
        }
        return 0;
}

int masks_add(Masks *m, const char *secret) {
        if (strlen(secret) < MASK_MIN)
                return 0;
        if (add_pattern(m, strdup(secret)) < 0 || add_lines(m, secret) < 0 ||
            add_json(m, secret, 0) < 0 || add_json(m, secret, JSON_ENSURE_ASCII) < 0 ||
            add_url(m, secret, true) < 0 || add_url(m, secret, false) < 0)
                return -ENOMEM;
        return strlen(secret) < 6 ? 0 : add_base64(m, secret);
}

/* The longest pattern that stands at `p`, 0 when none does. `*ret_open`: with more bytes a (longer)
 * one might. */
static size_t match_here(const Masks *m, const char *p, size_t left, bool *ret_open) {
        size_t longest = 0;

        *ret_open = false;
        if (!m->first[(unsigned char) *p])
                return 0;
        for (size_t i = 0; i < m->n; i++) {
                size_t n = strlen(m->patterns[i]);

                if (memcmp(m->patterns[i], p, MIN(n, left)) != 0)
                        continue;
                if (n > left)
                        *ret_open = true;
                else
                        longest = MAX(longest, n);
        }
        return longest;
}

/* Does what is left look like at least half of a secret? */
static bool looks_cut(const Masks *m, const char *p, size_t left) {
        for (size_t i = 0; i < m->n; i++) {
                size_t n = strlen(m->patterns[i]);

                if (n > left && left * 2 >= n && left >= MASK_MIN &&
                    memcmp(m->patterns[i], p, left) == 0)
                        return true;
        }
        return false;
}

typedef struct Output {
        char *data;
        size_t size, room;
} Output;

static int output_add(Output *o, const char *data, size_t size) {
        if (o->room - o->size < size + 1) {
                size_t room = (o->size + size + 1) * 2;
                char *grown = realloc(o->data, room);

                if (!grown)
                        return -ENOMEM;
                o->data = grown;
                o->room = room;
        }
        memcpy(o->data + o->size, data, size);
        o->size += size;
        o->data[o->size] = '\0';
        return 0;
}

/* How many bytes from here on no secret can begin at: most of any text. */
static size_t plain_run(const Masks *m, const char *p, size_t left) {
        size_t n = 0;

        while (n < left && !m->first[(unsigned char) p[n]])
                n++;
        return n;
}

/* Masks `data`; returns how many bytes are settled. Overlapping secrets become one mask. */
static ssize_t mask_run(const Masks *m, const char *data, size_t size, bool final, size_t *covered,
                        Output *out) {
        size_t cover = *covered, i = 0;

        while (i < size) {
                size_t n = i >= cover ? plain_run(m, data + i, size - i) : 0;
                bool open;

                if (n > 0) {
                        if (output_add(out, data + i, n) < 0)
                                return -ENOMEM;
                        i += n;
                        continue;
                }
                n = match_here(m, data + i, size - i, &open);
                if (open && !final)
                        break;
                if (n == 0 && final && looks_cut(m, data + i, size - i))
                        n = size - i;
                if (n > 0 && i >= cover && output_add(out, MASK_TEXT, strlen(MASK_TEXT)) < 0)
                        return -ENOMEM;
                cover = MAX(cover, n > 0 ? i + n : 0);
                if (i >= cover && output_add(out, data + i, 1) < 0)
                        return -ENOMEM;
                i++;
        }
        *covered = cover > i ? cover - i : 0;
        return (ssize_t) i;
}

char *masks_text(const Masks *m, const char *text, size_t size, size_t *ret_size) {
        Output out = {0};
        size_t covered = 0;

        if (output_add(&out, "", 0) < 0 || mask_run(m, text, size, true, &covered, &out) < 0) {
                free(out.data);
                return NULL;
        }
        if (ret_size)
                *ret_size = out.size;
        return out.data;
}

bool masks_found(const Masks *m, const char *text, size_t min) {
        for (size_t i = 0; i < m->n; i++)
                if (strlen(m->patterns[i]) >= min && strstr(text, m->patterns[i]))
                        return true;
        return false;
}

/* The most bytes of the text's end that some secret begins with (of its beginning: ends with). */
static size_t overlap(const Masks *m, const char *text, size_t size, bool at_end) {
        size_t most = 0;

        for (size_t i = 0; i < m->n; i++) {
                size_t n = strlen(m->patterns[i]);

                for (size_t k = MIN(n, size); k > most; k--)
                        if (memcmp(at_end ? text + size - k : text,
                                   at_end ? m->patterns[i] : m->patterns[i] + n - k, k) == 0)
                                most = k;
        }
        return most;
}

size_t masks_whole_end(const Masks *m, const char *text, size_t size) {
        for (size_t n; (n = overlap(m, text, size, true)) > 0;)
                size -= n;
        return size;
}

size_t masks_whole_begin(const Masks *m, const char *text, size_t size) {
        size_t at = 0;

        for (size_t n; (n = overlap(m, text + at, size - at, false)) > 0;)
                at += n;
        return at;
}

static json_t *mask_string(const Masks *m, const char *text, size_t size) {
        static const char replacement[] = "\xef\xbf\xbd";
        _cleanup_free_ char *masked = masks_text(m, text, size, &size), *clean = NULL;
        size_t n = 0;

        if (!masked)
                return NULL;
        if (!memchr(masked, '\0', size)) {
                /* Masking never cuts a character: patterns are whole texts, or ASCII. */
                json_t *whole = json_stringn(masked, size);

                return whole ? whole : json_string(MASK_TEXT);
        }
        clean = malloc(size * 3 + 1);
        if (!clean)
                return NULL;
        for (size_t i = 0; i < size; i++)
                if (masked[i])
                        clean[n++] = masked[i];
                else {
                        memcpy(clean + n, replacement, 3);
                        n += 3;
                }
        return json_stringn(clean, n);
}

static json_t *mask_object(const Masks *m, const json_t *value) {
        json_auto_t *out = json_object();
        const char *key;
        json_t *item;

        json_object_foreach ((json_t *) value, key, item) {
                _cleanup_free_ char *masked = masks_text(m, key, strlen(key), NULL);

                if (!masked || json_put(out, masked, masks_json(m, item)) < 0)
                        return NULL;
        }
        return TAKE(out);
}

json_t *masks_json(const Masks *m, const json_t *value) {
        json_auto_t *out = NULL;
        json_t *item;
        size_t i;

        if (json_is_string(value))
                return mask_string(m, json_string_value(value), json_string_length(value));
        if (json_is_object(value))
                return mask_object(m, value);
        if (!json_is_array(value))
                return json_deep_copy(value);
        out = json_array();
        json_array_foreach ((json_t *) value, i, item) {
                if (json_array_append_new(out, masks_json(m, item)) < 0)
                        return NULL;
        }
        return TAKE(out);
}

void mask_stream_done(MaskStream *s) {
        free(s->held);
        *s = (MaskStream){0};
}

int mask_stream_feed(MaskStream *s, const Masks *m, const char *data, size_t size, bool final,
                     char **out, size_t *out_size) {
        Output o = {.data = *out, .size = *out_size, .room = *out_size};
        char *all = realloc(s->held, s->n_held + size + 1);
        ssize_t done;

        if (!all)
                return -ENOMEM;
        s->held = all;
        if (size > 0)
                memcpy(all + s->n_held, data, size);
        s->n_held += size;
        done = mask_run(m, all, s->n_held, final, &s->covered, &o);
        *out = o.data;
        *out_size = o.size;
        if (done < 0)
                return -ENOMEM;
        s->n_held -= (size_t) done;
        memmove(s->held, s->held + done, s->n_held);
        return 0;
}
