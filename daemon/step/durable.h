/* SPDX-License-Identifier: MIT */
/*
 * What a command wrote, brought to the disk. Once a step counts as done nobody repeats it, so it must
 * outlast a power cut from then on, and few commands see to that themselves.
 */
#pragma once

#include "api/error.h"

/* syncfs(2) of the file system of `dir` (NULL: none in particular) and of all others on this
 * machine's own disks that can be written to; those of the network answer for themselves. */
_must_check_ int disks_sync(const char *dir, Error *reterr);
