/* SPDX-License-Identifier: MIT */
/*
 * The worker: carries out the task's ops one after another, then its checks, and tells the
 * supervisor how it ended. A signal TERM is a wish to stop: it makes stop_fd readable, for good.
 */
#include "daemon/step/worker.h"
#include "daemon/step/estimate.h"
#include "daemon/step/reserve.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

static int stop_write_fd = -EBADF; /* for the signal handler, which can be told nothing else */

static void on_term(int signal) {
        int saved = errno;

        (void) !write(stop_write_fd, "", 1);
        errno = saved;
}

static int watch_stop(Step *s) {
        struct sigaction action = {.sa_handler = on_term};
        sigset_t none;
        int fds[2];

        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        s->stop_fd = fds[0];
        stop_write_fd = fds[1];
        if (sigaction(SIGTERM, &action, NULL) < 0)
                return -errno;
        /* The supervisor blocks its signals before it forks. */
        (void) sigemptyset(&none);
        return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? -errno : 0;
}

static const Verb *find_verb(const char *name) {
        for (size_t i = 0; step_verbs[i]; i++)
                if (streq(step_verbs[i]->name, name))
                        return step_verbs[i];
        return NULL;
}

static int run_verb(Step *s, Error *reterr) {
        const char *name = args_text(s->op, "verb", "");
        const Verb *verb = find_verb(name);
        VerbFunc func;

        if (!verb)
                return error_set(reterr, ENOSYS, "unknown-verb",
                                 "This updd-step does not know the verb '%s'", name);
        func = step_is_undo(s) ? verb->undo : verb->run;
        if (!func)
                return error_set(reterr, ENOSYS, "no-undo", "The verb '%s' has no undo of its own",
                                 name);
        return func(s, json_object_get(s->op, "args"), reterr);
}

/* The checks inherit the op's cwd, user and env, whose secrets must be put in for them too. */
static int run_checks(Step *s, const json_t *checks, Error *reterr) {
        json_auto_t *resolved = NULL, *around = NULL;
        const json_t *op = s->op;
        int r = 0;

        if (json_array_size(checks) == 0)
                return 0;
        if (op)
                r = secrets_resolve(s->secrets, op, &around, reterr);
        if (r >= 0)
                r = secrets_resolve(s->secrets, checks, &resolved, reterr);
        if (r < 0)
                return r;
        s->op = op ? around : NULL;
        r = checks_run(s, resolved, true, reterr);
        s->op = op;
        return r;
}

/* A pause before try `i` (from 1), in ms: first, then each one `factor` times the one before. */
static int retry_pause(const json_t *retry, unsigned i, int64_t *ret, Error *reterr) {
        int64_t first, max;
        double factor = 2, ms;
        const json_t *f = json_object_get(retry, "factor");
        int r;

        r = args_ms(retry, "first", 1000, &first, reterr);
        if (r >= 0)
                r = args_ms(retry, "max", 60 * 1000, &max, reterr);
        if (r < 0)
                return r;
        if (json_is_number(f))
                factor = json_number_value(f);
        else if (json_is_string(f))
                factor = atof(json_string_value(f));
        ms = (double) first;
        for (unsigned k = 1; k < i && ms < (double) max; k++)
                ms *= factor;
        *ret = ms < (double) max ? (int64_t) ms : max;
        return 0;
}

/* The supervisor takes the task's direction for the first phase. */
static void tell_phase(Step *s, const char *phase) {
        if (!s->phase && streq(phase, args_text(s->task, "direction", "do")))
                return;
        s->phase = phase;
        worker_tell(s, "phase", json_string(phase));
}

static int verify_op(Step *s, Error *reterr) {
        const json_t *verify = json_object_get(s->op, "verify");

        if (json_array_size(verify) == 0)
                return 0;
        if (streq(args_text(s->task, "direction", "do"), "do"))
                tell_phase(s, "verify");
        return checks_run(s, verify, true, reterr);
}

static int run_once(Step *s, const json_t *op, Error *reterr) {
        json_auto_t *resolved = NULL;
        int r;

        r = secrets_resolve(s->secrets, op, &resolved, reterr);
        if (r < 0)
                return r;
        s->op = resolved;
        s->exit = -1;
        s->signal = 0;
        r = run_verb(s, reterr);
        if (r >= 0)
                r = verify_op(s, reterr);
        s->op = op;
        return r;
}

