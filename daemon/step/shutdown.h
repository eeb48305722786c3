/* SPDX-License-Identifier: MIT */
/*
 * Is the machine going down? What fails then was interrupted: the failure says nothing about the
 * step.
 */
#pragma once

#include <stdbool.h>

/* Asks the service manager (systemctl is-system-running), so it costs some ms; false when it cannot
 * be found out. */
bool machine_is_stopping(void);
