/* SPDX-License-Identifier: MIT */
/* See watchdog.h. */
#include "daemon/watchdog.h"

#include <systemd/sd-daemon.h>

#include "daemon/log.h"

#define TIMES 4 /* within the time that the manager allows */

struct Watchdog {
        sd_event_source *timer;
        Engine *engine;
        HttpServer *http;
        uint64_t every; /* us */
        bool silent;    /* that the server does not answer was told */
};

static void feed(void *userdata) {
        Watchdog *w = userdata;

        w->silent = false;
        (void) sd_notify(0, "WATCHDOG=1");
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        Watchdog *w = userdata;
        uint64_t now = usec;
        int r;

        engine_look(w->engine);
        r = http_probe(w->http, feed, w);
        if (r == -EALREADY && !w->silent) {
                w->silent = true;
                log_warning("the HTTP server does not answer; the watchdog is not fed");
        }
        /* What could not be asked, as there were no descriptors or connections left, says nothing
         * of the server. */
        if (r < 0 && r != -EALREADY)
                feed(w);
        (void) sd_event_now(sd_event_source_get_event(source), CLOCK_MONOTONIC, &now);
        r = sd_event_source_set_time(source, now + w->every);
        return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int watchdog_new(sd_event *event, Engine *engine, HttpServer *http, Watchdog **ret) {
        _cleanup_(watchdog_freep) Watchdog *w = NULL;
        uint64_t limit;
        int r = sd_watchdog_enabled(0, &limit);

        if (r <= 0)
                return r;
        w = calloc(1, sizeof(Watchdog));
        if (!w)
                return -ENOMEM;
        w->engine = engine;
        w->http = http;
        w->every = MAX(limit / TIMES, (uint64_t) 1);
        r = sd_event_add_time(event, &w->timer, CLOCK_MONOTONIC, 0, w->every / TIMES, on_tick, w);
        if (r >= 0)
                r = sd_event_source_set_priority(w->timer, SD_EVENT_PRIORITY_IMPORTANT);
        if (r < 0)
                return r;
        *ret = TAKE(w);
        return 0;
}

void watchdog_free(Watchdog *w) {
        if (!w)
                return;
        sd_event_source_disable_unref(w->timer);
        free(w);
}
