/* SPDX-License-Identifier: MIT */
/* wait {until, within, every | for}: until checks hold, or for a time. */
#include "daemon/step/step.h"

#define WITHIN_MS (5 * 60 * 1000)
#define EVERY_MS (2 * 1000)
#define EVERY_MIN_MS 10

static int wait_stopped(Error *reterr) {
        return error_set(reterr, ECANCELED, "stopped", "Stopped while waiting");
}

static int wait_for(Step *s, const json_t *args, Error *reterr) {
        int64_t ms;
        int r = args_ms(args, "for", 0, &ms, reterr);

        if (r < 0)
                return r;
        step_progress(s, "waiting for %s", args_text(args, "for", ""));
        return step_sleep(s, ms) < 0 ? wait_stopped(reterr) : 0;
}

/* What is missing is told when it changes, not at each look. */
static void tell_missing(Step *s, const Error *why, char **last) {
        if (streq0(why->message, *last))
                return;
        free(*last);
        *last = why->message ? strdup(why->message) : NULL;
        step_log(s, "not yet: %s", *last ? *last : "");
        step_progress(s, "waiting: %s", *last ? *last : "");
}

static int wait_over(const Error *why, int64_t within, Error *reterr) {
        _cleanup_free_ char *text = duration_format(within);

        (void) error_set(reterr, EBADE, "check", "Not within %s: %s", text ? text : "?",
                         why->message ? why->message : "");
        if (why->hint)
                error_hint(reterr, "%s", why->hint);
        return -EBADE;
}

static int wait_until(Step *s, const json_t *checks, int64_t within, int64_t every, Error *reterr) {
        int64_t until = now_mono_us() + within * 1000;
        _cleanup_free_ char *last = NULL;

        for (;;) {
                _cleanup_error_ Error why = ERROR_INIT;
                int r = checks_look(s, checks, &why);
                int64_t left = (until - now_mono_us()) / 1000;

                if (r >= 0)
                        return 0;
                if (r == -ECANCELED)
                        return wait_stopped(reterr);
                tell_missing(s, &why, &last);
                if (left <= 0)
                        return wait_over(&why, within, reterr);
                if (step_sleep(s, MIN(MAX(every, EVERY_MIN_MS), left)) < 0)
                        return wait_stopped(reterr);
        }
}

static int wait_run(Step *s, const json_t *args, Error *reterr) {
        const json_t *checks = json_object_get(args, "until");
        int64_t within, every;
        int r;

        if (!checks)
                return wait_for(s, args, reterr);
        r = args_ms(args, "within", WITHIN_MS, &within, reterr);
        if (r >= 0)
                r = args_ms(args, "every", EVERY_MS, &every, reterr);
        if (r >= 0)
                r = wait_until(s, checks, within, every, reterr);
        if (r >= 0)
                /* One more time, for the record of what each check found. */
                r = checks_run(s, checks, true, reterr);
        return r;
}

const Verb verb_wait = {"wait", wait_run, NULL};
