/* SPDX-License-Identifier: MIT */
/*
 * What starts a unit when the machine boots, taken away and given back exactly. The links that
 * enable it are recorded one by one: enabling anew would make those that its file names now, and
 * lose those that were made by hand. A unit that would be started all the same (generated, or part
 * of a target by its distribution) is masked. What systemd changed is on the disk before the step
 * goes on.
 *   note (held.h, kind "unit"): {"enabled": UnitFileState, "links": [[path, target]], "also": …}, or
 *   UnitFileState alone, as noted by an earlier version
 */
#include "daemon/step/files.h"
#include "daemon/step/held.h"
#include "daemon/step/services_unit.h"
#include "daemon/step/services_unit_links.h"

#define HELD "unit"

static bool is_masked(const char *state) {
        return startswith(state, "masked");
}

/* What disabling would take away. Static, generated or masked units have nothing. */
static bool is_enabled(const char *state) {
        return streq(state, "enabled") || streq(state, "enabled-runtime");
}

static bool is_runtime(const char *state) {
        return endswith(state, "-runtime");
}

static const char *file_state(const json_t *p) {
        return args_text(p, "UnitFileState", "");
}

/* ---- the job's note ---- */

static int note_put(Step *s, const char *unit, json_t *note, Error *reterr) {
        _cleanup_free_ char *name = unit_full_name(unit);

        if (name)
                return held_note(s, HELD, name, note, reterr);
        json_decref(note);
        return error_oom(reterr);
}

/* NULL in *ret: there is none. An earlier version noted the state alone. */
static int note_get(Step *s, const char *unit, json_t **ret, Error *reterr) {
        _cleanup_free_ char *name = unit_full_name(unit);
        json_auto_t *held = NULL;
        int r = name ? held_read(s, HELD, name, &held, reterr) : error_oom(reterr);

        if (r < 0)
                return r;
        *ret = json_is_string(held) ? json_pack("{s:O}", "enabled", held) : json_incref(held);
        return held && !*ret ? error_oom(reterr) : 0;
}

static int note_drop(Step *s, const char *unit, Error *reterr) {
        _cleanup_free_ char *name = unit_full_name(unit);

        return name ? held_drop(s, HELD, name, reterr) : error_oom(reterr);
}

/* ---- systemd's verbs for unit files ---- */

static int change(Step *s, Service *v, const char *method, const char *unit, bool runtime,
                  Error *reterr) {
        bool forced = streq(method, "EnableUnitFiles") || streq(method, "MaskUnitFiles");
        _cleanup_free_ char *name = unit_full_name(unit);
        int r;

        if (!name)
                return error_oom(reterr);
        step_log(s, "systemd: %s %s%s", method, name, runtime ? " (runtime)" : "");
        r = forced ? unit_call(s, v, NULL, reterr, UNIT_MANAGER_PATH, UNIT_MANAGER, method, "asbb",
                               1, name, runtime, false)
                   : unit_call(s, v, NULL, reterr, UNIT_MANAGER_PATH, UNIT_MANAGER, method, "asb",
                               1, name, runtime);
        if (r >= 0)
                r = unit_links_sync(reterr);
        return r < 0 ? r : unit_reload(s, v, reterr);
}

