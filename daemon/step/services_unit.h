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
/* Stops it, unless it is down and stays so, and makes sure. Type still-running. */
_must_check_ int unit_job_stop(Step *s, Service *v, const char *unit, Error *reterr);
/* What a stop or a failed start left behind: from failed to inactive. */
_must_check_ int unit_reset_failed(Step *s, Service *v, const char *unit, Error *reterr);

/* ---- services_unit_also.c: units that go up and down with it ---- */

/* What runs and is stopped by systemd with it or one of its triggers, and with these: names, its own
 * not. The caller owns. */
_must_check_ int unit_also_list(Step *s, Service *v, const json_t *p, const json_t *triggers,
                                json_t **ret, Error *reterr);
/* Makes sure that they went down. */
_must_check_ int unit_also_stop(Step *s, Service *v, const json_t *also, Error *reterr);
/* Starts them again, those excepted that this job holds down in their own right. */
_must_check_ int unit_also_start(Step *s, Service *v, const json_t *also, Error *reterr);
/* Are they up again, the same excepted? `look` becomes that of the first one that is not. */
_must_check_ int unit_also_look(Step *s, Service *v, const json_t *also, ServiceLook *look,
                                Error *reterr);
/* Which of the units that it needs is not up, as a sentence. NULL: none is found. Caller frees. */
_must_check_ char *unit_also_culprit(Step *s, Service *v, const json_t *p);

/* ---- services_unit_trigger.c: sockets, timers and paths that start it ---- */

/* As they are, one record each (see unit_file_record). The caller owns. */
_must_check_ int unit_triggers_list(Step *s, Service *v, const json_t *p, json_t **ret,
                                    Error *reterr);
/* Holds them down, and stops them. */
_must_check_ int unit_triggers_stop(Step *s, Service *v, const json_t *triggers, Error *reterr);
/* Stops the unit, which somebody has started meanwhile, if one of its sockets is to come up again: that
 * is refused while its service runs. */
_must_check_ int unit_triggers_make_way(Step *s, Service *v, const char *unit,
                                        const json_t *triggers, Error *reterr);
/* Gives back what a stop of this job took from them, and starts those that ran; `exactly` makes
 * them what they were. One that does not come up is an error, which the others do not wait for;
 * an error of another kind is told rather than that one. */
_must_check_ int unit_triggers_restore(Step *s, Service *v, const json_t *triggers, bool exactly,
                                       Error *reterr);
/* No more is wrong than that one did not come up. */
bool unit_trigger_is_down(const Error *e);

/* ---- services_unit_look.c ---- */

/* The plan's name of the unit. */
static inline const char *unit_of(const Service *v) {
        return args_text(v->def, "unit", "");
}

/* As systemctl understands it: "nginx" is nginx.service. The caller frees. */
_must_check_ char *unit_full_name(const char *unit);

/* The unit's properties by systemd's names (numbers, texts, lists). The caller owns. */
_must_check_ int unit_show(Step *s, Service *v, const char *unit, json_t **ret, Error *reterr);
/* The service's unit: its own name, where the plan may name an alias, and its properties. An alias
 * that this job took away is known all the same. The caller owns both. */
_must_check_ int unit_find(Step *s, Service *v, char **ret_unit, json_t **ret, Error *reterr);
/* Notes the unit's own name in the job, if the plan has another: before that may be taken away. */
_must_check_ int unit_note_alias(Step *s, Service *v, const char *unit, Error *reterr);
bool unit_is_known(const json_t *p);
/* It can be given up for lost while it waits to be restarted: that counts as running. */
bool unit_runs(const json_t *p);
bool unit_is_active(const json_t *p);
/* It has come back as far as it can be asked: it runs, or has done its work and ended. */
bool unit_is_back(const json_t *p);
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

/* Adds "unit", "ran", "state": ActiveState, "enabled": UnitFileState, and "links": what in /etc and
 * /run makes it so. */
_must_check_ int unit_file_record(const json_t *p, const char *unit, json_t *entry, Error *reterr);
/* Lets systemd do `method` (EnableUnitFiles, MaskUnitFiles, UnmaskUnitFiles) to the unit's file, sees
 * it onto the disk, and has systemd read it. `runtime`: until the next boot. */
_must_check_ int unit_file_change(Step *s, Service *v, const char *method, const char *unit,
                                  bool runtime, Error *reterr);
/* Removes the links that enable a unit with these properties, durably; masked or not. How many. */
_must_check_ int unit_file_disable(Step *s, const char *unit, const json_t *p, Error *reterr);
/* Sees to it that neither the next boot nor another unit starts it. What is taken away for that is
 * noted in the job (held.h), with the "also" and "triggers" of `more` (borrowed, or NULL). */
_must_check_ int unit_file_hold(Step *s, Service *v, const char *unit, const json_t *more,
                                Error *reterr);
/* Gives back what a stop of this job took away. */
_must_check_ int unit_file_give_back(Step *s, Service *v, const char *unit, Error *reterr);
/* The note, or NULL in *ret. The caller owns. */
_must_check_ int unit_file_note(Step *s, const char *unit, json_t **ret, Error *reterr);
/* All notes of this job, by the units' names. The caller owns. */
_must_check_ int unit_file_notes(Step *s, json_t **ret, Error *reterr);
/* Is there a note? 1 or 0. */
_must_check_ int unit_file_is_held(Step *s, const char *unit, Error *reterr);
/* Makes it exactly what the record says it was, a mask excepted (see below). */
_must_check_ int unit_file_restore(Step *s, Service *v, const json_t *entry, Error *reterr);
/* Masks it again if it was masked: the last act, since a masked unit cannot be started. `r` is what
 * came of the acts before, with its error in *reterr; it is masked whatever that was, and an error
 * there is the one returned. */
_must_check_ int unit_file_remask(Step *s, Service *v, const json_t *entry, int r, Error *reterr);

/* ---- services_unit_guard.c ---- */

/* A drop-in of this job's, durable: whoever starts the unit while it stands is refused, once systemd
 * has read it. */
_must_check_ int unit_guard_set(Step *s, const char *unit, Error *reterr);
/* 1: it is taken away, and no longer heeded. 0: there was none. */
_must_check_ int unit_guard_lift(Step *s, const char *unit, Error *reterr);
