/* SPDX-License-Identifier: MIT */
/*
 * The attempt's log, bounded: the first half of the limit goes into `log` as it comes; from then on
 * the newest half stands in `log.tail`, and at the end it is joined to `log` with a line that says
 * how many bytes were dropped between. What a full disk has no room for waits in memory, LOG_RECENT
 * of it, and follows when there is room; what was lost is said where it was. The attempt goes on
 * meanwhile. What comes in is masked already.
 */
#pragma once

#include "daemon/attempt/logtail.h"

#define LOG_RECENT (64 * 1024)

typedef struct LogFile {
        int dirfd, fd;
        uint64_t half;    /* bytes that each half may have */
        uint64_t written; /* bytes in `log` so far */
        uint64_t lost;    /* bytes that could not be written */
        LogTail tail;     /* once there is one, it counts what is lost */
        char *recent;     /* the newest bytes, for tail and hints; a ring of LOG_RECENT */
        uint64_t total;
        size_t waiting; /* how many of the newest bytes are not in `log` yet: it had no room */
        uint64_t gap;   /* bytes before them that are lost, and are not told of yet */
} LogFile;

#define LOGFILE_INIT ((LogFile){.fd = -EBADF, .tail = LOGTAIL_INIT})

_must_check_ int logfile_open(LogFile *log, int dirfd, uint64_t limit);
void logfile_write(LogFile *log, const char *data, size_t size);
/* Writes what had no room yet. False: there is still none. */
bool logfile_catch_up(LogFile *log);
/* Joins the halves. The log is closed afterwards, and durable when there is something in it. */
void logfile_finish(LogFile *log);
void logfile_done(LogFile *log);

uint64_t logfile_size(const LogFile *log);
uint64_t logfile_dropped(const LogFile *log);
/* The newest bytes in order, NUL-terminated. Caller frees. */
_must_check_ char *logfile_recent(const LogFile *log, size_t *ret_size);
/* The last `n` lines as texts that are valid UTF-8. NULL when memory is out. */
_must_check_ json_t *logfile_tail(const LogFile *log, unsigned n);