/* There may be links of both kinds, here and until the next boot. */
static int disable(Step *s, Service *v, const char *unit, json_t **p, Error *reterr) {
        for (int i = 0; i < 2 && is_enabled(file_state(*p)); i++) {
                int r = change(s, v, "DisableUnitFiles", unit, is_runtime(file_state(*p)), reterr);

                json_decref(TAKE(*p));
                if (r >= 0)
                        r = unit_show(s, v, unit, p, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int set_masked(Step *s, Service *v, const char *unit, bool mask, bool runtime,
                      Error *reterr) {
        return change(s, v, mask ? "MaskUnitFiles" : "UnmaskUnitFiles", unit, runtime, reterr);
}

/* ---- holding it down ---- */

int unit_file_record(const json_t *p, json_t *entry) {
        json_auto_t *links = NULL;
        int r = unit_links_list(p, &links);

        if (r >= 0)
                r = json_put(entry, "enabled", json_string(file_state(p)));
        return r < 0 ? r : json_put(entry, "links", TAKE(links));
}

/* Would a boot start it, links in /etc and /run or not? */
static bool is_pulled(const json_t *p) {
        static const char *const by[] = {"WantedBy", "RequiredBy", "UpheldBy"};
        const char *state = file_state(p);

        if (is_masked(state))
                return false;
        if (is_enabled(state))
                return true;
        for (size_t i = 0; i < ELEMENTSOF(by); i++) {
                json_t *name;
                size_t k;

                json_array_foreach (json_object_get(p, by[i]), k, name) {
                        if (endswith(json_string_value(name), ".target"))
                                return true;
                }
        }
        return false;
}

static int mask_pulled(Step *s, Service *v, const char *unit, Error *reterr) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = set_masked(s, v, unit, true, false, &error);

        if (r >= 0 || r == -ECANCELED || r == -ENOMEM || r == -ENOTCONN) {
                error_move(reterr, &error);
                return r;
        }
        /* Its file stands where the mask would. */
        step_log(s, "%s cannot be masked and may be started by the next boot: %s", unit,
                 error.message ? error.message : "?");
        return 0;
}

int unit_file_hold(Step *s, Service *v, const char *unit, const json_t *more, Error *reterr) {
        json_auto_t *p = NULL, *note = json_object();
        int r = unit_show(s, v, unit, &p, reterr);

        if (r < 0)
                return r;
        if (!is_pulled(p) && json_array_size(more) == 0)
                return 0;
        if (!note || unit_file_record(p, note) < 0 ||
            (more && json_put(note, "also", json_incref((json_t *) more)) < 0))
                return error_oom(reterr);
        r = note_put(s, unit, TAKE(note), reterr);
        if (r >= 0)
                r = disable(s, v, unit, &p, reterr);
        return r < 0 || !is_pulled(p) ? r : mask_pulled(s, v, unit, reterr);
}

int unit_file_is_held(Step *s, const char *unit, Error *reterr) {
        json_auto_t *note = NULL;
        int r = note_get(s, unit, &note, reterr);

        return r < 0 ? r : note != NULL;
}

/* ---- giving it back ---- */

/* As it was, from what is there now: `was` has "enabled" and perhaps "links". */
static int enable(Step *s, Service *v, const char *unit, const json_t *was, Error *reterr) {
        const char *state = args_text(was, "enabled", "");
        json_auto_t *p = NULL;
        int made, r;

        made = unit_links_make(s, json_object_get(was, "links"), reterr);
        if (made < 0)
                return made;
        r = made > 0 ? unit_reload(s, v, reterr) : 0;
        if (r >= 0)
                r = unit_show(s, v, unit, &p, reterr);
        if (r < 0 || !is_enabled(state) || is_enabled(file_state(p)))
                return r;
        return change(s, v, "EnableUnitFiles", unit, is_runtime(state), reterr);
}

static int restore(Step *s, Service *v, const char *unit, const json_t *was, Error *reterr) {
        const char *state = args_text(was, "enabled", "");
        json_auto_t *p = NULL;
        int r = unit_show(s, v, unit, &p, reterr);

        /* Also one that was masked: what it is asked to start cannot be started masked. */
        if (r >= 0 && is_masked(file_state(p)) && !is_masked(state))
                r = set_masked(s, v, unit, false, is_runtime(file_state(p)), reterr);
        if (r >= 0 && streq(state, "disabled") && is_enabled(file_state(p)))
                r = disable(s, v, unit, &p, reterr);
        return r < 0 || is_masked(state) ? r : enable(s, v, unit, was, reterr);
}

int unit_file_give_back(Step *s, Service *v, const char *unit, json_t **ret, Error *reterr) {
        json_auto_t *note = NULL;
        int r = note_get(s, unit, &note, reterr);

        *ret = NULL;
        if (r < 0 || !note)
                return r;
        r = restore(s, v, unit, note, reterr);
        if (r >= 0)
                r = note_drop(s, unit, reterr);
        if (r >= 0)
                *ret = TAKE(note);
        return r;
}

int unit_file_restore(Step *s, Service *v, const json_t *entry, Error *reterr) {
        const char *unit = args_text(entry, "unit", "");
        const char *state = args_text(entry, "enabled", "");
        json_auto_t *p = NULL;
        int r = restore(s, v, unit, entry, reterr);

        if (r >= 0)
                r = note_drop(s, unit, reterr);
        if (r < 0 || !is_masked(state) || !json_is_true(json_object_get(entry, "ran")))
                return r;
        r = unit_show(s, v, unit, &p, reterr);
        if (r < 0 || unit_is_active(p) || !is_masked(file_state(p)))
                return r;
        return set_masked(s, v, unit, false, is_runtime(state), reterr);
}

int unit_file_remask(Step *s, Service *v, const json_t *entry, Error *reterr) {
        const char *unit = args_text(entry, "unit", "");
        const char *state = args_text(entry, "enabled", "");
        json_auto_t *p = NULL;
        int r;

        if (!is_masked(state))
                return 0;
        r = unit_show(s, v, unit, &p, reterr);
        if (r < 0 || is_masked(file_state(p)))
                return r;
        return set_masked(s, v, unit, true, is_runtime(state), reterr);
}
