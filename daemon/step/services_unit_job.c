/* SPDX-License-Identifier: MIT */
/* systemd's jobs: a unit is asked to start or to stop, and the end of that waited for. */
#include "daemon/step/services_unit.h"

#define LOOK_MS 1000
#define PATIENT_MS 500 /* for looking once more before the time is over */

/* Does the unit still have it? 1 or 0. */
static int job_is_there(Step *s, Service *v, const char *unit, const char *job, Error *reterr) {
        json_auto_t *p = NULL;
        int r = unit_show(s, v, unit, &p, reterr);

        return r < 0 ? r : streq(args_text(p, "Job", ""), job);
}

static int job_wait(Step *s, Service *v, const char *unit, const char *job, int64_t limit_ms,
                    char **ret, Error *reterr) {
        int64_t now_us = now_mono_us(), begun_us = now_us, looked_us = now_us;
        const char *result;
        bool gone = false;

        while (!(result = unit_bus_heard(v, job)) && !gone) {
                int r = unit_bus_turn(s, v);

                if (r == -ECANCELED)
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
                now_us = now_mono_us();
                if ((now_us - begun_us) / 1000 >= limit_ms)
                        return 0;
                if (r >= 0 && now_us - looked_us < LOOK_MS * 1000)
                        continue;
                /* Its end may go unheard, when a bus was lost. What was heard meanwhile counts. */
                r = job_is_there(s, v, unit, job, reterr);
                if (r < 0)
                        return r;
                gone = r == 0;
                looked_us = now_us;
        }
        *ret = strdup(result ? result : "");
        return *ret ? 0 : error_oom(reterr);
}

int unit_job(Step *s, Service *v, const char *method, const char *unit, int64_t limit_ms,
             char **ret_result, Error *reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ char *name = unit_full_name(unit);
        const char *job;
        int r;

        *ret_result = NULL;
        if (!name)
                return error_oom(reterr);
        step_log(s, "systemd: %s %s", method, name);
        r = unit_call(s, v, &reply, reterr, UNIT_MANAGER_PATH, UNIT_MANAGER, method, "ss", name,
                      "replace");
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "o", &job);
        if (r < 0)
                return error_set(reterr, EREMOTEIO, "systemd",
                                 "systemd answered %s with something else than a job", method);
        return job_wait(s, v, unit, job, limit_ms, ret_result, reterr);
}

int unit_job_start(Step *s, Service *v, const char *unit, char **ret_result, Error *reterr) {
        json_auto_t *p = NULL;
        int64_t left = service_limit_left_ms(s);
        int r = unit_show(s, v, unit, &p, reterr);

        if (r < 0 || (unit_is_active(p) && !unit_is_asked(p)))
                return r;
        if (json_is_true(json_object_get(p, "NeedDaemonReload"))) {
                step_log(s, "the files of %s have changed: systemd reads them again", unit);
                r = unit_reload(s, v, reterr);
                if (r < 0)
                        return r;
        }
        return unit_job(s, v, "StartUnit", unit, left == INT64_MAX ? left : left - PATIENT_MS,
                        ret_result, reterr);
}

static int not_stopped(const char *unit, const char *result, const ServiceLook *look,
                       Error *reterr) {
        return error_set(reterr, EBUSY, "still-running",
                         "%s has not stopped: %s (systemd's job for it: %s)", unit,
                         look->why ? look->why : "it is active", *result ? result : "ended");
}

int unit_job_stop(Step *s, Service *v, const char *unit, Error *reterr) {
        _cleanup_look_ ServiceLook look = {0};
        _cleanup_free_ char *result = NULL;
        json_auto_t *p = NULL;
        int r = unit_show(s, v, unit, &p, reterr);

        if (r < 0 || (!unit_runs(p) && !unit_is_asked(p)))
                return r;
        r = unit_job(s, v, "StopUnit", unit, INT64_MAX, &result, reterr);
        if (r >= 0) {
                json_decref(TAKE(p));
                r = unit_show(s, v, unit, &p, reterr);
        }
        if (r < 0)
                return r;
        if (unit_judge(p, unit, &look) < 0)
                return error_oom(reterr);
        return look.runs ? not_stopped(unit, result, &look, reterr) : 0;
}

int unit_reset_failed(Step *s, Service *v, const char *unit, Error *reterr) {
        _cleanup_free_ char *name = unit_full_name(unit);
        json_auto_t *p = NULL;
        int r = name ? unit_show(s, v, name, &p, reterr) : error_oom(reterr);

        if (r < 0 || !streq(args_text(p, "ActiveState", ""), "failed"))
                return r;
        return unit_call(s, v, NULL, reterr, UNIT_MANAGER_PATH, UNIT_MANAGER, "ResetFailedUnit",
                         "s", name);
}
