/* SPDX-License-Identifier: MIT */
/* What a step's commands would find in their environment, for code that is no command. */
#pragma once

#include "daemon/step/step.h"

/* The value of variable `name` for commands of this op or check, `more` (an object, or NULL) over
 * it; NULL in *ret when it is not set. Caller frees. */
_must_check_ int setting_variable(Step *s, const json_t *more, const char *name, char **ret,
                                  Error *reterr);
