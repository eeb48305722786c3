/* SPDX-License-Identifier: MIT */
/*
 * What the steps of a job hold: enablement of units and restart policies of containers that a
 * `stop` took away, so that a later `start` of the same job can give them back, and images that the
 * way back may need. One durable file each, in the job's folder.
 */
#pragma once

#include "daemon/step/step.h"

/* What is noted first stays: a repeated stop would note what it did itself. Steals `value`. */
_must_check_ int held_note(Step *s, const char *kind, const char *name, json_t *value,
                           Error *reterr);
/* NULL in *ret when nothing is noted. */
_must_check_ int held_read(Step *s, const char *kind, const char *name, json_t **ret,
                           Error *reterr);
/* All of a kind: an object, values by name as it stands in the file's name ('/' is '_'). Caller
 * owns. */
_must_check_ int held_list(Step *s, const char *kind, json_t **ret, Error *reterr);
_must_check_ int held_drop(Step *s, const char *kind, const char *name, Error *reterr);
