/* SPDX-License-Identifier: MIT */
/* Files that hold space: see daemon/step/reserve.h. */
#include "daemon/step/reserve.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "daemon/attempt/attempt.h"

#define LIST "reserve.json"
#define LIST_MAX (1024 * 1024)
#define HIDDEN ".updd-reserve-"

typedef struct Reserve {
        Step *step;
        json_t *folders; /* as recorded */
        json_t *outside;
        bool grudging;
} Reserve;

static int list_path(Step *s, char **ret) {
        *ret = path_join(step_job_dir(s), LIST);
        return *ret ? 0 : -ENOMEM;
}

static int list_write(Reserve *v) {
        json_auto_t *list = json_pack("{s:i, s:O}", "format", 1, "folders", v->folders);
        _cleanup_free_ char *path = NULL, *text = json_dumps(list, JSON_COMPACT);
        int r = list_path(v->step, &path);

        if (r < 0 || !text)
                return -ENOMEM;
        return file_write_atomic(AT_FDCWD, path, text, strlen(text), 0600);
}

/* NULL in *ret: nothing is reserved. Caller owns. */
static int list_read(Step *s, json_t **ret) {
        _cleanup_free_ char *path = NULL, *text = NULL;
        json_auto_t *list = NULL;
        int r = list_path(s, &path);

        if (r >= 0)
                r = file_read(AT_FDCWD, path, LIST_MAX, &text, NULL);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        list = json_loads(text, 0, NULL);
        *ret = json_incref(json_object_get(list, "folders"));
        return *ret ? 0 : -EBADMSG;
}

static int list_fault(int r, Error *reterr) {
        return r == -ENOMEM ? error_oom(reterr)
                            : error_set(reterr, -r, "read-failed",
                                        "Cannot read what is reserved for the way back: %s",
                                        strerror(-r));
}

static bool is_home(Step *s, const json_t *fs) {
        struct stat st;

        return stat(step_job_dir(s), &st) == 0 &&
               (uint64_t) json_integer_value(json_object_get(fs, "dev")) == st.st_dev;
}

/* Recorded before it is made. 0 and the folder, or why it cannot be made there. */
static int folder_make(Reserve *v, const char *path) {
        int r;

        if (!json_has_text(v->folders, path) &&
            json_array_append_new(v->folders, json_string(path)) < 0)
                return -ENOMEM;
        r = list_write(v);
        if (r < 0)
                return r;
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return -errno;
        return 0;
}

static char *hidden_in(Step *s, const char *dir) {
        return strf("%s%s" HIDDEN "%lld-%.12s", dir, endswith(dir, "/") ? "" : "/",
                    (long long) json_integer_value(json_object_get(step_task(s), "job")),
                    args_text(step_task(s), "id", ""));
}

static int folder_outside(Reserve *v, const json_t *fs, char **ret) {
        static const char *const places[] = {"path", "near"};
        int r = -ENOENT;

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                _cleanup_free_ char *path = hidden_in(v->step, args_text(fs, places[i], "/"));

                r = path ? folder_make(v, path) : -ENOMEM;
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        continue;
                if (json_array_append_new(v->outside, json_string(path)) < 0)
                        return -ENOMEM;
                *ret = TAKE(path);
                return 0;
        }
        return r;
}

static int folder_for(Reserve *v, const json_t *fs, char **ret) {
        _cleanup_free_ char *home = path_join(step_job_dir(v->step), RESERVE_FOLDER);
        int r;

        if (!is_home(v->step, fs))
                return folder_outside(v, fs, ret);
        r = home ? folder_make(v, home) : -ENOMEM;
        if (r >= 0)
                *ret = TAKE(home);
        return r;
}

static char *share_path(const char *folder, const char *step, const char *purpose) {
        return strf("%s/%s.%s", folder, step, purpose);
}

static int hold(const char *path, int64_t bytes) {
        _cleanup_close_ int fd =
                open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        int r = 0;

        if (fd < 0)
                return -errno;
        if (bytes > 0 && fallocate(fd, 0, 0, bytes) < 0)
                r = -errno;
        if (r < 0)
                (void) unlink(path);
        return r;
}

/* 0 also where the file system cannot hold space: nothing is lost but the certainty. */
static int share_hold(Reserve *v, const char *folder, const json_t *share, Error *reterr) {
        const char *step = args_text(share, "step", "");
        int64_t bytes = json_integer_value(json_object_get(share, "bytes"));
        _cleanup_free_ char *path = share_path(folder, step, args_text(share, "for", ""));
        _cleanup_free_ char *size = size_format(bytes);
        int r = path ? hold(path, bytes) : -ENOMEM;

        if (r >= 0 || r == -ENOMEM)
                return r < 0 ? error_oom(reterr) : 0;
        if (v->grudging || r == -EOPNOTSUPP || r == -ENOSYS) {
                step_log(v->step, "%s for step %s cannot be reserved in %s: %s, ignoring",
                         size ? size : "?", step, folder, strerror(-r));
                return r == -EOPNOTSUPP || r == -ENOSYS ? -EOPNOTSUPP : 0;
        }
        return error_set(reterr, -r, r == -ENOSPC || r == -EDQUOT ? "disk-full" : "write-failed",
                         "%s for the way back of step %s cannot be reserved in %s: %s",
                         size ? size : "?", step, folder, strerror(-r));
}

