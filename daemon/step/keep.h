/* SPDX-License-Identifier: MIT */
/*
 * The undo of everything that is a file: how a path was before the step, kept in the step's record,
 * and put back as it was. Entries of the record:
 *   {"undo": "path", "path", "state": {"type","mode","uid","gid","mtime_ns","size","target"?},
 *    "kept"?: name in kept/}       the path's state; "kept" is a true copy of it (tree_copy)
 *   {"undo": "makes", "path", "sha256"}   what the step is about to put there
 *   {"undo": "parent", "path"}     a folder that the step is about to make
 *   {"undo": "moved", "path", "kept", "from"}   it is about to be moved into kept/
 * The first entry of a path wins, so a rerun changes no record. Putting back may be repeated at any
 * point. What it must displace and neither step nor record has made goes to kept/since/, so nobody
 * loses a byte by it.
 */
#pragma once

#include "daemon/step/step.h"

/* Records how `path` (absolute) is, be it absent, and keeps a copy; a symlink as a symlink. */
_must_check_ int keep_path(Step *s, const char *path, Error *reterr);
/* Records what the step will put at `path`, so that undo knows whether somebody came after it. */
_must_check_ int keep_makes(Step *s, const char *path, const char *sha256, Error *reterr);
/* Makes the missing folders above `path`, each recorded. */
_must_check_ int keep_parents(Step *s, const char *path, Error *reterr);
/* Moves `path` into kept/; its undo moves it back. `from` is the plan's word for it. */
_must_check_ int keep_move(Step *s, const char *path, const char *from, Error *reterr);

/* The record's entry of that kind for that path, or NULL. Borrowed. */
const json_t *keep_find(Step *s, const char *kind, const char *path);
/* Was something moved away for this word of the plan? */
bool keep_has_moved(Step *s, const char *from);

/* Puts back everything that is recorded, last first. Goes on after a failure and tells the first.
 */
_must_check_ int keep_undo(Step *s, Error *reterr);
/* Puts back one entry of kind "path". */
_must_check_ int keep_undo_path(Step *s, const json_t *entry, Error *reterr);

/* Expands args' list of paths (globs allowed) to absolute paths. A glob without a match is -ENOENT,
 * and so is a plain path that is missing, when `must_exist`. `ret` is an array of
 * {"path", "from"}. `forgive` may be NULL; a word for which it says true may match nothing. */
_must_check_ int keep_paths(Step *s, const json_t *words, bool must_exist,
                            bool (*forgive)(Step *s, const char *word), json_t **ret,
                            Error *reterr);

/* Moves what stands at `path` to kept/since/ (`copy`: copies it) and logs where it is. */
_must_check_ int keep_aside(Step *s, const char *path, bool copy, const char *why, Error *reterr);
