/* SPDX-License-Identifier: MIT */
/* path {path, state, mode, owner, writable, has, lacks}: what stands at a place. */
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>

#include "daemon/step/match.h"
#include "daemon/step/step.h"

#define CONTENT_MAX (64U * 1024 * 1024)

static const char *kind_of(mode_t mode) {
        switch (mode & S_IFMT) {
        case S_IFREG: return "a file";
        case S_IFDIR: return "a folder";
        case S_IFLNK: return "a link";
        case S_IFIFO: return "a pipe";
        case S_IFSOCK: return "a socket";
        default: return "a device";
        }
}

static int expect_state(const char *path, const char *state, struct stat *ret_st, Error *reterr) {
        bool link = streq(state, "link") || streq(state, "absent");
        bool found = (link ? lstat(path, ret_st) : stat(path, ret_st)) >= 0;
        int err = found ? 0 : errno;
        bool fits;

        if (!found && err != ENOENT && err != ENOTDIR)
                return error_set(reterr, err, "read-failed", "%s cannot be looked at: %s", path,
                                 strerror(err));
        if (streq(state, "absent"))
                return !found ? 0
                              : error_set(reterr, EBADE, "check-failed", "%s is there (%s)", path,
                                          kind_of(ret_st->st_mode));
        if (!found)
                return error_set(reterr, EBADE, "check-failed", "%s is not there", path);
        fits = streq(state, "file")   ? S_ISREG(ret_st->st_mode)
               : streq(state, "dir")  ? S_ISDIR(ret_st->st_mode)
               : streq(state, "link") ? S_ISLNK(ret_st->st_mode)
                                      : true;
        if (fits)
                return 0;
        return error_set(reterr, EBADE, "check-failed", "%s is %s, expected a %s", path,
                         kind_of(ret_st->st_mode), streq(state, "dir") ? "folder" : state);
}

static int expect_mode(const char *path, const char *mode, const struct stat *st, Error *reterr) {
        char *end;
        unsigned long want;

        if (!mode)
                return 0;
        want = strtoul(mode, &end, 8);
        if (*end || end == mode)
                return error_set(reterr, EINVAL, "bad-mode", "'%s' is no mode", mode);
        if ((st->st_mode & 07777) == want)
                return 0;
        return error_set(reterr, EBADE, "check-failed", "%s has the mode %04o, expected %04lo",
                         path, st->st_mode & 07777, want);
}

static char *owner_text(const struct stat *st) {
        const struct passwd *user = getpwuid(st->st_uid);
        _cleanup_free_ char *name = user ? strdup(user->pw_name) : strf("%u", st->st_uid);
        const struct group *group = getgrgid(st->st_gid);

        if (!name)
                return NULL;
        return group ? strf("%s:%s", name, group->gr_name) : strf("%s:%u", name, st->st_gid);
}

static bool is_number(const char *text) {
        return *text && strspn(text, "0123456789") == strlen(text);
}

static bool user_fits(const char *want, uid_t uid) {
        const struct passwd *user = getpwnam(want);

        return user ? user->pw_uid == uid
                    : is_number(want) && strtoul(want, NULL, 10) == (unsigned long) uid;
}

static bool group_fits(const char *want, gid_t gid) {
        const struct group *group = getgrnam(want);

        return group ? group->gr_gid == gid
                     : is_number(want) && strtoul(want, NULL, 10) == (unsigned long) gid;
}

static int expect_owner(const char *path, const char *owner, const struct stat *st, Error *reterr) {
        _cleanup_free_ char *user = NULL, *have = NULL;
        const char *colon;

        if (!owner)
                return 0;
        colon = strchr(owner, ':');
        user = colon ? strndup(owner, (size_t) (colon - owner)) : strdup(owner);
        if (!user)
                return error_oom(reterr);
        if ((!*user || user_fits(user, st->st_uid)) &&
            (!colon || !colon[1] || group_fits(colon + 1, st->st_gid)))
                return 0;
        have = owner_text(st);
        return error_set(reterr, EBADE, "check-failed", "%s belongs to %s, expected %s", path,
                         have ? have : "?", owner);
}

/* test(1) as the check's user: access(2) would answer for root. */
static int expect_writable(Step *s, const char *path, const json_t *args, Error *reterr) {
        json_auto_t *argv = NULL;
        _cleanup_exec_ ExecResult result = {0};
        bool wanted = false;
        int r;

        if (!json_object_get(args, "writable"))
                return 0;
        r = args_bool(args, "writable", true, &wanted, reterr);
        if (r < 0)
                return r;
        argv = json_pack("[sss]", "test", "-w", path);
        r = step_exec(s, &(Exec){.argv = argv, .cwd = "/", .quiet = true}, &result, reterr);
        if (r < 0)
                return r;
        if ((result.exit == 0) == wanted)
                return 0;
        return error_set(reterr, EBADE, "check-failed", "%s can%s be written", path,
                         wanted ? "not" : "");
}

static int expect_content(const char *path, const json_t *args, Error *reterr) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        int r;

        if (!json_object_get(args, "has") && !json_object_get(args, "lacks"))
                return 0;
        r = file_read(AT_FDCWD, path, CONTENT_MAX, &text, &size);
        if (r < 0)
                return error_set(reterr, -r, "read-failed", "%s cannot be read: %s", path,
                                 strerror(-r));
        return match_expect(args, text, size, path, reterr);
}

static int path_look(Step *s, const json_t *args, Error *reterr) {
        const char *state = args_text(args, "state", "exists");
        _cleanup_free_ char *path = NULL;
        struct stat st;
        int r;

        r = step_path(s, args_text(args, "path", ""), &path, reterr);
        if (r >= 0)
                r = expect_state(path, state, &st, reterr);
        if (r < 0 || streq(state, "absent"))
                return r;
        r = expect_mode(path, args_text(args, "mode", NULL), &st, reterr);
        if (r >= 0)
                r = expect_owner(path, args_text(args, "owner", NULL), &st, reterr);
        if (r >= 0)
                r = expect_writable(s, path, args, reterr);
        if (r >= 0)
                r = expect_content(path, args, reterr);
        return r;
}

const Check check_path = {"path", path_look};
