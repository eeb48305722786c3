/* SPDX-License-Identifier: MIT */
/*
 * Services that are systemd units: stopping and starting them, and the way back to exactly what was.
 *   entry of a stop:  "unit": its own name, "ran", "state": ActiveState, "enabled": UnitFileState,
 *                     "links": what enabled it, "also": units that run and go down with it,
 *                     "triggers": [the same of its sockets, timers and paths; perhaps "held"]
 *   entry of a start: the same; "held": this job's stop had disabled it, "also" and "triggers" are
 *                     that stop's
 * An entry of an earlier version has no "links", no "also" and no "triggers"; "unit" is the plan's
 * name.
 */
#include "daemon/step/services_unit.h"
#include "api/text.h"

#define LOOK_MS 200

static int unit_look(Step *s, Service *v, ServiceLook *ret, Error *reterr) {
        _cleanup_free_ char *unit = NULL;
        json_auto_t *p = NULL;
        int r = unit_find(s, v, &unit, &p, reterr);

        if (r < 0)
                return r;
        return unit_judge(p, unit, ret) < 0 ? error_oom(reterr) : 0;
}

/* ---- what there is ---- */

static int no_unit(const Service *v, Error *reterr) {
        (void) error_set(reterr, ENOENT, "no-unit", "There is no unit %s (service %s)", unit_of(v),
                         v->name);
        error_hint(reterr, "systemctl list-unit-files tells which there are");
        return -ENOENT;
}

/* What is on its way down is let come down first: what it is then is what it was. */
static int find_settled(Step *s, Service *v, char **ret_unit, json_t **ret, Error *reterr) {
        for (bool told = false;;) {
                _cleanup_free_ char *unit = NULL;
                json_auto_t *p = NULL;
                int r = unit_find(s, v, &unit, &p, reterr);

                if (r < 0)
                        return r;
                if (!streq(args_text(p, "ActiveState", ""), "deactivating")) {
                        *ret_unit = TAKE(unit);
                        *ret = TAKE(p);
                        return 0;
                }
                if (!told)
                        step_log(s, "%s is on its way down already", unit);
                told = true;
                if (step_sleep(s, LOOK_MS) < 0)
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
        }
}

static int put_around(Step *s, Service *v, const json_t *p, json_t *entry, Error *reterr) {
        json_t *triggers = NULL, *also = NULL;
        int r = unit_triggers_list(s, v, p, &triggers, reterr);

        if (r < 0)
                return r;
        if (json_put(entry, "triggers", triggers) < 0)
                return error_oom(reterr);
        r = unit_also_list(s, v, p, triggers, &also, reterr);
        if (r < 0)
                return r;
        return json_put(entry, "also", also) < 0 ? error_oom(reterr) : 0;
}

static int unit_record(Step *s, Service *v, json_t *entry, Error *reterr) {
        _cleanup_free_ char *unit = NULL;
        json_auto_t *p = NULL;
        int r = find_settled(s, v, &unit, &p, reterr);

        if (r < 0)
                return r;
        if (!unit_is_known(p))
                return no_unit(v, reterr);
        r = unit_file_record(p, unit, entry, reterr);
        return r < 0 ? r : put_around(s, v, p, entry, reterr);
}

/* The unit of an entry. An earlier version wrote it as the plan did. */
static int entry_unit(const Service *v, const json_t *entry, char **ret, Error *reterr) {
        *ret = unit_full_name(args_text(entry, "unit", unit_of(v)));
        return *ret ? 0 : error_oom(reterr);
}

/* ---- stop and its undo ---- */

/* That it cannot be found does not say that nothing of it runs. */
static int refuse_lost(Step *s, Service *v, const char *unit, const json_t *entry, Error *reterr) {
        json_auto_t *p = NULL;
        int r = unit_show(s, v, unit, &p, reterr);

        if (r < 0 || unit_is_known(p) || unit_runs(p) ||
            !json_is_true(json_object_get(entry, "ran")))
                return r;
        (void) error_set(reterr, ENOENT, "no-unit",
                         "%s ran when this step began, and systemd does not know it any more",
                         unit);
        error_hint(reterr, "Whether it still runs cannot be told: see what became of its file");
        return -ENOENT;
}

/* Disabled first: a unit that is disabled while it runs stays down should the power fail now. */
static int bring_down(Step *s, Service *v, const char *unit, const json_t *entry, Error *reterr) {
        const json_t *also = json_object_get(entry, "also");
        json_t *name;
        size_t i;
        int r;

        json_array_foreach ((json_t *) also, i, name)
                step_log(s, "%s goes down with %s", json_string_value(name), unit);
        r = unit_file_hold(s, v, unit, entry, reterr);
        if (r >= 0)
                r = unit_triggers_stop(s, v, json_object_get(entry, "triggers"), reterr);
        if (r >= 0)
                r = unit_job_stop(s, v, unit, reterr);
        return r < 0 ? r : unit_also_stop(s, v, also, reterr);
}

