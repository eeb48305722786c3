/* SPDX-License-Identifier: MIT */
/*
 * backup {db, files, run + dir | stdout + restore, to, prove, keep}: one set
 * (daemon/step/backup.h), made, read back and only then given its name. `prove: restore` also
 * restores it aside and compares. `keep: N` removes older sets of the same plan, target and step,
 * never this job's own. A rerun makes a new set: what an interrupted attempt has finished may be
 * older than what the steps in between have done.
 */
#include "api/text.h"
#include "daemon/step/archives.h"
#include "daemon/step/backup.h"
#include "daemon/step/backup_keep.h"
#include "daemon/step/files.h"
#include "daemon/step/keep.h"
#include "daemon/step/sqlite.h"

#include <fcntl.h>
#include <inttypes.h>

typedef struct Set {
        Step *step;
        const json_t *args;
        char *to, *id;
        char *dir;  /* hidden while it is made */
        char *path; /* its name once it is whole */
        json_t *parts;
        uint64_t size;
} Set;

static void set_done(Set *b) {
        if (b->dir)
                (void) remove_tree(b->dir);
        free(b->to);
        free(b->id);
        free(b->dir);
        free(b->path);
        json_decref(b->parts);
}

static const char *job_text(Step *s, const char *key) {
        return args_text(json_object_get(step_scope(s), "job"), key, "");
}

static int set_names(Set *b, Error *reterr) {
        const char *to = args_text(b->args, "to", NULL), *stamp = job_text(b->step, "stamp");
        _cleanup_free_ char *base = NULL;
        struct stat st;
        int r = 0;

        if (!isempty(to))
                r = step_path(b->step, to, &b->to, reterr);
        else
                b->to = path_join(step_job_dir(b->step), "backups");
        if (r < 0)
                return r;
        base = strf("%s-%s-%s", args_text(step_task(b->step), "plan", "plan"), step_id(b->step),
                    stamp);
        for (unsigned k = 1; b->to && base; k++) {
                free(TAKE(b->id));
                free(TAKE(b->path));
                b->id = k == 1 ? strdup(base) : strf("%s-%u", base, k);
                b->path = b->id ? path_join(b->to, b->id) : NULL;
                if (!b->path || lstat(b->path, &st) < 0)
                        break;
        }
        b->dir = b->to && base ? strf("%s/.%s.partial", b->to, base) : NULL;
        return b->dir && b->path ? 0 : error_oom(reterr);
}

static int set_begin(Set *b, Error *reterr) {
        int r = set_names(b, reterr);

        if (r < 0)
                return r;
        b->parts = json_array();
        r = mkdir_durable(b->to, 0700);
        if (r >= 0)
                r = remove_tree(b->dir);
        if (r >= 0 && mkdir(b->dir, 0700) < 0)
                r = -errno;
        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot make %s: %s", b->dir,
                                 strerror(-r))
                     : 0;
}

/* Adds a part whose file stands in the set. Steals `about`. */
static int part_add(Set *b, const char *name, const char *kind, const char *file, json_t *about,
                    Error *reterr) {
        json_auto_t *part = about;
        _cleanup_free_ char *path = path_join(b->dir, file);
        _cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -EBADF;
        char hash[SHA256_TEXT_MAX];
        uint64_t size = 0;

        if (!part)
                return error_oom(reterr);
        if (fd < 0 || sha256_fd(fd, hash, &size) < 0)
                return error_set(reterr, EIO, "read-failed", "Cannot read back %s", file);
        b->size += size;
        if (json_put(part, "name", json_string(name)) < 0 ||
            json_put(part, "kind", json_string(kind)) < 0 ||
            json_put(part, "path", json_string(file)) < 0 ||
            json_put(part, "size", json_integer((json_int_t) size)) < 0 ||
            json_put(part, "sha256", json_string(hash)) < 0 ||
            json_array_append(b->parts, part) < 0)
                return error_oom(reterr);
        return 0;
}

static int counts_of(Step *s, const char *file, json_t **ret, Error *reterr) {
        _cleanup_db_ sqlite3 *db = NULL;
        int r = database_open(s, file, DATABASE_COPY, &db, reterr);

        return r < 0 ? r : database_counts(db, file, NULL, ret, reterr);
}

static int add_database(Set *b, Error *reterr) {
        const char *name = args_text(b->args, "db", NULL);
        _cleanup_free_ char *source = NULL, *file = NULL, *path = NULL;
        json_auto_t *counts = NULL;
        struct stat st;
        int r;

        if (isempty(name))
                return 0;
        r = database_path(b->step, name, &source, reterr);
        if (r < 0)
                return r;
        file = strf("%s-%s.db", name, job_text(b->step, "stamp"));
        path = file ? path_join(b->dir, file) : NULL;
        if (!path)
                return error_oom(reterr);
        if (stat(source, &st) < 0)
                return error_set(reterr, errno, "no-such-database", "Cannot open %s: %s", source,
                                 strerror(errno));
        step_log(b->step, "Copying the database %s", source);
        r = database_copy(b->step, source, path, reterr);
        if (r >= 0)
                r = counts_of(b->step, path, &counts, reterr);
        if (r < 0)
                return r;
        return part_add(b, name, "sqlite", file,
                        json_pack("{ss si si si sO}", "source", source, "mode",
                                  (int) (st.st_mode & 07777), "uid", (int) st.st_uid, "gid",
                                  (int) st.st_gid, "counts", counts),
                        reterr);
}

