/* SPDX-License-Identifier: MIT */
/*
 * fetch {url, to, sha256, mode, headers, unpack, refresh}: a download that appears whole and only
 * when it is what it should be. A file that is there and hashes right, or is there and has nothing
 * to hash to, is not fetched again, unless `refresh` says so. `unpack` names the folder into which
 * the archive is unpacked; undo takes out again what came out of it and brings back what it
 * replaced, and touches nothing else in that folder.
 */
#include "daemon/step/archives.h"
#include "daemon/step/curl.h"
#include "daemon/step/place.h"

#include <fcntl.h>
#include <inttypes.h>

static const char *url_base(const char *url, size_t *ret_size) {
        size_t n = strcspn(url, "?#");
        const char *at = url + n;

        while (at > url && at[-1] != '/')
                at--;
        *ret_size = (size_t) (url + n - at);
        return at;
}

static int target(Step *s, const json_t *args, char **ret, Error *reterr) {
        const char *to = args_text(args, "to", ""), *url = args_text(args, "url", "");
        _cleanup_free_ char *path = NULL, *below = NULL;
        size_t n;
        const char *base = url_base(url, &n);
        struct stat st;
        int r = step_path(s, isempty(to) ? "." : to, &path, reterr);

        if (r < 0)
                return r;
        if (!isempty(to) && !endswith(to, "/") && !(stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
                return place_path(s, to, ret, reterr);
        if (n == 0 || (n <= 2 && startswith("..", base)))
                return error_set(reterr, EINVAL, "bad-args",
                                 "'%s' does not end in a file's name; say `to`", url);
        below = strf("%s/%.*s", path, (int) n, base);
        return below ? place_path(s, below, ret, reterr) : error_oom(reterr);
}

static int hash_of(const char *path, char ret[static SHA256_TEXT_MAX]) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        return S_ISREG(st.st_mode) ? sha256_fd(fd, ret, NULL) : -EINVAL;
}

static bool is_there(const char *path, const char *want, bool refresh) {
        char hash[SHA256_TEXT_MAX];

        if (hash_of(path, hash) < 0)
                return false;
        return isempty(want) ? !refresh : strcasecmp(hash, want) == 0;
}

static int download(Step *s, const json_t *args, int fd, Error *reterr) {
        HttpRequest q = {.url = args_text(args, "url", ""),
                         .headers = json_object_get(args, "headers"),
                         .out_fd = fd,
                         .follow = true,
                         .files = true};
        _cleanup_reply_ HttpReply reply = {0};
        int r = http_exchange(s, &q, &reply, reterr);

        if (r < 0)
                return r;
        if (reply.status != 0 && (reply.status < 200 || reply.status > 299))
                return error_set(reterr, EREMOTEIO, "http-failed", "%s answered %ld", q.url,
                                 reply.status);
        return 0;
}

static int hash_check(const json_t *args, int fd, Error *reterr) {
        const char *want = args_text(args, "sha256", "");
        char hash[SHA256_TEXT_MAX];
        int r;

        if (isempty(want))
                return 0;
        r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : sha256_fd(fd, hash, NULL);
        if (r < 0)
                return error_set(reterr, -r, "read-failed", "Cannot read the download: %s",
                                 strerror(-r));
        if (strcasecmp(hash, want) == 0)
                return 0;
        return error_set(reterr, EBADMSG, "bad-hash",
                         "%s is not what it should be: its SHA-256 is %s, not %s",
                         args_text(args, "url", ""), hash, want);
}

static int fetch_to(Step *s, const json_t *args, const char *path, Error *reterr) {
        _cleanup_free_ char *part = beside(path, ".part");
        _cleanup_close_ int fd = -EBADF;
        FileContent content = {0};
        int r = part ? keep_parents(s, path, reterr) : error_oom(reterr);

        if (r < 0)
                return r;
        (void) unlink(part);
        fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_set(reterr, errno, "write-failed", "Cannot write beside %s: %s", path,
                                 strerror(errno));
        /* Without a name from here on: whatever ends this process leaves nothing behind. */
        (void) unlink(part);
        r = download(s, args, fd, reterr);
        if (r >= 0)
                r = hash_check(args, fd, reterr);
        content.fd = fd;
        return r < 0 ? r : place_file(s, args, path, &content, 0644, reterr);
}

/* The topmost folder of `name` that is missing below `into`, or `name` itself. A name that is
 * absolute counts from there too; it will not be unpacked. */
static char *topmost_new(const char *into, const char *name) {
        _cleanup_free_ char *path = strf("%s/%s", into, name);
        struct stat st;

        for (char *p = path ? path + strlen(into) + 1 : NULL; p && *p; p++) {
                if (*p != '/')
                        continue;
                *p = '\0';
                if (lstat(path, &st) < 0)
                        return TAKE(path);
                *p = '/';
        }
        return TAKE(path);
}

static int keep_below(Step *s, const char *into, const json_t *names, Error *reterr) {
        const char *name;
        const json_t *value;

        json_object_foreach ((json_t *) names, name, value) {
                _cleanup_free_ char *path = NULL;
                struct stat st;
                int r;

                if (streq(name, ".") || streq(name, "./"))
                        continue;
                path = topmost_new(into, startswith(name, "./") ? name + 2 : name);
                if (!path)
                        return error_oom(reterr);
                /* A folder that is there stays; what comes into it is recorded by itself. */
                if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
                        continue;
                r = keep_path(s, path, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int unpack(Step *s, const char *file, const char *folder, Error *reterr) {
        _cleanup_sum_ ArchiveSum sum = {0};
        _cleanup_free_ char *into = NULL, *inside = NULL;
        int r = step_path(s, folder, &into, reterr);

        if (r < 0)
                return r;
        path_tidy(into);
        r = archive_read_through(s, file, true, &sum, reterr);
        if (r < 0)
                return r;
        inside = strf("%s/x", into);
        if (!inside)
                return error_oom(reterr);
        r = keep_parents(s, inside, reterr);
        if (r >= 0)
                r = keep_below(s, into, sum.names, reterr);
        if (r < 0)
                return r;
        step_log(s, "Unpacking %" PRIu64 " entries into %s", sum.entries, into);
        return archive_extract(s, file, into, 0, reterr);
}

static int fetch_run(Step *s, const json_t *args, Error *reterr) {
        const char *folder = args_text(args, "unpack", "");
        char hash[SHA256_TEXT_MAX] = "";
        _cleanup_free_ char *path = NULL;
        bool refresh;
        int r = args_bool(args, "refresh", false, &refresh, reterr), changed = 0;

        if (r >= 0)
                r = target(s, args, &path, reterr);
        if (r < 0)
                return r;
        if (is_there(path, args_text(args, "sha256", ""), refresh))
                step_log(s, "%s is there already", path);
        else {
                step_log(s, "Fetching %s", args_text(args, "url", ""));
                changed = fetch_to(s, args, path, reterr);
                if (changed < 0)
                        return changed;
        }
        if (hash_of(path, hash) < 0)
                return error_set(reterr, errno, "read-failed", "Cannot read %s: %s", path,
                                 strerror(errno));
        r = isempty(folder) ? 0 : unpack(s, path, folder, reterr);
        if (r >= 0)
                r = step_output(s, "path", json_string(path));
        if (r >= 0)
                r = step_output(s, "sha256", json_string(hash));
        return r < 0 ? r : step_output(s, "changed", json_boolean(changed > 0));
}

static int fetch_undo(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *path = NULL, *part = NULL;

        /* What is left of a download that ended before its file had lost its name. */
        if (target(s, args, &path, NULL) >= 0 && (part = beside(path, ".part")))
                (void) unlink(part);
        return keep_undo(s, reterr);
}

const Verb verb_fetch = {"fetch", fetch_run, fetch_undo};
