/* SPDX-License-Identifier: MIT */
/* check {checks}: looks; all failures are told together. */
#include "daemon/step/step.h"

static int check_run_verb(Step *s, const json_t *args, Error *reterr) {
        bool all;
        int r = args_bool(args, "all", true, &all, reterr);

        return r < 0 ? r : checks_run(s, json_object_get(args, "checks"), all, reterr);
}

const Verb verb_check = {"check", check_run_verb, NULL};
