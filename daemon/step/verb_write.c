/* SPDX-License-Identifier: MIT */
/*
 * write {to, text, mode, owner} and append {to, text, mode, owner}. A file is replaced whole, and
 * so is one that grows: after a crash it either has the text or has not, and a rerun sees which, so
 * nothing is ever appended twice.
 */
#include "daemon/step/place.h"

#include <fcntl.h>

#define APPEND_MAX (256U * 1024 * 1024)

static int put(Step *s, const json_t *args, const char *path, const void *data, size_t size,
               Error *reterr) {
        FileContent content = {.fd = -EBADF, .data = data, .size = size};
        int r = place_file(s, args, path, &content, 0644, reterr);

        if (r < 0)
                return r;
        if (r == 0)
                step_log(s, "%s is like that already", path);
        return step_output(s, "path", json_string(path));
}

static int write_run(Step *s, const json_t *args, Error *reterr) {
        const char *text = args_text(args, "text", "");
        _cleanup_free_ char *path = NULL;
        int r = place_path(s, args_text(args, "to", ""), &path, reterr);

        return r < 0 ? r : put(s, args, path, text, strlen(text), reterr);
}

/* The size that the file had before the step; the size now when nothing is recorded. */
static size_t size_before(Step *s, const char *path, size_t now) {
        const json_t *entry = keep_find(s, "path", path);
        const json_t *size = json_object_get(json_object_get(entry, "state"), "size");

        if (!entry)
                return now;
        return json_is_integer(size) ? (size_t) json_integer_value(size) : 0;
}

static int append_run(Step *s, const json_t *args, Error *reterr) {
        const char *text = args_text(args, "text", "");
        _cleanup_free_ char *path = NULL, *old = NULL, *grown = NULL;
        size_t n = strlen(text), size = 0, before;
        int r = place_path(s, args_text(args, "to", ""), &path, reterr);

        if (r < 0)
                return r;
        r = file_read(AT_FDCWD, path, APPEND_MAX, &old, &size);
        if (r < 0 && r != -ENOENT)
                return error_set(reterr, -r, "read-failed", "Cannot read %s: %s", path,
                                 strerror(-r));
        before = size_before(s, path, size);
        if (before < size && memmem(old + before, size - before, text, n)) {
                step_log(s, "%s has the text already", path);
                return step_output(s, "path", json_string(path));
        }
        grown = malloc(size + n + 1);
        if (!grown)
                return error_oom(reterr);
        if (size > 0)
                memcpy(grown, old, size);
        memcpy(grown + size, text, n);
        return put(s, args, path, grown, size + n, reterr);
}

static int put_back(Step *s, const json_t *args, Error *reterr) {
        return keep_undo(s, reterr);
}

const Verb verb_write = {"write", write_run, put_back};
const Verb verb_append = {"append", append_run, put_back};
