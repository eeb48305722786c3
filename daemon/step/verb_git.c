/* SPDX-License-Identifier: MIT */
/*
 * git {dir, fetch, checkout, worktree, dirty}: fetches, then checks a commit out, HEAD detached, or
 * makes a new worktree for it. Entries of the record:
 *   {"undo": "git", "dir", "commit", "branch"?, "stash"?}   where HEAD stood, and a commit that
 *       holds the local changes of tracked files (kept alive by refs/updd/<job>/<step>)
 *   {"undo": "worktree", "dir", "path"}
 * Local changes are refused, or, with `dirty: keep`, carried over; when they do not fit the new
 * commit, everything is put back as it was and the step fails. Files that git does not track are
 * never overwritten on the way there; on the way back they go to kept/since/.
 */
#include "daemon/step/files.h"
#include "daemon/step/git.h"
#include "daemon/step/keep.h"

#define _cleanup_repo_ _cleanup_(repo_done)

static char *keep_ref(Step *s, const char *what) {
        return strf("refs/updd/%" JSON_INTEGER_FORMAT "/%s%s",
                    json_integer_value(json_object_get(step_task(s), "job")), step_id(s), what);
}

static const json_t *entry_of(Step *s, const char *kind) {
        const json_t *entries, *entry;
        size_t i;

        if (step_undo_entries(s, &entries, NULL) < 0)
                return NULL;
        json_array_foreach (entries, i, entry)
                if (streq(args_text(entry, "undo", ""), kind))
                        return entry;
        return NULL;
}

static int refuse_dirty(const Repo *g, const json_t *dirty, Error *reterr) {
        _cleanup_free_ char *names = strdup("");
        const json_t *one;
        size_t i;

        json_array_foreach (dirty, i, one) {
                _cleanup_free_ char *old = TAKE(names);

                if (i < 10)
                        names = strf("%s%s%s", old ? old : "", i ? ", " : "",
                                     json_string_value(one));
                else
                        names = TAKE(old);
        }
        (void) error_set(reterr, EBUSY, "dirty", "%s has local changes in %zu file%s: %s%s", g->dir,
                         json_array_size(dirty), json_array_size(dirty) == 1 ? "" : "s",
                         names ? names : "", json_array_size(dirty) > 10 ? ", …" : "");
        error_hint(reterr, "Commit them, take them back, or say `dirty: keep` in the plan");
        return -EBUSY;
}

/* Holds the local changes in a commit, without touching them. "" when there are none. */
static int stash(const Repo *g, const char *ref, char **ret, Error *reterr) {
        _cleanup_free_ char *commit = NULL;
        int r = repo_git(g, &commit, reterr, "stash", "create", "updd", NULL);

        if (r >= 0 && !isempty(commit))
                r = repo_git(g, NULL, reterr, "update-ref", ref, commit, NULL);
        if (r >= 0)
                *ret = TAKE(commit);
        return r;
}

static int record_head(const Repo *g, const char *dirty, Error *reterr) {
        _cleanup_free_ char *commit = NULL, *branch = NULL, *held = NULL;
        _cleanup_free_ char *ref = keep_ref(g->step, "");
        json_auto_t *changes = NULL;
        int r;

        if (entry_of(g->step, "git"))
                return 0;
        if (!ref)
                return error_oom(reterr);
        r = repo_git(g, &commit, reterr, "rev-parse", "--verify", "HEAD", NULL);
        if (r >= 0 && repo_try(g, &branch, "symbolic-ref", "--quiet", "--short", "HEAD", NULL) < 0)
                r = error_set(reterr, EIO, "git-failed", "Cannot run git in %s", g->dir);
        if (r >= 0)
                r = repo_dirty(g, &changes, reterr);
        if (r >= 0 && json_array_size(changes) > 0 && !streq(dirty, "keep"))
                r = refuse_dirty(g, changes, reterr);
        if (r >= 0)
                r = stash(g, ref, &held, reterr);
        if (r < 0)
                return r;
        return step_undo_note(g->step,
                              json_pack("{ss ss ss ss* ss*}", "undo", "git", "dir", g->dir,
                                        "commit", commit, "branch", isempty(branch) ? NULL : branch,
                                        "stash", isempty(held) ? NULL : held),
                              reterr);
}

