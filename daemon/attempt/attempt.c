/* SPDX-License-Identifier: MIT */
/*
 * The attempt's files: see attempt.h. Whatever somebody decides by (claim, stop, answer, result) is
 * written whole and made durable before the call returns; a claim, a stop and an answer come into
 * being by link(2), so that exactly one writer can have made them.
 */
#include "daemon/attempt/attempt.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "api/args.h"
#include "api/memory.h"

#define LOCK_TRIES 10
#define LOCK_PAUSE_NS (10 * 1000 * 1000)

bool attempt_error_passes(int r) {
        switch (-r) {
        case EMFILE:
        case ENFILE:
        case ENOMEM:
        case ENOSPC:
        case EDQUOT:
        case EROFS:
        case EIO:
        case EAGAIN:
        case EINTR: return true;
        default: return false;
        }
}

int attempt_open(const char *dir, bool create, int *ret_fd) {
        int fd, r;

        if (create) {
                r = mkdir_parents(dir, 0700);
                if (r < 0)
                        return r;
        }
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}

/* A claim counts only when the way to it is durable too: the attempt's folder, the step's, the
 * job's and the one that holds the jobs. */
static int sync_folders(int dirfd) {
        static const char *const above[] = {"..", "../..", "../../.."};

        if (fsync(dirfd) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(above); i++) {
                _cleanup_close_ int fd =
                        openat(dirfd, above[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                if (fd < 0)
                        return errno == EACCES ? 0 : -errno;
                if (fsync(fd) < 0 && errno != EINVAL)
                        return -errno;
        }
        return 0;
}

/* Writes, fsyncs and links a file that must not exist yet. 0, -EEXIST or -errno. */
static int link_whole(int dirfd, const char *name, const json_t *value) {
        _cleanup_free_ char *temporary = strf("%s.%d.tmp", name, (int) getpid());
        _cleanup_free_ char *text = json_canonical(value);
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!temporary || !text)
                return -ENOMEM;
        /* Known before anything is written: a full disk must not hide it. */
        if (faccessat(dirfd, name, F_OK, 0) == 0)
                return -EEXIST;
        fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_all(fd, text, strlen(text));
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r >= 0 && linkat(dirfd, temporary, dirfd, name, 0) < 0)
                r = -errno;
        (void) unlinkat(dirfd, temporary, 0);
        return r;
}

static int read_object(int dirfd, const char *name, json_t **ret) {
        uint64_t before = memory_failures();
        _cleanup_free_ char *text = NULL;
        json_auto_t *value = NULL;
        size_t size;
        int r;

        r = file_read(dirfd, name, ATTEMPT_FILE_MAX, &text, &size);
        if (r < 0)
                return r;
        value = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
        if (memory_failures() != before)
                return -ENOMEM;
        if (!json_is_object(value))
                return -EBADMSG;
        *ret = TAKE(value);
        return 0;
}

static int read_object_of(int dirfd, const char *name, const char *id, json_t **ret) {
        json_auto_t *value = NULL;
        int r;

        r = read_object(dirfd, name, &value);
        if (r < 0)
                return r;
        if (!streq0(json_string_value(json_object_get(value, "id")), id))
                return -ESTALE;
        *ret = TAKE(value);
        return 0;
}

/* Whole, but not durable: as long as there is no claim the daemon writes it anew, and once there is
 * one nobody reads it again. Two flushes fewer for each step. */
int attempt_task_write(int dirfd, const json_t *task) {
        _cleanup_free_ char *text = json_canonical(task);
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!text)
                return -ENOMEM;
        fd = openat(dirfd, "task.json.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_all(fd, text, strlen(text));
        if (r < 0)
                return r;
        return renameat(dirfd, "task.json.tmp", dirfd, "task.json") < 0 ? -errno : 0;
}

int attempt_task_read(int dirfd, const char *id, json_t **ret, Error *reterr) {
        json_auto_t *task = NULL;
        int r;

        r = read_object_of(dirfd, "task.json", id, &task);
        if (r == -ESTALE)
                return error_set(reterr, ESTALE, "foreign-id",
                                 "task.json belongs to another attempt than %s", id);
        if (r < 0)
                return error_set(reterr, -r, "bad-task", "task.json cannot be read: %s",
                                 strerror(-r));
        if (json_integer_value(json_object_get(task, "format")) != ATTEMPT_FORMAT)
                return error_set(reterr, EPROTO, "bad-task",
                                 "task.json has a format that this updd-step does not know");
        *ret = TAKE(task);
        return 0;
}