static int unit_stop(Step *s, Service *v, const json_t *entry, Error *reterr) {
        _cleanup_free_ char *unit = NULL;
        int r = entry_unit(v, entry, &unit, reterr);

        if (r >= 0)
                r = refuse_lost(s, v, unit, entry, reterr);
        if (r >= 0)
                r = unit_note_alias(s, v, unit, reterr);
        return r < 0 ? r : bring_down(s, v, unit, entry, reterr);
}

static int bring_back(Step *s, Service *v, const json_t *entry, Error *reterr) {
        const json_t *triggers = json_object_get(entry, "triggers");
        _cleanup_free_ char *unit = NULL, *result = NULL;
        int r = entry_unit(v, entry, &unit, reterr);

        if (r >= 0)
                r = unit_file_restore(s, v, entry, reterr);
        if (r >= 0)
                r = unit_triggers_make_way(s, v, unit, triggers, reterr);
        if (r >= 0)
                r = unit_triggers_restore(s, v, triggers, true, reterr);
        if (r >= 0 && json_is_true(json_object_get(entry, "ran")))
                r = unit_job_start(s, v, unit, &result, reterr);
        return r < 0 ? r : unit_also_start(s, v, json_object_get(entry, "also"), reterr);
}

static int unit_restore(Step *s, Service *v, const json_t *entry, Error *reterr) {
        int r = bring_back(s, v, entry, reterr);

        return unit_file_remask(s, v, entry, r, reterr);
}

static int unit_restored(Step *s, Service *v, const json_t *entry, ServiceLook *ret,
                         Error *reterr) {
        const char *state = args_text(entry, "state", "");
        _cleanup_free_ char *unit = NULL;
        json_auto_t *p = NULL;
        int r = entry_unit(v, entry, &unit, reterr);

        if (r >= 0)
                r = unit_show(s, v, unit, &p, reterr);
        if (r < 0)
                return r;
        if (unit_judge(p, unit, ret) < 0)
                return error_oom(reterr);
        /* It was on its way up when it was stopped: more than that it cannot be asked. */
        if (!streq(state, "active") && !streq(state, "reloading") && unit_is_back(p))
                ret->state = SERVICE_UP;
        if (ret->state != SERVICE_UP)
                return 0;
        return unit_also_look(s, v, json_object_get(entry, "also"), ret, reterr);
}

/* ---- start and its undo ---- */

/* The service's unit, and the note of this job's stop, or NULL. An earlier version knew the unit by
 * the plan's name, and noted it so: then that is its name to the end of the job. */
static int find_held(Step *s, Service *v, char **ret_unit, json_t **ret, json_t **ret_note,
                     Error *reterr) {
        _cleanup_free_ char *unit = NULL, *name = unit_full_name(unit_of(v));
        json_auto_t *p = NULL, *note = NULL;
        int r = name ? unit_find(s, v, &unit, &p, reterr) : error_oom(reterr);

        if (r >= 0)
                r = unit_file_note(s, unit, &note, reterr);
        if (r >= 0 && !note && !streq(name, unit)) {
                r = unit_file_note(s, name, &note, reterr);
                if (note) {
                        free(unit);
                        unit = TAKE(name);
                }
        }
        if (r < 0)
                return r;
        *ret_unit = TAKE(unit);
        *ret = TAKE(p);
        *ret_note = TAKE(note);
        return 0;
}

/* What went down with it, from the note of this job's stop: giving back forgets that, and a start
 * that fails, or is killed, is to find it again. */
static int put_held(const json_t *note, json_t *entry, Error *reterr) {
        static const char *const keys[] = {"also", "triggers"};

        if (!note)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                json_t *value = json_object_get(note, keys[i]);

                if (value && json_put(entry, keys[i], json_incref(value)) < 0)
                        return error_oom(reterr);
        }
        return json_put(entry, "held", json_true()) < 0 ? error_oom(reterr) : 0;
}

static int unit_prepare(Step *s, Service *v, json_t *entry, Error *reterr) {
        _cleanup_free_ char *unit = NULL;
        json_auto_t *p = NULL, *note = NULL;
        int r = find_held(s, v, &unit, &p, &note, reterr);

        if (r < 0)
                return r;
        /* One that was linked from elsewhere is known again once it is given back. */
        if (!note && !unit_is_known(p))
                return no_unit(v, reterr);
        r = unit_file_record(p, unit, entry, reterr);
        return r < 0 ? r : put_held(note, entry, reterr);
}