/* Back on the branch, when it still is where it was; else at the commit. */
static int head_restore(const Repo *g, const json_t *entry, Error *reterr) {
        const char *commit = args_text(entry, "commit", ""),
                   *branch = args_text(entry, "branch", NULL);
        _cleanup_free_ char *ref = NULL, *tip = NULL;
        int r = repo_checkout(g, commit, reterr);

        if (r < 0 || !branch)
                return r;
        ref = strf("refs/heads/%s", branch);
        if (!ref)
                return error_oom(reterr);
        if (repo_try(g, &tip, "rev-parse", "--verify", "--quiet", ref, NULL) == 0 &&
            streq(tip, commit))
                return repo_git(g, NULL, reterr, "symbolic-ref", "HEAD", ref, NULL);
        step_log(g->step, "Branch %s has moved since; HEAD is left at %.12s", branch, commit);
        return 0;
}

static int changes_restore(const Repo *g, const json_t *entry, Error *reterr) {
        const char *held = args_text(entry, "stash", NULL);

        if (!held)
                return 0;
        /* With the index as it was; where that cannot be, at least every byte. */
        if (repo_try(g, NULL, "stash", "apply", "--quiet", "--index", held, NULL) == 0)
                return 0;
        return repo_git(g, NULL, reterr, "stash", "apply", "--quiet", held, NULL);
}

/* Everything as recorded, whatever the tree looks like now. */
static int put_back(const Repo *g, const json_t *entry, Error *reterr) {
        int r = repo_git(g, NULL, reterr, "reset", "--quiet", "--hard", NULL);

        if (r >= 0)
                r = head_restore(g, entry, reterr);
        return r < 0 ? r : changes_restore(g, entry, reterr);
}

/* The recorded changes on top of the new commit. They lie on another commit, so the index of that
 * time has no meaning here. */
static int carry_over(const Repo *g, const json_t *entry, const char *commit, Error *reterr) {
        const char *held = args_text(entry, "stash", NULL);
        _cleanup_error_ Error e = ERROR_INIT;
        _cleanup_free_ char *clash = NULL;

        if (!held || repo_try(g, NULL, "stash", "apply", "--quiet", held, NULL) == 0)
                return 0;
        (void) repo_try(g, &clash, "diff", "--name-only", "--diff-filter=U", NULL);
        for (char *p = clash; p && *p; p++)
                if (*p == '\n')
                        *p = ' ';
        if (put_back(g, entry, &e) < 0)
                step_log(g->step, "Putting it back failed: %s", e.message ? e.message : "");
        return error_set(reterr, EBADE, "dirty",
                         "The local changes in %s do not fit %.12s; all is put back (in conflict: "
                         "%s)",
                         g->dir, commit, isempty(clash) ? "unknown" : clash);
}

static int already_there(const Repo *g, const char *commit) {
        _cleanup_free_ char *head = NULL;

        return repo_try(g, &head, "rev-parse", "--verify", "HEAD", NULL) == 0 &&
               streq(head, commit);
}

static int move_head(const Repo *g, const char *commit, const char *dirty, Error *reterr) {
        bool rerun = entry_of(g->step, "git") != NULL;
        const json_t *entry;
        _cleanup_error_ Error e = ERROR_INIT;
        int r = record_head(g, dirty, reterr);

        if (r < 0)
                return r;
        entry = entry_of(g->step, "git");
        if (!rerun && already_there(g, commit))
                return 0;
        /* The changes of tracked files are held by the record, on a rerun too. */
        r = repo_git(g, NULL, reterr, "reset", "--quiet", "--hard", NULL);
        if (r < 0)
                return r;
        r = repo_checkout(g, commit, &e);
        if (r < 0) {
                if (put_back(g, entry, NULL) < 0)
                        step_log(g->step, "Putting the local changes back failed too");
                error_move(reterr, &e);
                return r;
        }
        return carry_over(g, entry, commit, reterr);
}

