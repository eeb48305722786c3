/* SPDX-License-Identifier: MIT */
/* What verbs see of their task, and how they tell what they did: see step.h. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "daemon/attempt/attempt.h"
#include "daemon/step/worker.h"

const json_t *step_task(const Step *s) {
        return s->task;
}

const json_t *step_context(const Step *s) {
        return json_object_get(s->task, "context");
}

const char *step_id(const Step *s) {
        return args_text(s->op, "id", args_text(s->task, "step", ""));
}

const char *step_record_dir(const Step *s) {
        return args_text(s->op, "record", args_text(s->task, "record", ""));
}

const char *step_dir(const Step *s) {
        return args_text(s->task, "dir", "");
}

const char *step_job_dir(const Step *s) {
        return args_text(s->task, "job_dir", "");
}

const json_t *step_op(const Step *s) {
        return s->op;
}

const json_t *step_scope(const Step *s) {
        return s->scope;
}

bool step_is_undo(const Step *s) {
        return streq(args_text(s->op, "direction", "do"), "undo");
}

const json_t *step_setting(const Step *s, const char *key) {
        const json_t *v = json_object_get(s->overlay, key);

        return v && !json_is_null(v) ? v : json_object_get(s->op, key);
}

int step_path(Step *s, const char *path, char **ret, Error *reterr) {
        const json_t *cwd = step_setting(s, "cwd");
        char *joined;

        if (path[0] != '/' && !json_is_string(cwd))
                return error_set(reterr, EINVAL, "no-cwd",
                                 "'%s' is a relative path and the step has no cwd", path);
        joined = path_join(path[0] == '/' ? "/" : json_string_value(cwd), path);
        if (!joined)
                return error_oom(reterr);
        *ret = joined;
        return 0;
}

/* ---- telling ---- */

void worker_tell(Step *s, const char *key, json_t *value) {
        json_auto_t *message = json_pack("{s:o}", key, value);
        _cleanup_free_ char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
        size_t n = text ? strlen(text) : 0;

        if (!text)
                return;
        text[n] = '\n'; /* in place of its NUL: one write wakes the supervisor once */
        /* Without a supervisor nothing that is done here would ever be told. */
        if (write_all(s->control, text, n + 1) < 0)
                _exit(EXIT_FAILURE);
}

void worker_tell_wait(Step *s, const char *key, json_t *value) {
        ssize_t n;
        char byte;

        worker_tell(s, key, value);
        do
                n = read(s->control, &byte, 1);
        while (n < 0 && errno == EINTR);
        if (n != 1)
                _exit(EXIT_FAILURE);
}

int worker_mask(Step *s, const char *secret) {
        if (masks_add(&s->masks, secret) < 0)
                return -ENOMEM;
        worker_tell(s, "mask", json_string(secret));
        return 0;
}

void step_log(Step *s, const char *format, ...) {
        _cleanup_free_ char *line = NULL;
        va_list ap;
        int n;

        if (s->looking)
                return;
        va_start(ap, format);
        n = vasprintf(&line, format, ap);
        va_end(ap);
        if (n < 0) {
                line = NULL;
                return;
        }
        line[n] = '\n'; /* one write a line, so that lines do not mix */
        (void) write_all(STDOUT_FILENO, line, (size_t) n + 1);
}

int step_output(Step *s, const char *key, json_t *value) {
        json_auto_t *owned = value;
        json_t *steps, *own;
        const char *id = args_text(s->task, "step", "");

        if (!owned)
                return -ENOMEM;
        worker_tell(s, "output", json_pack("{s:O}", key, owned));
        steps = json_object_get(s->scope, "steps");
        own = json_object_get(steps, id);
        if (!own) {
                if (json_put(steps, id, json_object()) < 0)
                        return -ENOMEM;
                own = json_object_get(steps, id);
        }
        return json_object_set(own, key, owned) < 0 ? -ENOMEM : 0;
}

int step_output_secret(Step *s, const char *key, const char *value) {
        _cleanup_free_ char *name = strf("steps.%s.%s", args_text(s->task, "step", ""), key);
        _cleanup_free_ char *dir = path_join(step_job_dir(s), "secrets"), *path = NULL;
        int r;

        if (!name || !dir)
                return -ENOMEM;
        path = path_join(dir, name);
        if (!path)
                return -ENOMEM;
        r = worker_mask(s, value);
        if (r < 0)
                return r;
        r = mkdir_durable(dir, 0700);
        if (r < 0)
                return r;
        r = file_write_atomic(AT_FDCWD, path, value, strlen(value), 0600);
        if (r < 0)
                return r;
        return step_output(s, key, json_pack("{s:s}", "$secret", name));
}

void step_progress(Step *s, const char *format, ...) {
        _cleanup_free_ char *text = NULL, *clean = NULL;
        va_list ap;
        int n;

        if (s->looking)
                return;
        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                return;
        }
        clean = utf8_clean(text, strlen(text));
        if (clean)
                worker_tell(s, "progress", json_string(clean));
}

int step_check_result(Step *s, json_t *outcome) {
        if (!outcome)
                return -ENOMEM;
        worker_tell(s, "check", outcome);
        return 0;
}

int step_found(Step *s, const char *message, json_t *space) {
        json_decref(s->found);
        s->found = json_pack("{s:s*, s:o}", "message", message, "space", space);
        return s->found ? 0 : -ENOMEM;
}

int step_service_log(Step *s, const char *service, json_t *lines) {
        json_t *one = json_pack("{s:o}", service, lines);

        if (!one)
                return -ENOMEM;
        worker_tell(s, "services", one);
        return 0;
}

/* ---- time ---- */

bool step_stopping(Step *s) {
        struct pollfd p = {.fd = s->stop_fd, .events = POLLIN};

        return poll(&p, 1, 0) > 0;
}

bool step_stop_wanted(Step *s) {
        return step_stopping(s) || attempt_stop_wanted(s->dirfd);
}

int step_sleep(Step *s, int64_t ms) {
        int64_t until = now_mono_us() + ms * 1000;

        for (;;) {
                int64_t left = (until - now_mono_us() + 999) / 1000;
                struct pollfd p = {.fd = s->stop_fd, .events = POLLIN};
                int n = poll(&p, 1, (int) MIN(MAX(left, 0), 60 * 60 * 1000));

                if (n > 0)
                        return -ECANCELED;
                if (left <= 0)
                        return 0;
        }
}

int64_t step_time_left_ms(const Step *s) {
        int64_t left;

        if (s->check_until_us == 0)
                return INT64_MAX;
        left = (s->check_until_us - now_mono_us()) / 1000;
        return MAX(left, 0);
}
