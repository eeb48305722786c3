/* SPDX-License-Identifier: MIT */
/* compose: a docker compose command on one of the plan's projects. Its undo is the plan's to say.
 */
#include "daemon/step/command.h"
#include "daemon/step/compose.h"

static int compose_do(Step *s, const json_t *args, Error *reterr) {
        static const char *const nothing[] = {NULL};
        json_auto_t *argv = NULL, *env = NULL;
        _cleanup_free_ char *cwd = NULL;
        int r;

        r = compose_argv(s, json_object_get(args, "project"), nothing, &argv, &env, &cwd, reterr);
        if (r < 0)
                return r;
        if (json_array_extend(argv, json_object_get(args, "args")) < 0)
                return error_set(reterr, EINVAL, "bad-value", "'args' must be a list");
        return command_run(s, args, argv, cwd, env, reterr);
}

const Verb verb_compose = {"compose", compose_do, NULL};
