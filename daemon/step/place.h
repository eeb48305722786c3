/* SPDX-License-Identifier: MIT */
/*
 * What write, append, copy and fetch have in common: a file is put somewhere, undo first. Where a
 * symlink stands, the file that it points at is meant, as a shell's `>` has it. A new file gets the
 * op's user as its owner, an existing one keeps owner, mode and extended attributes; the fields
 * `mode` and `owner` have the last word.
 */
#pragma once

#include "daemon/step/files.h"
#include "daemon/step/keep.h"

/* The absolute path that is meant, symlinks at its end resolved. Caller frees. */
_must_check_ int place_path(Step *s, const char *to, char **ret, Error *reterr);

/* Records, then puts `content` (its `like` and `times` are filled in here) at `path`; a new file
 * has `mode` unless args say otherwise. Nothing is touched, and 0 returned, when it stands there as
 * wanted; 1 when it was put. */
_must_check_ int place_file(Step *s, const json_t *args, const char *path,
                            const FileContent *content, mode_t mode, Error *reterr);

/* Sets args' mode and owner on what is to be like `st`. */
_must_check_ int place_like(Step *s, const json_t *args, struct stat *st, Error *reterr);
