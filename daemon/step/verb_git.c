/* SPDX-License-Identifier: MIT */
/*
 * git {dir, fetch, checkout, worktree, dirty}: fetches, then checks a commit out, HEAD detached, or
 * makes a new worktree for it. Entries of the record:
 *   {"undo": "git", "dir", "commit", "branch"?, "stash"?, "to"}   where HEAD stood, a commit that
 *       holds the local changes of tracked files (kept alive by refs/updd/<job>/<step>), and where
 *       HEAD was to go: what a killed checkout has written of it is no file of anybody's
 *   {"undo": "worktree", "dir", "path"}
 *   {"undo": "git-began"}, {"undo": "git-ended"}   one without the other: git may have been killed
 * Local changes are refused, or, with `dirty: keep`, carried over; when they do not fit the new
 * commit, everything is put back as it was and the step fails. Files that git does not track are
 * never overwritten on the way there; on the way back they go to kept/since/.
 */
#include "daemon/step/files.h"
#include "daemon/step/git.h"
#include "daemon/step/git_head.h"
#include "daemon/step/keep.h"

#define _cleanup_repo_ _cleanup_(repo_done)

/* Whatever git knows of it, also when it is half made, which git locks. */
static void forget_worktree(const Repo *g, const char *path) {
        (void) repo_try(g, NULL, "worktree", "unlock", path, NULL);
        (void) repo_try(g, NULL, "worktree", "remove", "--force", path, NULL);
}

static int add_worktree(const Repo *g, const char *path, const char *commit, Error *reterr) {
        struct stat st;
        int r;

        if (!git_entry(g->step, "worktree")) {
                if (lstat(path, &st) == 0)
                        return error_set(reterr, EEXIST, "exists",
                                         "%s exists; a worktree is made where nothing stands",
                                         path);
                r = keep_parents(g->step, path, reterr);
                if (r >= 0)
                        r = step_undo_note(g->step,
                                           json_pack("{ss ss ss}", "undo", "worktree", "dir",
                                                     g->dir, "path", path),
                                           reterr);
                if (r < 0)
                        return r;
        } else {
                /* Half made by an attempt that was interrupted. */
                forget_worktree(g, path);
                (void) remove_tree(path);
                r = repo_forget_worktree(g, path, reterr);
                if (r < 0)
                        return r;
                (void) repo_try(g, NULL, "worktree", "prune", NULL);
        }
        r = repo_git(g, NULL, reterr, "worktree", "add", "--quiet", "--detach", path, commit, NULL);
        return r < 0 ? r : repo_sync(g, path, reterr);
}

static int tell(const Repo *g, const char *old, const char *commit, const char *path) {
        int r = step_output(g->step, "old", json_string(old));

        if (r >= 0)
                r = step_output(g->step, "commit", json_string(commit));
        return r < 0 ? r : step_output(g->step, "path", json_string(path));
}

static int check_out(const Repo *g, const json_t *args, Error *reterr) {
        const char *ref = args_text(args, "checkout", NULL),
                   *tree = args_text(args, "worktree", NULL);
        _cleanup_free_ char *old = NULL, *commit = NULL, *path = NULL;
        int r = repo_git(g, &old, reterr, "rev-parse", "--verify", "HEAD", NULL);

        if (r < 0)
                return r;
        if (isempty(ref))
                return tell(g, old, old, g->dir);
        r = repo_resolve(g, ref, args_text(args, "fetch", NULL), &commit, reterr);
        if (r < 0)
                return r;
        step_log(g->step, "%s is commit %.12s, %.12s was there", ref, commit, old);
        if (isempty(tree))
                r = git_head_move(g, commit, args_text(args, "dirty", "refuse"), reterr);
        else {
                r = step_path(g->step, tree, &path, reterr);
                if (r >= 0) {
                        path_tidy(path);
                        r = add_worktree(g, path, commit, reterr);
                }
        }
        if (r < 0)
                return r;
        return tell(g, args_text(git_entry(g->step, "git"), "commit", old), commit,
                    path ? path : g->dir);
}

/* How many attempts have begun and not ended. */
static int unended(Step *s) {
        const json_t *entries, *entry;
        int n = 0;
        size_t i;

        if (step_undo_entries(s, &entries, NULL) < 0)
                return 0;
        json_array_foreach (entries, i, entry) {
                n += streq(args_text(entry, "undo", ""), "git-began");
                n -= streq(args_text(entry, "undo", ""), "git-ended");
        }
        return n;
}

static int begin(const Repo *g, Error *reterr) {
        int n = unended(g->step);
        int r = n > 0 ? repo_unlock(g) : 0;

        if (r < 0)
                return error_set(reterr, -r, "stopped", "Stopped");
        return n > 0 ? 0 : step_undo_note(g->step, json_pack("{ss}", "undo", "git-began"), reterr);
}

static int end(const Repo *g, int r, Error *reterr) {
        _cleanup_error_ Error e = ERROR_INIT;
        int q = repo_sync(g, NULL, &e);

        if (q >= 0)
                q = step_undo_note(g->step, json_pack("{ss}", "undo", "git-ended"), &e);

        if (r < 0 || q >= 0)
                return r;
        error_move(reterr, &e);
        return q;
}

static int git_run(Step *s, const json_t *args, Error *reterr) {
        _cleanup_repo_ Repo g = {0};
        const char *remote = args_text(args, "fetch", NULL);
        int r = repo_open(s, args_text(args, "dir", "."), &g, reterr);

        if (r >= 0)
                r = begin(&g, reterr);
        if (r < 0)
                return r;
        if (!isempty(remote)) {
                step_log(s, "Fetching %s", remote);
                r = repo_git(&g, NULL, reterr, "fetch", "--quiet", "--tags", remote, NULL);
        }
        if (r >= 0)
                r = check_out(&g, args, reterr);
        return end(&g, r, reterr);
}

static int undo_worktree(const Repo *g, const json_t *entry, Error *reterr) {
        const char *path = args_text(entry, "path", "");
        int r;

        forget_worktree(g, path);
        r = remove_tree(path);
        if (r < 0)
                return error_set(reterr, -r, "write-failed", "Cannot remove %s: %s", path,
                                 strerror(-r));
        r = repo_forget_worktree(g, path, reterr);
        return r < 0 ? r : repo_git(g, NULL, reterr, "worktree", "prune", NULL);
}

static int git_undo(Step *s, const json_t *args, Error *reterr) {
        const json_t *head = git_entry(s, "git"), *tree = git_entry(s, "worktree");
        _cleanup_repo_ Repo g = {0};
        int r;

        if (!head && !tree && unended(s) <= 0)
                return keep_undo(s, reterr);
        r = repo_open(s, args_text(head ? head : tree, "dir", args_text(args, "dir", ".")), &g,
                      reterr);
        if (r >= 0)
                r = begin(&g, reterr);
        if (r < 0)
                return r;
        /* The record may have been read anew: its entries are looked up again. */
        tree = git_entry(s, "worktree");
        r = tree ? undo_worktree(&g, tree, reterr) : 0;
        head = git_entry(s, "git");
        if (r >= 0 && head)
                r = git_head_back(&g, head, reterr);
        if (r >= 0)
                r = keep_undo(s, reterr);
        return end(&g, r, reterr);
}

const Verb verb_git = {"git", git_run, git_undo};
