/* SPDX-License-Identifier: MIT */
/*
 * A report as Markdown (CommonMark with GitHub's tables). Texts are one line each with every
 * character escaped that could begin markup, HTML or a link; what was printed stands in code blocks
 * whose fences are longer than any run of backticks inside.
 */
#include "daemon/report/writer.h"

/* Whether the character at `p` would mean something where it stands. */
static bool is_markup(const char *text, const char *p) {
        bool numbered = p > text && strspn(text, "0123456789") == (size_t) (p - text);

        if (strchr("\\`*_{}[]<>#|~&$!@^=", *p))
                return true;
        /* At a line's beginning these make lists. */
        if ((p == text && strchr("+-", *p)) || (numbered && strchr(".)", *p)))
                return true;
        return *p == ':' && p[1] == '/';
}

static void put(Writer *w, const char *raw) {
        _cleanup_free_ char *text = raw ? text_clean(raw) : NULL;
        const char *from = text;

        while (from && *from == ' ')
                from++;
        for (const char *p = from; p && *p; p++) {
                /* Four spaces would be code, two at the end a line break. */
                if (*p == '\n' || *p == ' ') {
                        while (p[1] == '\n' || p[1] == ' ')
                                p++;
                        if (p[1])
                                (void) fputc(' ', w->f);
                        continue;
                }
                /* "www." is a link by itself: an escaped dot breaks it. */
                if (is_markup(from, p) ||
                    (*p == '.' && p - from >= 3 && strncmp(p - 3, "www", 3) == 0))
                        (void) fputc('\\', w->f);
                (void) fputc(*p, w->f);
        }
}

static void md_heading(Writer *w, unsigned level, const char *text) {
        (void) fprintf(w->f, "%.*s ", (int) level, "######");
        put(w, text);
        (void) fputs("\n\n", w->f);
}

static void md_begin(Writer *w, const char *title) {
        md_heading(w, 1, title);
}

static void md_paragraph(Writer *w, Tone tone, const char *text) {
        if (isempty(text))
                return;
        if (tone == TONE_BAD || tone == TONE_WARN || tone == TONE_GOOD)
                (void) fputs("**", w->f);
        put(w, text);
        if (tone != TONE_PLAIN)
                (void) fputs("**", w->f);
        (void) fputs("\n\n", w->f);
}

static void md_end(Writer *w, const char *words) {
        (void) fputs("---\n\n", w->f);
        put(w, words);
        (void) fputc('\n', w->f);
}

static void md_row(Writer *w, const char *const *cells) {
        for (size_t i = 0; i < w->columns; i++) {
                (void) fputs("| ", w->f);
                put(w, cells[i] ? cells[i] : "");
                (void) fputc(' ', w->f);
        }
        (void) fputs("|\n", w->f);
}

static void md_table_begin(Writer *w, const char *const *heads, size_t n) {
        static const char *const none[COLUMNS_MAX] = {NULL};

        w->columns = n;
        md_row(w, heads ? heads : none);
        for (size_t i = 0; i < n; i++)
                (void) fputs("| --- ", w->f);
        (void) fputs("|\n", w->f);
}

static void md_table_end(Writer *w) {
        (void) fputc('\n', w->f);
}

static size_t longest_run(const json_t *lines) {
        size_t longest = 0, i;
        json_t *line;

        json_array_foreach ((json_t *) lines, i, line) {
                const char *text = json_string_value(line);

                for (const char *p = text; p && *p;) {
                        size_t n = strspn(p, "`");

                        longest = MAX(longest, n);
                        p += n + strcspn(p + n, "`");
                }
        }
        return longest;
}

static void put_fence(Writer *w, size_t n) {
        for (size_t i = 0; i < n; i++)
                (void) fputc('`', w->f);
        (void) fputc('\n', w->f);
}

static void md_lines(Writer *w, const json_t *lines) {
        /* Cleaning takes characters out from between backticks, so it comes first. */
        json_auto_t *clean = json_array();
        size_t fence, i;
        json_t *line;

        json_array_foreach ((json_t *) lines, i, line) {
                const char *text = json_string_value(line);
                _cleanup_free_ char *plain = text_clean(text ? text : "");

                (void) json_array_append_new(clean, json_string(plain ? plain : ""));
        }
        fence = MAX(longest_run(clean) + 1, (size_t) 3);
        put_fence(w, fence);
        json_array_foreach (clean, i, line)
                (void) fprintf(w->f, "%s\n", json_string_value(line));
        put_fence(w, fence);
        (void) fputc('\n', w->f);
}

int report_markdown(const json_t *report, char **ret) {
        Writer w = {
                .begin = md_begin,
                .end = md_end,
                .heading = md_heading,
                .paragraph = md_paragraph,
                .table_begin = md_table_begin,
                .row = md_row,
                .table_end = md_table_end,
                .lines = md_lines,
        };

        return writer_run(&w, report, ret);
}
