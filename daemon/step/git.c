/* SPDX-License-Identifier: MIT */
/* Running git: see daemon/step/git.h. */
#include "daemon/step/git.h"

#include <fcntl.h>
#include <stdarg.h>

#define GIT_OUT_MAX (16U * 1024 * 1024)

void repo_done(Repo *g) {
        free(g->dir);
        *g = (Repo){0};
}

/* The plan names the repository, so whose it is has been decided; the identity serves for the
 * commits that hold local changes. */
static json_t *argv_begin(const char *dir) {
        return json_pack("[sssssssssssss]", "git", "-C", dir, "-c", "safe.directory=*", "-c",
                         "user.name=updd", "-c", "user.email=updd@localhost", "-c",
                         "advice.detachedHead=false", "-c", "core.fsync=all");
}

static int repo_exec(const Repo *g, va_list ap, ExecResult *ret, Error *reterr) {
        json_auto_t *argv = argv_begin(g->dir);
        json_auto_t *env = json_pack("{ss ss ss}", "GIT_TERMINAL_PROMPT", "0", "LC_ALL", "C.UTF-8",
                                     "GIT_PAGER", "cat");
        Exec x = {.argv = argv, .env = env, .quiet = true, .cwd = "/", .max_out = GIT_OUT_MAX};
        const char *arg;

        while ((arg = va_arg(ap, const char *)))
                if (json_array_append_new(argv, json_string(arg)) < 0)
                        return error_oom(reterr);
        return argv && env ? step_exec(g->step, &x, ret, reterr) : error_oom(reterr);
}

static void chomp(char *text) {
        size_t n = text ? strlen(text) : 0;

        if (n > 0 && text[n - 1] == '\n')
                text[n - 1] = '\0';
}

/* What git said, without its prefix, on one line. */
static char *complaint(const char *err) {
        const char *text = isempty(err) ? "no reason given" : err;
        char *copy;

        if (startswith(text, "fatal: "))
                text += strlen("fatal: ");
        else if (startswith(text, "error: "))
                text += strlen("error: ");
        copy = strdup(text);
        chomp(copy);
        for (char *p = copy; p && *p; p++)
                if (*p == '\n' || *p == '\t')
                        *p = ' ';
        return copy;
}

int repo_git(const Repo *g, char **ret_out, Error *reterr, ...) {
        _cleanup_exec_ ExecResult result = {0};
        _cleanup_free_ char *why = NULL;
        va_list ap;
        int r;

        va_start(ap, reterr);
        r = repo_exec(g, ap, &result, reterr);
        va_end(ap);
        if (r < 0)
                return r;
        if (result.exit != 0) {
                why = complaint(result.err);
                return error_set(reterr, EREMOTEIO, "git-failed", "git in %s: %s", g->dir,
                                 why ? why : "failed");
        }
        if (ret_out) {
                chomp(result.out);
                *ret_out = TAKE(result.out);
        }
        return 0;
}

int repo_try(const Repo *g, char **ret_out, ...) {
        _cleanup_exec_ ExecResult result = {0};
        va_list ap;
        int r;

        va_start(ap, ret_out);
        r = repo_exec(g, ap, &result, NULL);
        va_end(ap);
        if (r < 0)
                return r;
        if (ret_out) {
                chomp(result.out);
                *ret_out = TAKE(result.out);
        }
        return result.exit < 0 ? 128 : result.exit;
}

int repo_sync(const Repo *g, const char *path, Error *reterr) {
        const char *dir = path ? path : g->dir;
        _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0 || syncfs(fd) < 0)
                return error_set(reterr, errno, "write-failed", "Cannot sync %s: %s", dir,
                                 strerror(errno));
        return 0;
}

/* Names that git tells count from the top of the tree. A bare repository has none. */
static void go_to_top(Repo *g) {
        _cleanup_free_ char *top = NULL;

        if (repo_try(g, &top, "rev-parse", "--show-toplevel", NULL) != 0 || isempty(top))
                return;
        free(g->dir);
        g->dir = TAKE(top);
}

int repo_open(Step *s, const char *dir, Repo *ret, Error *reterr) {
        Repo g = {.step = s};
        int r = step_path(s, dir, &g.dir, reterr);

        if (r < 0)
                return r;
        r = repo_git(&g, NULL, reterr, "rev-parse", "--git-dir", NULL);
        if (r < 0) {
                repo_done(&g);
                return r;
        }
        go_to_top(&g);
        *ret = g;
        return 0;
}

