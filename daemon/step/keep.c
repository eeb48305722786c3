/* SPDX-License-Identifier: MIT */
/* Recording how files were: see daemon/step/keep.h. Putting back: keep_undo.c. */
#include "daemon/step/keep.h"
#include "daemon/step/files.h"

#include <glob.h>

/* As it is, text or not: the record takes care of that. */
static json_t *name_json(const char *name) {
        return json_string_nocheck(name);
}

static const char *type_of(mode_t mode) {
        if (S_ISREG(mode))
                return "file";
        if (S_ISDIR(mode))
                return "dir";
        return S_ISLNK(mode) ? "link" : "other";
}

static int state_of(const char *path, json_t **ret, Error *reterr) {
        _cleanup_free_ char *target = NULL;
        struct stat st;

        if (lstat(path, &st) < 0) {
                if (errno != ENOENT && errno != ENOTDIR)
                        return error_set(reterr, errno, "read-failed", "Cannot look at %s: %s",
                                         path, strerror(errno));
                *ret = json_pack("{ss}", "type", "absent");
                return *ret ? 0 : error_oom(reterr);
        }
        if (S_ISLNK(st.st_mode) && link_read(path, &target) < 0)
                return error_set(reterr, EIO, "read-failed", "Cannot read the symlink %s", path);
        *ret = json_pack("{ss si si si sI sI so*}", "type", type_of(st.st_mode), "mode",
                         (int) (st.st_mode & 07777), "uid", (int) st.st_uid, "gid", (int) st.st_gid,
                         "mtime_ns",
                         (json_int_t) st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec, "size",
                         (json_int_t) st.st_size, "target", target ? name_json(target) : NULL);
        return *ret ? 0 : error_oom(reterr);
}

const json_t *keep_find(Step *s, const char *kind, const char *path) {
        const json_t *entries, *entry;
        size_t i;

        if (step_undo_entries(s, &entries, NULL) < 0)
                return NULL;
        json_array_foreach (entries, i, entry) {
                if (streq(args_text(entry, "undo", ""), kind) &&
                    streq(args_text(entry, "path", ""), path))
                        return entry;
        }
        return NULL;
}

bool keep_has_moved(Step *s, const char *from) {
        const json_t *entries, *entry;
        size_t i;

        if (step_undo_entries(s, &entries, NULL) < 0)
                return false;
        json_array_foreach (entries, i, entry) {
                if (streq(args_text(entry, "undo", ""), "moved") &&
                    streq(args_text(entry, "from", ""), from))
                        return true;
        }
        return false;
}

/* The same name for the same path each time: a copy that a crash left half made is made again. */
static int kept_name(Step *s, const char *path, const char *suffix, char **ret_name,
                     char **ret_path, Error *reterr) {
        char hash[SHA256_TEXT_MAX];
        const char *kept;
        int r = step_kept_dir(s, &kept, reterr);

        if (r < 0)
                return r;
        sha256_text(path, strlen(path), hash);
        *ret_name = strf("%.16s%s", hash, suffix);
        *ret_path = *ret_name ? path_join(kept, *ret_name) : NULL;
        return *ret_path ? 0 : error_oom(reterr);
}

int keep_path(Step *s, const char *path, Error *reterr) {
        _cleanup_free_ char *name = NULL, *kept = NULL;
        json_auto_t *state = NULL;
        bool absent;
        int r;

        if (keep_find(s, "path", path))
                return 0;
        r = state_of(path, &state, reterr);
        if (r < 0)
                return r;
        absent = streq(args_text(state, "type", ""), "absent");
        if (!absent) {
                r = kept_name(s, path, "", &name, &kept, reterr);
                if (r >= 0)
                        r = tree_copy(path, kept, reterr);
                if (r < 0)
                        return r;
        }
        return step_undo_note(s,
                              json_pack("{ss so sO ss*}", "undo", "path", "path", name_json(path),
                                        "state", state, "kept", name),
                              reterr);
}

int keep_makes(Step *s, const char *path, const char *sha256, Error *reterr) {
        const json_t *entries, *entry;
        size_t i;
        int r = step_undo_entries(s, &entries, reterr);

        if (r < 0)
                return r;
        json_array_foreach (entries, i, entry) {
                if (streq(args_text(entry, "undo", ""), "makes") &&
                    streq(args_text(entry, "path", ""), path) &&
                    streq(args_text(entry, "sha256", ""), sha256))
                        return 0;
        }
        return step_undo_note(
                s,
                json_pack("{ss so ss}", "undo", "makes", "path", name_json(path), "sha256", sha256),
                reterr);
}

