/* SPDX-License-Identifier: MIT */
/* What the commands that decide something about a job have in common. */
#pragma once

#include "client/updctl/ctl.h"

/* POST /v1/jobs/ID/verb. 0 with the job as it is then, or an exit code. */
_must_check_ int decide(Ctl *ctl, int64_t id, const char *verb, const json_t *body, Response *ret);
/* Says what happened, or prints the JSON, and follows the job when that was asked for. `body` of
 * the answer is `job`. Returns the exit code. */
int decided(Ctl *ctl, const Response *job, const char *what);
/* --reason into the body. 0 or EXIT_USAGE, told. */
_must_check_ int add_reason(Ctl *ctl, json_t *body);
/* The same, but it must be there: asked for on a terminal. */
_must_check_ int need_reason(Ctl *ctl, json_t *body);
/* The text that must be typed (--type, or asked for on a terminal), as "typed" into the body. */
_must_check_ int add_typed(Ctl *ctl, const char *wanted, json_t *body);
