/* SPDX-License-Identifier: MIT */
/* The verbs of updd-step: one line for each, in its file's alphabetical order. */
#include "daemon/step/step.h"

extern const Verb verb_compose;
extern const Verb verb_run;

const Verb *const step_verbs[] = {
        &verb_compose,
        &verb_run,
        NULL,
};
