/* SPDX-License-Identifier: MIT */
/*
 * Services that are systemd units: stopping and starting them, and the way back to exactly what was.
 *   entry of a stop:  "unit", "ran", "state": ActiveState, "enabled": UnitFileState, "links": what
 *                     enabled it, "also": units that run and go down with it
 *   entry of a start: the same, and "held": this job's stop had disabled it
 * An entry of an earlier version has no "links" and no "also".
 */
#include "daemon/step/services_unit.h"
#include "api/text.h"

static int unit_look(Step *s, Service *v, ServiceLook *ret, Error *reterr) {
        json_auto_t *p = NULL;
        int r = unit_show(s, v, unit_of(v), &p, reterr);

        if (r < 0)
                return r;
        return unit_judge(p, unit_of(v), ret) < 0 ? error_oom(reterr) : 0;
}

/* ---- what there is ---- */

static int no_unit(const Service *v, Error *reterr) {
        (void) error_set(reterr, ENOENT, "no-unit", "There is no unit %s (service %s)", unit_of(v),
                         v->name);
        error_hint(reterr, "systemctl list-unit-files tells which there are");
        return -ENOENT;
}

static int put_record(const Service *v, const json_t *p, json_t *entry) {
        if (json_put(entry, "unit", json_string(unit_of(v))) < 0 ||
            json_put(entry, "ran", json_boolean(unit_runs(p))) < 0 ||
            json_put(entry, "state", json_string(args_text(p, "ActiveState", ""))) < 0)
                return -ENOMEM;
        return unit_file_record(p, entry);
}

static int unit_record(Step *s, Service *v, json_t *entry, Error *reterr) {
        json_auto_t *p = NULL;
        json_t *also = NULL;
        int r = unit_show(s, v, unit_of(v), &p, reterr);

        if (r < 0)
                return r;
        if (streq(args_text(p, "LoadState", ""), "not-found"))
                return no_unit(v, reterr);
        if (unit_runs(p)) {
                r = unit_also_list(s, v, p, &also, reterr);
                if (r < 0)
                        return r;
        }
        if (put_record(v, p, entry) < 0 || (also && json_put(entry, "also", also) < 0))
                return error_oom(reterr);
        return 0;
}

/* ---- stop and its undo ---- */

static int not_stopped(const char *unit, const char *result, const ServiceLook *look,
                       Error *reterr) {
        return error_set(reterr, EBUSY, "still-running",
                         "%s has not stopped: %s (systemd's job for it: %s)", unit,
                         look->why ? look->why : "it is active", *result ? result : "ended");
}

/* A connection to its socket, a timer or a path would start it again. */
static void tell_triggers(Step *s, Service *v, const json_t *p, const char *unit) {
        json_t *name;
        size_t i;

        json_array_foreach (json_object_get(p, "TriggeredBy"), i, name) {
                json_auto_t *q = NULL;

                if (unit_show(s, v, json_string_value(name), &q, NULL) >= 0 && unit_is_active(q))
                        step_log(s, "%s may be started by %s, which is active", unit,
                                 json_string_value(name));
        }
}

static int stop_and_look(Step *s, Service *v, const char *unit, Error *reterr) {
        _cleanup_look_ ServiceLook look = {0};
        _cleanup_free_ char *result = NULL;
        json_auto_t *p = NULL;
        int r = unit_job(s, v, "StopUnit", unit, INT64_MAX, &result, reterr);

        if (r >= 0)
                r = unit_show(s, v, unit, &p, reterr);
        if (r < 0)
                return r;
        if (unit_judge(p, unit, &look) < 0)
                return error_oom(reterr);
        if (look.runs)
                return not_stopped(unit, result, &look, reterr);
        tell_triggers(s, v, p, unit);
        return 0;
}

/* Disabled first: a unit that is disabled while it runs stays down should the power fail now. */
static int unit_stop(Step *s, Service *v, const json_t *entry, Error *reterr) {
        const char *unit = args_text(entry, "unit", unit_of(v));
        const json_t *also = json_object_get(entry, "also");
        json_auto_t *p = NULL;
        json_t *name;
        size_t i;
        int r;

        json_array_foreach ((json_t *) also, i, name)
                step_log(s, "%s goes down with %s", json_string_value(name), unit);
        r = unit_file_hold(s, v, unit, also, reterr);
        if (r >= 0)
                r = unit_show(s, v, unit, &p, reterr);
        if (r < 0 || (!unit_runs(p) && !unit_is_asked(p)))
                return r;
        return stop_and_look(s, v, unit, reterr);
}

static int unit_restore(Step *s, Service *v, const json_t *entry, Error *reterr) {
        _cleanup_free_ char *result = NULL;
        int r = unit_file_restore(s, v, entry, reterr);

        if (r >= 0 && json_is_true(json_object_get(entry, "ran"))) {
                r = unit_job_start(s, v, args_text(entry, "unit", ""), &result, reterr);
                if (r >= 0)
                        r = unit_also_start(s, v, json_object_get(entry, "also"), reterr);
        }
        return r < 0 ? r : unit_file_remask(s, v, entry, reterr);
}

