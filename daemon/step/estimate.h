/* SPDX-License-Identifier: MIT */
/*
 * What the way back will take, measured before anything is touched: for each step that keeps
 * something its share on each file system, "keep" while it is done (copies in the job's folder,
 * backups where they go) and "back" while it is undone (what is put back stands beside what it
 * replaces, and what a step has removed may be taken by others until then).
 *   {"filesystems": [{"path": its topmost folder, "needed", "free": bytes, "entries",
 *                     "free_entries"?, "fits", "shares": [{"step", "for", "bytes", "entries"}],
 *                     "dev", "near": a folder on it that is there}],
 *    "not_estimated": [{"step", "why"}]}
 */
#pragma once

#include "daemon/step/step.h"

#define ESTIMATE_FILE "estimate.json" /* in the attempt's folder */

#define SHARE_KEEP "keep"
#define SHARE_BACK "back"
/* The step of the share that the daemon itself may take on a full disk. */
#define SHARE_DAEMON "@updd"
#define SHARE_SPARE "spare"

/* `args` are those of the check "way-back": {"saves": […], "steps": N} or, of one step alone,
 * {"saves": […], "again": true} (daemon/engine/saves.c). */
_must_check_ int estimate_make(Step *s, const json_t *args, json_t **ret, Error *reterr);
bool estimate_fits(const json_t *estimate);
/* What people are told of it. Caller frees. */
_must_check_ char *estimate_words(const json_t *estimate);
/* The same without what only updd-step needs, and of the shares only the largest. */
_must_check_ json_t *estimate_summary(const json_t *estimate);

/* estimate_saves.c: the size of what one save keeps and puts back, added share by share. What
 * cannot be known is -ENODATA, with the reason. */
typedef struct Estimate Estimate;
_must_check_ int estimate_save(Estimate *e, const json_t *save, Error *reterr);
Step *estimate_step(Estimate *e);
/* Adds to the present save's share on the file system of `path`. */
_must_check_ int estimate_add(Estimate *e, const char *path, const char *purpose, int64_t bytes,
                              int64_t entries, Error *reterr);
/* Why a part of the present save has no size; the rest counts. */
_must_check_ int estimate_unknown(Estimate *e, const char *why, Error *reterr);
