/* SPDX-License-Identifier: MIT */
/* run: a command of the plan. Its undo is the plan's to say. */
#include "daemon/step/command.h"

static int run_do(Step *s, const json_t *args, Error *reterr) {
        return command_run(s, args, json_object_get(args, "argv"), NULL, NULL, reterr);
}

const Verb verb_run = {"run", run_do, NULL};
