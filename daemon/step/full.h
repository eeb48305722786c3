/* SPDX-License-Identifier: MIT */
/*
 * Two programs from one set of sources. updd-step is what every attempt starts; it holds the
 * supervisor and the verbs that need no large library, and starts ten times as fast as one that
 * loads libcurl, libarchive and SQLite. When a task names a verb or check that is not in its rows,
 * its worker becomes updd-step-worker, which has them all. The two speak a language of their own, so
 * the second carries its version in its file's name and is held open before the claim: while updd is
 * being upgraded one that fits is found, or nothing has begun.
 */
#pragma once

#include "api/error.h"

/* Is every verb and check of the task in this program's rows? */
bool task_is_known(const json_t *task);

/* Opens updd-step-worker, which stands beside this program. One that is missing is waited for a
 * little. */
_must_check_ int full_worker_open(int *ret_fd);

/* Becomes it. Returns only when that fails. The descriptors are taken along: folder, lock (-EBADF:
 * none) and control. */
int full_worker_exec(int program, int dirfd, int lock, int control, const json_t *task,
                     const json_t *secrets);
