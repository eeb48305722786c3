/* SPDX-License-Identifier: MIT */
/*
 * What becomes result.json, gathered as it happens from what the worker tells, so that a worker
 * that is killed leaves its outputs and checks behind. Written masked and whole; on a full disk
 * into the space that was reserved at the claim, if need be shortened.
 */
#pragma once

#include "daemon/step/logfile.h"
#include "daemon/step/mask.h"

typedef struct Result {
        const json_t *task;
        int64_t started;
        char *phase;
        json_t *outputs, *checks, *services;
        json_t *end; /* the worker's last word, or NULL */
} Result;

typedef struct Ending { /* what the supervisor knows of the end */
        bool timed_out;
        bool stopped;      /* a stop was wanted durably */
        bool interrupted;  /* TERM without a wanted stop */
        int worker_status; /* of waitpid(2), when the worker had no last word */
} Ending;

_must_check_ int result_init(Result *result, const json_t *task);
void result_done(Result *result);
/* Takes in one message of the worker if it is about the result. 1 taken, 0 not. */
int result_take(Result *result, const json_t *message);

/* Puts the whole together and writes it. 0 or -errno. */
_must_check_ int result_write(const Result *result, const Ending *ending, const Masks *masks,
                              const LogFile *log, int dirfd);
