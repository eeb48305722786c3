/* SPDX-License-Identifier: MIT */
/*
 * What would start a unit again: its sockets, timers and paths. They are held and stopped before it
 * and come back before it: a socket is refused once its service is active. See services_unit.h.
 */
#include "daemon/step/services_unit.h"

int unit_triggers_list(Step *s, Service *v, const json_t *p, json_t **ret, Error *reterr) {
        json_auto_t *triggers = json_array();
        json_t *name;
        size_t i;

        if (!triggers)
                return error_oom(reterr);
        json_array_foreach (json_object_get(p, "TriggeredBy"), i, name) {
                json_auto_t *q = NULL;
                json_t *entry = json_object();
                int r;

                if (!entry || json_array_append_new(triggers, entry) < 0)
                        return error_oom(reterr);
                r = unit_show(s, v, json_string_value(name), &q, reterr);
                if (r >= 0)
                        r = unit_file_record(q, json_string_value(name), entry, reterr);
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

static int not_up(const char *unit, const json_t *p, const char *result, Error *reterr) {
        _cleanup_free_ char *how = unit_describe(p);

        (void) error_set(reterr, EREMOTEIO, "unhealthy",
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
        int r = exactly ? unit_file_restore(s, v, entry, reterr)
                        : unit_file_give_back(s, v, unit, reterr);

        if (r >= 0 && json_is_true(json_object_get(entry, "ran")))
                r = start_one(s, v, unit, reterr);
        return r < 0 || !exactly ? r : unit_file_remask(s, v, entry, reterr);
}

int unit_triggers_restore(Step *s, Service *v, const json_t *triggers, bool exactly,
                          Error *reterr) {
        json_t *entry;
        size_t i;
        int first = 0;

        json_array_foreach ((json_t *) triggers, i, entry) {
                _cleanup_error_ Error error = ERROR_INIT;
                int r = restore_one(s, v, entry, exactly, &error);

                if (r >= 0 || first < 0)
                        continue;
                error_move(reterr, &error);
                first = r;
        }
        return first;
}
