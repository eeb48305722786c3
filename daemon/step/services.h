/* SPDX-License-Identifier: MIT */
/*
 * The plan's services, whichever way they are run: as services of a compose project, as a systemd
 * unit, or as a command. Verbs and checks speak to them through this header only.
 */
#pragma once

#include "daemon/step/step.h"

typedef enum ServiceState {
        SERVICE_DOWN,   /* nothing of it runs */
        SERVICE_FAILED, /* it has ended, or is unhealthy, and nothing suggests that this will change
                         */
        SERVICE_COMING, /* not yet */
        SERVICE_UP,     /* up and healthy */
} ServiceState;

typedef struct ServiceLook {
        ServiceState state;
        bool runs;  /* at least a part of it */
        bool alive; /* all of it runs, whatever its health: the plan's own checks may judge */
        char *why;  /* why it is not up; or NULL */
} ServiceLook;

void service_look_done(ServiceLook *look);
#define _cleanup_look_ _cleanup_(service_look_done)

typedef struct Service Service;

typedef struct ServiceKind {
        const char *name;
        /* What it looks like by its kind's own measure. -ENODATA: nothing can tell. */
        int (*look)(Step *s, Service *v, ServiceLook *ret, Error *reterr);
        int (*tail)(Step *s, Service *v, unsigned n, json_t **ret, Error *reterr);
        /* Before a stop: adds to `entry` what exactly runs. `entry` has "service", "kind". */
        int (*record)(Step *s, Service *v, json_t *entry, Error *reterr);
        /* Stops all of it, for longer than a reboot, and makes sure. May be repeated. */
        int (*stop)(Step *s, Service *v, const json_t *entry, Error *reterr);
        /* Starts what the entry of a stop says ran, and gives back what kept it up. */
        int (*restore)(Step *s, Service *v, const json_t *entry, Error *reterr);
        /* Has what the entry says ran the health again that it had? Fills `look` like look(). */
        int (*restored)(Step *s, Service *v, const json_t *entry, ServiceLook *ret, Error *reterr);
        /* Before a start: adds to `entry` what is there. */
        int (*prepare)(Step *s, Service *v, json_t *entry, Error *reterr);
        int (*start)(Step *s, Service *v, Error *reterr);
        /* In the place of a start, when it is up already (a person was quicker): gives back what
         * this job's stop took away to keep it down. NULL: nothing is taken away. */
        int (*adopt)(Step *s, Service *v, Error *reterr);
        /* Called once it is up. NULL: nothing to do. */
        int (*started)(Step *s, Service *v, Error *reterr);
        /* Stops what a start made, as its entry tells it apart from what was there. */
        int (*unstart)(Step *s, Service *v, const json_t *entry, Error *reterr);
        void (*done)(Service *v); /* frees v->own; or NULL */
} ServiceKind;

struct Service {
        const char *name;  /* borrowed from the task */
        const json_t *def; /* context.services.<name> */
        const ServiceKind *kind;
        void *own; /* the kind's */
};

extern const ServiceKind service_compose;
extern const ServiceKind service_unit;
extern const ServiceKind service_command;

void service_done(Service *v);
#define _cleanup_service_ _cleanup_(service_done)

/* -ENOENT: the plan has no such service. */
_must_check_ int service_find(Step *s, const char *name, Service *ret, Error *reterr);

/* Its kind's look, with the plan's `health` checks in the place of the kind's own measure where it
 * has them. */
_must_check_ int service_look(Step *s, Service *v, ServiceLook *ret, Error *reterr);
/* Do its `health` checks hold? 1 (also when it has none), 0 and why. */
_must_check_ int service_checks_hold(Step *s, Service *v, char **ret_why, Error *reterr);

/* Waits until it is up. A service that has failed, or is not up shortly before the attempt's time
 * limit, is an error that names it; its last lines go into the result. */
_must_check_ int service_wait_up(Step *s, Service *v, Error *reterr);
/* Waits until what the entry of a stop says ran has the health that it had. */
_must_check_ int service_wait_restored(Step *s, Service *v, const json_t *entry, Error *reterr);

/* Puts the last lines of its log into the result, for whoever asks why it failed. */
void service_tell_log(Step *s, Service *v);
/* The last `lines` of a service's log, oldest first, as an array of texts. */
_must_check_ int services_tail(Step *s, const char *service, unsigned lines, json_t **ret,
                               Error *reterr);

/* `services` of a verb or check: a name or a list. Calls `func` for each, in order or reversed;
 * ends with its first error. */
typedef int (*ServiceFunc)(Step *s, Service *v, void *userdata, Error *reterr);
_must_check_ int services_each(Step *s, const json_t *names, ServiceFunc func, void *userdata,
                               Error *reterr);

/* The attempt's time that is left for waiting, with some kept back for telling about it. */
int64_t service_limit_left_ms(Step *s);
