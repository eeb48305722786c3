/* SPDX-License-Identifier: MIT */
/*
 * A library for LD_PRELOAD that shifts a program's clocks by what a shared file says, at any moment:
 * the wall clock is set, the machine is suspended, or it starts again with its clocks near zero.
 *   UPDD_CLOCK_CONTROL   a file of a Control, shared by all processes and with the test
 *   UPDD_CLOCK_BOOT_ID   a file that is read in the place of the kernel's boot id
 * It promises: timers (timerfd) come when the shifted clock says so, also when it is shifted after
 * they were set; one that asks to be cancelled when the wall clock is set (TFD_TIMER_CANCEL_ON_SET)
 * is, as the kernel would. What poll(2) and nanosleep(2) count is real time, as CLOCK_MONOTONIC is
 * while nobody shifts it.
 */
#undef _FILE_OFFSET_BITS

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "tests/preload/wrap.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define TIMERS_MAX 64
#define SECOND INT64_C(1000000000)
#define LOOK_NS (5 * 1000 * 1000)

/* What test_time.py maps too: what is added to each clock, in ns. CLOCK_MONOTONIC is shifted only
 * before a program starts. */
typedef struct Control {
        _Atomic int64_t wall, boot, mono;
} Control;

typedef struct Timer {
        int fd;
        clockid_t clock;
        int64_t at; /* by the shifted clock, 0: not armed */
        struct timespec every;
        bool cancel_on_set, cancelled;
} Timer;

static Control *control;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static Timer timers[TIMERS_MAX];
static unsigned n_timers;
static bool watching;

__attribute__((constructor)) static void clock_init(void) {
        const char *file = getenv("UPDD_CLOCK_CONTROL");

        if (!file)
                return;
        control = control_of(file, sizeof(Control));
}

static int64_t shift_of(clockid_t clock) {
        if (!control)
                return 0;
        switch (clock) {
        case CLOCK_REALTIME:
        case CLOCK_REALTIME_COARSE:
        case CLOCK_REALTIME_ALARM: return atomic_load(&control->wall);
        case CLOCK_BOOTTIME:
        case CLOCK_BOOTTIME_ALARM: return atomic_load(&control->boot);
        case CLOCK_MONOTONIC:
        case CLOCK_MONOTONIC_COARSE:
        case CLOCK_MONOTONIC_RAW: return atomic_load(&control->mono);
        default: return 0;
        }
}

static int64_t to_ns(const struct timespec *ts) {
        return ts->tv_sec >= INT64_MAX / SECOND ? INT64_MAX : ts->tv_sec * SECOND + ts->tv_nsec;
}

static struct timespec from_ns(int64_t ns) {
        return (struct timespec){.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
}

/* ---- reading ---- */

EXPORT int clock_gettime(clockid_t clock, struct timespec *ts);
int clock_gettime(clockid_t clock, struct timespec *ts) {
        static int (*next)(clockid_t, struct timespec *);
        int r;

        if (!next)
                next = (__typeof__(next)) next_of("clock_gettime");
        r = next(clock, ts);
        if (r == 0 && shift_of(clock) != 0)
                *ts = from_ns(to_ns(ts) + shift_of(clock));
        return r;
}

EXPORT int gettimeofday(struct timeval *restrict tv, void *restrict tz);
int gettimeofday(struct timeval *restrict tv, void *restrict tz) {
        struct timespec ts;

        if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
                return -1;
        *tv = (struct timeval){.tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000};
        return 0;
}

EXPORT time_t time(time_t *ret);
time_t time(time_t *ret) {
        struct timespec ts;

        if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
                return (time_t) -1;
        if (ret)
                *ret = ts.tv_sec;
        return ts.tv_sec;
}

/* ---- timers ---- */

static int real_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old) {
        static int (*next)(int, int, const struct itimerspec *, struct itimerspec *);

        if (!next)
                next = (__typeof__(next)) next_of("timerfd_settime");
        return next(fd, flags, new, old);
}

static Timer *timer_of(int fd) {
        for (unsigned i = 0; i < n_timers; i++)
                if (timers[i].fd == fd)
                        return &timers[i];
        return NULL;
}

static int timer_arm(const Timer *t, struct itimerspec *old) {
        struct itimerspec spec = {.it_interval = t->every};

        if (t->at != 0) {
                int64_t at = t->at == INT64_MAX ? t->at : t->at - shift_of(t->clock);

                spec.it_value = from_ns(at > 0 ? at : 1);
        }
        return real_settime(t->fd, TFD_TIMER_ABSTIME, &spec, old);
}

/* Readable at once, so that whoever polls reads and hears of it. */
static void timer_cancel(Timer *t) {
        const struct itimerspec now = {.it_value.tv_nsec = 1};

        t->cancelled = real_settime(t->fd, TFD_TIMER_ABSTIME, &now, NULL) == 0;
}