static int add_worktree(const Repo *g, const char *path, const char *commit, Error *reterr) {
        struct stat st;
        int r;

        if (!entry_of(g->step, "worktree")) {
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
                (void) repo_try(g, NULL, "worktree", "remove", "--force", path, NULL);
                (void) remove_tree(path);
                (void) repo_try(g, NULL, "worktree", "prune", NULL);
        }
        return repo_git(g, NULL, reterr, "worktree", "add", "--quiet", "--detach", path, commit,
                        NULL);
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
        const json_t *entry = entry_of(g->step, "git");
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
                r = move_head(g, commit, args_text(args, "dirty", "refuse"), reterr);
        else {
                r = step_path(g->step, tree, &path, reterr);
                if (r >= 0) {
                        path_tidy(path);
                        r = add_worktree(g, path, commit, reterr);
                }
        }
        if (r < 0)
                return r;
        return tell(g, args_text(entry, "commit", old), commit, path ? path : g->dir);
}

static int git_run(Step *s, const json_t *args, Error *reterr) {
        _cleanup_repo_ Repo g = {0};
        const char *remote = args_text(args, "fetch", NULL);
        int r = repo_open(s, args_text(args, "dir", "."), &g, reterr);

        if (r < 0)
                return r;
        if (!isempty(remote)) {
                step_log(s, "Fetching %s", remote);
                r = repo_git(&g, NULL, reterr, "fetch", "--quiet", "--tags", remote, NULL);
                if (r < 0)
                        return r;
        }
        return check_out(&g, args, reterr);
}

/* Files in the way of the old commit are nobody's that git knows. */
static int clear_way(const Repo *g, const char *commit, Error *reterr) {
        json_auto_t *list = NULL;
        const json_t *one;
        size_t i;
        int r = repo_in_the_way(g, commit, &list, reterr);

        if (r < 0)
                return r;
        json_array_foreach (list, i, one) {
                _cleanup_free_ char *path = path_join(g->dir, json_string_value(one));

                if (!path)
                        return error_oom(reterr);
                r = keep_aside(g->step, path, false, "is in the way of the old commit", reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int undo_head(Step *s, const json_t *entry, Error *reterr) {
        _cleanup_free_ char *ref = keep_ref(s, "-since"), *held = keep_ref(s, "");
        _cleanup_free_ char *since = NULL;
        _cleanup_repo_ Repo g = {0};
        int r = repo_open(s, args_text(entry, "dir", ""), &g, reterr);

        if (r < 0)
                return r;
        if (!ref || !held)
                return error_oom(reterr);
        if (stash(&g, ref, &since, NULL) >= 0 && !isempty(since))
                step_log(s, "The tracked files' changes of now are kept as commit %.12s", since);
        r = repo_git(&g, NULL, reterr, "reset", "--quiet", "--hard", NULL);
        if (r >= 0)
                r = clear_way(&g, args_text(entry, "commit", ""), reterr);
        if (r < 0)
                return r;
        step_log(s, "Back to %.12s%s%s", args_text(entry, "commit", ""),
                 json_object_get(entry, "branch") ? ", branch " : "",
                 args_text(entry, "branch", ""));
        r = put_back(&g, entry, reterr);
        /* The commit itself stays for a while, should this undo be repeated. */
        if (r >= 0)
                (void) repo_try(&g, NULL, "update-ref", "-d", held, NULL);
        return r;
}

static int undo_worktree(Step *s, const json_t *entry, Error *reterr) {
        const char *path = args_text(entry, "path", "");
        _cleanup_repo_ Repo g = {0};
        int r = repo_open(s, args_text(entry, "dir", ""), &g, reterr);

        if (r < 0)
                return r;
        (void) repo_try(&g, NULL, "worktree", "remove", "--force", path, NULL);
        r = remove_tree(path);
        if (r < 0)
                return error_set(reterr, -r, "write-failed", "Cannot remove %s: %s", path,
                                 strerror(-r));
        return repo_git(&g, NULL, reterr, "worktree", "prune", NULL);
}

static int git_undo(Step *s, const json_t *args, Error *reterr) {
        const json_t *head = entry_of(s, "git"), *tree = entry_of(s, "worktree");
        int r = tree ? undo_worktree(s, tree, reterr) : 0;

        if (r >= 0 && head)
                r = undo_head(s, head, reterr);
        return r < 0 ? r : keep_undo(s, reterr);
}

const Verb verb_git = {"git", git_run, git_undo};
