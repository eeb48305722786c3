/* SPDX-License-Identifier: MIT */
/*
 * schedule fire NAME: what updctl-start@NAME.service runs when its timer elapses. It says which
 * elapse that is and when the timer fired for it, as systemd has both: started twice for one elapse,
 * it asks twice for the same job. The daemon may still be on its way up: it is waited for.
 */
#include <inttypes.h>
#include <time.h>

#include "api/text.h"
#include "client/updctl/schedule.h"

/* Started by the timer it waits for long: only then does systemd know which elapse it is. Started
 * again by the service's Restart=, it leaves the waiting to that. */
#define PATIENCE_S 120
#define PATIENCE_AGAIN_S 5

/* What systemd tells the service that its timer starts; 0: somebody else started it. */
static int64_t triggered_ms(void) {
        const char *text = getenv("TRIGGER_TIMER_REALTIME_USEC");
        char *end = NULL;
        long long us = text ? strtoll(text, &end, 10) : 0;

        return us > 0 && end && !*end ? us / 1000 : 0;
}

static int64_t patient_until(void) {
        return now_mono_us() +
               INT64_C(1000000) * (triggered_ms() > 0 ? PATIENCE_S : PATIENCE_AGAIN_S);
}

/* The timer is set before that is committed: then the schedule is not set yet. */
static bool is_early(const Response *answer) {
        const char *type = get_text(answer->json, "type");

        return answer->status == 409 && type && endswith(type, ":not-now");
}

/* A call that waits for a daemon that is not there yet, has no room now, or has not come so far. */
static int call_patiently(Ctl *ctl, const Request *q, Response *ret) {
        int64_t until = patient_until();

        for (bool told = false;; told = true) {
                _cleanup_error_ Error error = ERROR_INIT;
                int r = client_call(ctl->client, q, ret, &error);

                if (r >= 0 && ret->status != 503 && !is_early(ret))
                        return ret->status >= 400 ? tell_problem(ctl, ret) : 0;
                if (now_mono_us() >= until && r < 0)
                        return tell_error(ctl, EXIT_UNREACHABLE, &error);
                if (now_mono_us() >= until) {
                        (void) tell_problem(ctl, ret);
                        return ret->status == 503 ? EXIT_UNREACHABLE : EXIT_REFUSED;
                }
                if (!told)
                        (void) tell(ctl, 0, "updd does not answer as it will; waiting");
                response_done(ret);
                *ret = RESPONSE_INIT;
                (void) nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        }
}

typedef struct Elapse {
        int64_t at; /* when the timer fired, wall ms */
        int64_t of; /* what for: the moment that the calendar event names */
} Elapse;

/* Which moment it was is known while the service runs that the timer has started; later, only when the
 * timer fired. */
static int find_elapse(Ctl *ctl, const char *name, Elapse *ret) {
        _cleanup_response_ Response schedule = RESPONSE_INIT;
        _cleanup_free_ char *path = schedule_path(name, "");
        int r = call_patiently(ctl, &(Request){.method = "GET", .path = path ? path : ""},
                               &schedule);

        if (r > 0)
                return r;
        ret->at = triggered_ms();
        if (ret->at == 0)
                ret->at = get_time(schedule.json, "last");
        ret->of = get_time(schedule.json, "elapse");
        if (ret->of == 0 || ret->of > ret->at)
                ret->of = ret->at;
        if (ret->at > 0)
                return 0;
        (void) tell(ctl, EXIT_REFUSED, "the timer of schedule %s has not elapsed yet", name);
        tell_hint(ctl, "updctl schedule run-now %s", name);
        return EXIT_REFUSED;
}

int schedule_fire(Ctl *ctl, const char *name) {
        _cleanup_free_ char *path = schedule_path(name, "/run"), *key = NULL;
        _cleanup_response_ Response job = RESPONSE_INIT;
        char of[TIME_TEXT_MAX], at[TIME_TEXT_MAX];
        json_auto_t *body = NULL;
        Elapse elapse;
        int r = find_elapse(ctl, name, &elapse);

        if (r > 0)
                return r;
        body = json_pack("{s:s, s:s}", "elapse", time_format(elapse.of, of), "at",
                         time_format(elapse.at, at));
        key = strf("schedule:%s:%s:%s", name, of, at);
        if (!path || !key || !body)
                return tell(ctl, EXIT_REFUSED, "out of memory");
        r = call_patiently(
                ctl, &(Request){.method = "POST", .path = path, .body = body, .key = key}, &job);
        if (r > 0)
                return r;
        if (ctl->json)
                return put_json(ctl, &job);
        put(ctl->out, PLAIN, "schedule %s, elapsed at %s: job %" PRId64 "\n", name, of,
            get_int(job.json, "id"));
        return EXIT_AS_ASKED;
}
