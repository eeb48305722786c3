/* SPDX-License-Identifier: MIT */
/*
 * The helper process of a look, and what it sends back: see look.h. The helper shares the worker's
 * stop signal, and dies with the worker.
 */
#include "daemon/step/look.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "daemon/attempt/tree.h"
#include "daemon/step/worker.h"

#define CHECK_TIMEOUT_MS (30 * 1000)
#define CUT_AFTER_US (3 * 1000 * 1000) /* a helper that knows its limit may clean up so long */
#define ANSWER_MAX (256U * 1024)
#define TITLE_MAX 120
#define LEFTOVERS_US (2 * 1000 * 1000)

/* The argument of each check that tells it from another of its kind. */
static const char *const title_keys[] = {"name",     "path", "to",        "url",    "argv",
                                         "db",       "file", "of",        "newest", "match",
                                         "services", "step", "expression"};

static const Check *find_check(const char *name) {
        for (size_t i = 0; step_checks[i]; i++)
                if (streq(step_checks[i]->name, name))
                        return step_checks[i];
        return NULL;
}

static char *join(const json_t *value) {
        _cleanup_free_ char *joined = strdup("");
        json_t *item;
        size_t i;

        if (json_is_string(value))
                return strdup(json_string_value(value));
        json_array_foreach ((json_t *) value, i, item) {
                char *more = strf("%s%s%s", joined ? joined : "", i > 0 ? " " : "",
                                  json_is_string(item) ? json_string_value(item) : "…");

                free(joined);
                joined = more;
        }
        return TAKE(joined);
}

/* Whole characters of at most `max` bytes, one line. */
static void shorten(char *text, size_t max) {
        size_t n = strcspn(text, "\r\n");
        bool cut = text[n] != '\0' || n > max;

        n = MIN(n, max);
        while (cut && n > 0 && ((unsigned char) text[n] & 0xc0) == 0x80)
                n--;
        text[n] = '\0';
}

char *look_title(const json_t *check) {
        const char *kind = args_text(check, "check", "?"), *name = args_text(check, "name", NULL);
        const json_t *args = json_object_get(check, "args"), *value = NULL;
        _cleanup_free_ char *joined = NULL;

        if (name)
                return strdup(name);
        for (size_t i = 0; i < ELEMENTSOF(title_keys) && !value; i++)
                value = json_object_get(args, title_keys[i]);
        joined = value ? join(value) : NULL;
        if (isempty(joined))
                return strdup(kind);
        shorten(joined, TITLE_MAX);
        return strf("%s %s", kind, joined);
}

/* ---- the helper ---- */

/* What the look has left running ends with it. It was taken for its child when its own parent
 * ended, however it was forked, because the helper is a subreaper. */
static void leftovers_end(void) {
        int64_t until_us = now_mono_us() + LEFTOVERS_US;

        while (now_mono_us() < until_us) {
                pid_t pid = waitpid(-1, NULL, WNOHANG);

                if (pid < 0 && errno != EINTR)
                        return;
                if (pid != 0)
                        continue;
                if (tree_signal(getpid(), SIGKILL) == 0)
                        (void) usleep(1000); /* they are dying */
        }
}

