/* SPDX-License-Identifier: MIT */
/*
 * The undo record: JSON lines in the step's folder, appended and fsynced before the change that
 * each of them undoes. A line that was torn by a crash was never acted on, so it is dropped when
 * read and cut off before the next one is written.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "api/text.h"
#include "daemon/step/worker.h"

#define RECORD_MAX (256U * 1024 * 1024)

static int record_fault(Error *reterr, const char *path, int r) {
        return error_set(reterr, -r, "undo-record", "The undo record %s cannot be used: %s", path,
                         strerror(-r));
}

/* A copy in which each text is what `convert` makes of it; keys stay. In memory names are as the
 * file system has them, in the record they are text. */
static json_t *converted(const json_t *value, char *(*convert)(const char *text)) {
        json_auto_t *out = NULL;
        const char *key;
        json_t *item;
        size_t i;

        if (json_is_string(value)) {
                _cleanup_free_ char *text = convert(json_string_value(value));

                return text ? json_string_nocheck(text) : NULL;
        }
        if (!json_is_object(value) && !json_is_array(value))
                return json_deep_copy(value);
        out = json_is_object(value) ? json_object() : json_array();
        json_object_foreach ((json_t *) value, key, item)
                if (json_object_set_new(out, key, converted(item, convert)) < 0)
                        return NULL;
        json_array_foreach ((json_t *) value, i, item)
                if (json_array_append_new(out, converted(item, convert)) < 0)
                        return NULL;
        return TAKE(out);
}

/* Parses whole lines; `*ret_whole` is how many bytes they take. */
static int record_parse(const char *text, size_t size, json_t **ret, size_t *ret_whole) {
        json_auto_t *entries = json_array();
        size_t at = 0;

        while (at < size) {
                const char *end = memchr(text + at, '\n', size - at);
                json_auto_t *entry = NULL;

                if (!end)
                        break;
                entry = json_loadb(text + at, (size_t) (end - text) - at, 0, NULL);
                if (!entry)
                        return -EBADMSG;
                if (json_array_append_new(entries, converted(entry, name_from_text)) < 0)
                        return -ENOMEM;
                at = (size_t) (end - text) + 1;
        }
        *ret = TAKE(entries);
        *ret_whole = at;
        return 0;
}

static int record_load(const char *path, json_t **ret, size_t *ret_whole) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        int r;

        r = file_read(AT_FDCWD, path, RECORD_MAX, &text, &size);
        if (r < 0 && r != -ENOENT)
                return r;
        return record_parse(text ? text : "", size, ret, ret_whole);
}

static int record_open(const char *dir, const char *path, int *ret) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = access(dir, F_OK) == 0 ? 0 : mkdir_durable(dir, 0700);
        if (r < 0)
                return r;
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        *ret = TAKE_FD(fd);
        return 0;
}

static int sync_folder(const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* After the whole lines that are there; what a crash has torn goes. */
static int line_append(Step *s, const char *path, const char *line, size_t size) {
        _cleanup_close_ int fd = -EBADF;
        int r = record_open(step_record_dir(s), path, &fd);

        if (r < 0)
                return r;
        if (ftruncate(fd, (off_t) s->undo_size) < 0)
                return -errno;
        r = write_all(fd, line, size);
        if (r < 0)
                return r;
        if (fsync(fd) < 0)
                return -errno;
        return s->undo_size == 0 ? sync_folder(step_record_dir(s)) : 0;
}

static void record_forget(Step *s) {
        json_decref(s->undo);
        s->undo = NULL;
}

static int record_append(Step *s, const char *path, const json_t *entry) {
        json_auto_t *text = converted(entry, name_to_text);
        json_auto_t *masked = text ? masks_json(&s->masks, text) : NULL;
        _cleanup_free_ char *dumped = masked ? json_dumps(masked, JSON_COMPACT) : NULL;
        _cleanup_free_ char *line = dumped ? strf("%s\n", dumped) : NULL;
        size_t size = line ? strlen(line) : 0;
        int r;

        if (!line)
                return -ENOMEM;
        r = line_append(s, path, line, size);
        if (r >= 0)
                r = json_array_append_new(s->undo, converted(masked, name_from_text)) < 0 ? -ENOMEM
                                                                                          : 0;
        if (r < 0)
                record_forget(s); /* how much of it is there is for the file to say */
        else
                s->undo_size += size;
        return r;
}

int step_undo_note(Step *s, json_t *entry, Error *reterr) {
        json_auto_t *owned = entry;
        const json_t *entries;
        int r;

        if (!owned)
                return error_oom(reterr);
        r = step_undo_entries(s, &entries, reterr);
        if (r < 0)
                return r;
        r = record_append(s, s->undo_of, owned);
        return r < 0 ? record_fault(reterr, s->undo_of, r) : 0;
}

int step_undo_entries(Step *s, const json_t **ret, Error *reterr) {
        _cleanup_free_ char *path = path_join(step_record_dir(s), "undo");
        int r;

        if (!path)
                return error_oom(reterr);
        if (!s->undo || !streq0(s->undo_of, path)) {
                json_auto_t *entries = NULL;

                r = record_load(path, &entries, &s->undo_size);
                if (r < 0)
                        return record_fault(reterr, path, r);
                record_forget(s);
                s->undo = TAKE(entries);
                free(s->undo_of);
                s->undo_of = TAKE(path);
        }
        *ret = s->undo;
        return 0;
}

int step_kept_dir(Step *s, const char **ret, Error *reterr) {
        _cleanup_free_ char *kept = path_join(step_record_dir(s), "kept");
        int r;

        if (!kept)
                return error_oom(reterr);
        r = mkdir_durable(kept, 0700);
        if (r < 0)
                return record_fault(reterr, kept, r);
        free(s->kept);
        *ret = s->kept = TAKE(kept);
        return 0;
}
