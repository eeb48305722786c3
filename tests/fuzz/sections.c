/* SPDX-License-Identifier: MIT */
/* Inputs of several texts: see fuzz.h. */
#include "fuzz.h"

#define MARK "=== "
#define SECTIONS_MAX 64

void fuzz_broken(const char *file, int line, const char *promise) {
        (void) fprintf(stderr, "%s:%d: a promise is broken: %s\n", file, line, promise);
        abort();
}

static Section section_new(const char *name, size_t name_size, const char *text, size_t size) {
        Section s = {.name = strndup(name, name_size), .text = malloc(size + 1), .size = size};

        if (!s.name || !s.text)
                abort();
        if (size > 0)
                memcpy(s.text, text, size);
        s.text[size] = '\0';
        return s;
}

/* Where the next line that begins with the mark stands, or `end`. */
static const char *next_mark(const char *p, const char *end) {
        while (p < end) {
                const char *newline;

                if ((size_t) (end - p) >= strlen(MARK) && memcmp(p, MARK, strlen(MARK)) == 0)
                        return p;
                newline = memchr(p, '\n', (size_t) (end - p));
                p = newline ? newline + 1 : end;
        }
        return end;
}

Sections sections_read(const uint8_t *data, size_t size) {
        const char *p = (const char *) data, *end = p + size, *at = next_mark(p, end);
        Sections s = {.list = calloc(SECTIONS_MAX, sizeof(Section))};

        if (!s.list)
                abort();
        s.list[s.n++] = section_new("", 0, p, (size_t) (at - p));
        while (at < end && s.n < SECTIONS_MAX) {
                const char *name = at + strlen(MARK);
                const char *newline = memchr(name, '\n', (size_t) (end - name));
                const char *text = newline ? newline + 1 : end;

                at = next_mark(text, end);
                s.list[s.n++] = section_new(name, (size_t) ((newline ? newline : end) - name), text,
                                            (size_t) (at - text));
        }
        return s;
}

void sections_done(Sections *s) {
        for (size_t i = 0; i < s->n; i++) {
                free(s->list[i].name);
                free(s->list[i].text);
        }
        free(s->list);
        *s = (Sections){0};
}

const Section *section_find(const Sections *s, const char *name) {
        for (size_t i = 0; i < s->n; i++)
                if (streq(s->list[i].name, name))
                        return &s->list[i];
        return NULL;
}

char *section_with(const Section *section, const char *word, const char *value, size_t *ret_size) {
        const char *p = section->text, *end = p + section->size;
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                abort();
        while (p < end) {
                const char *hit = memmem(p, (size_t) (end - p), word, strlen(word));
                const char *stop = hit ? hit : end;

                (void) fwrite(p, 1, (size_t) (stop - p), f);
                if (hit)
                        (void) fputs(value, f);
                p = hit ? hit + strlen(word) : end;
        }
        if (fclose(f) != 0)
                abort();
        *ret_size = size;
        return text;
}