static _Noreturn void helper_main(Step *s, const Check *row, const json_t *check, int64_t until_us,
                                  pid_t parent, int answer_fd) {
        Error error = ERROR_INIT;
        json_t *answer;
        char *text;
        int r;

        s->found = NULL; /* of the look before; the worker's own */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent ||
            prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                _exit(EXIT_FAILURE);
        s->overlay = check;
        s->check_until_us = s->check_until_us > 0 ? MIN(s->check_until_us, until_us) : until_us;
        r = row->look(s, json_object_get(check, "args"), &error);
        leftovers_end();
        answer = json_pack("{s:i, s:i, s:s*, s:s*, s:s*, s:O*}", "r", r, "compose",
                           (int) s->compose, "type", error.type, "message", error.message, "hint",
                           error.hint, "found", s->found);
        text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
        r = text ? write_all(answer_fd, text, strlen(text)) : -ENOMEM;
        free(text);
        json_decref(answer);
        error_done(&error);
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* ---- the worker's side ---- */

static void helper_end(pid_t pid) {
        (void) kill(pid, SIGKILL);
        /* One that hangs in the kernel cannot be waited for; the supervisor collects it. */
        for (int i = 0; i < 100 && waitpid(pid, NULL, WNOHANG) == 0; i++)
                (void) usleep(2000);
}

/* Reads until the helper has closed its end. -ETIMEDOUT when it must be cut off. */
static int answer_read(Step *s, int fd, int64_t until_us, char *buf, size_t *ret_size) {
        int64_t cut_us = until_us + CUT_AFTER_US;
        size_t size = 0;

        for (;;) {
                struct pollfd p[] = {{.fd = fd, .events = POLLIN},
                                     {.fd = s->stop_fd, .events = POLLIN}};
                int64_t now = now_mono_us(), left = (cut_us - now + 999) / 1000;
                ssize_t n;

                if (left <= 0)
                        return step_stopping(s) ? -ECANCELED : -ETIMEDOUT;
                if (cut_us != until_us + CUT_AFTER_US)
                        p[1].fd = -1;
                if (poll(p, ELEMENTSOF(p), (int) MIN(left, 60 * 60 * 1000)) < 0)
                        continue;
                if (p[1].revents)
                        cut_us = MIN(cut_us - 1, now + CUT_AFTER_US);
                if (!p[0].revents)
                        continue;
                n = read(fd, buf + size, ANSWER_MAX - size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        break;
                size += (size_t) n;
        }
        *ret_size = size;
        return 0;
}

static int answer_take(Step *s, const char *buf, size_t size, Error *reterr) {
        json_auto_t *answer = json_loadb(buf, size, 0, NULL);
        const char *message = args_text(answer, "message", NULL);
        int r;

        if (!answer)
                return error_set(reterr, EIO, "check-died", "The check's helper process died");
        r = (int) json_integer_value(json_object_get(answer, "r"));
        s->compose = (Compose) json_integer_value(json_object_get(answer, "compose"));
        s->found = json_incref(json_object_get(answer, "found"));
        if (r >= 0)
                return r;
        (void) error_set(reterr, -r, args_text(answer, "type", "check-failed"), "%s",
                         message ? message : strerror(-r));
        if (json_object_get(answer, "hint"))
                error_hint(reterr, "%s", args_text(answer, "hint", ""));
        return r;
}

static int helper_run(Step *s, const Check *row, const json_t *check, int64_t timeout_ms,
                      Error *reterr) {
        int64_t until_us = now_mono_us() + timeout_ms * 1000;
        _cleanup_free_ char *buf = malloc(ANSWER_MAX), *limit = NULL;
        _cleanup_close_ int fd = -EBADF;
        pid_t parent = getpid(), pid;
        size_t size = 0;
        int fds[2], r;

        if (!buf)
                return error_oom(reterr);
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_set(reterr, errno, "internal", "No pipe: %s", strerror(errno));
        fd = fds[0];
        pid = fork();
        if (pid == 0)
                helper_main(s, row, check, until_us, parent, fds[1]);
        (void) close(fds[1]);
        if (pid < 0)
                return error_set(reterr, errno, "internal", "Cannot fork: %s", strerror(errno));
        r = answer_read(s, fd, until_us, buf, &size);
        helper_end(pid);
        if (r == -ECANCELED || (r >= 0 && size == 0 && step_stopping(s)))
                return error_set(reterr, ECANCELED, "stopped", "Stopped");
        if (r >= 0)
                return answer_take(s, buf, size, reterr);
        limit = duration_format(timeout_ms);
        return error_set(reterr, ETIMEDOUT, "timeout", "No result within %s", limit ? limit : "?");
}

int look_once(Step *s, const json_t *check, Error *reterr) {
        const char *name = args_text(check, "check", "");
        const Check *row = find_check(name);
        int64_t timeout_ms;
        int r;

        if (!row)
                return error_set(reterr, ENOSYS, "unknown-check",
                                 "This updd-step does not know the check '%s'", name);
        r = args_ms(check, "timeout", CHECK_TIMEOUT_MS, &timeout_ms, reterr);
        if (r < 0)
                return r;
        if (step_stopping(s))
                return error_set(reterr, ECANCELED, "stopped", "Stopped");
        json_decref(s->found);
        s->found = NULL;
        return helper_run(s, row, check, timeout_ms, reterr);
}
