/* SPDX-License-Identifier: MIT */
/*
 * Processes of an attempt, found through /proc. Two ways lead to them: down from a process by
 * parenthood (updd-step is a subreaper, so whatever its children leave behind becomes its child),
 * and by the mark UPDD_ATTEMPT=<id> that each child has in its environment (what is left when
 * updd-step itself was killed). Sending a signal is racy against forks: repeat until 0 comes back.
 */
#pragma once

#include <sys/types.h>

#include "api/error.h"

/* Sends `signal` (0: only counts) to every descendant of `root`, not to `root` itself. Zombies do
 * not count. Returns how many there are, or -errno. */
_must_check_ int tree_signal(pid_t root, int signal);

/* The same for every process that carries UPDD_ATTEMPT=<id>; the caller is left out. */
_must_check_ int tree_signal_marked(const char *id, int signal);

/* Sends KILL to marked processes until none is left or `patience_ms` has passed. 0: none is left;
 * else how many are. */
_must_check_ int tree_kill_marked(const char *id, int64_t patience_ms);
