/* SPDX-License-Identifier: MIT */
/*
 * Carrying out lists of checks: when, within/every, warn, override, and what is told and recorded
 * of each. A single look stands in look.c; what a check looks at in its own file, check_<name>.c.
 */
#include "daemon/plan/expand.h"
#include "daemon/step/look.h"
#include "daemon/step/worker.h"

#define CHECK_EVERY_MS (2 * 1000)
#define CHECK_EVERY_MIN_MS 10

static void stopped_error(Error *reterr) {
        (void) error_set(reterr, ECANCELED, "stopped", "Stopped");
}

/* Until it holds or `within` has passed. What is no "does not hold" is polled over too: a server
 * that is not up yet refuses the connection. */
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
                if (step_sleep(s, MIN(MAX(every, CHECK_EVERY_MIN_MS), left)) < 0) {
                        stopped_error(reterr);
                        return -ECANCELED;
                }
        }
}

/* 1: it is to be looked at. */
static int check_wanted(Step *s, const json_t *check, Error *reterr) {
        const char *when = args_text(check, "when", NULL);

        return when ? expr_eval(when, step_scope(s), reterr) : 1;
}

static bool is_overridden(const Step *s, const json_t *check) {
        return json_has_text(json_object_get(s->task, "overrides"),
                             args_text(check, "override", NULL));
}

/* ---- telling ---- */

static json_t *outcome_json(const Step *s, const char *title, const json_t *check, bool ok,
                            const char *message, const char *hint, bool warn, bool overridden) {
        json_auto_t *outcome = json_pack("{s:s, s:s, s:b, s:s*, s:s*}", "name", title, "check",
                                         args_text(check, "check", "?"), "ok", ok, "message",
                                         message, "hint", hint);

        if (outcome && s->found && json_object_update_missing(outcome, s->found) < 0)
                return NULL;
        if (outcome && warn && json_put(outcome, "warn", json_true()) < 0)
                return NULL;
        if (outcome && overridden && json_put(outcome, "overridden", json_true()) < 0)
                return NULL;
        return TAKE(outcome);
}

static void log_outcome(Step *s, const char *title, const char *message, const char *hint,
                        bool warn, bool overridden) {
        const char *word = !message ? "ok  " : overridden ? "OVER" : warn ? "WARN" : "FAIL";

        const char *found = args_text(s->found, "message", NULL);

        if (!message)
                step_log(s, "%s %s%s%s", word, title, found ? ": " : "", found ? found : "");
        else
                step_log(s, "%s %s: %s%s%s%s", word, title, message, hint ? " (hint: " : "",
                         hint ? hint : "", hint ? ")" : "");
}

/* Tells and records one outcome. 1 when the failure counts. */
static int settle(Step *s, const char *title, const json_t *check, int r, const Error *error) {
        const char *message = r >= 0 ? NULL : error->message ? error->message : strerror(-r);
        const char *hint = r >= 0 ? NULL : args_text(check, "hint", error->hint);
        bool warn = false, overridden = r < 0 && is_overridden(s, check);

        if (r < 0)
                (void) !args_bool(check, "warn", false, &warn, NULL);
        if (!s->looking)
                (void) step_check_result(
                        s, outcome_json(s, title, check, r >= 0, message, hint, warn, overridden));
        log_outcome(s, title, message, hint, warn, overridden);
        return r < 0 && !warn && !overridden;
}

/* One more failure for the message that tells them all together. */
static int failures_add(Error *all, const char *title, const json_t *check, int r,
                        const Error *error) {
        const char *message = error->message ? error->message : strerror(-r);
        const char *hint = args_text(check, "hint", error->hint);
        _cleanup_free_ char *hints = NULL;

        if (hint && all->hint && !strstr(all->hint, hint))
                hints = strf("%s; %s", all->hint, hint);
        else if (all->hint || hint)
                hints = strdup(all->hint ? all->hint : hint);
        (void) error_set(all, EBADE, "check", "%s%s%s: %s", all->message ? all->message : "",
                         all->message ? "; " : "", title, message);
        if (hints)
                error_hint(all, "%s", hints);
        return -EBADE;
}

/* ---- lists ---- */

/* 1: it failed, and that counts. 0: go on. -ECANCELED. */
static int run_one(Step *s, const json_t *check, bool poll, Error *failures, Error *reterr) {
        _cleanup_free_ char *title = look_title(check);
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        if (!title)
                return error_oom(reterr);
        r = check_wanted(s, check, &error);
        if (r == 0)
                return 0;
        if (r > 0)
                r = poll ? look_until(s, check, &error) : look_once(s, check, &error);
        if (r == -ECANCELED) {
                stopped_error(reterr);
                return r;
        }
        if (settle(s, title, check, r, &error) == 0)
                return 0;
        (void) failures_add(failures, title, check, r, &error);
        return 1;
}

static int run_list(Step *s, const json_t *checks, bool all, bool poll, Error *reterr) {
        _cleanup_error_ Error failures = ERROR_INIT;
        json_t *check;
        size_t i;

        json_array_foreach ((json_t *) checks, i, check) {
                int r = run_one(s, check, poll, &failures, reterr);

                if (r < 0)
                        return r;
                if (r > 0 && !all)
                        break;
        }
        if (!failures.message)
                return 0;
        error_move(reterr, &failures);
        return -EBADE;
}

int checks_run(Step *s, const json_t *checks, bool all, Error *reterr) {
        return run_list(s, checks, all, true, reterr);
}

int checks_look(Step *s, const json_t *checks, Error *reterr) {
        bool looking = s->looking;
        int r;

        s->looking = true;
        r = run_list(s, checks, false, false, reterr);
        s->looking = looking;
        return r;
}