static int no_such_ref(const Repo *g, const char *ref, Error *reterr) {
        _cleanup_free_ char *out = NULL;
        const char *names[256], *nearest;
        size_t n = 0;
        int r;

        if (repo_try(g, &out, "for-each-ref", "--sort=-creatordate", "--count=250",
                     "--format=%(refname:short)", "refs/tags", "refs/heads", NULL) == 0)
                for (char *save = NULL, *name = strtok_r(out, "\n", &save); name && n < 250;
                     name = strtok_r(NULL, "\n", &save))
                        names[n++] = name;
        nearest = nearest_word(ref, names, n);
        r = error_set(reterr, ENOENT, "no-such-ref", "%s has no tag, branch or commit '%s'", g->dir,
                      ref);
        if (nearest)
                error_hint(reterr, "Did you mean '%s'?", nearest);
        else if (n > 0)
                error_hint(reterr, "The newest there: %s%s%s%s%s", names[0], n > 1 ? ", " : "",
                           n > 1 ? names[1] : "", n > 2 ? ", " : "", n > 2 ? names[2] : "");
        else
                error_hint(reterr, "The repository has no tags yet; does the step fetch them?");
        return r;
}

static int resolve_one(const Repo *g, const char *name, char **ret) {
        _cleanup_free_ char *spec = name ? strf("%s^{commit}", name) : NULL, *out = NULL;
        int r;

        if (!spec)
                return -ENOMEM;
        r = repo_try(g, &out, "rev-parse", "--verify", "--quiet", "--end-of-options", spec, NULL);
        if (r != 0 || isempty(out))
                return r < 0 ? r : 0;
        *ret = TAKE(out);
        return 1;
}

int repo_resolve(const Repo *g, const char *ref, const char *remote, char **ret, Error *reterr) {
        _cleanup_free_ char *tag = strf("refs/tags/%s", ref);
        _cleanup_free_ char *branch = strf("refs/remotes/%s/%s", remote ? remote : "origin", ref);
        /* A branch just fetched means what the remote has, not what stood here before. */
        const char *fetched[] = {tag, branch, ref}, *local[] = {tag, ref, branch};
        const char **order = remote ? fetched : local;

        for (size_t i = 0; i < 3; i++) {
                int r = resolve_one(g, order[i], ret);

                if (r != 0)
                        return r < 0 ? error_set(reterr, -r, "git-failed",
                                                 "Cannot run git in %s: %s", g->dir, strerror(-r))
                                     : 0;
        }
        return no_such_ref(g, ref, reterr);
}

static int split_nul(const char *text, size_t size, size_t skip, json_t *list) {
        for (const char *p = text; p < text + size; p += strlen(p) + 1)
                if (strlen(p) > skip && json_array_append_new(list, json_string(p + skip)) < 0)
                        return -ENOMEM;
        return 0;
}

static int repo_list(const Repo *g, size_t skip, json_t *list, Error *reterr, ...) {
        _cleanup_exec_ ExecResult result = {0};
        va_list ap;
        int r;

        va_start(ap, reterr);
        r = repo_exec(g, ap, &result, reterr);
        va_end(ap);
        if (r < 0)
                return r;
        if (result.exit != 0)
                return error_set(reterr, EREMOTEIO, "git-failed", "git in %s: %s", g->dir,
                                 result.err ? result.err : "failed");
        return split_nul(result.out, result.out_size, skip, list) < 0 ? error_oom(reterr) : 0;
}

int repo_dirty(const Repo *g, json_t **ret, Error *reterr) {
        json_auto_t *list = json_array();
        int r;

        if (!list)
                return error_oom(reterr);
        r = repo_list(g, 3, list, reterr, "status", "--porcelain=v1", "-z", "--no-renames",
                      "--untracked-files=no", NULL);
        if (r >= 0)
                *ret = TAKE(list);
        return r;
}

int repo_checkout(const Repo *g, const char *commit, Error *reterr) {
        return repo_git(g, NULL, reterr, "checkout", "--quiet", "--no-overwrite-ignore", "--detach",
                        commit, "--", NULL);
}

int repo_in_the_way(const Repo *g, const char *commit, json_t **ret, Error *reterr) {
        json_auto_t *others = json_array(), *theirs = json_array(), *set = json_object();
        json_auto_t *both = json_array();
        const json_t *one;
        size_t i;
        int r;

        if (!others || !theirs || !set || !both)
                return error_oom(reterr);
        r = repo_list(g, 0, others, reterr, "ls-files", "--others", "-z", NULL);
        if (r >= 0)
                r = repo_list(g, 0, theirs, reterr, "ls-tree", "-r", "--name-only", "--full-tree",
                              "-z", commit, NULL);
        if (r < 0)
                return r;
        json_array_foreach (theirs, i, one)
                (void) json_object_set_new(set, json_string_value(one), json_true());
        json_array_foreach (others, i, one)
                if (json_object_get(set, json_string_value(one)))
                        (void) json_array_append(both, (json_t *) one);
        *ret = TAKE(both);
        return 0;
}

void repo_remove_empty(const Repo *g, const char *commit) {
        json_auto_t *folders = json_array();

        if (!folders || repo_list(g, 0, folders, NULL, "ls-tree", "-r", "-d", "--name-only",
                                  "--full-tree", "-z", commit, NULL) < 0)
                return;
        /* A folder stands before what is in it, so from the end. */
        for (size_t i = json_array_size(folders); i-- > 0;) {
                _cleanup_free_ char *path =
                        path_join(g->dir, json_string_value(json_array_get(folders, i)));

                if (path)
                        (void) rmdir(path);
        }
}
