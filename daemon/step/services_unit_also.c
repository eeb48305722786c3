/* SPDX-License-Identifier: MIT */
/* The units around a unit: what systemd stops with it, and what it needs. See services_unit.h. */
#include "daemon/step/services_unit.h"

#define ALSO_MAX 64

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
                        if (!endswith(json_string_value(name), ".target") &&
                            json_array_size(also) < ALSO_MAX)
                                r = add_also(s, v, also, json_string_value(name), reterr);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int unit_also_list(Step *s, Service *v, const json_t *p, json_t **ret, Error *reterr) {
        json_auto_t *also = json_array();
        int r = also ? add_dependents(s, v, also, p, reterr) : error_oom(reterr);

        for (size_t i = 0; r >= 0 && i < json_array_size(also); i++) {
                json_auto_t *q = NULL;

                r = unit_show(s, v, json_string_value(json_array_get(also, i)), &q, reterr);
                if (r >= 0)
                        r = add_dependents(s, v, also, q, reterr);
        }
        if (r >= 0)
                *ret = TAKE(also);
        return r;
}

int unit_also_start(Step *s, Service *v, const json_t *also, Error *reterr) {
        json_t *name;
        size_t i;

        json_array_foreach ((json_t *) also, i, name) {
                _cleanup_free_ char *result = NULL;
                int r = unit_file_is_held(s, json_string_value(name), reterr);

                if (r > 0) /* it waits for a start of its own */
                        continue;
                if (r >= 0)
                        r = unit_job_start(s, v, json_string_value(name), &result, reterr);
                if (r < 0)
                        return r;
                if (result && *result && !streq(result, "done"))
                        step_log(s, "%s, which went down with it, did not start: %s",
                                 json_string_value(name), result);
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
