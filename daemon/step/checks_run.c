/* SPDX-License-Identifier: MIT */
/*
 * Carrying out lists of checks: when, within/every, timeout, warn, override, and what is recorded
 * of each. What a single check looks at stands in its own file, check_<name>.c.
 */
#include "daemon/plan/expand.h"
#include "daemon/step/worker.h"

#define CHECK_TIMEOUT_MS (30 * 1000)
#define CHECK_EVERY_MS (2 * 1000)

static const Check *find_check(const char *name) {
        for (size_t i = 0; step_checks[i]; i++)
                if (streq(step_checks[i]->name, name))
                        return step_checks[i];
        return NULL;
}

static const char *check_name(const json_t *check) {
        return args_text(check, "name", args_text(check, "check", "?"));
}

/* One look, within the check's own time limit, with its cwd, env and user over the op's. */
static int look_once(Step *s, const json_t *check, Error *reterr) {
        const char *name = args_text(check, "check", "");
        const Check *row = find_check(name);
        const json_t *overlay = s->overlay;
        int64_t timeout_ms, until = s->check_until_us;
        int r;

        if (!row)
                return error_set(reterr, ENOSYS, "unknown-check",
                                 "This updd-step does not know the check '%s'", name);
        r = args_ms(check, "timeout", CHECK_TIMEOUT_MS, &timeout_ms, reterr);
        if (r < 0)
                return r;
        s->overlay = check;
        s->check_until_us = now_mono_us() + timeout_ms * 1000;
        r = row->look(s, json_object_get(check, "args"), reterr);
        s->overlay = overlay;
        s->check_until_us = until;
        return r;
}

/* Until it holds or `within` has passed. An error that is none of "does not hold" is polled over
 * too: a server that is not up yet refuses the connection. */
static int look_until(Step *s, const json_t *check, Error *reterr) {
        int64_t within, every, until;
        int r;

        r = args_ms(check, "within", 0, &within, reterr);
        if (r >= 0)
                r = args_ms(check, "every", CHECK_EVERY_MS, &every, reterr);
        if (r < 0)
                return r;
        until = now_mono_us() + within * 1000;
        for (;;) {
                int64_t left;

                r = look_once(s, check, reterr);
                left = (until - now_mono_us()) / 1000;
                if (r >= 0 || r == -ECANCELED || r == -ENOSYS || left <= 0)
                        return r;
                if (step_sleep(s, MIN(MAX(every, 10), left)) < 0)
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
        }
}

/* 1: to be looked at. */
static int check_wanted(Step *s, const json_t *check, Error *reterr) {
        const char *when = args_text(check, "when", NULL);

        return when ? expr_eval(when, s->scope, reterr) : 1;
}

static bool is_overridden(const Step *s, const json_t *check) {
        const char *name = args_text(check, "override", NULL);
        json_t *item;
        size_t i;

        if (!name)
                return false;
        json_array_foreach (json_object_get(s->task, "overrides"), i, item) {
                if (streq0(json_string_value(item), name))
                        return true;
        }
        return false;
}

/* Records one outcome. 1 when the failure counts. */
static int check_settle(Step *s, const json_t *check, int r, const Error *error) {
        json_t *outcome = json_pack("{s:s, s:s, s:b}", "name", check_name(check), "check",
                                    args_text(check, "check", "?"), "ok", r >= 0);
        const char *message = error->message ? error->message : strerror(-r);
        const char *hint = args_text(check, "hint", error->hint);
        bool warn = false, overridden = r < 0 && is_overridden(s, check);

        (void) !args_bool(check, "warn", false, &warn, NULL);
        if (r < 0) {
                (void) json_put(outcome, "message", json_string(message));
                if (hint)
                        (void) json_put(outcome, "hint", json_string(hint));
                if (warn)
                        (void) json_put(outcome, "warn", json_true());
                if (overridden)
                        (void) json_put(outcome, "overridden", json_true());
        }
        (void) step_check_result(s, outcome);
        if (r >= 0)
                step_log(s, "updd: check %s: holds", check_name(check));
        else
                step_log(s, "updd: check %s: %s%s%s%s", check_name(check), message,
                         hint ? " (hint: " : "", hint ? hint : "", hint ? ")" : "");
        if (r < 0 && overridden)
                step_log(s, "updd: check %s: overridden by '%s'", check_name(check),
                         args_text(check, "override", ""));
        return r < 0 && !warn && !overridden;
}

static int add_failure(Error *all, const json_t *check, const Error *error, int r) {
        const char *message = error->message ? error->message : strerror(-r);
        const char *hint = args_text(check, "hint", error->hint);
        int k;

        if (!all)
                return -EBADE;
        if (!all->message)
                k = error_set(all, EBADE, "check", "%s: %s", check_name(check), message);
        else
                k = error_set(all, EBADE, "check", "%s; %s: %s", all->message, check_name(check),
                              message);
        if (hint && !all->hint)
                error_hint(all, "%s", hint);
        return k;
}

int checks_run(Step *s, const json_t *checks, bool all, Error *reterr) {
        _cleanup_error_ Error failures = ERROR_INIT;
        _cleanup_free_ char *hint = NULL;
        bool failed = false;
        json_t *check;
        size_t i;

        json_array_foreach ((json_t *) checks, i, check) {
                _cleanup_error_ Error error = ERROR_INIT;
                int r = check_wanted(s, check, &error);

                if (r == 0)
                        continue;
                if (r > 0)
                        r = look_until(s, check, &error);
                if (r == -ECANCELED) {
                        error_move(reterr, &error);
                        return r;
                }
                if (check_settle(s, check, r, &error) == 0)
                        continue;
                failed = true;
                free(hint);
                hint = failures.hint ? strdup(failures.hint) : NULL;
                (void) add_failure(&failures, check, &error, r);
                if (hint && failures.hint == NULL)
                        error_hint(&failures, "%s", hint);
                if (!all)
                        break;
        }
        if (!failed)
                return 0;
        error_move(reterr, &failures);
        return -EBADE;
}

int checks_look(Step *s, const json_t *checks, Error *reterr) {
        bool looking = s->looking;
        int r = 0;
        json_t *check;
        size_t i;

        s->looking = true;
        json_array_foreach ((json_t *) checks, i, check) {
                _cleanup_error_ Error error = ERROR_INIT;
                bool warn = false;

                r = check_wanted(s, check, &error);
                if (r > 0)
                        r = look_once(s, check, &error);
                (void) !args_bool(check, "warn", false, &warn, NULL);
                if (r >= 0 || (warn && r != -ECANCELED)) {
                        r = 0;
                        continue;
                }
                if (r == -ECANCELED)
                        error_move(reterr, &error);
                else
                        r = add_failure(reterr ? (error_done(reterr), reterr) : NULL, check, &error,
                                        r);
                break;
        }
        s->looking = looking;
        return r;
}
