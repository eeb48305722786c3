/* SPDX-License-Identifier: MIT */
/*
 * The newest part of a log that has become too long: a ring in `log.tail`, beside `log` with the
 * oldest part. It says of itself how far it is, so that after a kill of its writer somebody else
 * can put the two together; whoever does may be killed over it and begin again.
 */
#pragma once

#include "api/error.h"

typedef struct LogTail {
        int dirfd, fd;
        uint64_t head;   /* bytes of `log` before it */
        uint64_t half;   /* bytes that it keeps */
        uint64_t ringed; /* bytes that went into it, ever */
        uint64_t torn;   /* bytes that its writer was killed over */
        uint64_t lost;   /* bytes that could not be written, here or in `log` */
} LogTail;

#define LOGTAIL_INIT ((LogTail){.dirfd = -EBADF, .fd = -EBADF})

/* Makes an empty one in the attempt's folder. `head` and `lost` are the log's so far. */
_must_check_ int logtail_open(LogTail *t, int dirfd, uint64_t half, uint64_t head, uint64_t lost);
void logtail_done(LogTail *t);
/* What has no room counts as lost. */
void logtail_write(LogTail *t, const char *data, size_t size);
/* Bytes that are in neither part. */
uint64_t logtail_dropped(const LogTail *t);

/* Appends it to `log`, with a line that tells how much is missing between, and removes it. The
 * size of `log` is then *ret_size (which may be NULL). */
_must_check_ int logtail_join(LogTail *t, uint64_t *ret_size);

/* The same for an attempt whose updd-step is dead. 0 as well when there is nothing to join. */
_must_check_ int logtail_settle(int dirfd);