static int add_archive(Set *b, const char *name, const char *kind, const json_t *paths,
                       json_t *about, Error *reterr) {
        _cleanup_free_ char *file = strf("%s.tar.zst", name);
        _cleanup_free_ char *path = file ? path_join(b->dir, file) : NULL;
        _cleanup_sum_ ArchiveSum sum = {0};
        json_auto_t *part = about;
        int r;

        if (!path || !part)
                return error_oom(reterr);
        r = archive_pack(b->step, path, paths, &sum, reterr);
        if (r < 0)
                return r;
        if (json_object_set(part, "paths", (json_t *) paths) < 0 ||
            json_put(part, "entries", json_integer((json_int_t) sum.entries)) < 0 ||
            json_put(part, "bytes", json_integer((json_int_t) sum.bytes)) < 0 ||
            json_put(part, "digest", json_string(sum.digest)) < 0)
                return error_oom(reterr);
        return part_add(b, name, kind, file, TAKE(part), reterr);
}

static int add_files(Set *b, Error *reterr) {
        const json_t *words = json_object_get(b->args, "files"), *one;
        json_auto_t *found = NULL, *paths = json_array();
        size_t i;
        int r;

        if (!words || json_is_null(words))
                return 0;
        r = keep_paths(b->step, words, true, NULL, &found, reterr);
        if (r < 0)
                return r;
        json_array_foreach (found, i, one) {
                const char *path = args_text(one, "path", "");
                _cleanup_free_ char *way = archive_way(path), *text = NULL;

                step_log(b->step, "Packing %s", path);
                /* As it is in the archive, so that restoring can tell whether the way has changed.
                 */
                text = name_to_text(way ? way : path);
                if (!text || json_array_append_new(paths, json_string(text)) < 0)
                        return error_oom(reterr);
        }
        return add_archive(b, "files", "files", paths, json_object(), reterr);
}

static int run_program(Set *b, const json_t *argv, int out_fd, const char *dir, Error *reterr) {
        json_auto_t *env = dir ? json_pack("{ss}", "UPDD_BACKUP_DIR", dir) : NULL;
        _cleanup_exec_ ExecResult result = {0};
        Exec x = {.argv = argv, .env = env, .out_fd = out_fd};
        int r = step_exec(b->step, &x, &result, reterr);

        if (r < 0)
                return r;
        return result.exit == 0
                       ? 0
                       : error_set(reterr, EREMOTEIO, "command-failed",
                                   "'%s' failed with exit code %d",
                                   json_string_value(json_array_get(argv, 0)), result.exit);
}

static json_t *program_about(Set *b) {
        return json_pack("{ss* sO*}", "cwd", args_text(step_op(b->step), "cwd", NULL), "restore",
                         json_object_get(b->args, "restore"));
}

static int add_printed(Set *b, const json_t *argv, const char *stdout_path, Error *reterr) {
        const char *slash = strrchr(stdout_path, '/'), *file = slash ? slash + 1 : stdout_path;
        _cleanup_free_ char *path = path_join(b->dir, file);
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!path)
                return error_oom(reterr);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_set(reterr, errno, "write-failed", "Cannot write %s: %s", path,
                                 strerror(errno));
        r = run_program(b, argv, fd, NULL, reterr);
        if (r >= 0 && fsync(fd) < 0)
                r = error_set(reterr, errno, "write-failed", "Cannot write %s: %s", path,
                              strerror(errno));
        return r < 0 ? r : part_add(b, file, "stdout", file, program_about(b), reterr);
}

static int add_filled(Set *b, const json_t *argv, const char *folder, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        json_auto_t *paths = NULL, *about = program_about(b);
        int r = step_path(b->step, folder, &path, reterr);

        if (r < 0)
                return r;
        path_tidy(path);
        r = run_program(b, argv, 0, path, reterr);
        if (r < 0)
                return r;
        paths = json_pack("[s]", path);
        if (!paths || !about || json_put(about, "source", json_string(path)) < 0)
                return error_oom(reterr);
        return add_archive(b, "dir", "dir", paths, json_incref(about), reterr);
}

static int add_program(Set *b, Error *reterr) {
        const json_t *argv = json_object_get(b->args, "run");
        const char *dir = args_text(b->args, "dir", NULL);
        const char *printed = args_text(b->args, "stdout", NULL);

        if (!json_is_array(argv))
                return 0;
        if (dir)
                return add_filled(b, argv, dir, reterr);
        return add_printed(b, argv, printed ? printed : "output", reterr);
}

