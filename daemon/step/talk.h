/* SPDX-License-Identifier: MIT */
/*
 * Talking with a program that asks questions on its terminal: what the plan's `answers` expect is
 * answered, and a prompt that none of them meets becomes a question to a person. When the program
 * goes on by itself meanwhile, the question was none and is closed.
 */
#pragma once

#include <sys/types.h>

#include "daemon/step/worker.h"

typedef struct Talk Talk;

/* `answers` and `master` are borrowed. NULL when memory is out. */
_must_check_ Talk *talk_new(Step *s, const json_t *answers, int master, pid_t pid);
void talk_free(Talk *t);

/* The program has written. */
_must_check_ int talk_heard(Talk *t, const char *data, size_t size);
/* Answers or asks when it is time to. */
_must_check_ int talk_think(Talk *t, Error *reterr);
/* After so long talk_think() wants to be called even if nothing was heard. */
int64_t talk_wait_us(const Talk *t);
