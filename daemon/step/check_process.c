/* SPDX-License-Identifier: MIT */
/*
 * process {match, user, state}: by command line, as /proc tells it. updd-step's own processes do
 * not count, or a check would find its own words.
 */
#include "daemon/attempt/attempt.h"
#include "daemon/step/exec_env.h"
#include "daemon/step/match.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define CMDLINE_MAX (256U * 1024)

static int parent_of(pid_t pid) {
        _cleanup_free_ char *path = strf("/proc/%d/stat", (int) pid), *text = NULL;
        const char *end;
        int parent;

        if (!path || file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
                return 0;
        end = strrchr(text, ')');
        return end && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

/* The supervisor: its claim names it. */
static pid_t own_root(const Step *s) {
        json_auto_t *claim = NULL;

        if (attempt_claim_read(s->dirfd, args_text(s->task, "id", ""), &claim) < 0)
                return getppid();
        return (pid_t) json_integer_value(json_object_get(claim, "pid"));
}

static bool is_below(pid_t pid, pid_t root) {
        for (int depth = 0; pid > 1 && depth < 1000; depth++) {
                if (pid == root || pid == getpid())
                        return true;
                pid = parent_of(pid);
        }
        return false;
}

/* Its arguments with spaces between; empty for kernel threads and what has just ended. */
static char *cmdline_of(pid_t pid) {
        _cleanup_free_ char *path = strf("/proc/%d/cmdline", (int) pid), *text = NULL;
        size_t size = 0;

        if (!path || file_read(AT_FDCWD, path, CMDLINE_MAX, &text, &size) < 0)
                return strdup("");
        while (size > 0 && text[size - 1] == '\0')
                size--;
        for (size_t i = 0; i < size; i++)
                if (text[i] == '\0')
                        text[i] = ' ';
        text[size] = '\0';
        return TAKE(text);
}

static bool belongs_to(pid_t pid, const Identity *user) {
        _cleanup_free_ char *path = strf("/proc/%d", (int) pid);
        struct stat st;

        return path && stat(path, &st) >= 0 && st.st_uid == user->uid;
}

/* 1 and who it is, 0, or -errno. */
static int judge(pid_t pid, const char *pattern, pid_t root, const Identity *user, char **ret,
                 Error *reterr) {
        _cleanup_free_ char *cmdline = cmdline_of(pid);
        int r;

        if (!cmdline)
                return error_oom(reterr);
        if (!*cmdline || (user && !belongs_to(pid, user)))
                return 0;
        r = match_text(pattern, cmdline, strlen(cmdline), NULL, reterr);
        if (r <= 0 || is_below(pid, root))
                return MIN(r, 0);
        *ret = strf("%d (%.200s)", (int) pid, cmdline);
        return *ret ? 1 : error_oom(reterr);
}

static int find_process(Step *s, const char *pattern, const Identity *user, char **ret,
                        Error *reterr) {
        _cleanup_(closedirp) DIR *dir = opendir("/proc");
        pid_t root = own_root(s);
        struct dirent *entry;

        if (!dir)
                return error_set(reterr, errno, "read-failed", "/proc cannot be read: %s",
                                 strerror(errno));
        while ((entry = readdir(dir))) {
                int r;

                if (!isdigit((unsigned char) entry->d_name[0]))
                        continue;
                r = judge((pid_t) atoi(entry->d_name), pattern, root, user, ret, reterr);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int process_look(Step *s, const json_t *args, Error *reterr) {
        const char *pattern = args_text(args, "match", ""), *name = args_text(args, "user", NULL);
        bool absent = streq(args_text(args, "state", "running"), "absent");
        _cleanup_(identity_done) Identity user = {0};
        _cleanup_free_ char *found = NULL;
        int r;

        if (name) {
                r = identity_find(name, &user, reterr);
                if (r < 0)
                        return r;
        }
        r = find_process(s, pattern, name ? &user : NULL, &found, reterr);
        if (r < 0 || (r > 0) != absent)
                return MIN(r, 0);
        if (absent)
                return error_set(reterr, EBADE, "check-failed", "Process %s runs", found);
        return error_set(reterr, EBADE, "check-failed", "No process%s%s matches '%s'",
                         name ? " of " : "", name ? name : "", pattern);
}

const Check check_process = {"process", process_look};
