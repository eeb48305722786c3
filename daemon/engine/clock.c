/* SPDX-License-Identifier: MIT */
/*
 * Hearing that the wall clock was set, also when nothing else happens: a timer that never comes and
 * that the kernel cancels when the clock is set. Every job then looks at its deadlines, so that the
 * wall times on disk are true when the machine is started again, and the shown ones now.
 */
#include <sys/timerfd.h>

#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define NEVER_S INT64_C(9000000000) /* the year 2255; the kernel's clock ends in 2262 */

static int wait_for_set(int fd) {
        const struct itimerspec never = {.it_value.tv_sec = NEVER_S};

        return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0
                       ? -errno
                       : 0;
}

static int on_set(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Engine *e = userdata;
        uint64_t times;

        if (read(fd, &times, sizeof(times)) < 0 && errno == EAGAIN)
                return 0;
        if (wait_for_set(fd) < 0)
                log_warning("cannot hear any more that the clock is set, ignoring");
        for (unsigned i = 0; i < e->n_slots; i++)
                e->slots[i].kick = true;
        e->ahead_at = 0;
        return 0;
}

int engine_watch_clock(Engine *e) {
        int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK), r;

        if (fd < 0)
                return -errno;
        r = wait_for_set(fd);
        if (r >= 0)
                r = sd_event_add_io(e->event, &e->clock_source, fd, EPOLLIN, on_set, e);
        if (r < 0) {
                (void) close(fd);
                return r;
        }
        return sd_event_source_set_io_fd_own(e->clock_source, true);
}
