/* SPDX-License-Identifier: MIT */
/*
 * The rows of updd-step itself: verbs and checks that need no large library (see full.h). All of
 * them stand in verbs.c and checks.c too.
 */
#include "daemon/step/step.h"

extern const Verb verb_compose;
extern const Verb verb_run;

const Verb *const step_verbs[] = {
        &verb_compose,
        &verb_run,
        NULL,
};

const Check *const step_checks[] = {
        NULL,
};