static int make_folder(Step *s, const char *dir, Error *reterr) {
        struct stat st;
        int r;

        if (stat(dir, &st) == 0)
                return S_ISDIR(st.st_mode) ? 0
                                           : error_set(reterr, ENOTDIR, "not-a-folder",
                                                       "%s is in the way: it is no folder", dir);
        if (!keep_find(s, "parent", dir)) {
                r = step_undo_note(
                        s, json_pack("{ss so}", "undo", "parent", "path", name_json(dir)), reterr);
                if (r < 0)
                        return r;
        }
        if (mkdir(dir, 0755) < 0)
                return error_set(reterr, errno, "write-failed", "Cannot make the folder %s: %s",
                                 dir, strerror(errno));
        r = parent_sync(dir);
        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot make the folder %s: %s", dir,
                                 strerror(-r))
                     : 0;
}

int keep_parents(Step *s, const char *path, Error *reterr) {
        _cleanup_free_ char *dir = strdup(path);

        if (!dir)
                return error_oom(reterr);
        for (char *p = dir + 1; *p; p++) {
                int r;

                if (*p != '/')
                        continue;
                *p = '\0';
                r = make_folder(s, dir, reterr);
                *p = '/';
                if (r < 0)
                        return r;
        }
        return 0;
}

int keep_move(Step *s, const char *path, const char *from, Error *reterr) {
        _cleanup_free_ char *name = NULL, *kept = NULL;
        struct stat st;
        int r = kept_name(s, path, ".moved", &name, &kept, reterr);

        if (r < 0)
                return r;
        if (!keep_find(s, "moved", path)) {
                r = step_undo_note(s,
                                   json_pack("{ss so ss ss}", "undo", "moved", "path",
                                             name_json(path), "kept", name, "from", from),
                                   reterr);
                if (r < 0)
                        return r;
        }
        if (lstat(kept, &st) == 0)
                return keep_aside(s, path, false, "came back after it had been removed", reterr);
        return tree_move(path, kept, reterr);
}

static int paths_add(json_t *list, const char *path, const char *word) {
        return json_array_append_new(list,
                                     json_pack("{so ss}", "path", name_json(path), "from", word));
}

static void globfreep(glob_t *g) {
        globfree(g);
}

static int glob_add(Step *s, const char *pattern, const char *word, bool forgiven, json_t *list,
                    Error *reterr) {
        _cleanup_(globfreep) glob_t found = {0};
        int r = glob(pattern, GLOB_ERR, NULL, &found);

        if (r == GLOB_NOMATCH)
                return forgiven ? 0
                                : error_set(reterr, ENOENT, "no-match", "Nothing matches %s",
                                            pattern);
        if (r != 0)
                return error_set(reterr, r == GLOB_NOSPACE ? ENOMEM : EACCES, "read-failed",
                                 "Cannot look for %s: %s", pattern,
                                 r == GLOB_NOSPACE ? "out of memory" : strerror(errno));
        for (size_t i = 0; i < found.gl_pathc; i++)
                if (paths_add(list, found.gl_pathv[i], word) < 0)
                        return error_oom(reterr);
        return 0;
}

static bool is_glob(const char *word) {
        return strpbrk(word, "*?[") != NULL;
}

static int word_add(Step *s, const char *word, bool must_exist, bool forgiven, json_t *list,
                    Error *reterr) {
        _cleanup_free_ char *path = NULL;
        struct stat st;
        int r = step_path(s, word, &path, reterr);

        if (r < 0)
                return r;
        path_tidy(path);
        if (lstat(path, &st) < 0) {
                /* A name may hold a bracket and be no pattern, so the name itself comes first. */
                if (is_glob(word))
                        return glob_add(s, path, word, forgiven, list, reterr);
                if (must_exist && !forgiven)
                        return error_set(reterr, errno, "no-match", "Cannot find %s: %s", path,
                                         strerror(errno));
                if (must_exist)
                        return 0;
        }
        return paths_add(list, path, word) < 0 ? error_oom(reterr) : 0;
}

int keep_paths(Step *s, const json_t *words, bool must_exist,
               bool (*forgive)(Step *s, const char *word), json_t **ret, Error *reterr) {
        json_auto_t *list = json_array(), *one = NULL;
        const json_t *word;
        size_t i;

        if (json_is_string(words)) {
                one = json_pack("[O]", words);
                words = one;
        }
        if (!list || !words)
                return error_set(reterr, EINVAL, "bad-args", "No paths are given");
        json_array_foreach (words, i, word) {
                const char *text = json_string_value(word);
                int r;

                if (isempty(text))
                        continue;
                r = word_add(s, text, must_exist, forgive && forgive(s, text), list, reterr);
                if (r < 0)
                        return r;
        }
        *ret = TAKE(list);
        return 0;
}
