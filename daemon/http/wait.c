/* SPDX-License-Identifier: MIT */
/*
 * Suspended connections: calls that wait for their commit, long polls, and event streams with
 * nothing to say. One timer serves the earliest deadline among them; there are at most a few
 * hundred.
 */
#include "daemon/http/server.h"

#include "daemon/log.h"

static void set_timer(HttpServer *s) {
        int64_t earliest = INT64_MAX;

        for (Waiter *w = s->waiters; w; w = w->next)
                earliest = MIN(earliest, w->deadline);
        if (earliest == INT64_MAX) {
                (void) sd_event_source_set_enabled(s->wait_timer, SD_EVENT_OFF);
                return;
        }
        (void) sd_event_source_set_time(s->wait_timer, (uint64_t) earliest);
        (void) sd_event_source_set_enabled(s->wait_timer, SD_EVENT_ONESHOT);
}

int waiter_suspend(Waiter *w, Listener *listener, struct MHD_Connection *connection, int64_t job,
                   int64_t timeout_us) {
        HttpServer *s = listener->server;

        /* A quarter of the places stays free, so that who waits cannot shut out who acts. Calls,
         * which wait for their commit only, are not counted out: the engine bounds them. */
        if (job >= 0 && s->n_waiters >= s->max_connections - s->max_connections / 4)
                return -EBUSY;
        *w = (Waiter){
                .listener = listener,
                .connection = connection,
                .job = job,
                .deadline = timeout_us == INT64_MAX ? INT64_MAX : now_mono_us() + timeout_us,
                .suspended = true,
                .next = s->waiters,
        };
        if (s->waiters)
                s->waiters->prev = w;
        s->waiters = w;
        s->n_waiters++;
        if (w->deadline != INT64_MAX)
                set_timer(s);
        MHD_suspend_connection(connection);
        return 0;
}

void waiter_resume(Waiter *w) {
        HttpServer *s;

        if (!w->suspended)
                return;
        s = w->listener->server;
        w->suspended = false;
        if (w->prev)
                w->prev->next = w->next;
        else
                s->waiters = w->next;
        if (w->next)
                w->next->prev = w->prev;
        w->next = w->prev = NULL;
        s->n_waiters--;
        MHD_resume_connection(w->connection);
        /* MHD only marks it; with an outer loop no descriptor tells of that (tried). */
        listener_wake(w->listener);
}

void waiters_resume_all(HttpServer *s) {
        while (s->waiters)
                waiter_resume(s->waiters);
}

static int on_wait_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        HttpServer *s = userdata;
        int64_t now = now_mono_us();

        for (Waiter *w = s->waiters, *next; w; w = next) {
                next = w->next;
                if (w->deadline > now)
                        continue;
                w->timed_out = true;
                waiter_resume(w);
        }
        set_timer(s);
        return 0;
}

int waiters_init(HttpServer *s) {
        int r;

        r = sd_event_add_time(s->event, &s->wait_timer, CLOCK_MONOTONIC, 0, 50 * 1000,
                              on_wait_timer, s);
        return r < 0 ? r : sd_event_source_set_enabled(s->wait_timer, SD_EVENT_OFF);
}
