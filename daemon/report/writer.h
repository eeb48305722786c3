/* SPDX-License-Identifier: MIT */
/*
 * The pieces that a report is made of, whatever it is written as. compose.c says what stands where;
 * markdown.c and html.c write the pieces. Texts come as they are: escaping is the writers' work.
 * For the report room only.
 */
#pragma once

#include "daemon/report/report.h"

typedef enum Tone { TONE_PLAIN, TONE_GOOD, TONE_WARN, TONE_BAD } Tone;

#define COLUMNS_MAX 6

typedef struct Writer Writer;

struct Writer {
        FILE *f;        /* a stream into memory */
        size_t columns; /* of the table that is open */
        void (*begin)(Writer *w, const char *title);
        void (*end)(Writer *w, const char *words);
        void (*heading)(Writer *w, unsigned level, const char *text);
        void (*paragraph)(Writer *w, Tone tone, const char *text);
        /* `heads` NULL: name and value, without a head. Rows have as many cells; NULL is empty. */
        void (*table_begin)(Writer *w, const char *const *heads, size_t n);
        void (*row)(Writer *w, const char *const *cells);
        void (*table_end)(Writer *w);
        /* What was printed, or is to be typed: an array of texts, each line for itself. */
        void (*lines)(Writer *w, const json_t *lines);
};

/* ---- compose.c, compose-steps.c, compose-failure.c ---- */
void compose(Writer *w, const json_t *report);
void compose_steps(Writer *w, const json_t *report);
void compose_failure(Writer *w, const json_t *report);
/* Runs compose() into a string. */
_must_check_ int writer_run(Writer *w, const json_t *report, char **ret);

/* ---- text.c: reading the document; borrowed where nothing else is said ---- */
const char *text_of(const json_t *object, const char *key);
int64_t int_of(const json_t *object, const char *key);
/* The text without escape sequences; control characters and those that turn the direction of
 * writing become U+FFFD, newlines stay. Caller frees. */
_must_check_ char *text_clean(const char *text);
/* "2026-01-31 12:34:56 UTC" of a time member, "" without one. */
#define MOMENT_MAX sizeof("2026-01-31 12:34:56 UTC")
const char *moment_of(const json_t *object, const char *key, char buf[static MOMENT_MAX]);
/* "350 ms", "12.3 s", "3 min 05 s", "2 h 04 min"; "" for less than 0. Caller frees. */
_must_check_ char *span_text(int64_t ms);
_must_check_ char *span_of(const json_t *object, const char *key);
/* The text of any value; objects and arrays as JSON. Caller frees. */
_must_check_ char *value_text(const json_t *value);
/* "a, b" of an array of texts, or of the member `key` of its objects. Caller frees. */
_must_check_ char *joined(const json_t *array, const char *key);
/* The daemon's own steps are called "@checks", "@then.full": without the sign. */
const char *step_name(const json_t *object, const char *key);

/* Rows of a table of names and values; a value that is empty gives none. */
void fact(Writer *w, const char *name, const char *value);
#define row_of(w, ...) (w)->row((w), (const char *const[COLUMNS_MAX]){__VA_ARGS__})
#define table_of(w, ...)                                                                           \
        (w)->table_begin((w), (const char *const[]){__VA_ARGS__},                                  \
                         ELEMENTSOF(((const char *const[]){__VA_ARGS__})))
