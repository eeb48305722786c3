/* SPDX-License-Identifier: MIT */
/* The checks of updd-step: one line for each, in its file's alphabetical order. */
#include "daemon/step/step.h"

const Check *const step_checks[] = {
        NULL,
};