/* What was reserved for this op is there for it now. */
static void take_reserved(Step *s, const json_t *op) {
        const char *from = args_text(json_object_get(op, "args"), "from", NULL);
        bool back = streq(args_text(op, "direction", "do"), "undo");

        reserve_take(s, args_text(op, "id", ""), back ? SHARE_BACK : SHARE_KEEP);
        if (from && streq(args_text(op, "verb", ""), "restore") && !strchr(from, '/'))
                reserve_take(s, from, SHARE_BACK);
}

/* 1: the op's probe says that it has happened before the interruption. */
static int op_happened(Step *s, const json_t *op, Error *reterr) {
        json_auto_t *resolved = NULL;
        int r;

        if (json_array_size(json_object_get(op, "probe")) == 0)
                return 0;
        r = secrets_resolve(s->secrets, op, &resolved, reterr);
        if (r < 0)
                return r;
        s->op = resolved;
        r = checks_look(s, json_object_get(resolved, "probe"), NULL);
        s->op = op;
        if (r >= 0)
                step_log(s, "updd: the probe says that it has happened before the interruption");
        return r == -ECANCELED ? error_set(reterr, ECANCELED, "stopped", "Stopped") : r >= 0;
}

static int run_op(Step *s, const json_t *op, Error *reterr) {
        const json_t *retry = json_object_get(op, "retry");
        int64_t tries;
        int r;

        r = op_happened(s, op, reterr);
        if (r != 0)
                return r < 0 ? r : 0;
        r = args_int(retry, "tries", 1, &tries, reterr);
        if (r < 0)
                return r;
        take_reserved(s, op);
        for (unsigned i = 1;; i++) {
                int64_t ms;

                r = run_once(s, op, reterr);
                if (r >= 0 || r == -ECANCELED || i >= tries)
                        return r;
                r = retry_pause(retry, i, &ms, reterr);
                if (r < 0)
                        return r;
                step_log(s, "updd: %s; trying again in %lld ms (%u of %lld)",
                         reterr->message ? reterr->message : "failed", (long long) ms, i + 1,
                         (long long) tries);
                r = step_sleep(s, ms);
                if (r < 0)
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
        }
}

static int run_ops(Step *s, size_t *ret_failed, Error *reterr) {
        const json_t *ops = json_object_get(s->task, "ops");
        json_int_t from = json_integer_value(json_object_get(s->task, "from"));
        json_t *op;
        size_t i;

        if (from > 0)
                step_log(s,
                         "updd: %lld of %zu were done by an earlier attempt and are not repeated",
                         (long long) from, json_array_size(ops));
        json_array_foreach ((json_t *) ops, i, op) {
                int r;

                if ((json_int_t) i < from)
                        continue;
                *ret_failed = i;
                if (step_stopping(s))
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
                s->op = op;
                tell_phase(s, step_is_undo(s) ? "undo" : args_text(s->task, "direction", "do"));
                r = run_op(s, op, reterr);
                if (r < 0)
                        return r;
        }
        *ret_failed = SIZE_MAX;
        return 0;
}

static int run_task(Step *s, size_t *ret_failed, Error *reterr) {
        const char *direction = args_text(s->task, "direction", "do");
        int r;

        *ret_failed = SIZE_MAX;
        /* Checks outside of any op inherit what the step's own op says. */
        s->op = json_array_get(json_object_get(s->task, "ops"), 0);
        if (streq(direction, "probe")) {
                tell_phase(s, "probe");
                return run_checks(s, json_object_get(s->task, "probe"), reterr);
        }
        r = run_ops(s, ret_failed, reterr);
        if (r < 0 || !streq(direction, "do") ||
            json_array_size(json_object_get(s->task, "verify")) == 0)
                return r;
        tell_phase(s, "verify");
        return run_checks(s, json_object_get(s->task, "verify"), reterr);
}

static const char *failure_reason(const Step *s, int r, const Error *error) {
        if (r == -ECANCELED)
                return "stopped";
        if (r == -EBADE)
                return "check";
        if (s->signal > 0 && streq0(error->type, "signal"))
                return "signal";
        if (s->exit >= 0 && streq0(error->type, "exit"))
                return "exit";
        return streq0(error->type, "spawn") ? "spawn" : "error";
}

