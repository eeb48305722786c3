/* SPDX-License-Identifier: MIT */
/*
 * The system's journal as a second place for an attempt's output, when systemd runs it: its standard
 * output leads there then, and what is written carries the unit's fields (UPDD_JOB= and so on). The
 * log has all; the journal gets the first JOURNAL_MAX bytes, masked like the log. A journal that does
 * not take what it is given holds nobody up: the rest of that piece is left out.
 */
#pragma once

#include "api/error.h"

#define JOURNAL_MAX (1024 * 1024)

typedef struct Journal {
        int fd; /* owned; negative: there is none */
        size_t written;
} Journal;

#define JOURNAL_INIT ((Journal){.fd = -EBADF})

/* Keeps what standard output leads to if that is the journal (JOURNAL_STREAM in systemd.exec(5)). */
void journal_take(Journal *ret);
void journal_write(Journal *j, const char *data, size_t size);
void journal_done(Journal *j);