static int not_up(const Service *v, const char *unit, const char *why, const char *result,
                  const json_t *p, Error *reterr) {
        (void) error_set(reterr, EREMOTEIO, "unhealthy",
                         "%s is not up: %s (systemd's job for %s: %s)", v->name,
                         why ? why : "it does not run", unit, result);
        error_detail(reterr, "service", json_string(v->name));
        error_detail(reterr, "unit", json_string(unit));
        error_detail(reterr, "result", json_string(args_text(p, "Result", result)));
        return -EREMOTEIO;
}

/* When systemd gave up, that is the end of it, unless it tries once more by itself. */
static int refuse_failed(Step *s, Service *v, const char *unit, const char *result, Error *reterr) {
        _cleanup_look_ ServiceLook look = {0};
        _cleanup_free_ char *culprit = NULL;
        json_auto_t *p = NULL;
        int r;

        if (!result || !*result || streq(result, "done"))
                return 0;
        r = unit_show(s, v, unit, &p, reterr);
        if (r < 0)
                return r;
        if (unit_judge(p, unit, &look) < 0)
                return error_oom(reterr);
        if (look.state == SERVICE_UP || look.state == SERVICE_COMING)
                return 0;
        if (streq(result, "dependency"))
                culprit = unit_also_culprit(s, v, p);
        return not_up(v, unit, culprit ? culprit : look.why, result, p, reterr);
}

/* Also after what this job did was taken away: then it is somebody else's. */
static int refuse_masked(Step *s, Service *v, const char *unit, Error *reterr) {
        json_auto_t *p = NULL;
        int r = unit_show(s, v, unit, &p, reterr);

        if (r < 0 || unit_is_active(p) || !streq(args_text(p, "LoadState", ""), "masked"))
                return r;
        (void) error_set(reterr, EPERM, "unit-masked",
                         "%s is masked (service %s): it cannot be started", unit, v->name);
        error_hint(reterr, "If it may be started: systemctl unmask %s, then updctl retry", unit);
        return -EPERM;
}

/* The step's entry for this service, or NULL. Borrowed. */
static const json_t *find_started(Step *s, const Service *v) {
        const json_t *entries, *entry;
        size_t i;

        if (step_undo_entries(s, &entries, NULL) < 0)
                return NULL;
        json_array_foreach ((json_t *) entries, i, entry)
                if (streq0(args_text(entry, "started", NULL), v->name))
                        return entry;
        return NULL;
}

static int unit_start(Step *s, Service *v, Error *reterr) {
        const json_t *entry = find_started(s, v), *triggers = json_object_get(entry, "triggers");
        _cleanup_free_ char *unit = NULL, *result = NULL;
        int r = entry_unit(v, entry, &unit, reterr);

        if (r >= 0)
                r = unit_file_give_back(s, v, unit, reterr);
        if (r >= 0)
                r = refuse_masked(s, v, unit, reterr);
        if (r >= 0)
                r = unit_triggers_make_way(s, v, unit, triggers, reterr);
        if (r >= 0)
                r = unit_triggers_restore(s, v, triggers, false, reterr);
        if (r >= 0)
                r = unit_job_start(s, v, unit, &result, reterr);
        if (r >= 0)
                r = refuse_failed(s, v, unit, result, reterr);
        return r < 0 ? r : unit_also_start(s, v, json_object_get(entry, "also"), reterr);
}

/* What went down with it is up again, or is not wanted by whoever started it. */
static int unit_adopt(Step *s, Service *v, Error *reterr) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_free_ char *unit = NULL;
        json_auto_t *p = NULL, *note = NULL;
        int r = find_held(s, v, &unit, &p, &note, reterr);

        if (r < 0 || !note)
                return r;
        r = unit_triggers_restore(s, v, json_object_get(note, "triggers"), false, &error);
        if (r < 0 && unit_trigger_is_down(&error)) /* a socket, by now, is refused */
                step_log(s, "%s", error.message);
        else if (r < 0) {
                error_move(reterr, &error);
                return r;
        }
        return unit_file_give_back(s, v, unit, reterr);
}

/* What did not run before, and had not failed, neither runs nor has failed. */
static int unit_unstart(Step *s, Service *v, const json_t *entry, Error *reterr) {
        bool held = json_object_get(entry, "held") != NULL;
        _cleanup_free_ char *unit = NULL;
        int r = entry_unit(v, entry, &unit, reterr);

        if (r >= 0 && held)
                r = unit_file_hold(s, v, unit, entry, reterr);
        if (r >= 0 && held)
                r = unit_triggers_stop(s, v, json_object_get(entry, "triggers"), reterr);
        if (r < 0 || json_is_true(json_object_get(entry, "ran")))
                return r;
        r = unit_job_stop(s, v, unit, reterr);
        if (r >= 0 && held)
                r = unit_also_stop(s, v, json_object_get(entry, "also"), reterr);
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
