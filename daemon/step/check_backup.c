/* SPDX-License-Identifier: MIT */
/* backup {of | newest, younger}: it is read through to its end, so a truncated one is found. */
#include "daemon/step/backup.h"

#include <glob.h>
#include <sys/stat.h>

/* The youngest of what one glob matches, if it is younger than `*newest`. */
static int newest_of(Step *s, const char *pattern, char **newest, time_t *when, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        _cleanup_(globfree) glob_t found = {0};
        int r = step_path(s, pattern, &path, reterr);

        if (r < 0)
                return r;
        r = glob(path, GLOB_NOSORT, NULL, &found);
        if (r == GLOB_NOSPACE)
                return error_oom(reterr);
        for (size_t i = 0; r == 0 && i < found.gl_pathc; i++) {
                struct stat st;

                if (stat(found.gl_pathv[i], &st) < 0 || (*newest && st.st_mtime <= *when))
                        continue;
                free(*newest);
                *newest = strdup(found.gl_pathv[i]);
                *when = st.st_mtime;
                if (!*newest)
                        return error_oom(reterr);
        }
        return 0;
}

static int find_newest(Step *s, const json_t *globs, char **ret, Error *reterr) {
        time_t when = 0;
        json_t *item;
        size_t i;
        int r;

        if (json_is_string(globs))
                return newest_of(s, json_string_value(globs), ret, &when, reterr);
        json_array_foreach ((json_t *) globs, i, item) {
                r = newest_of(s, json_string_value(item), ret, &when, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static char *spell(const json_t *globs) {
        if (json_is_string(globs))
                return strdup(json_string_value(globs));
        return json_dumps(globs, JSON_COMPACT);
}

static int find_backup(Step *s, const json_t *args, char **ret, Error *reterr) {
        const char *of = args_text(args, "of", NULL), *path;
        const json_t *newest = json_object_get(args, "newest");
        _cleanup_free_ char *globs = NULL;
        int r;

        if (of) {
                path = args_text(json_object_get(json_object_get(step_scope(s), "steps"), of),
                                 "path", "");
                if (!*path)
                        return error_set(reterr, EBADE, "check-failed",
                                         "The step %s has made no backup", of);
                *ret = strdup(path);
                return *ret ? 0 : error_oom(reterr);
        }
        r = find_newest(s, newest, ret, reterr);
        if (r < 0 || *ret)
                return r;
        globs = spell(newest);
        return error_set(reterr, EBADE, "check-failed", "There is no backup %s",
                         globs ? globs : "");
}

static int expect_younger(const json_t *args, const char *path, int64_t created, Error *reterr) {
        _cleanup_free_ char *age = NULL;
        int64_t younger, ms;
        int r;

        r = args_ms(args, "younger", INT64_MAX, &younger, reterr);
        if (r < 0)
                return r;
        ms = now_wall_ms() - created;
        if (ms <= younger)
                return 0;
        age = duration_format(ms / 60000 * 60000);
        return error_set(reterr, EBADE, "check-failed", "%s is %s old, expected younger than %s",
                         path, age ? age : "?", args_text(args, "younger", ""));
}

static int backup_look(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        json_auto_t *found = NULL;
        int r;

        r = find_backup(s, args, &path, reterr);
        if (r >= 0)
                r = backup_verify(s, path, &found, reterr);
        if (r < 0)
                return r;
        return expect_younger(args, path, json_integer_value(json_object_get(found, "created")),
                              reterr);
}

const Check check_backup = {"backup", backup_look};
