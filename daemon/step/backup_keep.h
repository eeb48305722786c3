/* SPDX-License-Identifier: MIT */
/* Which backup sets may go, and finding one by its id. */
#pragma once

#include "daemon/step/backup.h"

/* Removes all but the newest `n` sets in `to` that are of the same plan, target and step as
 * `manifest`. This job's own sets stay whatever their number. What cannot be removed is logged. */
void backup_keep(Step *s, const char *to, const json_t *manifest, size_t n);

/* The folder of what a plan calls a backup: the id of a step (its output `path`), a path, or a
 * set's id, looked for in this job's folder, where steps of this job made sets, and in the other
 * jobs' folders. Caller frees. */
_must_check_ int backup_find(Step *s, const char *from, char **ret, Error *reterr);
