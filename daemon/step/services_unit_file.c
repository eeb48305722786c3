/* SPDX-License-Identifier: MIT */
/*
 * What starts a unit when the machine boots, or when something else asks for it, taken away and given
 * back exactly. The links that enable it are recorded one by one and removed as they are recorded:
 * systemd's own disabling would take along the file of a unit that is linked from elsewhere, which
 * says how it is stopped, and what `Also=` names; its enabling would make the links that the file
 * names now. What is left to start it (a generator's or a distribution's link, another unit, D-Bus)
 * is kept out by a drop-in (services_unit_guard.c). All of it is on the disk before the step goes on.
 *   note (held.h, kind "unit"): a record (see unit_file_record), with "also" and "triggers" of what
 *   went down with it
 * An earlier version noted UnitFileState alone, or {"enabled", "links", "also"}, under the plan's
 * name of the unit, and kept down by a mask what it could not disable.
 */
#include "daemon/step/held.h"
#include "daemon/step/services_unit.h"
#include "daemon/step/services_unit_links.h"

#define HELD "unit"

static bool is_masked(const char *state) {
        return startswith(state, "masked");
}

static bool is_enabled(const char *state) {
        return streq(state, "enabled") || streq(state, "enabled-runtime");
}

static bool is_runtime(const char *state) {
        return endswith(state, "-runtime");
}

static const char *file_state(const json_t *p) {
        return args_text(p, "UnitFileState", "");
}

int unit_file_record(const json_t *p, const char *unit, json_t *entry, Error *reterr) {
        json_t *links = NULL;
        int r = unit_links_list(p, &links, reterr);

        if (r < 0)
                return r;
        if (json_put(entry, "links", links) < 0 || json_put(entry, "unit", json_string(unit)) < 0 ||
            json_put(entry, "ran", json_boolean(unit_runs(p))) < 0 ||
            json_put(entry, "state", json_string(args_text(p, "ActiveState", ""))) < 0 ||
            json_put(entry, "enabled", json_string(file_state(p))) < 0)
                return error_oom(reterr);
        return 0;
}

/* ---- the job's note ---- */

static int note_put(Step *s, const char *unit, const json_t *p, const json_t *more, Error *reterr) {
        static const char *const keys[] = {"also", "triggers"};
        json_auto_t *note = json_object();
        int r = note ? unit_file_record(p, unit, note, reterr) : error_oom(reterr);

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(keys); i++) {
                json_t *value = json_object_get(more, keys[i]);

                if (value && json_put(note, keys[i], json_incref(value)) < 0)
                        r = error_oom(reterr);
        }
        return r < 0 ? r : held_note(s, HELD, unit, TAKE(note), reterr);
}

/* An earlier version noted the state alone. */
int unit_file_note(Step *s, const char *unit, json_t **ret, Error *reterr) {
        json_auto_t *held = NULL;
        int r = held_read(s, HELD, unit, &held, reterr);

        if (r < 0)
                return r;
        *ret = json_is_string(held) ? json_pack("{s:O}", "enabled", held) : json_incref(held);
        return held && !*ret ? error_oom(reterr) : 0;
}

int unit_file_notes(Step *s, json_t **ret, Error *reterr) {
        return held_list(s, HELD, ret, reterr);
}

int unit_file_is_held(Step *s, const char *unit, Error *reterr) {
        json_auto_t *note = NULL;
        int r = unit_file_note(s, unit, &note, reterr);

        return r < 0 ? r : note != NULL;
}

/* ---- holding it down ---- */

int unit_file_disable(Step *s, const char *unit, const json_t *p, Error *reterr) {
        json_auto_t *links = NULL;
        int n = unit_links_list(p, &links, reterr), r;

        if (n >= 0)
                n = unit_links_remove(s, links, unit, reterr);
        r = n < 0 ? n : unit_links_sync(reterr);
        return r < 0 ? r : n;
}