int attempt_lock(int dirfd, int *ret_fd) {
        _cleanup_close_ int fd = openat(dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        if (fd < 0)
                return -errno;
        /* attempt_is_alive() holds the lock for an instant, which is no other updd-step. */
        for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
                if (errno != EWOULDBLOCK && errno != EINTR)
                        return -errno;
                if (i == LOCK_TRIES)
                        return -EBUSY;
                (void) nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_NS}, NULL);
        }
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int attempt_is_alive(int dirfd) {
        _cleanup_close_ int fd = openat(dirfd, "lock", O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        if (flock(fd, LOCK_SH | LOCK_NB) == 0)
                return 0;
        return errno == EWOULDBLOCK ? 1 : -errno;
}

int attempt_claim(int dirfd, const char *id, const char *withdrawn) {
        json_auto_t *claim = NULL;
        char boot[ID128_TEXT_MAX];
        int r;

        r = boot_id_read(boot);
        if (r < 0)
                return r;
        claim = json_pack("{s:s, s:i, s:s, s:I, s:s, s:s*, s:s*}", "id", id, "pid",
                          withdrawn ? 0 : (int) getpid(), "boot", boot, "started",
                          (json_int_t) now_wall_ms(), "version", UPDD_VERSION, "by",
                          withdrawn ? "daemon" : NULL, "reason", withdrawn);
        if (!claim)
                return -ENOMEM;
        r = link_whole(dirfd, "claim", claim);
        if (r < 0)
                return r;
        r = sync_folders(dirfd);
        /* Nobody has acted on it, and nobody will: it must not say so. */
        if (r < 0)
                (void) unlinkat(dirfd, "claim", 0);
        return r;
}

int attempt_claim_read(int dirfd, const char *id, json_t **ret) {
        return read_object_of(dirfd, "claim", id, ret);
}

int attempt_result_reserve(int dirfd) {
        _cleanup_close_ int fd =
                openat(dirfd, ATTEMPT_RESULT_TMP, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        if (fd < 0)
                return -errno;
        return -posix_fallocate(fd, 0, ATTEMPT_RESULT_RESERVED);
}

int attempt_result_write(int dirfd, const json_t *result) {
        _cleanup_free_ char *text = json_canonical(result);
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!text)
                return -ENOMEM;
        /* No O_TRUNC: what was reserved must stay ours until the text is in it. */
        fd = openat(dirfd, ATTEMPT_RESULT_TMP, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_all(fd, text, strlen(text));
        if (r < 0)
                return r;
        if (ftruncate(fd, (off_t) strlen(text)) < 0 || fsync(fd) < 0)
                return -errno;
        if (renameat(dirfd, ATTEMPT_RESULT_TMP, dirfd, "result.json") < 0)
                return -errno;
        return fsync(dirfd) < 0 ? -errno : 0;
}

int attempt_result_read(int dirfd, const char *id, json_t **ret) {
        json_auto_t *result = NULL;
        int r = read_object_of(dirfd, "result.json", id, &result);

        if (r < 0)
                return r;
        /* The first of them said no number. */
        if (json_object_get(result, "format") &&
            json_integer_value(json_object_get(result, "format")) != ATTEMPT_FORMAT)
                return -EPROTO;
        *ret = TAKE(result);
        return 0;
}

int attempt_stop_write(int dirfd, const char *why) {
        json_auto_t *stop = json_pack("{s:s}", "why", why);
        int r;

        if (!stop)
                return -ENOMEM;
        r = link_whole(dirfd, "stop", stop);
        if (r < 0 && r != -EEXIST)
                return r;
        return fsync(dirfd) < 0 ? -errno : 0;
}

bool attempt_stop_wanted(int dirfd) {
        return faccessat(dirfd, "stop", F_OK, 0) == 0;
}

int attempt_answer_stage(int dirfd, unsigned k, const char *text) {
        _cleanup_free_ char *name = strf("answer.%u.staged", k);

        if (!name)
                return -ENOMEM;
        return file_write_atomic(dirfd, name, text, strlen(text), 0600);
}

int attempt_answer_deliver(int dirfd, unsigned k) {
        _cleanup_free_ char *staged = strf("answer.%u.staged", k), *name = strf("answer.%u", k);

        if (!staged || !name)
                return -ENOMEM;
        if (linkat(dirfd, staged, dirfd, name, 0) < 0 && errno != EEXIST)
                return errno == ENOENT ? 0 : -errno;
        if (unlinkat(dirfd, staged, 0) < 0 && errno != ENOENT)
                return -errno;
        return fsync(dirfd) < 0 ? -errno : 0;
}

int attempt_answer_read(int dirfd, unsigned k, char **ret) {
        _cleanup_free_ char *name = strf("answer.%u", k);

        if (!name)
                return -ENOMEM;
        return file_read(dirfd, name, ATTEMPT_FILE_MAX, ret, NULL);
}

int attempt_answer_forget(int dirfd, unsigned k) {
        _cleanup_free_ char *name = strf("answer.%u", k);
        _cleanup_close_ int fd = -1;

        if (!name)
                return -ENOMEM;
        fd = openat(dirfd, name, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        return fsync(fd) < 0 ? -errno : 0;
}
