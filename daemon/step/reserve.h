/* SPDX-License-Identifier: MIT */
/*
 * Space that nobody else can take until the way back needs it: a file of the share's size for each
 * share of the estimate, `<folder>/<step>.<purpose>`, in one folder a file system. On the file
 * system of the job's folder that is `reserve/` in there, elsewhere a hidden one at the file
 * system's top or, where that may not be written, beside what is kept. Each step takes its share
 * out just before it writes. All folders are recorded in `reserve.json` of the job's folder before
 * they are made, so that whatever happens meanwhile, giving back finds them:
 *   {"format": 1, "folders": [PATH, …]}
 */
#pragma once

#include "daemon/step/step.h"

/* Reserves all that the estimate names; `*ret_outside` is an array of the folders outside of the
 * job's. With `grudging` what does not fit is left out. On failure nothing stays reserved. With
 * `again` it comes to what is reserved for other steps, and those keep theirs whatever happens. */
_must_check_ int reserve_make(Step *s, const json_t *estimate, bool grudging, bool again,
                              json_t **ret_outside, Error *reterr);
/* Takes a share out. What is not reserved, or taken already, is nothing. */
void reserve_take(Step *s, const char *step, const char *purpose);
/* Gives back all that is left. */
_must_check_ int reserve_drop(Step *s, Error *reterr);
