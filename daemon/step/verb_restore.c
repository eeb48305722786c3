/* SPDX-License-Identifier: MIT */
/*
 * restore {from, parts, to}: puts a backup set back. Everything that can be known beforehand is
 * known before the first change: the set is read through, the parts exist, nobody is connected to a
 * database, no symlink has come in the way. A database is replaced at one stroke and its rows are
 * counted afterwards; of files exactly the archived paths come back, and what is new beside them
 * stays and is named in the log. It may be repeated after a crash at any point.
 */
#include "api/text.h"
#include "daemon/step/archives.h"
#include "daemon/step/backup_keep.h"
#include "daemon/step/files.h"
#include "daemon/step/sqlite.h"

#include <dirent.h>
#include <fcntl.h>

typedef struct Restore {
        Step *step;
        const json_t *args;
        char *dir;
        json_t *manifest;
        json_t *parts; /* those that are wanted */
        json_t *counts;
} Restore;

static void restore_done(Restore *o) {
        free(o->dir);
        json_decref(o->manifest);
        json_decref(o->parts);
        json_decref(o->counts);
}

static bool is_wanted(const json_t *words, const char *name) {
        const json_t *word;
        size_t i;

        if (!words || json_is_null(words))
                return true;
        if (json_is_string(words))
                return streq(json_string_value(words), name);
        json_array_foreach (words, i, word)
                if (streq(json_string_value(word), name))
                        return true;
        return false;
}

static const json_t *part_find(const Restore *o, const char *name) {
        const json_t *part;
        size_t i;

        json_array_foreach (json_object_get(o->manifest, "parts"), i, part)
                if (streq(args_text(part, "name", ""), name))
                        return part;
        return NULL;
}

/* A part that is asked for and is not there would otherwise be silently not restored. */
static int names_check(const Restore *o, const json_t *words, const char *field, Error *reterr) {
        const json_t *word;
        const char *key;
        size_t i;

        if (json_is_string(words) && !part_find(o, json_string_value(words)))
                return error_set(reterr, ENOENT, "no-such-part", "%s has no part '%s' (%s)", o->dir,
                                 json_string_value(words), field);
        json_array_foreach (words, i, word)
                if (!part_find(o, json_string_value(word)))
                        return error_set(reterr, ENOENT, "no-such-part", "%s has no part '%s' (%s)",
                                         o->dir, json_string_value(word), field);
        json_object_foreach ((json_t *) words, key, word)
                if (!part_find(o, key))
                        return error_set(reterr, ENOENT, "no-such-part", "%s has no part '%s' (%s)",
                                         o->dir, key, field);
        return 0;
}

static int restore_open(Restore *o, Error *reterr) {
        const json_t *words = json_object_get(o->args, "parts"), *part;
        size_t i;
        int r = backup_find(o->step, args_text(o->args, "from", ""), &o->dir, reterr);

        if (r >= 0)
                r = backup_manifest_read(o->dir, &o->manifest, NULL, reterr);
        if (r >= 0)
                r = names_check(o, words, "parts", reterr);
        if (r >= 0)
                r = names_check(o, json_object_get(o->args, "to"), "to", reterr);
        if (r < 0)
                return r;
        o->parts = json_array();
        o->counts = json_object();
        json_array_foreach (json_object_get(o->manifest, "parts"), i, part)
                if (is_wanted(words, args_text(part, "name", "")) &&
                    json_array_append(o->parts, (json_t *) part) < 0)
                        return error_oom(reterr);
        return o->parts && o->counts ? 0 : error_oom(reterr);
}

/* Where a part goes: what `to` says, else where it came from ("/" for files). */
static int place_of(const Restore *o, const json_t *part, char **ret, Error *reterr) {
        const char *to =
                args_text(json_object_get(o->args, "to"), args_text(part, "name", ""), NULL);

        if (to)
                return step_path(o->step, to, ret, reterr);
        if (streq(args_text(part, "kind", ""), "sqlite"))
                *ret = realpath(args_text(part, "source", ""), NULL);
        if (!*ret)
                *ret = strdup(args_text(part, "kind", "")[0] == 's' ? args_text(part, "source", "/")
                                                                    : "/");
        return *ret ? 0 : error_oom(reterr);
}

static char *part_file(const Restore *o, const json_t *part) {
        return path_join(o->dir, args_text(part, "path", "?"));
}

/* ---- a database ---- */

static void like_recorded(const json_t *part, const char *place, struct stat *like) {
        if (stat(place, like) == 0)
                return;
        *like = (struct stat){.st_mode = S_IFREG |
                                         (mode_t) json_integer_value(json_object_get(part, "mode")),
                              .st_uid = (uid_t) json_integer_value(json_object_get(part, "uid")),
                              .st_gid = (gid_t) json_integer_value(json_object_get(part, "gid"))};
}

