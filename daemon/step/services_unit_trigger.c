/* SPDX-License-Identifier: MIT */
/*
 * What would start a unit again: its sockets, timers and paths. They are held and stopped before it
 * and come back before it: a socket is refused once its service is active. See services_unit.h.
 */
#include "daemon/step/services_unit.h"

/* What this job took down already is what it was before that, with "also": what went down with it.
 * So a start brings up both, in whatever order. The way back of a unit that did not run leaves one
 * that is "held" to that of the stop that took it down: nothing is to wake the unit sooner. */
static int record_one(Step *s, Service *v, const char *unit, bool runs, json_t *entry,
                      Error *reterr) {
        json_auto_t *p = NULL, *note = NULL;
        int r = unit_show(s, v, unit, &p, reterr);

        if (r >= 0)
                r = unit_file_record(p, unit, entry, reterr);
        if (r >= 0)
                r = unit_file_note(s, unit, &note, reterr);
        if (r < 0 || !note)
                return r;
        if (json_object_update(entry, note) < 0 ||
            (!runs && json_put(entry, "held", json_true()) < 0))
                return error_oom(reterr);
        return 0;
}

/* systemd forgets one that is down and that nothing refers to: then TriggeredBy does not name it. */
static int add_held(Step *s, Service *v, const char *unit, json_t *names, Error *reterr) {
        json_auto_t *notes = NULL;
        const char *name;
        json_t *note;
        int r = unit_file_notes(s, &notes, reterr);

        if (r < 0)
                return r;
        json_object_foreach (notes, name, note) {
                json_auto_t *p = NULL;

                if (json_has_text(names, name))
                        continue;
                r = unit_show(s, v, name, &p, reterr);
                if (r < 0)
                        return r;
                if (json_has_text(json_object_get(p, "Triggers"), unit) &&
                    json_array_append_new(names, json_string(name)) < 0)
                        return error_oom(reterr);
        }
        return 0;
}

int unit_triggers_list(Step *s, Service *v, const json_t *p, json_t **ret, Error *reterr) {
        json_auto_t *triggers = json_array(), *names = json_array();
        json_t *name;
        size_t i;
        int r = triggers && names ? 0 : error_oom(reterr);

        json_array_foreach (json_object_get(p, "TriggeredBy"), i, name)
                if (r >= 0 && json_array_append(names, name) < 0)
                        r = error_oom(reterr);
        if (r >= 0)
                r = add_held(s, v, args_text(p, "Id", ""), names, reterr);
        if (r < 0)
                return r;
        json_array_foreach (names, i, name) {
                json_t *entry = json_object();

                if (!entry || json_array_append_new(triggers, entry) < 0)
                        return error_oom(reterr);
                r = record_one(s, v, json_string_value(name), unit_runs(p), entry, reterr);
                if (r < 0)
                        return r;
        }
        *ret = TAKE(triggers);
        return 0;
}

int unit_triggers_stop(Step *s, Service *v, const json_t *triggers, Error *reterr) {
        json_t *entry;
        size_t i;

        json_array_foreach ((json_t *) triggers, i, entry) {
                const char *unit = args_text(entry, "unit", "");
                int r = unit_file_hold(s, v, unit, NULL, reterr);

                if (r >= 0)
                        r = unit_job_stop(s, v, unit, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* 1: it ran, and does not. */
static int is_socket_to_start(Step *s, Service *v, const json_t *entry, Error *reterr) {
        const char *unit = args_text(entry, "unit", "");
        json_auto_t *p = NULL;
        int r;

        if (!json_is_true(json_object_get(entry, "ran")) || !endswith(unit, ".socket"))
                return 0;
        r = unit_show(s, v, unit, &p, reterr);
        return r < 0 ? r : !unit_is_active(p);
}

int unit_triggers_make_way(Step *s, Service *v, const char *unit, const json_t *triggers,
                           Error *reterr) {
        json_t *entry;
        size_t i;

        json_array_foreach ((json_t *) triggers, i, entry) {
                int r = is_socket_to_start(s, v, entry, reterr);

                if (r != 0)
                        return r < 0 ? r : unit_job_stop(s, v, unit, reterr);
        }
        return 0;
}

#define NOT_UP "unhealthy"

bool unit_trigger_is_down(const Error *e) {
        return streq0(e->type, NOT_UP);
}

static int not_up(const char *unit, const json_t *p, const char *result, Error *reterr) {
        _cleanup_free_ char *how = unit_describe(p);

        (void) error_set(reterr, EREMOTEIO, NOT_UP,
                         "%s, which starts it, is not up again: %s (systemd's job for it: %s)",
                         unit, how ? how : "?", result && *result ? result : "ended");
        if (endswith(unit, ".socket"))
                error_hint(reterr, "A socket is refused while its service runs: if it does, "
                                   "systemctl stop it, then updctl retry");
        return -EREMOTEIO;
}

static int start_one(Step *s, Service *v, const char *unit, Error *reterr) {
        _cleanup_free_ char *result = NULL;
        json_auto_t *p = NULL;
        int r = unit_job_start(s, v, unit, &result, reterr);

        if (r >= 0)
                r = unit_show(s, v, unit, &p, reterr);
        return r < 0 || unit_is_active(p) ? r : not_up(unit, p, result, reterr);
}

static int restore_one(Step *s, Service *v, const json_t *entry, bool exactly, Error *reterr) {
        const char *unit = args_text(entry, "unit", "");
        int r;

        if (exactly && json_object_get(entry, "held"))
                return 0;
        r = exactly ? unit_file_restore(s, v, entry, reterr)
                    : unit_file_give_back(s, v, unit, reterr);
        if (r >= 0 && json_is_true(json_object_get(entry, "ran")))
                r = start_one(s, v, unit, reterr);
        if (r >= 0)
                r = unit_also_start(s, v, json_object_get(entry, "also"), reterr);
        return exactly ? unit_file_remask(s, v, entry, r, reterr) : r;
}

/* The first error, but for one that only says that a unit is not up. */
static bool is_graver(const Error *error, const Error *first) {
        return !first->type || (unit_trigger_is_down(first) && !unit_trigger_is_down(error));
}

int unit_triggers_restore(Step *s, Service *v, const json_t *triggers, bool exactly,
                          Error *reterr) {
        _cleanup_error_ Error first = ERROR_INIT;
        json_t *entry;
        size_t i;
        int r = 0;

        json_array_foreach ((json_t *) triggers, i, entry) {
                _cleanup_error_ Error error = ERROR_INIT;
                int q = restore_one(s, v, entry, exactly, &error);

                if (q >= 0 || !is_graver(&error, &first))
                        continue;
                error_move(&first, &error);
                r = q;
        }
        if (r < 0)
                error_move(reterr, &first);
        return r;
}
