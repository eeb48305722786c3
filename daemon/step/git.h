/* SPDX-License-Identifier: MIT */
/*
 * git as the verb `git` uses it: the program, run in one repository, never asking anything. Ignored
 * files count as what they are, somebody's files: no checkout overwrites them.
 */
#pragma once

#include "daemon/step/step.h"

typedef struct Repo {
        Step *step;
        char *dir; /* absolute */
} Repo;

void repo_done(Repo *g);

_must_check_ int repo_open(Step *s, const char *dir, Repo *ret, Error *reterr);

/* git with these arguments, up to a NULL. Output without its last line break in *ret_out (may be
 * NULL; caller frees). -EREMOTEIO with git's own words when it fails. */
_must_check_ int repo_git(const Repo *g, char **ret_out, Error *reterr, ...)
        __attribute__((sentinel));
/* The exit code instead of an error; -errno when git could not be run. */
int repo_try(const Repo *g, char **ret_out, ...) __attribute__((sentinel));

/* The commit that a tag, branch (of `remote`, when that is not NULL, first) or commit stands for.
 * -ENOENT with the nearest names when there is none. Caller frees. */
_must_check_ int repo_resolve(const Repo *g, const char *ref, const char *remote, char **ret,
                              Error *reterr);
/* Changed tracked files as an array of texts. */
_must_check_ int repo_dirty(const Repo *g, json_t **ret, Error *reterr);
/* Detaches HEAD at a commit. Fails rather than overwrite any file that git does not track. */
_must_check_ int repo_checkout(const Repo *g, const char *commit, Error *reterr);
/* Untracked files (ignored ones included) that `commit` would put something in the place of. */
_must_check_ int repo_in_the_way(const Repo *g, const char *commit, json_t **ret, Error *reterr);
/* Removes the folders of `commit` that are empty, as git does with those that it empties. */
void repo_remove_empty(const Repo *g, const char *commit);
/* Makes what git has done durable: by itself it leaves the files of a tree to the kernel. `path`: of
 * the tree, NULL the repository's own. */
_must_check_ int repo_sync(const Repo *g, const char *path, Error *reterr);
/* Removes lock files that a killed git has left. Only after an attempt that was interrupted. */
_must_check_ int repo_unlock(const Repo *g);
/* Removes what git remembers of a worktree at `path`, however little of it a power cut has left: with
 * an empty file in there git itself can neither list nor remove any worktree. */
_must_check_ int repo_forget_worktree(const Repo *g, const char *path, Error *reterr);
