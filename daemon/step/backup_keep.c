/* SPDX-License-Identifier: MIT */
/* Older sets, and sets by name: see daemon/step/backup_keep.h. */
#include "daemon/step/backup_keep.h"
#include "daemon/step/files.h"

#include <dirent.h>
#include <glob.h>
#include <sys/stat.h>

typedef struct Older {
        char *path;
        char *created;
} Older;

typedef struct OlderList {
        Older *list;
        size_t n;
} OlderList;

static void older_list_done(OlderList *o) {
        for (size_t i = 0; i < o->n; i++) {
                free(o->list[i].path);
                free(o->list[i].created);
        }
        free(o->list);
}

static bool same(const json_t *a, const json_t *b, const char *key) {
        return streq(args_text(a, key, ""), args_text(b, key, ""));
}

static int older_add(OlderList *o, const char *path, const char *created) {
        Older *grown = realloc(o->list, (o->n + 1) * sizeof(Older));

        if (!grown)
                return -ENOMEM;
        o->list = grown;
        grown[o->n] = (Older){strdup(path), strdup(created)};
        if (!grown[o->n].path || !grown[o->n].created)
                return -ENOMEM;
        o->n++;
        return 0;
}

static int by_age(const void *a, const void *b) {
        return strcmp(((const Older *) b)->created, ((const Older *) a)->created);
}

/* Newest first; the sets of this job are not among them, but `*ret_own` counts them. */
static int older_find(const char *to, const json_t *manifest, OlderList *o, size_t *ret_own) {
        _cleanup_(closedirp) DIR *dir = opendir(to);
        const struct dirent *entry;

        *ret_own = 0;
        while (dir && (entry = readdir(dir))) {
                _cleanup_free_ char *path = path_join(to, entry->d_name);
                json_auto_t *other = NULL;

                if (entry->d_name[0] == '.' || !path ||
                    backup_manifest_read(path, &other, NULL, NULL) < 0 ||
                    !same(other, manifest, "plan") || !same(other, manifest, "target") ||
                    !same(other, manifest, "step"))
                        continue;
                if (json_equal(json_object_get(other, "job"), json_object_get(manifest, "job")))
                        (*ret_own)++;
                else if (older_add(o, path, args_text(other, "created", "")) < 0)
                        return -ENOMEM;
        }
        if (o->n > 0)
                qsort(o->list, o->n, sizeof(Older), by_age);
        return 0;
}

void backup_keep(Step *s, const char *to, const json_t *manifest, size_t n) {
        _cleanup_(older_list_done) OlderList o = {0};
        size_t own;

        if (older_find(to, manifest, &o, &own) < 0)
                return;
        for (size_t i = n > own ? n - own : 0; i < o.n; i++) {
                /* Under a hidden name first, and durably: half a set must not look like one. */
                const char *slash = strrchr(o.list[i].path, '/');
                _cleanup_free_ char *gone = strf("%s/.%s.gone", to, slash + 1);
                int r = gone && rename(o.list[i].path, gone) == 0 ? parent_sync(gone) : -errno;

                if (r >= 0)
                        r = remove_tree(gone);
                if (r < 0)
                        step_log(s, "Cannot remove the old backup %s: %s, ignoring", o.list[i].path,
                                 strerror(-r));
                else
                        step_log(s, "Removed the old backup %s", o.list[i].path);
        }
}

static bool is_set(const char *path) {
        _cleanup_free_ char *manifest = path_join(path, BACKUP_MANIFEST);
        struct stat st;

        return manifest && stat(manifest, &st) == 0;
}

static int find_by_path(Step *s, const char *from, char **ret, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        int r = step_path(s, from, &path, reterr);

        if (r < 0)
                return r;
        if (!is_set(path))
                return error_set(reterr, ENOENT, "no-backup", "%s is no backup set", path);
        *ret = TAKE(path);
        return 0;
}

static char *find_in_steps(Step *s, const char *id) {
        const json_t *outputs;
        const char *step;

        json_object_foreach (json_object_get(step_scope(s), "steps"), step, outputs) {
                const char *path = args_text(outputs, "path", NULL);
                _cleanup_free_ char *beside_it = NULL;
                const char *slash = path ? strrchr(path, '/') : NULL;

                if (!slash || !json_object_get(outputs, "sha256"))
                        continue;
                beside_it = strf("%.*s/%s", (int) (slash - path), path, id);
                if (beside_it && is_set(beside_it))
                        return TAKE(beside_it);
        }
        return NULL;
}

static void globfreep(glob_t *g) {
        globfree(g);
}

static char *find_in_jobs(Step *s, const char *id) {
        _cleanup_(globfreep) glob_t found = {0};
        _cleanup_free_ char *pattern = strf("%s/../*/backups/%s", step_job_dir(s), id);

        if (!pattern || glob(pattern, 0, NULL, &found) != 0)
                return NULL;
        for (size_t i = 0; i < found.gl_pathc; i++)
                if (is_set(found.gl_pathv[i]))
                        return realpath(found.gl_pathv[i], NULL);
        return NULL;
}

int backup_find(Step *s, const char *from, char **ret, Error *reterr) {
        const json_t *outputs = json_object_get(json_object_get(step_scope(s), "steps"), from);
        const char *path = args_text(outputs, "path", NULL);

        if (path)
                return find_by_path(s, path, ret, reterr);
        if (strchr(from, '/'))
                return find_by_path(s, from, ret, reterr);
        *ret = find_in_steps(s, from);
        if (!*ret && !strpbrk(from, "*?["))
                *ret = find_in_jobs(s, from);
        if (*ret)
                return 0;
        return error_set(reterr, ENOENT, "no-backup",
                         outputs ? "Step '%s' has made no backup"
                                 : "There is no backup '%s'; give its path",
                         from);
}
