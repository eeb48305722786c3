/* SPDX-License-Identifier: MIT */
/* What a command wrote, held to what a plan expects of it. It need not be text. */
#pragma once

#include "daemon/step/step.h"

/* So much of each stream is kept for `has`, `lacks` and `save`. */
#define SAID_MAX (4U * 1024 * 1024)

/* The last line that says something, of stderr first; valid UTF-8, "" when there is none. Caller
 * frees; NULL when memory is out. */
_must_check_ char *said_last(const ExecResult *result);
/* Both streams, whichever a program speaks on. Caller frees. */
_must_check_ char *said_both(const ExecResult *result, size_t *ret_size);
/* Holds both streams to the `has` and `lacks` of `args`. What was dropped may have had anything in
 * it: nothing is said to be lacking then. 0 or -EBADE. */
_must_check_ int said_expect(const json_t *args, const ExecResult *result, Error *reterr);
