/* SPDX-License-Identifier: MIT */
/*
 * What reaches the terminal. Everything goes through these functions, and they let no control
 * character through: what steps and services print may hold escape sequences, and a terminal would
 * obey them. Colours and widths are applied after that cleaning. On anything but a terminal
 * there are no colours and nothing is clipped or wrapped.
 */
#pragma once

#include "api/util.h"

typedef enum Style {
        PLAIN,
        BOLD,
        DIM,
        GOOD,
        BAD,
        WARN,
        NOTE,
        _STYLE_MAX,
} Style;

typedef struct Screen {
        FILE *f;
        bool tty;
        bool colour;
        bool moves; /* the cursor may be moved */
        bool utf8;
        int width, height; /* 0: unbounded */
} Screen;

/* Looks at the descriptor, TERM, NO_COLOR and the locale. */
void screen_init(Screen *s, FILE *f, bool no_colour);
/* Asks for the window's size again. */
void screen_measure(Screen *s);

/* Formats, cleans, colours, writes. Newlines in the result stay. */
_printf_(3, 4) void put(const Screen *s, Style style, const char *format, ...);

/* A row of cells, two spaces between them. width > 0 pads or clips, < 0 aligns right, 0 takes the
 * text's own width. The row is clipped to the window. */
typedef struct Cell {
        Style style;
        int width;
        const char *text; /* NULL is "" */
} Cell;
void put_row(const Screen *s, int indent, const Cell *cells, size_t n);
#define put_cells(s, indent, ...)                                                                  \
        put_row(s, indent, (const Cell[]){__VA_ARGS__}, ELEMENTSOF(((const Cell[]){__VA_ARGS__})))

/* `label` once, then the text beside it, wrapped at the window's width; its own newlines start new
 * lines below its first column. */
void put_text(const Screen *s, int indent, const char *label, Style style, const char *text);
/* A block of lines behind a bar, each clipped. */
void put_lines(const Screen *s, int indent, const json_t *lines);

/* The text without escape sequences and control characters; newlines stay only when asked for. A
 * carriage return drops what stands before it on its line. Invalid UTF-8 becomes '?'. Caller
 * frees. */
_must_check_ char *text_clean(const char *text, size_t size, bool newlines);
/* Columns on the terminal, of a text that is clean. */
int text_width(const char *text);

/* ---- asking a person ---- */

/* Reads one line from the terminal, echo off when asked; NULL at its end or after Ctrl-D. The
 * caller frees. */
_must_check_ char *ask_line(const Screen *s, bool echo, const char *prompt);
/* y/N. */
bool ask_yes(const Screen *s, const char *prompt);
