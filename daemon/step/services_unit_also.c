/* SPDX-License-Identifier: MIT */
/* The units around a unit: what systemd stops with it, and what it needs. See services_unit.h. */
#include "daemon/step/services_unit.h"

static int add_also(Step *s, Service *v, json_t *also, const char *unit, Error *reterr) {
        json_auto_t *p = NULL;
        int r;

        if (json_has_text(also, unit))
                return 0;
        r = unit_show(s, v, unit, &p, reterr);
        if (r < 0 || !unit_runs(p))
                return r;
        return json_array_append_new(also, json_string(unit)) < 0 ? error_oom(reterr) : 0;
}

static int add_dependents(Step *s, Service *v, json_t *also, const json_t *p, Error *reterr) {
        static const char *const by[] = {"RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf"};

        for (size_t i = 0; i < ELEMENTSOF(by); i++) {
                json_t *name;
                size_t k;

                json_array_foreach (json_object_get(p, by[i]), k, name) {
                        int r = 0;

                        /* Targets are milestones, and come back with what they want. */
                        if (!endswith(json_string_value(name), ".target"))
                                r = add_also(s, v, also, json_string_value(name), reterr);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* What does not run is not stopped, and takes nothing along. */
static int add_of_triggers(Step *s, Service *v, json_t *also, const json_t *triggers,
                           Error *reterr) {
        json_t *entry;
        size_t i;

        json_array_foreach ((json_t *) triggers, i, entry) {
                json_auto_t *p = NULL;
                int r;

                if (!json_is_true(json_object_get(entry, "ran")))
                        continue;
                r = unit_show(s, v, args_text(entry, "unit", ""), &p, reterr);
                if (r >= 0)
                        r = add_dependents(s, v, also, p, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* And with what goes down with it. The list grows while it is gone through. */
static int add_further(Step *s, Service *v, json_t *also, Error *reterr) {
        for (size_t i = 0; i < json_array_size(also); i++) {
                json_auto_t *p = NULL;
                int r = unit_show(s, v, json_string_value(json_array_get(also, i)), &p, reterr);

                if (r >= 0)
                        r = add_dependents(s, v, also, p, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

int unit_also_list(Step *s, Service *v, const json_t *p, const json_t *triggers, json_t **ret,
                   Error *reterr) {
        json_auto_t *also = json_array();
        int r = also ? 0 : error_oom(reterr);

        if (r >= 0 && unit_runs(p))
                r = add_dependents(s, v, also, p, reterr);
        if (r >= 0)
                r = add_of_triggers(s, v, also, triggers, reterr);
        if (r >= 0)
                r = add_further(s, v, also, reterr);
        if (r < 0)
                return r;
        for (size_t i = json_array_size(also); i-- > 0;)
                if (streq(json_string_value(json_array_get(also, i)), args_text(p, "Id", "")))
                        (void) json_array_remove(also, i);
        *ret = TAKE(also);
        return 0;
}

int unit_also_stop(Step *s, Service *v, const json_t *also, Error *reterr) {
        json_t *name;
        size_t i;
        int r = 0;

        json_array_foreach ((json_t *) also, i, name) {
                r = unit_job_stop(s, v, json_string_value(name), reterr);
                if (r < 0)
                        return r;
        }
        return r;
}

static int start_one(Step *s, Service *v, const char *unit, Error *reterr) {
        _cleanup_free_ char *result = NULL;
        int r = unit_job_start(s, v, unit, &result, reterr);

        if (r >= 0 && result && *result && !streq(result, "done"))
                step_log(s, "%s, which went down with it, did not start: %s", unit, result);
        return r;
}

int unit_also_start(Step *s, Service *v, const json_t *also, Error *reterr) {
        json_t *name;
        size_t i;

        json_array_foreach ((json_t *) also, i, name) {
                int r = unit_file_is_held(s, json_string_value(name), reterr);

                if (r == 0) /* a held one waits for a start of its own */
                        r = start_one(s, v, json_string_value(name), reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* 1: it is, or this job holds it down. */
static int is_back(Step *s, Service *v, const char *unit, ServiceLook *ret, Error *reterr) {
        json_auto_t *p = NULL;
        int r = unit_file_is_held(s, unit, reterr);

        if (r == 0)
                r = unit_show(s, v, unit, &p, reterr);
        if (r < 0 || !p)
                return r;
        if (unit_is_back(p))
                return 1;
        return unit_judge(p, unit, ret) < 0 ? error_oom(reterr) : 0;
}

int unit_also_look(Step *s, Service *v, const json_t *also, ServiceLook *look, Error *reterr) {
        json_t *name;
        size_t i;

        json_array_foreach ((json_t *) also, i, name) {
                _cleanup_look_ ServiceLook found = {0};
                char *why;
                int r = is_back(s, v, json_string_value(name), &found, reterr);

                if (r > 0)
                        continue;
                if (r < 0)
                        return r;
                why = strf("%s, which went down with it, is not up: %s", json_string_value(name),
                           found.why ? found.why : "it does not run");
                if (!why)
                        return error_oom(reterr);
                look->state = found.state;
                free(look->why);
                look->why = why;
                return 0;
        }
        return 0;
}

char *unit_also_culprit(Step *s, Service *v, const json_t *p) {
        static const char *const needs[] = {"Requires", "BindsTo"};

        for (size_t i = 0; i < ELEMENTSOF(needs); i++) {
                json_t *name;
                size_t k;

                json_array_foreach (json_object_get(p, needs[i]), k, name) {
                        _cleanup_free_ char *how = NULL;
                        json_auto_t *q = NULL;

                        if (unit_show(s, v, json_string_value(name), &q, NULL) < 0 ||
                            unit_is_active(q))
                                continue;
                        how = streq(args_text(q, "LoadState", ""), "loaded")
                                      ? unit_describe(q)
                                      : strf("it is %s", args_text(q, "LoadState", "?"));
                        return how ? strf("%s, which it needs, is not up: %s",
                                          json_string_value(name), how)
                                   : NULL;
                }
        }
        return NULL;
}