/* Also what an attempt that was killed has noted, and not come to. */
static int take_links(Step *s, Service *v, const char *unit, const json_t *p, Error *reterr) {
        json_auto_t *note = NULL;
        int n = unit_file_note(s, unit, &note, reterr), r;

        if (n >= 0)
                n = unit_links_remove(s, json_object_get(note, "links"), unit, reterr);
        r = n < 0 ? n : unit_file_disable(s, unit, p, reterr);
        return r < 0 || n + r == 0 ? r : unit_reload(s, v, reterr);
}

/* Is there anything left that may start it, but for what this job holds down as well? */
static int is_pulled(Step *s, const char *unit, const json_t *p, Error *reterr) {
        static const char *const by[] = {"WantedBy", "RequiredBy",  "BoundBy",
                                         "UpheldBy", "OnFailureOf", "OnSuccessOf"};

        for (size_t i = 0; i < ELEMENTSOF(by); i++) {
                json_t *name;
                size_t k;

                json_array_foreach (json_object_get(p, by[i]), k, name) {
                        int r = unit_file_is_held(s, json_string_value(name), reterr);

                        if (r < 0)
                                return r;
                        if (r == 0 && !streq(json_string_value(name), unit))
                                return 1;
                }
        }
        return *args_text(p, "BusName", "") != '\0';
}

int unit_file_hold(Step *s, Service *v, const char *unit, const json_t *more, Error *reterr) {
        json_auto_t *p = NULL;
        int r = unit_show(s, v, unit, &p, reterr);

        if (r >= 0)
                r = note_put(s, unit, p, more, reterr);
        /* A mask stays, but for one that the next boot would lift. */
        if (r < 0 || streq(file_state(p), "masked"))
                return r;
        r = take_links(s, v, unit, p, reterr);
        if (r >= 0) {
                json_decref(TAKE(p));
                r = unit_show(s, v, unit, &p, reterr);
        }
        if (r >= 0)
                r = is_pulled(s, unit, p, reterr);
        if (r <= 0)
                return r;
        r = unit_guard_set(s, unit, reterr);
        if (r >= 0)
                r = unit_links_sync(reterr);
        return r < 0 ? r : unit_reload(s, v, reterr);
}

/* ---- giving it back ---- */

int unit_file_change(Step *s, Service *v, const char *method, const char *unit, bool runtime,
                     Error *reterr) {
        bool forced = !streq(method, "UnmaskUnitFiles");
        int r;

        step_log(s, "systemd: %s %s%s", method, unit, runtime ? " (runtime)" : "");
        r = forced ? unit_call(s, v, NULL, reterr, UNIT_MANAGER_PATH, UNIT_MANAGER, method, "asbb",
                               1, unit, runtime, false)
                   : unit_call(s, v, NULL, reterr, UNIT_MANAGER_PATH, UNIT_MANAGER, method, "asb",
                               1, unit, runtime);
        if (r >= 0)
                r = unit_links_sync(reterr);
        return r < 0 ? r : unit_reload(s, v, reterr);
}

/* A record of an earlier version has no links. */
static int enable_anew(Step *s, Service *v, const char *unit, const char *state, Error *reterr) {
        json_auto_t *p = NULL;
        int r;

        if (!is_enabled(state))
                return 0;
        r = unit_show(s, v, unit, &p, reterr);
        if (r < 0 || is_enabled(file_state(p)))
                return r;
        return unit_file_change(s, v, "EnableUnitFiles", unit, is_runtime(state), reterr);
}

/* How many links were made and, when it is to be `exactly` as it was, removed. */
static int restore_links(Step *s, Service *v, const char *unit, const json_t *links, bool exactly,
                         Error *reterr) {
        json_auto_t *p = NULL;
        int n = unit_links_make(s, links, reterr), r;

        if (n < 0 || !exactly)
                return n;
        r = unit_show(s, v, unit, &p, reterr);
        if (r >= 0)
                r = unit_links_prune(s, p, links, unit, reterr);
        return r < 0 ? r : n + r;
}

