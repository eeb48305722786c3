/* SPDX-License-Identifier: MIT */
/*
 * switch {path, to, test, reload}: what `path` stands for becomes `to`, at one stroke. Where a
 * symlink stands, or `to` is a folder, it is a symlink that is pointed elsewhere; a file gets the
 * bytes of `to`. `test` judges the new state before `reload` makes it take effect; when it says no,
 * what stood there stands there again before anybody has seen the new.
 */
#include "api/text.h"
#include "daemon/step/files.h"
#include "daemon/step/keep.h"

#include <fcntl.h>

static int run_argv(Step *s, const json_t *argv, const char *what, Error *reterr) {
        _cleanup_exec_ ExecResult result = {0};
        Exec x = {.argv = argv};
        int r;

        if (!json_is_array(argv) || json_array_size(argv) == 0)
                return 0;
        r = step_exec(s, &x, &result, reterr);
        if (r < 0)
                return r;
        if (result.exit == 0)
                return 0;
        return error_set(reterr, EREMOTEIO, "command-failed",
                         "The %s '%s' failed with exit code %d", what,
                         json_string_value(json_array_get(argv, 0)), result.exit);
}

static int set_link(const char *path, const char *to, Error *reterr) {
        _cleanup_free_ char *now = NULL;

        if (link_read(path, &now) >= 0 && streq(now, to))
                return 0;
        return link_install(path, to, NULL, reterr);
}

static int set_file(Step *s, const char *path, const char *to, Error *reterr) {
        _cleanup_close_ int fd = open(to, O_RDONLY | O_CLOEXEC);
        FileContent content = {.fd = fd};
        char hash[SHA256_TEXT_MAX];
        struct stat like;
        int r;

        if (fd < 0 || sha256_fd(fd, hash, NULL) < 0)
                return error_set(reterr, errno, "read-failed", "Cannot read %s: %s", to,
                                 strerror(errno));
        r = keep_makes(s, path, hash, reterr);
        if (r < 0)
                return r;
        content.xattrs_of = path;
        if (lstat(path, &like) < 0) {
                content.xattrs_of = to;
                if (fstat(fd, &like) < 0)
                        return error_set(reterr, errno, "read-failed", "Cannot read %s: %s", to,
                                         strerror(errno));
        }
        content.like = &like;
        return file_install(path, &content, reterr);
}

/* What stood there before the step, as an output: a symlink's text, or the kept copy's place. */
static int tell_old(Step *s, const char *path, Error *reterr) {
        const json_t *entry = keep_find(s, "path", path);
        const char *target = args_text(json_object_get(entry, "state"), "target", NULL), *kept;
        const char *name = args_text(entry, "kept", NULL);
        _cleanup_free_ char *copy = NULL;
        int r;

        if (target || !name) {
                copy = utf8_clean(target ? target : "", target ? strlen(target) : 0);
                return step_output(s, "old", copy ? json_string(copy) : NULL);
        }
        r = step_kept_dir(s, &kept, reterr);
        if (r < 0)
                return r;
        copy = path_join(kept, name);
        return copy ? step_output(s, "old", json_string(copy)) : error_oom(reterr);
}

static int change(Step *s, const char *path, const char *to, Error *reterr) {
        const char *was;
        struct stat st;
        int r;

        if (stat(to, &st) < 0)
                return error_set(reterr, errno, "read-failed", "Cannot switch to %s: %s", to,
                                 strerror(errno));
        r = keep_parents(s, path, reterr);
        if (r >= 0)
                r = keep_path(s, path, reterr);
        if (r < 0)
                return r;
        was = args_text(json_object_get(keep_find(s, "path", path), "state"), "type", "absent");
        if (streq(was, "dir"))
                return error_set(reterr, EISDIR, "not-a-file",
                                 "%s is a folder; only a symlink or a file can be switched", path);
        if (S_ISDIR(st.st_mode) || streq(was, "link"))
                return set_link(path, to, reterr);
        return set_file(s, path, to, reterr);
}

static int switch_run(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *path = NULL, *to = NULL;
        int r = step_path(s, args_text(args, "path", ""), &path, reterr);

        if (r >= 0)
                r = step_path(s, args_text(args, "to", ""), &to, reterr);
        if (r >= 0) {
                path_tidy(path);
                path_tidy(to);
        }
        if (r >= 0)
                r = change(s, path, to, reterr);
        if (r < 0)
                return r;
        step_log(s, "%s is %s now", path, to);
        r = run_argv(s, json_object_get(args, "test"), "test", reterr);
        if (r < 0) {
                step_log(s, "The test says no; what stood there is put back");
                if (keep_undo(s, NULL) < 0)
                        step_log(s, "Not everything could be put back");
                return r;
        }
        r = run_argv(s, json_object_get(args, "reload"), "reload", reterr);
        return r < 0 ? r : tell_old(s, path, reterr);
}

static int switch_undo(Step *s, const json_t *args, Error *reterr) {
        const json_t *entries;
        int r = step_undo_entries(s, &entries, reterr);

        /* Nothing recorded: nothing was changed, so nothing has to be told of it either. */
        if (r < 0 || json_array_size(entries) == 0)
                return r;
        r = keep_undo(s, reterr);
        return r < 0 ? r : run_argv(s, json_object_get(args, "reload"), "reload", reterr);
}

const Verb verb_switch = {"switch", switch_run, switch_undo};