static int unit_restored(Step *s, Service *v, const json_t *entry, ServiceLook *ret,
                         Error *reterr) {
        const char *state = args_text(entry, "state", "");
        int r = unit_look(s, v, ret, reterr);

        /* It was on its way up, or down, when it was stopped: more than that it cannot be asked. */
        if (r >= 0 && !streq(state, "active") && !streq(state, "reloading") && ret->runs)
                ret->state = SERVICE_UP;
        return r;
}

/* ---- start and its undo ---- */

static int unit_prepare(Step *s, Service *v, json_t *entry, Error *reterr) {
        int held = unit_file_is_held(s, unit_of(v), reterr);
        json_auto_t *p = NULL;
        int r;

        if (held < 0)
                return held;
        r = unit_show(s, v, unit_of(v), &p, reterr);
        if (r < 0)
                return r;
        /* One that was linked from elsewhere is known again once it is given back. */
        if (!held && streq(args_text(p, "LoadState", ""), "not-found"))
                return no_unit(v, reterr);
        if (put_record(v, p, entry) < 0 || (held && json_put(entry, "held", json_true()) < 0))
                return error_oom(reterr);
        return 0;
}

/* systemd gave up; unless it tries once more by itself, that is the end of it. */
static int start_failed(Step *s, Service *v, const char *result, Error *reterr) {
        _cleanup_look_ ServiceLook look = {0};
        _cleanup_free_ char *culprit = NULL;
        json_auto_t *p = NULL;
        int r = unit_show(s, v, unit_of(v), &p, reterr);

        if (r < 0)
                return r;
        if (unit_judge(p, unit_of(v), &look) < 0)
                return error_oom(reterr);
        if (look.state == SERVICE_UP || look.state == SERVICE_COMING)
                return 0;
        if (streq(result, "dependency"))
                culprit = unit_also_culprit(s, v, p);
        (void) error_set(reterr, EREMOTEIO, "unhealthy",
                         "%s is not up: %s (systemd's job for %s: %s)", v->name,
                         culprit    ? culprit
                         : look.why ? look.why
                                    : "it does not run",
                         unit_of(v), result);
        error_detail(reterr, "service", json_string(v->name));
        error_detail(reterr, "unit", json_string(unit_of(v)));
        error_detail(reterr, "result", json_string(args_text(p, "Result", result)));
        return -EREMOTEIO;
}

/* Also after this job's own mask was taken away: then it is somebody else's. */
static int refuse_masked(Step *s, Service *v, Error *reterr) {
        json_auto_t *p = NULL;
        int r = unit_show(s, v, unit_of(v), &p, reterr);

        if (r < 0 || unit_is_active(p) || !streq(args_text(p, "LoadState", ""), "masked"))
                return r;
        (void) error_set(reterr, EPERM, "unit-masked",
                         "%s is masked (service %s): it cannot be started", unit_of(v), v->name);
        error_hint(reterr, "If it may be started: systemctl unmask %s, then updctl retry",
                   unit_of(v));
        return -EPERM;
}

static int unit_start(Step *s, Service *v, Error *reterr) {
        json_auto_t *note = NULL;
        _cleanup_free_ char *result = NULL;
        int r = unit_file_give_back(s, v, unit_of(v), &note, reterr);

        if (r >= 0)
                r = refuse_masked(s, v, reterr);
        if (r >= 0)
                r = unit_job_start(s, v, unit_of(v), &result, reterr);
        if (r >= 0 && result && *result && !streq(result, "done"))
                return start_failed(s, v, result, reterr);
        return r < 0 ? r : unit_also_start(s, v, json_object_get(note, "also"), reterr);
}

/* What went down with it is up again, or is not wanted by whoever started it. */
static int unit_adopt(Step *s, Service *v, Error *reterr) {
        json_auto_t *note = NULL;

        return unit_file_give_back(s, v, unit_of(v), &note, reterr);
}

/* What did not run before, and had not failed, neither runs nor has failed. */
static int unit_unstart(Step *s, Service *v, const json_t *entry, Error *reterr) {
        const char *unit = args_text(entry, "unit", "");
        json_auto_t *p = NULL;
        int r = 0;

        if (json_object_get(entry, "held"))
                r = unit_file_hold(s, v, unit, NULL, reterr);
        if (r >= 0)
                r = unit_show(s, v, unit, &p, reterr);
        if (r < 0 || json_is_true(json_object_get(entry, "ran")))
                return r;
        if (unit_runs(p) || unit_is_asked(p))
                r = stop_and_look(s, v, unit, reterr);
        if (r < 0 || streq(args_text(entry, "state", ""), "failed"))
                return r;
        return unit_reset_failed(s, v, unit, reterr);
}

static void unit_done(Service *v) {
        unit_bus_free(v->own);
        v->own = NULL;
}

const ServiceKind service_unit = {
        .name = "unit",
        .look = unit_look,
        .tail = unit_tail,
        .record = unit_record,
        .stop = unit_stop,
        .restore = unit_restore,
        .restored = unit_restored,
        .prepare = unit_prepare,
        .start = unit_start,
        .adopt = unit_adopt,
        .unstart = unit_unstart,
        .done = unit_done,
};
