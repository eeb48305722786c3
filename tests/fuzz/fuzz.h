/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput: it hands the input
 * to the real functions of a room and holds what comes out to what their headers promise. Built
 * with clang's -fsanitize=fuzzer-no-link (tests/fuzz/run) it is a fuzzer; in every other build
 * replay.c is its main, and its corpus is replayed as an ordinary test.
 */
#pragma once

#include "api/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Before the first input; each target has one, or takes the empty one of nothing.c. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* A promise that was broken is a crash, in every build. */
#define PROMISED(condition) ((condition) ? (void) 0 : fuzz_broken(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_broken(const char *file, int line, const char *promise);

/* ---- sections.c: an input of several texts ---- */

/* "=== NAME\n" begins a section; what stands before the first has the name "". `text` is
 * NUL-terminated, but may hold NUL bytes too. */
typedef struct Section {
        char *name, *text;
        size_t size;
} Section;

typedef struct Sections {
        Section *list;
        size_t n;
} Sections;

/* Aborts without memory, as everything here does: there is no input to blame. */
Sections sections_read(const uint8_t *data, size_t size);
void sections_done(Sections *s);
#define _cleanup_sections_ _cleanup_(sections_done)
/* The first of that name, or NULL. */
const Section *section_find(const Sections *s, const char *name);
/* The text with each `word` replaced. Caller frees. */
char *section_with(const Section *section, const char *word, const char *value, size_t *ret_size);

/* ---- folder.c ---- */

/* A folder of this process's own, in memory where there is /dev/shm; removed at exit. */
const char *fuzz_folder(void);
/* Copies a folder of regular files and folders; the new one must not exist. */
void folder_copy(const char *from, const char *to);
void folder_remove(const char *path);
void file_put(const char *dir, const char *name, const void *data, size_t size);