static json_t *error_json(int r, const Error *error) {
        json_auto_t *out = json_object();

        (void) json_put(out, "type", json_string(error->type ? error->type : "error"));
        (void) json_put(out, "message",
                        json_string(error->message ? error->message : strerror(-r)));
        if (error->hint)
                (void) json_put(out, "hint", json_string(error->hint));
        if (error->details)
                (void) json_object_set(out, "details", error->details);
        return TAKE(out);
}

/* Which op failed, and of how many. */
static void put_op(const Step *s, size_t failed, json_t *end) {
        const json_t *ops = json_object_get(s->task, "ops");
        json_t *id = json_object_get(json_array_get(ops, failed), "id");

        (void) json_put(end, "op", json_integer((json_int_t) failed));
        (void) json_put(end, "ops", json_integer((json_int_t) json_array_size(ops)));
        if (id)
                (void) json_object_set(end, "op_id", id);
}

static void tell_end(Step *s, int r, size_t failed, const Error *error) {
        json_t *end = json_pack("{s:b}", "ok", r >= 0);

        if (r < 0) {
                (void) json_put(end, "error", error_json(r, error));
                (void) json_put(end, "reason", json_string(failure_reason(s, r, error)));
                if (failed != SIZE_MAX)
                        put_op(s, failed, end);
                if (s->exit >= 0)
                        (void) json_put(end, "exit", json_integer(s->exit));
                if (s->signal > 0)
                        (void) json_put(end, "signal", json_integer(s->signal));
        }
        worker_tell(s, "end", end);
}

/* One section of the context, entry by entry: one whose secret this task was not given stays as it
 * is, for the task does not use it. */
static int resolve_section(Step *s, json_t *section, Error *reterr) {
        json_t *entry;
        const char *name;
        void *next;

        json_object_foreach_safe (section, next, name, entry) {
                json_t *resolved = NULL;
                int r = secrets_resolve(s->secrets, entry, &resolved, reterr);

                if (r == -ENOKEY)
                        continue;
                if (r < 0)
                        return r;
                if (json_object_set_new(section, name, resolved) < 0)
                        return error_oom(reterr);
        }
        return 0;
}

/* Everything of the context but the scope, where markers are values that must stay what they are.
 */
static int resolve_context(Step *s, Error *reterr) {
        json_auto_t *context = json_deep_copy(json_object_get(s->task, "context"));
        json_t *section;
        const char *name;

        if (!json_is_object(context))
                return error_set(reterr, EBADMSG, "bad-task", "task.json has no context");
        json_object_foreach (context, name, section) {
                int r = streq(name, "scope") ? 0 : resolve_section(s, section, reterr);

                if (r < 0)
                        return r;
        }
        if (!json_object_get(context, "scope") && json_put(context, "scope", json_object()) < 0)
                return error_oom(reterr);
        s->scope = json_incref(json_object_get(context, "scope"));
        if (!json_object_get(s->scope, "steps") && json_put(s->scope, "steps", json_object()) < 0)
                return error_oom(reterr);
        if (json_object_set(s->task, "context", context) < 0)
                return error_oom(reterr);
        return 0;
}

static int step_init(Step *s, Error *reterr) {
        const char *name;
        json_t *value;
        int r;

        json_object_foreach (s->secrets, name, value) {
                if (masks_add(&s->masks, json_string_value(value)) < 0)
                        return error_oom(reterr);
        }
        r = watch_stop(s);
        if (r < 0)
                return error_set(reterr, -r, "internal", "Signals cannot be watched: %s",
                                 strerror(-r));
        return resolve_context(s, reterr);
}

int worker_work(Step *s, size_t *ret_failed, Error *reterr) {
        int r;

        *ret_failed = SIZE_MAX;
        r = step_init(s, reterr);
        return r < 0 ? r : run_task(s, ret_failed, reterr);
}

void worker_run(int dirfd, int control, json_t *task, json_t *secrets) {
        Step s = {.dirfd = dirfd,
                  .control = control,
                  .stop_fd = -EBADF,
                  .task = task,
                  .secrets = secrets,
                  .began_us = now_mono_us(),
                  .exit = -1};
        _cleanup_error_ Error error = ERROR_INIT;
        size_t failed;
        int r;

        (void) umask(022);
        r = worker_work(&s, &failed, &error);
        tell_end(&s, r, failed, &error);
        _exit(EXIT_SUCCESS);
}
