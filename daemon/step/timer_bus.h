/* SPDX-License-Identifier: MIT */
/* systemd, asked by a worker that may block, about one timer. */
#pragma once

#include "daemon/step/step.h"

typedef struct sd_bus sd_bus;

/* How a unit is: does the machine start it, and does it run? */
typedef struct TimerState {
        bool enabled, active;
} TimerState;

_must_check_ int timer_bus_open(sd_bus **ret, Error *reterr);
_must_check_ int timer_look(sd_bus *bus, const char *unit, TimerState *ret, Error *reterr);
/* Makes it so, by what its files say now; one that is to be active is started anew. */
_must_check_ int timer_set(Step *s, sd_bus *bus, const char *unit, TimerState wanted,
                           Error *reterr);
/* Forgets when it elapsed last; it must not be active. What there is not is passed over. */
void timer_forget(sd_bus *bus, const char *unit);
