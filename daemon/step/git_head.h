/* SPDX-License-Identifier: MIT */
/*
 * HEAD of a repository, moved to a commit and back, with the local changes of tracked files. The
 * record's entry "git" (daemon/step/verb_git.c) says where it stood; files that git does not track
 * are never overwritten.
 */
#pragma once

#include "daemon/step/git.h"

/* The record's first entry of a kind, or NULL. Borrowed until the next entry is written. */
const json_t *git_entry(Step *s, const char *kind);

/* Records where HEAD stands, once, and checks `commit` out. `dirty` is "refuse" or "keep": what
 * local changes mean. When it fails, everything is as it was. */
_must_check_ int git_head_move(const Repo *g, const char *commit, const char *dirty, Error *reterr);

/* Back to what the entry says. */
_must_check_ int git_head_back(const Repo *g, const json_t *entry, Error *reterr);
