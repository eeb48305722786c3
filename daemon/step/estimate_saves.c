/* SPDX-License-Identifier: MIT */
/* What each verb keeps, looked at as the verb itself will: see daemon/step/estimate.h. */
#include "daemon/step/backup.h"
#include "daemon/step/estimate.h"
#include "daemon/step/images.h"
#include "daemon/step/measure.h"
#include "daemon/step/place.h"
#include "daemon/step/project.h"
#include "daemon/step/sqlite.h"
#include "daemon/step/worker.h"

#include <dirent.h>
#include <fcntl.h>

typedef int (*SaveFunc)(Estimate *e, const json_t *save, const json_t *args, Error *reterr);

/* Kept in the job's folder, and put back where it was. */
static int keep_and_back(Estimate *e, const char *path, Error *reterr) {
        Step *s = estimate_step(e);
        Size size;
        int r = size_of(s, path, &size, reterr);

        if (r >= 0)
                r = estimate_add(e, step_job_dir(s), SHARE_KEEP, size.bytes, size.entries, reterr);
        if (r >= 0)
                r = estimate_add(e, path, SHARE_BACK, size.bytes, size.entries, reterr);
        return r;
}

/* A file that is replaced: of a symlink what it points at, as the verbs have it. */
static int replaced(Estimate *e, const char *path, bool follow, Error *reterr) {
        _cleanup_free_ char *real = NULL;
        struct stat st;

        if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && follow)
                real = realpath(path, NULL);
        if (lstat(real ? real : path, &st) < 0 || !S_ISREG(st.st_mode))
                return 0;
        return keep_and_back(e, real ? real : path, reterr);
}

