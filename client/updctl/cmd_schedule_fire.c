/* SPDX-License-Identifier: MIT */
/*
 * schedule fire NAME: what updctl-start@NAME.service runs when its timer elapses. The elapse is the
 * time that the timer was triggered at, as systemd has it: started twice for one elapse, the
 * service asks twice for the same job. The daemon may still be on its way up: it is waited for.
 */
#include <inttypes.h>
#include <time.h>

#include "api/text.h"
#include "client/updctl/schedule.h"

#define PATIENCE_S 120

/* A call that waits for a daemon that is not there yet, or has no room now. */
static int call_patiently(Ctl *ctl, const Request *q, Response *ret) {
        for (unsigned i = 0;; i++) {
                _cleanup_error_ Error error = ERROR_INIT;
                int r = client_call(ctl->client, q, ret, &error);

                if (i >= PATIENCE_S)
                        return r < 0 ? tell_error(ctl, EXIT_UNREACHABLE, &error)
                                     : tell_problem(ctl, ret);
                if (r >= 0 && ret->status != 503)
                        return ret->status >= 400 ? tell_problem(ctl, ret) : 0;
                if (i == 0)
                        (void) tell(ctl, 0, "updd does not answer yet; waiting");
                response_done(ret);
                *ret = RESPONSE_INIT;
                (void) nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        }
}

/* What systemd tells the service that its timer starts; 0: somebody else started it. */
static int64_t triggered_ms(void) {
        const char *text = getenv("TRIGGER_TIMER_REALTIME_USEC");
        char *end = NULL;
        long long us = text ? strtoll(text, &end, 10) : 0;

        return us > 0 && end && !*end ? us / 1000 : 0;
}

static int find_elapse(Ctl *ctl, const char *name, char ret[static TIME_TEXT_MAX]) {
        _cleanup_response_ Response schedule = RESPONSE_INIT;
        _cleanup_free_ char *path = schedule_path(name, "");
        int64_t ms = triggered_ms();
        int r;

        if (ms == 0) {
                r = call_patiently(ctl, &(Request){.method = "GET", .path = path ? path : ""},
                                   &schedule);
                if (r > 0)
                        return r;
                ms = get_time(schedule.json, "last");
        }
        if (ms == 0) {
                (void) tell(ctl, EXIT_REFUSED, "the timer of schedule %s has not elapsed yet",
                            name);
                tell_hint(ctl, "updctl schedule run-now %s", name);
                return EXIT_REFUSED;
        }
        (void) time_format(ms, ret);
        return 0;
}

int schedule_fire(Ctl *ctl, const char *name) {
        _cleanup_free_ char *path = schedule_path(name, "/run"), *key = NULL;
        _cleanup_response_ Response job = RESPONSE_INIT;
        char elapse[TIME_TEXT_MAX];
        json_auto_t *body = NULL;
        int r = find_elapse(ctl, name, elapse);

        if (r > 0)
                return r;
        key = strf("schedule:%s:%s", name, elapse);
        body = json_pack("{s:s}", "elapse", elapse);
        if (!path || !key || !body)
                return tell(ctl, EXIT_REFUSED, "out of memory");
        r = call_patiently(
                ctl, &(Request){.method = "POST", .path = path, .body = body, .key = key}, &job);
        if (r > 0)
                return r;
        if (ctl->json)
                return put_json(ctl, &job);
        put(ctl->out, PLAIN, "schedule %s, elapsed at %s: job %" PRId64 "\n", name, elapse,
            get_int(job.json, "id"));
        return EXIT_AS_ASKED;
}
