/* SPDX-License-Identifier: MIT */
/*
 * observe {for, every, checks, tolerate}: checks must hold for as long as. The time seen stands in
 * `seen` in the step's folder, durably, so that a restart goes on where it was; only what lies
 * between two good looks of one process counts, so the gap itself does not. Once the observation
 * has ended, either way, the next one begins anew.
 */
#include <fcntl.h>

#include "daemon/step/files.h"
#include "daemon/step/step.h"

#define EVERY_MS (10 * 1000)
#define EVERY_MIN_MS 10
/* A pause that was longer by more than this was a frozen process. */
#define LATE_MS 1000

typedef struct Watch {
        const json_t *checks;
        int64_t for_ms, every_ms, tolerate;
        int64_t seen_ms, failed;
        int64_t good_us; /* when the last good look began, or 0 */
        char *path;
} Watch;

static void watch_done(Watch *w) {
        free(w->path);
}

static int seen_read(Watch *w) {
        _cleanup_free_ char *text = NULL;
        json_auto_t *seen = NULL;

        if (file_read(AT_FDCWD, w->path, 4096, &text, NULL) < 0)
                return 0;
        seen = json_loads(text, 0, NULL);
        w->seen_ms = json_integer_value(json_object_get(seen, "seen_ms"));
        return w->seen_ms > 0;
}

static int seen_write(const Watch *w, Error *reterr) {
        _cleanup_free_ char *text = strf("{\"seen_ms\": %lld}\n", (long long) w->seen_ms);
        int r = text ? file_write_atomic(AT_FDCWD, w->path, text, strlen(text), 0600) : -ENOMEM;

        if (r < 0)
                return error_set(reterr, -r, "write-failed", "Cannot write %s: %s", w->path,
                                 strerror(-r));
        return 0;
}

/* Durably: time that comes back after a power cut would count for the next observation. */
static void seen_forget(const Watch *w) {
        if (unlink(w->path) == 0)
                (void) parent_sync(w->path);
}

static int watch_init(Step *s, const json_t *args, Watch *w, Error *reterr) {
        int r;

        w->checks = json_object_get(args, "checks");
        r = args_ms(args, "for", 0, &w->for_ms, reterr);
        if (r >= 0)
                r = args_ms(args, "every", EVERY_MS, &w->every_ms, reterr);
        if (r >= 0)
                r = args_int(args, "tolerate", 0, &w->tolerate, reterr);
        if (r < 0)
                return r;
        w->every_ms = MAX(w->every_ms, EVERY_MIN_MS);
        w->path = path_join(step_record_dir(s), "seen");
        if (!w->path)
                return error_oom(reterr);
        if (seen_read(w)) {
                _cleanup_free_ char *seen = duration_format(w->seen_ms);

                step_log(s, "going on: %s were seen before", seen ? seen : "?");
        }
        return 0;
}

static void tell_progress(Step *s, const Watch *w, const char *trouble) {
        _cleanup_free_ char *seen = duration_format(w->seen_ms / 1000 * 1000);
        _cleanup_free_ char *whole = duration_format(w->for_ms);

        step_progress(s, "seen %s of %s%s%s", seen ? seen : "?", whole ? whole : "?",
                      trouble ? "; " : "", trouble ? trouble : "");
}

static int look_failed(Step *s, Watch *w, Error *why, Error *reterr) {
        _cleanup_free_ char *seen = duration_format(w->seen_ms);

        w->good_us = 0;
        w->failed++;
        step_log(s, "FAIL %s (%lld in a row, %lld tolerated)", why->message ? why->message : "",
                 (long long) w->failed, (long long) w->tolerate);
        tell_progress(s, w, why->message);
        if (w->failed <= w->tolerate)
                return 0;
        seen_forget(w);
        (void) error_set(reterr, EBADE, "check", "After %s: %s", seen ? seen : "?",
                         why->message ? why->message : "a check failed");
        if (why->hint)
                error_hint(reterr, "%s", why->hint);
        return -EBADE;
}

/* The time since the last good look counts now that this one was good too. */
static int look_held(Step *s, Watch *w, int64_t began_us, Error *reterr) {
        int64_t took_ms = (now_mono_us() - began_us) / 1000, since_ms;

        w->failed = 0;
        if (w->good_us > 0) {
                since_ms = (began_us - w->good_us) / 1000;
                w->seen_ms += MIN(since_ms, w->every_ms + took_ms + LATE_MS);
        }
        w->good_us = began_us;
        tell_progress(s, w, NULL);
        return seen_write(w, reterr);
}

static int watch_stopped(Error *reterr) {
        return error_set(reterr, ECANCELED, "stopped", "Stopped while observing");
}

/* However long a look took, there is a pause before the next one. */
static int pause_between(Step *s, int64_t ms) {
        return step_sleep(s, MAX(ms, EVERY_MIN_MS));
}

static int watch_loop(Step *s, Watch *w, Error *reterr) {
        int64_t pause = 0;

        do {
                _cleanup_error_ Error why = ERROR_INIT;
                int64_t began_us = now_mono_us();
                int r = checks_look(s, w->checks, &why);

                if (r == -ECANCELED)
                        return watch_stopped(reterr);
                r = r < 0 ? look_failed(s, w, &why, reterr) : look_held(s, w, began_us, reterr);
                if (r < 0)
                        return r;
                if (w->seen_ms >= w->for_ms)
                        return 0;
                pause = w->failed > 0 ? w->every_ms : MIN(w->every_ms, w->for_ms - w->seen_ms);
                pause -= (now_mono_us() - began_us) / 1000;
        } while (pause_between(s, pause) >= 0);
        return watch_stopped(reterr);
}

static int observe_run(Step *s, const json_t *args, Error *reterr) {
        _cleanup_(watch_done) Watch w = {0};
        _cleanup_free_ char *seen = NULL;
        int r;

        r = watch_init(s, args, &w, reterr);
        if (r >= 0)
                r = watch_loop(s, &w, reterr);
        if (r < 0)
                return r;
        seen_forget(&w);
        seen = duration_format(w.seen_ms);
        if (!seen || step_output(s, "seen", json_string(seen)) < 0)
                return error_oom(reterr);
        return 0;
}

const Verb verb_observe = {"observe", observe_run, NULL};