static int snapshot_size(Estimate *e, const json_t *save, const json_t *args, Error *reterr) {
        json_auto_t *paths = NULL;
        const json_t *one;
        size_t i;
        int r = keep_paths(estimate_step(e), json_object_get(args, "paths"), false, NULL, &paths,
                           reterr);

        json_array_foreach (paths, i, one) {
                const char *path = args_text(one, "path", "");
                struct stat st;

                if (r >= 0)
                        r = keep_and_back(e, path, reterr);
                if (r >= 0 && lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
                        r = replaced(e, path, true, reterr);
        }
        return r;
}

/* On one file system it is only renamed. */
static int remove_size(Estimate *e, const json_t *save, const json_t *args, Error *reterr) {
        Step *s = estimate_step(e);
        json_auto_t *paths = NULL;
        struct stat home, st;
        const json_t *one;
        size_t i;
        int r = keep_paths(s, json_object_get(args, "paths"), false, NULL, &paths, reterr);

        if (r >= 0 && stat(step_job_dir(s), &home) < 0)
                r = error_set(reterr, errno, "read-failed", "Cannot look at %s: %s",
                              step_job_dir(s), strerror(errno));
        json_array_foreach (paths, i, one) {
                const char *path = args_text(one, "path", "");

                if (r >= 0 && lstat(path, &st) == 0 && st.st_dev != home.st_dev)
                        r = keep_and_back(e, path, reterr);
        }
        return r;
}

static int write_size(Estimate *e, const json_t *save, const json_t *args, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        int r = step_path(estimate_step(e), args_text(args, "to", ""), &path, reterr);

        return r < 0 ? r : replaced(e, path, true, reterr);
}

static int switch_size(Estimate *e, const json_t *save, const json_t *args, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        int r = step_path(estimate_step(e), args_text(args, "path", ""), &path, reterr);

        return r < 0 ? r : replaced(e, path, false, reterr);
}

/* Into a folder it goes under its own name. */
static int put_size(Estimate *e, const char *to, const char *from, Error *reterr) {
        _cleanup_free_ char *path = NULL, *below = NULL;
        const char *slash = strrchr(from, '/');
        struct stat st;
        int r = step_path(estimate_step(e), to, &path, reterr);

        if (r < 0)
                return r;
        if (!endswith(to, "/") && !(stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
                return replaced(e, path, true, reterr);
        below = strf("%s/%s", path, slash ? slash + 1 : from);
        return below ? replaced(e, below, true, reterr) : error_oom(reterr);
}

static int copy_size(Estimate *e, const json_t *save, const json_t *args, Error *reterr) {
        return put_size(e, args_text(args, "to", ""), args_text(args, "from", ""), reterr);
}

static int fetch_size(Estimate *e, const json_t *save, const json_t *args, Error *reterr) {
        _cleanup_free_ char *url = strdup(args_text(args, "url", ""));
        const char *to = args_text(args, "to", "");
        int r;

        if (!url)
                return error_oom(reterr);
        url[strcspn(url, "?#")] = '\0';
        r = put_size(e, isempty(to) ? "." : to, url, reterr);
        if (r >= 0 && !isempty(args_text(args, "unpack", "")))
                r = error_set(reterr, ENODATA, "unknown",
                              "what its archive replaces is known once it is there");
        return r;
}

static int git_size(Estimate *e, const json_t *save, const json_t *args, Error *reterr) {
        return error_set(reterr, ENODATA, "unknown",
                         "git keeps what it needs in its own repository");
}

/* ---- images ---- */

/* Is this service named behind `pull` or `build`? All are when none is. */
static bool is_asked_for(const json_t *words, const char *service) {
        bool any = false;
        const json_t *word;
        size_t i;

        json_array_foreach ((json_t *) words, i, word) {
                const char *text = json_string_value(word);

                if (i == 0 || !text || text[0] == '-')
                        continue;
                if (streq(text, service))
                        return true;
                any = true;
        }
        return !any;
}

/* What runs keeps its images, so those that take their place need room beside them: as much, as far
 * as can be told. */
static int compose_size(Estimate *e, const json_t *save, const json_t *args, Error *reterr) {
        json_auto_t *def = json_pack("{s:O?}", "compose", json_object_get(args, "project"));
        json_auto_t *containers = NULL, *some = json_array();
        _cleanup_(project_freep) Project *p = NULL;
        _cleanup_free_ char *folder = NULL;
        json_t *container;
        int64_t bytes = 0;
        size_t i;
        int r;

        if (!def || !some)
                return error_oom(reterr);
        r = project_open(estimate_step(e), &(Service){.def = def}, &p, reterr);
        if (r >= 0)
                r = images_folder(&p->docker, &folder, reterr);
        if (r < 0 || !folder)
                return r;
        r = project_containers(p, &containers, reterr);
        json_array_foreach (containers, i, container)
                if (is_asked_for(json_object_get(args, "args"), project_service_of(container)) &&
                    json_array_append(some, container) < 0)
                        return error_oom(reterr);
        if (r >= 0)
                r = images_size(&p->docker, some, &bytes, reterr);
        if (r < 0)
                return r;
        if (bytes == 0)
                return error_set(reterr, ENODATA, "unknown",
                                 "nothing runs by whose images the new ones could be measured");
        return estimate_add(e, folder, SHARE_KEEP, bytes, 0, reterr);
}

/* ---- backups ---- */

/* The newest set of the same plan, target and step, or NULL: a program's next will be like it. */
static json_t *former_set(Step *s, const char *to, const char *step) {
        _cleanup_(closedirp) DIR *dir = opendir(to);
        json_t *newest = NULL;
        const struct dirent *entry;

        while (dir && (entry = readdir(dir))) {
                _cleanup_free_ char *path = strf("%s/%s/" BACKUP_MANIFEST, to, entry->d_name);
                _cleanup_free_ char *text = NULL;
                json_t *set;

                if (entry->d_name[0] == '.' || !path ||
                    file_read(AT_FDCWD, path, 4U << 20, &text, NULL) < 0)
                        continue;
                set = json_loads(text, 0, NULL);
                if (streq(args_text(set, "step", ""), step) &&
                    streq(args_text(set, "plan", ""), args_text(step_task(s), "plan", "")) &&
                    streq(args_text(set, "target", ""), args_text(step_task(s), "target", "")) &&
                    strcmp(args_text(set, "created", ""), args_text(newest, "created", "")) > 0) {
                        json_decref(newest);
                        newest = json_incref(set);
                }
                json_decref(set);
        }
        return newest;
}

static int64_t former_part(const json_t *set, const char *kind) {
        const json_t *part;
        size_t i;

        json_array_foreach (json_object_get(set, "parts"), i, part)
                if (streq(args_text(part, "kind", ""), kind))
                        return json_integer_value(json_object_get(part, "size"));
        return -1;
}

/* The file with its write-ahead log: what a copy can come to. */
static int database_size(Step *s, const char *path, Size *ret, Error *reterr) {
        _cleanup_free_ char *wal = strf("%s-wal", path);
        Size log;
        int r = wal ? size_of(s, path, ret, reterr) : error_oom(reterr);

        if (r >= 0 && ret->entries == 0)
                r = error_set(reterr, ENODATA, "unknown", "there is no %s yet", path);
        if (r >= 0)
                r = size_of(s, wal, &log, reterr);
        if (r >= 0)
                size_add(ret, &log);
        return r;
}

typedef struct BackupSave {
        const char *to;
        bool restored; /* something puts it back */
        int64_t times; /* 2: it is restored aside, to prove it */
} BackupSave;

static int backup_database(Estimate *e, const BackupSave *b, const char *name, Error *reterr) {
        Step *s = estimate_step(e);
        _cleanup_free_ char *path = NULL;
        Size size;
        int r = database_path(s, name, &path, reterr);

        if (r >= 0)
                r = database_size(s, path, &size, reterr);
        if (r >= 0)
                r = estimate_add(e, b->to, SHARE_KEEP, size.bytes * b->times, size.entries, reterr);
        if (r >= 0 && b->restored)
                r = estimate_add(e, path, SHARE_BACK, size.bytes, 1, reterr);
        return r;
}

/* Packed, it is at most as large as what goes in; unpacked aside it has its own size. */
static int backup_files(Estimate *e, const BackupSave *b, const json_t *words, Error *reterr) {
        json_auto_t *paths = NULL;
        const json_t *one;
        size_t i;
        int r = keep_paths(estimate_step(e), words, true, NULL, &paths, reterr);

        json_array_foreach (paths, i, one) {
                const char *path = args_text(one, "path", "");
                Size size = {0};

                if (r >= 0)
                        r = size_of(estimate_step(e), path, &size, reterr);
                if (r >= 0)
                        r = estimate_add(e, b->to, SHARE_KEEP, size.bytes * b->times,
                                         b->times > 1 ? size.entries : 1, reterr);
                if (r >= 0 && b->restored)
                        r = estimate_add(e, path, SHARE_BACK, size.bytes, size.entries, reterr);
        }
        return r;
}

static int backup_program(Estimate *e, const BackupSave *b, const json_t *save, const char *kind,
                          Error *reterr) {
        json_auto_t *set = former_set(estimate_step(e), b->to, args_text(save, "step", ""));
        int64_t size = former_part(set, kind);

        if (size < 0)
                return estimate_unknown(
                        e, "a program makes it, and there is no former one to go by", reterr);
        return estimate_add(e, b->to, SHARE_KEEP, size + size / 4, 4, reterr);
}

static int backup_size(Estimate *e, const json_t *save, const json_t *args, Error *reterr) {
        const char *to = args_text(args, "to", NULL), *db = args_text(args, "db", NULL);
        const json_t *files = json_object_get(args, "files");
        _cleanup_free_ char *path = NULL;
        BackupSave b = {
                .restored = json_is_true(json_object_get(save, "restored")),
                .times = streq(args_text(args, "prove", "read"), "restore") ? 2 : 1,
        };
        int r = 0;

        if (!isempty(to))
                r = step_path(estimate_step(e), to, &path, reterr);
        else
                path = path_join(step_job_dir(estimate_step(e)), "backups");
        if (r < 0 || !path)
                return r < 0 ? r : error_oom(reterr);
        b.to = path;
        if (!isempty(db))
                r = backup_database(e, &b, db, reterr);
        if (r >= 0 && files && !json_is_null(files))
                r = backup_files(e, &b, files, reterr);
        if (r >= 0 && json_is_true(json_object_get(args, "run")))
                r = backup_program(e, &b, save, json_object_get(args, "dir") ? "dir" : "stdout",
                                   reterr);
        return r;
}

/* ---- all of them ---- */

static const struct {
        const char *verb;
        SaveFunc func;
} saves[] = {
        {"append", write_size},  {"backup", backup_size}, {"compose", compose_size},
        {"copy", copy_size},     {"fetch", fetch_size},   {"git", git_size},
        {"remove", remove_size}, {"write", write_size},   {"snapshot", snapshot_size},
        {"switch", switch_size},
};

/* The folder that the step's own relative paths begin at. NULL: it has none. */
static int folder_of(const json_t *save, char **ret, Error *reterr) {
        _cleanup_free_ char *cwd = NULL;
        const json_t *one;
        size_t i;

        json_array_foreach (json_object_get(save, "cwd"), i, one) {
                char *joined = path_join(cwd ? cwd : "", json_string_value(one));

                if (!joined)
                        return error_oom(reterr);
                free(cwd);
                cwd = joined;
        }
        *ret = TAKE(cwd);
        return 0;
}

int estimate_save(Estimate *e, const json_t *save, Error *reterr) {
        const json_t *outer = estimate_step(e)->overlay;
        _cleanup_free_ char *cwd = NULL;
        json_auto_t *overlay = NULL;
        int r = folder_of(save, &cwd, reterr);

        if (r < 0)
                return r;
        overlay = outer ? json_copy((json_t *) outer) : json_object();
        if (!overlay || (cwd && json_put(overlay, "cwd", json_string(cwd)) < 0))
                return error_oom(reterr);
        estimate_step(e)->overlay = overlay;
        r = -ENOSYS;
        for (size_t i = 0; i < ELEMENTSOF(saves); i++)
                if (streq(args_text(save, "verb", ""), saves[i].verb))
                        r = saves[i].func(e, save, json_object_get(save, "args"), reterr);
        estimate_step(e)->overlay = outer;
        return r;
}
