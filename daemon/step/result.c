/* SPDX-License-Identifier: MIT */
/* The result: see result.h. */
#include "daemon/step/result.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include "api/args.h"
#include "api/text.h"
#include "daemon/attempt/attempt.h"
#include "daemon/step/match.h"
#include "daemon/step/shutdown.h"

#define TAIL_LINES 20
#define SHORT_TEXT 2000

int result_init(Result *result, const json_t *task) {
        *result = (Result){.task = task,
                           .started = now_wall_ms(),
                           .phase = strdup(args_text(task, "direction", "do")),
                           .outputs = json_object(),
                           .checks = json_array(),
                           .services = json_object()};
        return result->phase && result->outputs && result->checks && result->services ? 0 : -ENOMEM;
}

void result_done(Result *result) {
        free(result->phase);
        json_decref(result->outputs);
        json_decref(result->checks);
        json_decref(result->services);
        json_decref(result->end);
        *result = (Result){0};
}

int result_take(Result *result, const json_t *message) {
        json_t *value;

        if ((value = json_object_get(message, "output")))
                return json_object_update(result->outputs, value) < 0 ? -ENOMEM : 1;
        if ((value = json_object_get(message, "check")))
                return json_array_append(result->checks, value) < 0 ? -ENOMEM : 1;
        if ((value = json_object_get(message, "services")))
                return json_object_update(result->services, value) < 0 ? -ENOMEM : 1;
        if ((value = json_object_get(message, "phase"))) {
                char *phase = strdup(json_string_value(value));

                if (!phase)
                        return -ENOMEM;
                free(result->phase);
                result->phase = phase;
                return 1;
        }
        if ((value = json_object_get(message, "end"))) {
                json_decref(result->end);
                result->end = json_incref(value);
                return 1;
        }
        return 0;
}

static void put_error(json_t *out, const char *reason, const char *type, const char *message) {
        (void) json_put(out, "reason", json_string(reason));
        (void) json_put(out, "error", json_pack("{s:s, s:s}", "type", type, "message", message));
}

static void put_crash(json_t *out, int status) {
        _cleanup_free_ char *message = NULL;

        if (WIFSIGNALED(status)) {
                message = strf("updd-step's worker was killed by signal %d (%s)", WTERMSIG(status),
                               strsignal(WTERMSIG(status)));
                (void) json_put(out, "signal", json_integer(WTERMSIG(status)));
        } else
                message = strf("updd-step's worker ended with code %d and without a word",
                               WEXITSTATUS(status));
        put_error(out, WIFSIGNALED(status) ? "signal" : "error", "worker-lost",
                  message ? message : "updd-step's worker was lost");
}

static void put_timeout(json_t *out, const Result *result) {
        int64_t ms = json_integer_value(json_object_get(result->task, "timeout_ms"));
        _cleanup_free_ char *limit = duration_format(ms);
        _cleanup_free_ char *message =
                strf("Did not end within its time limit of %s", limit ? limit : "unknown length");

        put_error(out, "timeout", "timeout", message ? message : "Time limit reached");
}

/* The worker's own account of a failure. */
static void put_end(json_t *out, const json_t *end) {
        static const char *const keys[] = {"error", "reason", "exit", "signal",
                                           "op",    "ops",    "op_id"};

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                json_t *value = json_object_get(end, keys[i]);

                if (value)
                        (void) json_object_set(out, keys[i], value);
        }
}

/* What was done was done, even when a stop came in the same moment. */
static const char *put_outcome(json_t *out, const Result *result, const Ending *ending) {
        if (json_is_true(json_object_get(result->end, "ok")))
                return "done";
        put_end(out, result->end);
        if (!result->end)
                put_crash(out, ending->worker_status);
        if (ending->stopped) {
                put_error(out, "stopped", "stopped", "Stopped as asked");
                return "failed";
        }
        if (ending->interrupted) {
                put_error(out, "stopped", "interrupted", "Ended from outside before it was done");
                return "interrupted";
        }
        if (ending->timed_out)
                put_timeout(out, result);
        return machine_is_stopping() ? "interrupted" : "failed";
}

