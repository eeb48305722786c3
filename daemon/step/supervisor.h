/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: from the claim to the result. It holds the lock, forks the worker, bounds its
 * time and its log, masks secrets in all that is written, and ends whatever the attempt leaves
 * behind. It does nothing of the task itself, so nothing that the task does can keep it from that.
 */
#pragma once

#include "api/error.h"

/* Runs the attempt to its end. `task`, `secrets`, the lock's descriptor (-EBADF: none) and that of
 * the program that the worker becomes (-EBADF: none, this one knows the task) are borrowed; the
 * worker holds the lock too, so that a free lock means that both are dead. 0 when a result stands.
 */
_must_check_ int supervisor_run(int dirfd, int lock, int program, json_t *task, json_t *secrets,
                                Error *reterr);
