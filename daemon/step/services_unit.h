/* SPDX-License-Identifier: MIT */
/*
 * What the files of services_unit share: systemd, asked over sd-bus by a worker that may block but
 * heeds a stop, and what a unit is found to be. A bus that is lost meanwhile (dbus restarts, systemd
 * is executed anew) is opened again and asked again: every call here may be repeated.
 */
#pragma once

#include <systemd/sd-bus.h>

#include "daemon/step/services.h"

#define UNIT_MANAGER_PATH "/org/freedesktop/systemd1"
#define UNIT_MANAGER "org.freedesktop.systemd1.Manager"

/* ---- services_unit_bus.c ---- */

typedef struct UnitBus UnitBus;

void unit_bus_free(UnitBus *bus);

/* The service's connection, made when it is first asked for. Borrowed. */
_must_check_ int unit_bus(Service *v, UnitBus **ret, Error *reterr);

/* A call and its answer, which the caller unrefs; ret may be NULL. Types: no-systemd, no-unit,
 * unit-masked, not-permitted, systemd. */
_must_check_ int unit_call(Step *s, Service *v, sd_bus_message **ret, Error *reterr,
                           const char *path, const char *interface, const char *method,
                           const char *types, ...);
/* Handles one thing that came, or waits a slice for it. -ECANCELED when a stop is wanted; another
 * error: the bus was lost, and the next call opens it again. */
_must_check_ int unit_bus_turn(Step *s, Service *v);
/* How that job ended, or NULL: that is not heard of yet. Borrowed. */
const char *unit_bus_heard(const Service *v, const char *job);
/* Makes systemd read its units' files again. */
_must_check_ int unit_reload(Step *s, Service *v, Error *reterr);

/* ---- services_unit_job.c ---- */

/* Lets systemd do `method` (StartUnit, StopUnit) and waits for that job's end. *ret_result is
 * systemd's word for it (done, failed, timeout, dependency, canceled, skipped); "" when it ended
 * unheard, and the unit's state must tell; NULL: not yet after limit_ms. The caller frees. */
_must_check_ int unit_job(Step *s, Service *v, const char *method, const char *unit,
                          int64_t limit_ms, char **ret_result, Error *reterr);

/* Starts it unless it runs; its end is judged by who waits for its health. *ret_result as above,
 * NULL as well when there was nothing to do. */
_must_check_ int unit_job_start(Step *s, Service *v, const char *unit, char **ret_result,
                                Error *reterr);
/* What a stop or a failed start left behind: from failed to inactive. */
_must_check_ int unit_reset_failed(Step *s, Service *v, const char *unit, Error *reterr);

/* ---- services_unit_also.c: units that go up and down with it ---- */

/* What runs and is stopped by systemd with it, and with these: names. The caller owns. */
_must_check_ int unit_also_list(Step *s, Service *v, const json_t *p, json_t **ret, Error *reterr);
/* Starts them again, those excepted that this job holds down in their own right. */
_must_check_ int unit_also_start(Step *s, Service *v, const json_t *also, Error *reterr);
/* Which of the units that it needs is not up, as a sentence. NULL: none is found. Caller frees. */
_must_check_ char *unit_also_culprit(Step *s, Service *v, const json_t *p);

/* ---- services_unit_look.c ---- */

/* The plan's name of the unit. */
static inline const char *unit_of(const Service *v) {
        return args_text(v->def, "unit", "");
}

/* As systemctl understands it: "nginx" is nginx.service. The caller frees. */
_must_check_ char *unit_full_name(const char *unit);

/* The unit's properties by systemd's names (numbers, texts, lists). The caller owns. */
_must_check_ int unit_show(Step *s, Service *v, const char *unit, json_t **ret, Error *reterr);
/* It can be given up for lost while it waits to be restarted: that counts as running. */
bool unit_runs(const json_t *p);
bool unit_is_active(const json_t *p);
/* systemd has a job for it: it may be something else in a moment. */
bool unit_is_asked(const json_t *p);
/* Started again and again by systemd, and not for long. */
bool unit_is_looping(const json_t *p);
/* What state it is in, and how it came to that. The caller frees. */
_must_check_ char *unit_describe(const json_t *p);
_must_check_ int unit_judge(const json_t *p, const char *unit, ServiceLook *ret);

/* ---- services_unit_journal.c ---- */

/* The last lines that the unit, or systemd about it, wrote: since it was started last, if it was. */
int unit_tail(Step *s, Service *v, unsigned n, json_t **ret, Error *reterr);

/* ---- services_unit_file.c: enablement and masks ---- */

/* Adds "enabled": UnitFileState, and "links": what in /etc and /run makes it so. */
_must_check_ int unit_file_record(const json_t *p, json_t *entry);
/* Sees to it that the next boot does not start it; what is taken away for that is noted in the job
 * (held.h), with `more` (borrowed, or NULL) as the note's "also". */
_must_check_ int unit_file_hold(Step *s, Service *v, const char *unit, const json_t *more,
                                Error *reterr);
/* Gives back what a stop of this job took away. *ret: the note, or NULL. The caller owns. */
_must_check_ int unit_file_give_back(Step *s, Service *v, const char *unit, json_t **ret,
                                     Error *reterr);
/* Is there a note? 1 or 0. */
_must_check_ int unit_file_is_held(Step *s, const char *unit, Error *reterr);
/* Makes it what the entry of a stop says it was, a mask excepted (see below). */
_must_check_ int unit_file_restore(Step *s, Service *v, const json_t *entry, Error *reterr);
/* Masks it again if it was masked: the last act, since a masked unit cannot be started. */
_must_check_ int unit_file_remask(Step *s, Service *v, const json_t *entry, Error *reterr);