static int counts_verify(Restore *o, const json_t *part, const char *place, Error *reterr) {
        const char *key;
        json_t *value;
        int r = backup_sqlite_check(o->step, place, json_object_get(part, "counts"), reterr);

        if (r < 0)
                return r;
        json_object_foreach (json_object_get(part, "counts"), key, value)
                if (json_object_set(o->counts, key, value) < 0)
                        return error_oom(reterr);
        return 0;
}

static int restore_sqlite(Restore *o, const json_t *part, const char *place, Error *reterr) {
        _cleanup_free_ char *file = part_file(o, part);
        _cleanup_close_ int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -EBADF;
        FileContent content = {.fd = fd};
        struct stat like;
        int r;

        if (fd < 0)
                return error_set(reterr, errno, "read-failed", "Cannot read part %s of %s",
                                 args_text(part, "name", ""), o->dir);
        like_recorded(part, place, &like);
        content.like = &like;
        /* The old write-ahead log must not meet the new file: it goes while the old is there. */
        r = database_vacate(o->step, place, reterr);
        if (r >= 0)
                r = file_install(place, &content, reterr);
        if (r >= 0)
                r = counts_verify(o, part, place, reterr);
        if (r >= 0)
                step_log(o->step, "Restored the database %s", place);
        return r;
}

/* ---- files ---- */

/* Archived paths had no symlink above them; where one stands now, the files would go elsewhere. */
static int ways_check(const json_t *part, const char *place, Error *reterr) {
        const json_t *one;
        size_t i;

        if (!streq(place, "/"))
                return 0;
        json_array_foreach (json_object_get(part, "paths"), i, one) {
                _cleanup_free_ char *path = name_from_text(json_string_value(one));
                _cleanup_free_ char *now = path ? archive_way(path) : NULL;
                int r;

                if (!now || streq(now, path))
                        continue;
                r = error_set(reterr, ELOOP, "bad-link",
                              "A symlink stands above %s now: it would be restored as %s", path,
                              now);
                error_hint(reterr, "Say with `to` where the part is to go");
                return r;
        }
        return 0;
}

static void name_new_ones(Restore *o, const char *place, const char *folder, const json_t *names,
                          unsigned *told) {
        _cleanup_free_ char *path = path_join(place, folder);
        _cleanup_(closedirp) DIR *dir = path ? opendir(path) : NULL;
        const struct dirent *entry;

        while (dir && (entry = readdir(dir))) {
                _cleanup_free_ char *name = path_join(folder, entry->d_name);
                _cleanup_free_ char *as_folder = name ? strf("%s/", name) : NULL;

                if (streq(entry->d_name, ".") || streq(entry->d_name, "..") || !as_folder ||
                    json_object_get(names, name) || json_object_get(names, as_folder))
                        continue;
                if ((*told)++ < 20)
                        step_log(o->step, "Left as it is, for it is not in the backup: %s/%s",
                                 streq(place, "/") ? "" : place, name);
        }
}

static int name_left(Restore *o, const char *file, const char *place, Error *reterr) {
        _cleanup_sum_ ArchiveSum sum = {0};
        const json_t *value;
        const char *name;
        unsigned told = 0;
        int r = archive_read_through(o->step, file, true, &sum, reterr);

        if (r < 0)
                return r;
        json_object_foreach (sum.names, name, value)
                if (endswith(name, "/")) {
                        _cleanup_free_ char *folder = strndup(name, strlen(name) - 1);

                        if (folder)
                                name_new_ones(o, place, folder, sum.names, &told);
                }
        if (told > 20)
                step_log(o->step, "… and %u more", told - 20);
        return 0;
}

static int restore_files(Restore *o, const json_t *part, const char *place, Error *reterr) {
        _cleanup_free_ char *file = part_file(o, part);
        char digest[SHA256_TEXT_MAX];
        int r;

        if (!file)
                return error_oom(reterr);
        r = streq(place, "/") ? 0 : mkdir_durable(place, 0755);
        if (r < 0)
                return error_set(reterr, -r, "write-failed", "Cannot make the folder %s: %s", place,
                                 strerror(-r));
        r = archive_extract(o->step, file, place, EXTRACT_OWNERS | EXTRACT_REPLACE, reterr);
        if (r >= 0)
                r = archive_digest_of(o->step, file, place, digest, reterr);
        if (r < 0)
                return r;
        if (!streq(digest, args_text(part, "digest", "")))
                return error_set(reterr, EBADMSG, "bad-backup",
                                 "The files below %s are not what was in the backup", place);
        step_log(o->step, "Restored %" JSON_INTEGER_FORMAT " files and folders",
                 json_integer_value(json_object_get(part, "entries")));
        return name_left(o, file, place, reterr);
}

