/* SPDX-License-Identifier: MIT */
/* The way to systemd: over the system's bus or, where there is none and root may, as systemctl goes. */
#pragma once

#include <systemd/sd-bus.h>

#include "api/util.h"

#define SYSTEMD_NAME "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"

/* *ret_private (may be NULL): it leads to systemd alone, which has no name there. The caller closes
 * and unrefs *ret. 0 or -errno. */
_must_check_ int system_bus_open(sd_bus **ret, bool *ret_private);
