/* SPDX-License-Identifier: MIT */
/*
 * Processes of an attempt, found through /proc. Two ways lead to them: down from a process by
 * parenthood (updd-step is a subreaper, so whatever its children leave behind becomes its child),
 * and by a mark, for what is left when updd-step itself was killed. The mark stands in two places:
 * UPDD_ATTEMPT=<id> in the environment, and a number made of the id as the soft limit RLIMIT_RTTIME,
 * which no process comes near. A limit is handed on by fork and exec and kept by whoever clears his
 * environment, leaves the session, forks twice or changes his user. Sending a signal is racy against
 * forks: repeat until 0 comes back.
 */
#pragma once

#include <sys/types.h>

#include "api/error.h"

/* Sends `signal` (0: only counts) to every descendant of `root`, not to `root` itself. Zombies do
 * not count. Returns how many there are, or -errno. */
_must_check_ int tree_signal(pid_t root, int signal);

/* Marks the caller's limits, and so what it will start. Where a limit forbids it the environment is
 * the only mark: 0, or -errno, which may be ignored. */
int tree_mark(const char *id);

/* Sends `signal` to every process that carries the attempt's mark, the caller left out; returns how
 * many could be signalled, or -errno. Who may not be signalled (a step that became another user under
 * a daemon that is not root) does not count: nobody would ever see the end of him. */
_must_check_ int tree_signal_marked(const char *id, int signal);

/* Sends KILL to marked processes until none is left or `patience_ms` has passed. 0: none is left;
 * else how many are. */
_must_check_ int tree_kill_marked(const char *id, int64_t patience_ms);

/* Was the living process started with `id` among its arguments, as updd-step is? */
bool tree_is_started_with(pid_t pid, const char *id);
