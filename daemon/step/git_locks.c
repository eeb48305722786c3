/* SPDX-License-Identifier: MIT */
/* What a killed git leaves behind: see daemon/step/git.h. */
#include "daemon/step/git.h"

#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <sys/stat.h>

static inline void fts_closep(FTS **f) {
        if (*f)
                (void) fts_close(*f);
}

static char *folder_of(const Repo *g, const char *which) {
        _cleanup_free_ char *path = NULL;

        if (repo_try(g, &path, "rev-parse", which, NULL) != 0 || isempty(path))
                return NULL;
        return path_join(g->dir, path);
}

/* `locked` of a worktree that git was making; anybody else's is left. */
static bool is_lock(const FTSENT *e) {
        _cleanup_free_ char *why = NULL;

        if (endswith(e->fts_name, ".lock"))
                return true;
        return streq(e->fts_name, "locked") &&
               file_read(AT_FDCWD, e->fts_accpath, 4096, &why, NULL) >= 0 &&
               startswith(why, "initializing");
}

/* Files that are locks, with their times; the objects' folder has no locks of interest. */
static int locks_find(char *const *folders, json_t *found) {
        _cleanup_(fts_closep) FTS *f = fts_open(folders, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
        FTSENT *e;

        while (f && (e = fts_read(f))) {
                if (e->fts_info == FTS_D && streq(e->fts_name, "objects"))
                        (void) fts_set(f, e, FTS_SKIP);
                if (e->fts_info == FTS_F && is_lock(e) &&
                    json_put(found, e->fts_path,
                             json_integer((json_int_t) e->fts_statp->st_mtim.tv_sec)) < 0)
                        return -ENOMEM;
        }
        return 0;
}

int repo_unlock(const Repo *g) {
        _cleanup_free_ char *own = folder_of(g, "--git-dir"),
                            *all = folder_of(g, "--git-common-dir");
        char *folders[] = {own, all && !streq0(own, all) ? all : NULL, NULL};
        json_auto_t *before = json_object();
        const char *path;
        json_t *when;
        int r = own && before ? locks_find(folders, before) : -ENOMEM;

        if (r < 0 || json_object_size(before) == 0)
                return MIN(r, 0);
        /* Somebody else's git may be at work; its locks come and go. */
        r = step_sleep(g->step, 2000);
        if (r < 0)
                return r;
        json_object_foreach (before, path, when) {
                struct stat st;

                if (stat(path, &st) < 0 || st.st_mtim.tv_sec != json_integer_value(when))
                        continue;
                step_log(g->step, "Removing %s, which the interrupted attempt has left", path);
                (void) unlink(path);
        }
        return 0;
}

/* ---- a worktree that is half there ---- */

/* "<its path>/.git", as git writes it: with the links on the way there resolved. */
static char *gitfile_of(const char *path) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *above = slash ? strndup(path, (size_t) (slash - path)) : NULL;
        _cleanup_free_ char *real = above ? realpath(isempty(above) ? "/" : above, NULL) : NULL;

        return real ? strf("%s%s/.git", streq(real, "/") ? "" : real, slash) : NULL;
}

/* Is that folder of `worktrees` about it? One that does not say is, when it has its name. */
static bool is_about(const char *folder, const char *name, const char *path, const char *gitfile) {
        _cleanup_free_ char *file = path_join(folder, "gitdir"), *said = NULL;
        const char *slash = strrchr(path, '/');

        if (!file || file_read(AT_FDCWD, file, 4096, &said, NULL) < 0 || isempty(said))
                return slash && startswith(name, slash + 1);
        said[strcspn(said, "\r\n")] = '\0';
        return streq(said, gitfile);
}

int repo_forget_worktree(const Repo *g, const char *path, Error *reterr) {
        _cleanup_free_ char *common = folder_of(g, "--git-common-dir");
        _cleanup_free_ char *all = common ? path_join(common, "worktrees") : NULL;
        _cleanup_free_ char *gitfile = gitfile_of(path);
        _cleanup_(closedirp) DIR *dir = all ? opendir(all) : NULL;
        const struct dirent *entry;

        while (dir && gitfile && (entry = readdir(dir))) {
                _cleanup_free_ char *folder = path_join(all, entry->d_name);
                int r;

                if (entry->d_name[0] == '.' || !folder ||
                    !is_about(folder, entry->d_name, path, gitfile))
                        continue;
                r = remove_tree(folder);
                if (r < 0)
                        return error_set(reterr, -r, "write-failed", "Cannot remove %s: %s", folder,
                                         strerror(-r));
        }
        return 0;
}
