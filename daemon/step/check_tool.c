/* SPDX-License-Identifier: MIT */
/* tool {name, min, command}: a program is installed, at least in a version. */
#include "daemon/step/match.h"
#include "daemon/step/setting.h"

#include <sys/stat.h>

static bool is_program(const char *path) {
        struct stat st;

        return stat(path, &st) >= 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0;
}

/* 1 and the path, 0 when it is nowhere in PATH. */
static int find_program(Step *s, const char *name, char **ret, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        char *rest, *dir;
        int r;

        if (strchr(name, '/')) {
                r = step_path(s, name, ret, reterr);
                return r < 0 ? r : is_program(*ret);
        }
        r = setting_variable(s, NULL, "PATH", &path, reterr);
        if (r < 0)
                return r;
        for (rest = path; (dir = strsep(&rest, ":"));) {
                _cleanup_free_ char *candidate = path_join(*dir ? dir : ".", name);

                if (!candidate)
                        return error_oom(reterr);
                if (is_program(candidate)) {
                        *ret = TAKE(candidate);
                        return 1;
                }
        }
        return 0;
}

/* -1, 0, 1 as in strcmp, number by number; a part that is missing counts as 0. */
static int compare_versions(const char *a, const char *b) {
        while (*a || *b) {
                char *end_a, *end_b;
                unsigned long n = strtoul(a, &end_a, 10), m = strtoul(b, &end_b, 10);

                if (n != m)
                        return n < m ? -1 : 1;
                a = *end_a == '.' ? end_a + 1 : "";
                b = *end_b == '.' ? end_b + 1 : "";
        }
        return 0;
}

static int read_version(Step *s, const json_t *args, const char *path, char **ret, Error *reterr) {
        const json_t *command = json_object_get(args, "command");
        json_auto_t *argv =
                command ? json_incref((json_t *) command) : json_pack("[ss]", path, "--version");
        _cleanup_exec_ ExecResult result = {0};
        const char *name = args_text(args, "name", "");
        int r;

        r = step_exec(s, &(Exec){.argv = argv, .quiet = true, .merge = true}, &result, reterr);
        if (r < 0)
                return r;
        if (result.timed_out)
                return error_set(reterr, ETIMEDOUT, "timeout", "%s does not tell its version",
                                 name);
        /* "v1.2", "1.2.3-rc1" and "OpenSSL 3.0.1 7 Dec 2021": a dotted number goes before a bare
         * one. */
        r = match_text("[0-9]+(?:\\.[0-9]+)+", result.out, result.out_size, ret, reterr);
        if (r == 0)
                r = match_text("[0-9]+", result.out, result.out_size, ret, reterr);
        if (r != 0)
                return MIN(r, 0);
        return error_set(reterr, EBADE, "check-failed", "%s does not tell its version: '%.*s'",
                         name, (int) MIN(strcspn(result.out, "\r\n"), (size_t) 100), result.out);
}

static int tool_look(Step *s, const json_t *args, Error *reterr) {
        const char *name = args_text(args, "name", ""), *min = args_text(args, "min", NULL);
        _cleanup_free_ char *path = NULL, *version = NULL;
        int r;

        r = find_program(s, name, &path, reterr);
        if (r < 0)
                return r;
        if (r == 0)
                return error_set(reterr, EBADE, "check-failed", "%s is not installed", name);
        if (!min)
                return 0;
        r = read_version(s, args, path, &version, reterr);
        if (r < 0)
                return r;
        if (compare_versions(version, *min == 'v' ? min + 1 : min) >= 0)
                return 0;
        return error_set(reterr, EBADE, "check-failed", "%s is %s, at least %s is needed", name,
                         version, min);
}

const Check check_tool = {"tool", tool_look};
