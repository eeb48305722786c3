/* SPDX-License-Identifier: MIT */
/* docker compose, whichever spelling this machine has. */
#pragma once

#include "daemon/step/step.h"

/* The command line for `args` (NULL-terminated) on one of the plan's compose projects: either its
 * name, looked up in the context, or its object {dir, files, env_file, name, env}. `*ret_argv` and
 * `*ret_env` (an object) are the caller's, `*ret_cwd` too (NULL: the op's). */
_must_check_ int compose_argv(Step *s, const json_t *project, const char *const *args,
                              json_t **ret_argv, json_t **ret_env, char **ret_cwd, Error *reterr);