static int prove_aside(Set *b, const json_t *part, Error *reterr) {
        _cleanup_free_ char *file = path_join(b->dir, args_text(part, "path", ""));
        _cleanup_free_ char *aside = path_join(b->dir, ".restored");
        const char *kind = args_text(part, "kind", "");
        char digest[SHA256_TEXT_MAX];
        int r = 0;

        if (!file || !aside)
                return error_oom(reterr);
        if (streq(kind, "sqlite")) {
                r = tree_copy(file, aside, reterr);
                if (r >= 0)
                        r = backup_sqlite_check(b->step, aside, json_object_get(part, "counts"),
                                                reterr);
        } else if (!streq(kind, "stdout")) {
                if (mkdir(aside, 0700) < 0)
                        return error_set(reterr, errno, "write-failed", "Cannot make %s: %s", aside,
                                         strerror(errno));
                r = archive_extract(b->step, file, aside, EXTRACT_OWNERS, reterr);
                if (r >= 0)
                        r = archive_digest_of(b->step, file, aside, digest, reterr);
                if (r >= 0 && !streq(digest, args_text(part, "digest", "")))
                        r = error_set(reterr, EBADMSG, "bad-backup",
                                      "What came out of %s is not what was packed", file);
        } else
                step_log(b->step, "%s was read back; only its own program could restore it",
                         args_text(part, "name", ""));
        (void) remove_tree(aside);
        return r;
}

static int prove(Set *b, const json_t *manifest, Error *reterr) {
        bool restore = streq(args_text(b->args, "prove", "read"), "restore");
        const json_t *part;
        size_t i;
        int r = backup_set_verify(b->step, b->dir, manifest, reterr);

        json_array_foreach (b->parts, i, part) {
                if (r < 0 || !restore)
                        break;
                r = prove_aside(b, part, reterr);
        }
        if (r >= 0)
                step_log(b->step, restore ? "Read back, restored aside, and the same"
                                          : "Read back, and whole");
        return r;
}

static json_t *manifest_of(Set *b, const char *created) {
        const json_t *task = step_task(b->step);

        return json_pack("{si ss ss ss ss sO ss sI sO}", "format", 1, "id", b->id, "plan",
                         args_text(task, "plan", ""), "target", args_text(task, "target", ""),
                         "step", step_id(b->step), "job", json_object_get(task, "job"), "created",
                         created, "size", (json_int_t) b->size, "parts", b->parts);
}

/* The manifest last, then the name: a set that can be seen is whole. */
static int set_publish(Set *b, const json_t *manifest, char sha256[static SHA256_TEXT_MAX],
                       Error *reterr) {
        _cleanup_free_ char *path = path_join(b->dir, BACKUP_MANIFEST);
        _cleanup_free_ char *text = json_dumps(manifest, JSON_INDENT(2));
        int r = path && text ? file_write_atomic(AT_FDCWD, path, text, strlen(text), 0600)
                             : -ENOMEM;

        if (r >= 0 && rename(b->dir, b->path) < 0)
                r = -errno;
        if (r >= 0) {
                free(TAKE(b->dir));
                r = parent_sync(b->path);
        }
        if (r < 0)
                return error_set(reterr, -r, "write-failed", "Cannot write %s: %s", b->path,
                                 strerror(-r));
        sha256_text(text, strlen(text), sha256);
        return 0;
}

static int tell(Set *b, const char *created, const char *sha256) {
        int r = step_output(b->step, "id", json_string(b->id));

        if (r >= 0)
                r = step_output(b->step, "path", json_string(b->path));
        if (r >= 0)
                r = step_output(b->step, "size", json_integer((json_int_t) b->size));
        if (r >= 0)
                r = step_output(b->step, "created", json_string(created));
        return r < 0 ? r : step_output(b->step, "sha256", json_string(sha256));
}

static int set_make(Set *b, Error *reterr) {
        char created[TIME_TEXT_MAX], sha256[SHA256_TEXT_MAX];
        json_auto_t *manifest = NULL;
        int64_t keep;
        int r = args_int(b->args, "keep", 0, &keep, reterr);

        (void) time_format(now_wall_ms(), created);
        if (r >= 0)
                r = set_begin(b, reterr);
        if (r >= 0)
                r = add_database(b, reterr);
        if (r >= 0)
                r = add_files(b, reterr);
        if (r >= 0)
                r = add_program(b, reterr);
        if (r < 0)
                return r;
        manifest = manifest_of(b, created);
        r = manifest ? prove(b, manifest, reterr) : error_oom(reterr);
        if (r >= 0)
                r = set_publish(b, manifest, sha256, reterr);
        if (r < 0)
                return r;
        step_log(b->step, "Backup %s, %" PRIu64 " bytes", b->path, b->size);
        if (keep > 0)
                backup_keep(b->step, b->to, manifest, (size_t) keep);
        return tell(b, created, sha256);
}

static int backup_run(Step *s, const json_t *args, Error *reterr) {
        _cleanup_(set_done) Set b = {.step = s, .args = args};
        int r = set_make(&b, reterr);

        if ((r == -ENOSPC || r == -EDQUOT) && reterr) {
                free(reterr->type);
                reterr->type = strdup("disk-full");
                error_hint(reterr, "Free some space in %s; the unfinished backup is removed",
                           b.to ? b.to : "the folder of backups");
        }
        return r;
}

const Verb verb_backup = {"backup", backup_run, NULL};
