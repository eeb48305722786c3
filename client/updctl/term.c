/* SPDX-License-Identifier: MIT */
/* Rows, colours and widths: see term.h. The cleaning itself is in clean.c. */
#include "client/updctl/term.h"

#include <assert.h>
#include <langinfo.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#define WIDTH_MAX 400

static const char *const codes[] = {
        [PLAIN] = "",         [BOLD] = "\033[1m",  [DIM] = "\033[2m",   [GOOD] = "\033[32m",
        [BAD] = "\033[1;31m", [WARN] = "\033[33m", [NOTE] = "\033[36m",
};
static_assert(ELEMENTSOF(codes) == _STYLE_MAX, "each style has its code");

void screen_measure(Screen *s) {
        struct winsize size;

        if (!s->tty)
                return;
        s->width = 80;
        s->height = 24;
        if (ioctl(fileno(s->f), TIOCGWINSZ, &size) < 0)
                return;
        if (size.ws_col > 0)
                s->width = MIN(size.ws_col, WIDTH_MAX);
        if (size.ws_row > 0)
                s->height = size.ws_row;
}

void screen_init(Screen *s, FILE *f, bool no_colour) {
        const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
        bool dumb = isempty(term) || streq(term, "dumb");

        *s = (Screen){.f = f, .tty = isatty(fileno(f))};
        s->moves = s->tty && !dumb;
        s->colour = s->moves && !no_colour && isempty(no);
        s->utf8 = streq(nl_langinfo(CODESET), "UTF-8");
        screen_measure(s);
}

/* The colour ends before the last newline, so that a line holds all of its own codes. */
static void write_styled(const Screen *s, Style style, const char *text) {
        size_t size = strlen(text), end = size > 0 && text[size - 1] == '\n' ? size - 1 : size;
        bool colour = s->colour && style != PLAIN && end > 0;

        if (colour)
                (void) fputs(codes[style], s->f);
        (void) fwrite(text, 1, end, s->f);
        if (colour)
                (void) fputs("\033[0m", s->f);
        (void) fputs(text + end, s->f);
}

void put(const Screen *s, Style style, const char *format, ...) {
        _cleanup_free_ char *raw = NULL, *text = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&raw, format, ap);
        va_end(ap);
        if (n < 0) {
                raw = NULL;
                return;
        }
        text = text_clean(raw, (size_t) n, true);
        if (text)
                write_styled(s, style, text);
}

static void write_spaces(const Screen *s, int n) {
        for (; n > 0; n--)
                (void) fputc(' ', s->f);
}

/* Cuts a clean text to `width` columns, marking the cut. */
static void clip(const Screen *s, char *text, int width) {
        const char *mark = s->utf8 ? "\u2026" : "~";
        char *last = text;

        if (text_width(text) <= width)
                return;
        if (width <= 0) {
                *text = '\0';
                return;
        }
        for (char *p = text; *p;) {
                char *next = p + 1, saved;

                while ((*next & 0xc0) == 0x80)
                        next++;
                saved = *next;
                *next = '\0';
                if (text_width(text) > width - 1) {
                        *next = saved;
                        break;
                }
                *next = saved;
                last = p = next;
        }
        /* The mark may be longer than what it replaces only in bytes that are there: the text was
         * wider than the window, so at least one more character follows, and the buffer has room
         * (see cell_text). */
        strcpy(last, mark);
}

/* Clean, on one line, with room for the mark of a cut. */
static char *cell_text(const char *text) {
        _cleanup_free_ char *clean = text_clean(text ? text : "", text ? strlen(text) : 0, false);

        return clean ? strf("%s    ", clean) : NULL;
}

static int put_cell(const Screen *s, const Cell *cell, int room) {
        _cleanup_free_ char *text = cell_text(cell->text);
        int width = cell->width < 0 ? -cell->width : cell->width, own;

        if (!text)
                return 0;
        text[strlen(text) - 4] = '\0';
        own = text_width(text);
        if (width == 0)
                width = own;
        if (s->tty && room < width)
                width = MAX(room, 0);
        /* Off a terminal a column only pads: whoever reads a pipe wants the whole value. */
        if (s->tty)
                clip(s, text, width);
        own = text_width(text);
        if (cell->width < 0)
                write_spaces(s, width - own);
        write_styled(s, cell->style, text);
        return cell->width < 0 ? MAX(width, own) : own;
}

void put_row(const Screen *s, int indent, const Cell *cells, size_t n) {
        int room = (s->width > 0 ? s->width : WIDTH_MAX) - indent, debt = indent;

        while (n > 0 && isempty(cells[n - 1].text))
                n--;
        for (size_t i = 0; i < n; i++) {
                int used, want = MAX(cells[i].width, -cells[i].width);

                if (s->tty && room <= 0)
                        break;
                write_spaces(s, debt);
                used = put_cell(s, &cells[i], room);
                debt = MAX(want, used) - used + 2;
                room -= MAX(want, used) + 2;
        }
        (void) fputc('\n', s->f);
}

/* How many bytes of the paragraph fit into `width` columns, cut between words where possible. */
static size_t fit_words(const char *text, size_t size, int width) {
        size_t fits = 0, space = 0;

        for (size_t i = 0; i < size; i++) {
                _cleanup_free_ char *head = NULL;

                if ((text[i + 1] & 0xc0) == 0x80)
                        continue;
                head = strndup(text, i + 1);
                if (!head || text_width(head) > width)
                        break;
                fits = i + 1;
                if (text[i] == ' ')
                        space = i;
                if (i + 1 == size || text[i + 1] == ' ')
                        space = i + 1;
        }
        if (fits >= size)
                return size;
        return space > 0 ? space : MAX(fits, (size_t) 1);
}

static void put_paragraph(const Screen *s, int column, Style style, const char *text, size_t size,
                          bool *first) {
        int width = s->width > 0 ? MAX(s->width - column, 20) : INT32_MAX;

        do {
                size_t n = s->width > 0 ? fit_words(text, size, width) : size;
                _cleanup_free_ char *line = strndup(text, n);

                if (!*first)
                        write_spaces(s, column);
                *first = false;
                write_styled(s, style, line ? line : "");
                (void) fputc('\n', s->f);
                while (n < size && text[n] == ' ')
                        n++;
                text += n;
                size -= n;
        } while (size > 0);
}

void put_text(const Screen *s, int indent, const char *label, Style style, const char *text) {
        _cleanup_free_ char *clean = text_clean(text, strlen(text), true);
        bool first = true;

        if (!clean)
                return;
        write_spaces(s, indent);
        (void) fputs(label, s->f);
        for (const char *p = clean; p;) {
                size_t n = strcspn(p, "\n");

                put_paragraph(s, indent + text_width(label), style, p, n, &first);
                p = p[n] && p[n + 1] ? p + n + 1 : NULL;
        }
}

void put_lines(const Screen *s, int indent, const json_t *lines) {
        const char *bar = s->utf8 ? "\u2502" : "|";
        json_t *line;
        size_t i;

        json_array_foreach ((json_t *) lines, i, line)
                put_cells(s, indent, {DIM, 1, bar}, {PLAIN, 0, json_string_value(line)});
}
