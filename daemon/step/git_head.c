/* SPDX-License-Identifier: MIT */
/* Moving HEAD there and back with the local changes: see daemon/step/git_head.h. */
#include "daemon/step/git_head.h"
#include "daemon/step/files.h"
#include "daemon/step/keep.h"

static char *keep_ref(Step *s, const char *what) {
        return strf("refs/updd/%" JSON_INTEGER_FORMAT "/%s%s",
                    json_integer_value(json_object_get(step_task(s), "job")), step_id(s), what);
}

const json_t *git_entry(Step *s, const char *kind) {
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

static int record_head(const Repo *g, const char *to, const char *dirty, Error *reterr) {
        _cleanup_free_ char *commit = NULL, *branch = NULL, *held = NULL;
        _cleanup_free_ char *ref = keep_ref(g->step, "");
        json_auto_t *changes = NULL;
        int r;

        if (git_entry(g->step, "git"))
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
        /* The local changes stand in that commit alone once the new one is checked out. */
        if (r >= 0)
                r = repo_sync(g, NULL, reterr);
        if (r < 0)
                return r;
        return step_undo_note(g->step,
                              json_pack("{ss ss ss ss ss* ss*}", "undo", "git", "dir", g->dir, "to",
                                        to, "commit", commit, "branch",
                                        isempty(branch) ? NULL : branch, "stash",
                                        isempty(held) ? NULL : held),
                              reterr);
}

/* Folders that have become empty are as good as gone to git. */
static void remove_empty(const Repo *g, const char *path) {
        _cleanup_free_ char *dir = strdup(path);
        char *slash;

        while (dir && (slash = strrchr(dir, '/')) && (size_t) (slash - dir) > strlen(g->dir)) {
                *slash = '\0';
                if (rmdir(dir) < 0)
                        return;
        }
}

/* Moves aside what git does not track and `commit` has a file for. */
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
                r = keep_aside(g->step, path, false, "is in git's way", reterr);
                if (r < 0)
                        return r;
                remove_empty(g, path);
        }
        return 0;
}

/* Before anything is recorded, so that what stands in the way later is known to be git's own. */
static int refuse_untracked(const Repo *g, const char *commit, Error *reterr) {
        json_auto_t *list = NULL;
        int r = repo_in_the_way(g, commit, &list, reterr);

        if (r < 0 || json_array_size(list) == 0)
                return r;
        r = error_set(reterr, EEXIST, "untracked",
                      "%s in %s is not tracked by git and %.12s would overwrite it%s",
                      json_string_value(json_array_get(list, 0)), g->dir, commit,
                      json_array_size(list) > 1 ? " (and more)" : "");
        error_hint(reterr, "Move it away first");
        return r;
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

        int r = held ? clear_way(g, held, reterr) : 0;

        if (!held || r < 0)
                return r;
        /* With the index as it was; where that cannot be, at least every byte. */
        if (repo_try(g, NULL, "stash", "apply", "--quiet", "--index", held, NULL) == 0)
                return 0;
        return repo_git(g, NULL, reterr, "stash", "apply", "--quiet", held, NULL);
}

static int already_there(const Repo *g, const char *commit) {
        _cleanup_free_ char *head = NULL;

        return repo_try(g, &head, "rev-parse", "--verify", "HEAD", NULL) == 0 &&
               streq(head, commit);
}

/* Everything as recorded, whatever the tree looks like now. */
static int put_back(const Repo *g, const json_t *entry, Error *reterr) {
        const char *to = args_text(entry, "to", NULL);
        int r = repo_git(g, NULL, reterr, "reset", "--quiet", "--hard", NULL);

        if (r >= 0 && to && !already_there(g, to))
                r = clear_way(g, to, reterr);
        if (r >= 0)
                r = clear_way(g, args_text(entry, "commit", ""), reterr);
        if (r >= 0)
                r = head_restore(g, entry, reterr);
        /* A killed git has made some and put nothing into them yet. */
        if (r >= 0 && to)
                repo_remove_empty(g, to);
        return r < 0 ? r : changes_restore(g, entry, reterr);
}

/* The recorded changes on top of the new commit. They lie on another commit, so the index of that
 * time has no meaning here. */
static int carry_over(const Repo *g, const json_t *entry, const char *commit, Error *reterr) {
        const char *held = args_text(entry, "stash", NULL);
        _cleanup_error_ Error e = ERROR_INIT;
        _cleanup_free_ char *clash = NULL;

        int r = held ? clear_way(g, held, reterr) : 0;

        if (!held || r < 0)
                return r;
        if (repo_try(g, NULL, "stash", "apply", "--quiet", held, NULL) == 0)
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

int git_head_move(const Repo *g, const char *commit, const char *dirty, Error *reterr) {
        bool rerun = git_entry(g->step, "git") != NULL;
        const json_t *entry;
        _cleanup_error_ Error e = ERROR_INIT;
        int r = rerun ? 0 : refuse_untracked(g, commit, reterr);

        if (r >= 0)
                r = record_head(g, commit, dirty, reterr);
        if (r < 0)
                return r;
        entry = git_entry(g->step, "git");
        if (!rerun && already_there(g, commit))
                return 0;
        /* The changes of tracked files are held by the record, on a rerun too. */
        r = repo_git(g, NULL, reterr, "reset", "--quiet", "--hard", NULL);
        if (r >= 0 && rerun)
                r = clear_way(g, commit, reterr);
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

int git_head_back(const Repo *g, const json_t *entry, Error *reterr) {
        _cleanup_free_ char *ref = keep_ref(g->step, "-since"), *held = keep_ref(g->step, "");
        _cleanup_free_ char *since = NULL;
        int r;

        if (!ref || !held)
                return error_oom(reterr);
        if (stash(g, ref, &since, NULL) >= 0 && !isempty(since))
                step_log(g->step, "The tracked files' changes of now are kept as commit %.12s",
                         since);
        step_log(g->step, "Back to %.12s%s%s", args_text(entry, "commit", ""),
                 json_object_get(entry, "branch") ? ", branch " : "",
                 args_text(entry, "branch", ""));
        r = put_back(g, entry, reterr);
        /* The commit itself stays for a while, should this undo be repeated. */
        if (r >= 0)
                (void) repo_try(g, NULL, "update-ref", "-d", held, NULL);
        return r;
}