/* ---- what a program made ---- */

static int run_restore(Restore *o, const json_t *part, const char *file, const char *dir,
                       Error *reterr) {
        json_auto_t *argv = json_pack("[ssss]", "sh", "-c", "exec \"$@\" <\"$UPDD_BACKUP\"", "sh");
        json_auto_t *env = json_pack("{ss ss*}", "UPDD_BACKUP", file, "UPDD_BACKUP_DIR", dir);
        _cleanup_exec_ ExecResult result = {0};
        Exec x = {.argv = argv, .env = env, .cwd = args_text(part, "cwd", NULL)};
        int r;

        if (!argv || !env || json_array_extend(argv, json_object_get(part, "restore")) < 0)
                return error_oom(reterr);
        r = step_exec(o->step, &x, &result, reterr);
        if (r < 0 || result.exit == 0)
                return r;
        return error_set(reterr, EREMOTEIO, "command-failed",
                         "'%s' failed with exit code %d while it restored %s",
                         json_string_value(json_array_get(argv, 4)), result.exit,
                         args_text(part, "name", ""));
}

static int restore_printed(Restore *o, const json_t *part, Error *reterr) {
        _cleanup_free_ char *file = part_file(o, part);

        return file ? run_restore(o, part, file, NULL, reterr) : error_oom(reterr);
}

/* The folder as the program had filled it, at its old place; then its own program. */
static int restore_filled(Restore *o, const json_t *part, const char *place, Error *reterr) {
        _cleanup_free_ char *file = part_file(o, part), *dir = NULL;
        int r = restore_files(o, part, place, reterr);

        if (r < 0 || !json_object_get(part, "restore"))
                return r;
        dir = streq(place, "/") ? strdup(args_text(part, "source", ""))
                                : path_join(place, args_text(part, "source", "/") + 1);
        return file && dir ? run_restore(o, part, file, dir, reterr) : error_oom(reterr);
}

/* ---- all of it ---- */

static int part_check(Restore *o, const json_t *part, Error *reterr) {
        const char *kind = args_text(part, "kind", "");
        _cleanup_free_ char *place = NULL;
        json_auto_t *users = NULL;
        int r = backup_part_verify(o->step, o->dir, part, reterr);

        if (r >= 0)
                r = place_of(o, part, &place, reterr);
        if (r < 0)
                return r;
        if (streq(kind, "stdout") && !json_object_get(part, "restore"))
                return error_set(reterr, EINVAL, "no-restore",
                                 "Part '%s' was made by a program and the plan names none that "
                                 "restores it (`restore`); it stands in %s",
                                 args_text(part, "name", ""), o->dir);
        if (!streq(kind, "sqlite"))
                return ways_check(part, place, reterr);
        if (database_users(place, &users) >= 0 && json_array_size(users) > 0) {
                r = error_set(reterr, EBUSY, "in-use", "%s is in use by %s", place,
                              json_string_value(json_array_get(users, 0)));
                error_hint(reterr, "Stop what uses the database first");
        }
        return r;
}

static int part_restore(Restore *o, const json_t *part, Error *reterr) {
        const char *kind = args_text(part, "kind", "");
        _cleanup_free_ char *place = NULL;
        int r = place_of(o, part, &place, reterr);

        if (r < 0)
                return r;
        if (streq(kind, "sqlite"))
                return restore_sqlite(o, part, place, reterr);
        if (streq(kind, "files"))
                return restore_files(o, part, place, reterr);
        if (streq(kind, "dir"))
                return restore_filled(o, part, place, reterr);
        if (streq(kind, "stdout"))
                return restore_printed(o, part, reterr);
        return error_set(reterr, EPROTONOSUPPORT, "not-supported",
                         "This version cannot restore a part of kind '%s'", kind);
}

static int restore_run(Step *s, const json_t *args, Error *reterr) {
        _cleanup_(restore_done) Restore o = {.step = s, .args = args};
        const json_t *part;
        size_t i;
        int r = restore_open(&o, reterr);

        if (r < 0)
                return r;
        step_log(s, "Restoring from %s", o.dir);
        json_array_foreach (o.parts, i, part) {
                r = part_check(&o, part, reterr);
                if (r < 0)
                        return r;
        }
        json_array_foreach (o.parts, i, part) {
                r = part_restore(&o, part, reterr);
                if (r < 0)
                        return r;
        }
        return step_output(s, "counts", TAKE(o.counts));
}

const Verb verb_restore = {"restore", restore_run, NULL};