/* The mask of an earlier version, which looks like anybody's: its note has no "unit". */
static int lift_old_mask(Step *s, Service *v, const char *unit, const json_t *note, Error *reterr) {
        json_auto_t *p = NULL;
        int r;

        if (!note || json_object_get(note, "unit") || is_masked(args_text(note, "enabled", "")))
                return 0;
        r = unit_show(s, v, unit, &p, reterr);
        if (r < 0 || !streq(file_state(p), "masked"))
                return r;
        return unit_file_change(s, v, "UnmaskUnitFiles", unit, false, reterr);
}

static int give_links(Step *s, Service *v, const char *unit, const json_t *was, bool held,
                      bool exactly, Error *reterr) {
        const json_t *links = json_object_get(was, "links");
        int n = unit_guard_lift(s, unit, reterr), r;

        if (n >= 0 && links) {
                r = restore_links(s, v, unit, links, exactly, reterr);
                n = r < 0 ? r : n + r;
        }
        r = n < 0 ? n : unit_links_sync(reterr);
        if (r >= 0 && (n > 0 || held)) /* held: an attempt may have been killed before this */
                r = unit_reload(s, v, reterr);
        if (r >= 0 && !links)
                r = enable_anew(s, v, unit, args_text(was, "enabled", ""), reterr);
        return r;
}

/* As it was, and forgets the note. */
static int restore(Step *s, Service *v, const char *unit, const json_t *was, bool exactly,
                   Error *reterr) {
        json_auto_t *note = NULL;
        int r = unit_file_note(s, unit, &note, reterr);

        if (r >= 0)
                r = lift_old_mask(s, v, unit, note, reterr);
        if (r >= 0)
                r = give_links(s, v, unit, was, note != NULL, exactly, reterr);
        return r < 0 ? r : held_drop(s, HELD, unit, reterr);
}

int unit_file_give_back(Step *s, Service *v, const char *unit, Error *reterr) {
        json_auto_t *note = NULL;
        int r = unit_file_note(s, unit, &note, reterr);

        return r < 0 || !note ? r : restore(s, v, unit, note, false, reterr);
}

int unit_file_restore(Step *s, Service *v, const json_t *entry, Error *reterr) {
        _cleanup_free_ char *unit = unit_full_name(args_text(entry, "unit", ""));
        json_auto_t *p = NULL;
        int r = unit ? restore(s, v, unit, entry, true, reterr) : error_oom(reterr);

        if (r < 0 || !is_masked(args_text(entry, "enabled", "")) ||
            !json_is_true(json_object_get(entry, "ran")))
                return r;
        r = unit_show(s, v, unit, &p, reterr);
        if (r < 0 || unit_is_active(p) || !is_masked(file_state(p)))
                return r;
        return unit_file_change(s, v, "UnmaskUnitFiles", unit, is_runtime(file_state(p)), reterr);
}

static int mask_again(Step *s, Service *v, const json_t *entry, Error *reterr) {
        _cleanup_free_ char *unit = unit_full_name(args_text(entry, "unit", ""));
        const char *state = args_text(entry, "enabled", "");
        json_auto_t *p = NULL;
        int r;

        if (!is_masked(state))
                return 0;
        r = unit ? unit_show(s, v, unit, &p, reterr) : error_oom(reterr);
        if (r < 0 || is_masked(file_state(p)))
                return r;
        return unit_file_change(s, v, "MaskUnitFiles", unit, is_runtime(state), reterr);
}

int unit_file_remask(Step *s, Service *v, const json_t *entry, int r, Error *reterr) {
        _cleanup_error_ Error error = ERROR_INIT;
        int q = mask_again(s, v, entry, &error);

        if (r < 0 || q >= 0)
                return r;
        error_move(reterr, &error);
        return q;
}