static void *watch_shifts(void *unused) {
        int64_t wall = shift_of(CLOCK_REALTIME), boot = shift_of(CLOCK_BOOTTIME);

        for (;;) {
                int64_t wall_then = wall, boot_then = boot;
                bool set;

                (void) nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
                wall = shift_of(CLOCK_REALTIME);
                boot = shift_of(CLOCK_BOOTTIME);
                set = wall != wall_then;
                if (!set && boot == boot_then)
                        continue;
                (void) pthread_mutex_lock(&mutex);
                for (unsigned i = 0; i < n_timers; i++)
                        if (timers[i].at != 0 && timers[i].cancel_on_set && set)
                                timer_cancel(&timers[i]);
                        else if (timers[i].at != 0)
                                (void) timer_arm(&timers[i], NULL);
                (void) pthread_mutex_unlock(&mutex);
        }
        return unused;
}

/* Signals are the program's, not this thread's. */
static void watch_begin(void) {
        sigset_t all, before;
        pthread_t thread;

        if (watching || !control)
                return;
        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &before);
        watching = pthread_create(&thread, NULL, watch_shifts, NULL) == 0;
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (!watching)
                abort();
}

EXPORT int timerfd_create(clockid_t clock, int flags);
int timerfd_create(clockid_t clock, int flags) {
        static int (*next)(clockid_t, int);
        Timer *t;
        int fd;

        if (!next)
                next = (__typeof__(next)) next_of("timerfd_create");
        fd = next(clock, flags);
        if (fd < 0 || !control)
                return fd;
        watch_begin();
        (void) pthread_mutex_lock(&mutex);
        t = timer_of(fd);
        if (!t && n_timers == TIMERS_MAX)
                abort();
        if (!t)
                t = &timers[n_timers++];
        *t = (Timer){.fd = fd, .clock = clock};
        (void) pthread_mutex_unlock(&mutex);
        return fd;
}

EXPORT int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old);
int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old) {
        struct timespec now = {0};
        Timer *t;
        int r;

        (void) pthread_mutex_lock(&mutex);
        t = timer_of(fd);
        if (!t) {
                (void) pthread_mutex_unlock(&mutex);
                return real_settime(fd, flags, new, old);
        }
        if (!(flags & TFD_TIMER_ABSTIME))
                (void) clock_gettime(t->clock, &now);
        t->at = to_ns(&new->it_value);
        if (t->at != 0 && t->at != INT64_MAX)
                t->at += to_ns(&now);
        t->every = new->it_interval;
        t->cancel_on_set = (flags & TFD_TIMER_CANCEL_ON_SET) != 0;
        t->cancelled = false;
        r = timer_arm(t, old);
        (void) pthread_mutex_unlock(&mutex);
        return r;
}

EXPORT ssize_t read(int fd, void *data, size_t size);
ssize_t read(int fd, void *data, size_t size) {
        static ssize_t (*next)(int, void *, size_t);
        bool cancelled = false;
        Timer *t;

        if (!next)
                next = (__typeof__(next)) next_of("read");
        if (control) {
                (void) pthread_mutex_lock(&mutex);
                t = timer_of(fd);
                cancelled = t && t->cancelled;
                if (cancelled) {
                        t->cancelled = false;
                        (void) timer_arm(t, NULL);
                }
                (void) pthread_mutex_unlock(&mutex);
        }
        if (!cancelled)
                return next(fd, data, size);
        errno = ECANCELED;
        return -1;
}

/* ---- the boot id ---- */

static const char *instead_of(const char *path) {
        const char *file = strcmp(path, BOOT_ID) == 0 ? getenv("UPDD_CLOCK_BOOT_ID") : NULL;

        return file ? file : path;
}

#define WRAP_OPEN(name, parameters, ...)                                                           \
        EXPORT int name parameters;                                                                \
        int name parameters {                                                                      \
                static int(*next) parameters;                                                      \
                mode_t mode = 0;                                                                   \
                va_list list;                                                                      \
                                                                                                   \
                if (flags & (O_CREAT | __O_TMPFILE)) {                                             \
                        va_start(list, flags);                                                     \
                        mode = va_arg(list, mode_t);                                               \
                        va_end(list);                                                              \
                }                                                                                  \
                if (!next)                                                                         \
                        next = (__typeof__(next)) next_of(#name);                                  \
                return next(__VA_ARGS__, flags, mode);                                             \
        }

WRAP_OPEN(open, (const char *path, int flags, ...), instead_of(path))
WRAP_OPEN(open64, (const char *path, int flags, ...), instead_of(path))
WRAP_OPEN(openat, (int fd, const char *path, int flags, ...), fd, instead_of(path))
WRAP_OPEN(openat64, (int fd, const char *path, int flags, ...), fd, instead_of(path))
