/* SPDX-License-Identifier: MIT */
/* The exit codes of updctl. They are an interface: scripts and timers branch on them. */
#pragma once

typedef enum ExitCode {
        EXIT_AS_ASKED = 0,
        EXIT_REFUSED = 1,
        EXIT_USAGE = 2,
        EXIT_JOB_FAILED = 3,
        EXIT_ROLLED_BACK = 4,
        EXIT_WAITS = 5,
        EXIT_STUCK = 6,
        EXIT_UNREACHABLE = 7,
} ExitCode;
