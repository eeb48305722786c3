/* SPDX-License-Identifier: MIT */
/*
 * systemd, asked over the system bus (org.freedesktop.systemd1(5)): transient services for attempts,
 * and what is left of them. Every call is asynchronous, answers in the caller's loop, and never
 * blocks it; a bus that was lost (dbus restarts) is opened again with the next call.
 *
 * A call's slot is the caller's: freeing it means that nothing will be answered any more; without
 * `ret` nobody waits for the answer, which may be NULL then. An answer is 0 or more, or -errno with
 * systemd's own words (borrowed, for the time of the call); -EAGAIN: the bus was not to be had, and
 * whether systemd has heard of it is not known.
 */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "api/error.h"

typedef struct Bus Bus;
typedef void (*BusAnswer)(void *userdata, int r, const char *message);

/* -ENOENT, -ECONNREFUSED, …: there is no bus, or no systemd on it. Blocks for that one question. */
_must_check_ int bus_new(sd_event *event, Bus **ret, Error *reterr);
void bus_free(Bus *bus);
static inline void bus_freep(Bus **bus) {
        bus_free(*bus);
}

/* What a transient service is made of; see systemd.exec(5), systemd.resource-control(5). */
typedef struct BusService {
        const char *unit, *description, *slice;
        char *const *argv;        /* argv[0] is an absolute path */
        char *const *environment; /* NAME=value */
        char *const *fields;      /* NAME=value, in each of its journal entries */
        int in;                   /* its standard input; borrowed */
        uint64_t stop_us;         /* from TERM to its process, to KILL for all */
        uint64_t memory;          /* bytes; 0: no limit, here and below */
        uint64_t cpu_us;          /* processor time in a second */
        uint64_t tasks;
        const char *io_device; /* a file whose device `io` is about */
        uint64_t io;           /* bytes read, and bytes written, in a second */
} BusService;

/* Starts it: after multi-user.target when the machine boots, ended before what that waits for when
 * it shuts down. 0: systemd has taken the job. -EEXIST: there is such a unit. */
_must_check_ int bus_service_start(Bus *bus, const BusService *service, BusAnswer answer,
                                   void *userdata, sd_bus_slot **ret);

/* How many processes a unit has. -ENOENT: there is no such unit, and so none. */
_must_check_ int bus_unit_processes(Bus *bus, const char *unit, BusAnswer answer, void *userdata,
                                    sd_bus_slot **ret);

/* Sends a signal to each of its processes. -ENOENT as above, -ESRCH: there is none. */
_must_check_ int bus_unit_kill(Bus *bus, const char *unit, int number, BusAnswer answer,
                               void *userdata, sd_bus_slot **ret);

/* A timer's times by the wall clock, in us; 0: never. `next` is when it is to fire, any random delay
 * included, and `last` when it did. `calendar` is the moment that its calendar event names: for `last`
 * as long as what it started runs, and then it is no later; else for `next`. Of a timer with one
 * calendar event. */
typedef struct BusTimer {
        uint64_t next_us, last_us, calendar_us;
} BusTimer;

typedef void (*BusTimerAnswer)(void *userdata, int r, const BusTimer *timer);

/* Asks for a timer's times; a unit that there is not has none. The slot must be kept. */
_must_check_ int bus_timer_look(Bus *bus, const char *unit, BusTimerAnswer answer, void *userdata,
                                sd_bus_slot **ret);
