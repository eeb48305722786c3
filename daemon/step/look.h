/* SPDX-License-Identifier: MIT */
/*
 * One look of one check, in a process of its own: whatever it hangs in (a dead network disk, a pipe
 * that nobody writes to, a name server) it is cut off at its time limit and the worker goes on.
 */
#pragma once

#include "daemon/step/step.h"

/* Looks once, with the check's cwd, env and user over the op's. 0 it holds, -EBADE it does not,
 * -ETIMEDOUT it was cut off, -ECANCELED the step is to stop, -ENOSYS there is no such check. */
_must_check_ int look_once(Step *s, const json_t *check, Error *reterr);

/* What people call the check: its name, or its kind and what it looks at. Caller frees. */
_must_check_ char *look_title(const json_t *check);