static json_t *rusage_json(void) {
        struct rusage u;

        if (getrusage(RUSAGE_CHILDREN, &u) < 0)
                return json_object();
        return json_pack("{s:I, s:I, s:I}", "user_us",
                         (json_int_t) u.ru_utime.tv_sec * 1000000 + u.ru_utime.tv_usec, "system_us",
                         (json_int_t) u.ru_stime.tv_sec * 1000000 + u.ru_stime.tv_usec,
                         "maxrss_kib", (json_int_t) u.ru_maxrss);
}

/* The first hint whose expression matches the log's end or the failure's message. */
static void put_hint(json_t *out, const Result *result, const LogFile *log) {
        const json_t *hints = json_object_get(json_object_get(result->task, "context"), "hints");
        const char *message = args_text(json_object_get(out, "error"), "message", "");
        _cleanup_free_ char *recent = NULL;
        const char *pattern;
        json_t *hint;
        size_t size;

        if (json_object_size(hints) == 0)
                return;
        recent = logfile_recent(log, &size);
        json_object_foreach ((json_t *) hints, pattern, hint) {
                if ((recent && match_text(pattern, recent, size, NULL, NULL) > 0) ||
                    match_text(pattern, message, strlen(message), NULL, NULL) > 0) {
                        (void) json_object_set(out, "hint", hint);
                        return;
                }
        }
}

static json_t *result_json(const Result *result, const Ending *ending, const LogFile *log) {
        json_auto_t *out = json_object();
        const char *state = put_outcome(out, result, ending);

        (void) json_put(out, "format", json_integer(ATTEMPT_FORMAT));
        (void) json_object_set(out, "id", json_object_get(result->task, "id"));
        (void) json_object_set(out, "n", json_object_get(result->task, "n"));
        (void) json_put(out, "state", json_string(state));
        (void) json_put(out, "phase", json_string(result->phase));
        (void) json_put(out, "started", json_integer(result->started));
        (void) json_put(out, "ended", json_integer(now_wall_ms()));
        (void) json_put(out, "rusage", rusage_json());
        (void) json_object_set(out, "outputs", result->outputs);
        if (json_array_size(result->checks) > 0)
                (void) json_object_set(out, "checks", result->checks);
        if (json_object_size(result->services) > 0)
                (void) json_object_set(out, "services", result->services);
        (void) json_put(out, "tail", logfile_tail(log, TAIL_LINES));
        (void) json_put(out, "log_bytes", json_integer((json_int_t) logfile_size(log)));
        (void) json_put(out, "log_dropped", json_integer((json_int_t) logfile_dropped(log)));
        if (!streq(state, "done"))
                put_hint(out, result, log);
        return TAKE(out);
}

/* A copy in which no text is longer than SHORT_TEXT bytes. */
static json_t *shorten(const json_t *value) {
        if (json_is_string(value) && json_string_length(value) > SHORT_TEXT) {
                _cleanup_free_ char *clean = utf8_clean(json_string_value(value), SHORT_TEXT);
                _cleanup_free_ char *cut = clean ? strf("%s [cut: the disk is full]", clean) : NULL;

                return cut ? json_string(cut) : NULL;
        }
        if (json_is_object(value)) {
                json_auto_t *out = json_object();
                const char *key;
                json_t *item;

                json_object_foreach ((json_t *) value, key, item)
                        (void) json_put(out, key, shorten(item));
                return TAKE(out);
        }
        return json_deep_copy(value);
}

static bool is_full(int r) {
        return r == -ENOSPC || r == -EDQUOT || r == -EFBIG;
}

int result_write(const Result *result, const Ending *ending, const Masks *masks, const LogFile *log,
                 int dirfd) {
        static const char *const droppable[] = {"services", "tail", "checks", "outputs"};
        json_auto_t *raw = result_json(result, ending, log);
        json_auto_t *whole = raw ? masks_json(masks, raw) : NULL;
        int r;

        if (!whole)
                return -ENOMEM;
        r = attempt_result_write(dirfd, whole);
        if (is_full(r)) {
                json_auto_t *cut = shorten(whole);

                json_decref(whole);
                whole = TAKE(cut);
                r = attempt_result_write(dirfd, whole);
        }
        for (size_t i = 0; i < ELEMENTSOF(droppable) && is_full(r); i++) {
                (void) json_object_del(whole, droppable[i]);
                r = attempt_result_write(dirfd, whole);
        }
        return r;
}