/* What must be kept comes first, should not all of it fit. */
static int shares_hold(Reserve *v, const char *folder, const json_t *fs, bool keeps,
                       Error *reterr) {
        json_t *share;
        size_t i;
        int r = 0;

        json_array_foreach (json_object_get(fs, "shares"), i, share) {
                if (r >= 0 && streq(args_text(share, "for", ""), "back") != keeps)
                        r = share_hold(v, folder, share, reterr);
        }
        return r;
}

static int filesystem_hold(Reserve *v, const json_t *fs, Error *reterr) {
        const char *path = args_text(fs, "path", "");
        _cleanup_free_ char *folder = NULL;
        int r = folder_for(v, fs, &folder);

        if (r == -ENOMEM)
                return error_oom(reterr);
        if (r < 0 && r != -ENOSPC && r != -EDQUOT) {
                step_log(v->step, "Nothing can be reserved on %s: %s, ignoring", path,
                         strerror(-r));
                return 0;
        }
        if (r < 0)
                return v->grudging
                               ? 0
                               : error_set(reterr, -r, "disk-full",
                                           "Nothing can be reserved on %s: %s", path, strerror(-r));
        r = shares_hold(v, folder, fs, true, reterr);
        if (r >= 0)
                r = shares_hold(v, folder, fs, false, reterr);
        return r == -EOPNOTSUPP ? 0 : r;
}

static void shares_take(Step *s, const json_t *estimate) {
        json_t *fs, *share;
        size_t i, k;

        json_array_foreach (json_object_get(estimate, "filesystems"), i, fs)
                json_array_foreach (json_object_get(fs, "shares"), k, share)
                        reserve_take(s, args_text(share, "step", ""), args_text(share, "for", ""));
}

int reserve_make(Step *s, const json_t *estimate, bool grudging, bool again, json_t **ret_outside,
                 Error *reterr) {
        json_auto_t *folders = NULL, *outside = json_array();
        Reserve v = {.step = s, .outside = outside, .grudging = grudging};
        json_t *fs;
        size_t i;
        int r = again ? list_read(s, &folders) : 0;

        if (r < 0)
                return list_fault(r, reterr);
        if (!folders)
                folders = json_array();
        v.folders = folders;
        if (!folders || !outside)
                return error_oom(reterr);
        if (r >= 0 && !again)
                r = reserve_drop(s, reterr);
        json_array_foreach (json_object_get(estimate, "filesystems"), i, fs)
                if (r >= 0)
                        r = filesystem_hold(&v, fs, reterr);
        if (r < 0) {
                if (again)
                        shares_take(s, estimate);
                else
                        (void) !reserve_drop(s, NULL);
                return r;
        }
        *ret_outside = TAKE(outside);
        return 0;
}

void reserve_take(Step *s, const char *step, const char *purpose) {
        json_auto_t *folders = NULL;
        const json_t *folder;
        size_t i;

        if (list_read(s, &folders) < 0)
                return;
        json_array_foreach (folders, i, folder) {
                _cleanup_free_ char *path = share_path(json_string_value(folder), step, purpose);

                if (path)
                        (void) unlink(path);
        }
}

/* Only what has a name of ours is removed, whatever the list says. */
static int folder_drop(Step *s, const char *folder) {
        _cleanup_free_ char *home = path_join(step_job_dir(s), RESERVE_FOLDER);
        const char *slash = folder ? strrchr(folder, '/') : NULL;

        if (!home || !slash || (!streq(folder, home) && !startswith(slash + 1, HIDDEN)))
                return home ? 0 : -ENOMEM;
        return remove_tree(folder);
}

int reserve_drop(Step *s, Error *reterr) {
        json_auto_t *folders = NULL;
        _cleanup_free_ char *path = NULL;
        const json_t *folder;
        size_t i;
        int first = 0, r = list_read(s, &folders);

        if (r < 0 && r != -EBADMSG)
                return list_fault(r, reterr);
        json_array_foreach (folders, i, folder) {
                const char *name = json_string_value(folder);

                r = folder_drop(s, name);
                if (r < 0 && first == 0)
                        first = error_set(reterr, -r, "write-failed", "Cannot remove %s: %s", name,
                                          strerror(-r));
        }
        if (first < 0 || !folders)
                return first;
        if (list_path(s, &path) < 0)
                return error_oom(reterr);
        return unlink(path) < 0 && errno != ENOENT
                       ? error_set(reterr, errno, "write-failed", "Cannot remove %s: %s", path,
                                   strerror(errno))
                       : 0;
}
