/* SPDX-License-Identifier: MIT */
/*
 * Services that are systemd units, through systemctl. Nothing is waited for inside systemctl but a
 * stop: a start is queued and looked at, so that a unit that hangs can be told of.
 *   entry of a stop:  "unit", "ran", "state": ActiveState, "enabled": UnitFileState
 *   entry of a start: the same, and "held": this job's stop had disabled it
 */
#include "api/text.h"
#include "daemon/step/held.h"
#include "daemon/step/services.h"

#define SETTLED_US (10 * 1000 * 1000) /* a restarted unit that runs so long has come to stay */
#define YOUNG_US (1000 * 1000)        /* running is all there is to see: let it run a little */
#define RESTARTS_MAX 3 /* so often it may be restarted before that counts as failed */
#define HELD "unit"

static const char *unit_of(const Service *v) {
        return args_text(v->def, "unit", "");
}

/* ---- systemctl ---- */

static int systemctl(Step *s, json_t *args, ExecResult *ret, Error *reterr) {
        json_auto_t *owned = args, *argv = json_pack("[s]", "systemctl");

        if (!owned || !argv || json_array_extend(argv, owned) < 0)
                return error_oom(reterr);
        return step_exec(s, &(Exec){.argv = argv, .cwd = "/", .user = "", .quiet = true}, ret,
                         reterr);
}

/* One that must succeed; told in the log, since it changes the machine. */
static int systemctl_do(Step *s, const char *verb, const char *option, const char *unit,
                        Error *reterr) {
        _cleanup_exec_ ExecResult result = {0};
        const char *said;
        int r;

        step_log(s, "systemctl %s %s", verb, unit);
        r = systemctl(s, json_pack("[s, s*, s, s]", verb, option, "--", unit), &result, reterr);
        if (r < 0)
                return r;
        if (result.exit == 0)
                return 0;
        said = result.err + strspn(result.err, "\r\n ");
        return error_set(reterr, EREMOTEIO, "systemctl", "systemctl %s %s ended with code %d: %.*s",
                         verb, unit, result.exit, (int) MIN(strcspn(said, "\r\n"), (size_t) 300),
                         said);
}

/* KEY=value lines as an object. */
static int parse_properties(char *text, json_t **ret) {
        json_auto_t *all = json_object();
        char *rest = text, *line;

        while ((line = strsep(&rest, "\n"))) {
                char *equals = strchr(line, '=');

                if (!equals)
                        continue;
                *equals = '\0';
                if (json_put(all, line, json_string(equals + 1)) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE(all);
        return 0;
}

static int unit_show(Step *s, const char *unit, json_t **ret, Error *reterr) {
        _cleanup_exec_ ExecResult result = {0};
        int r;

        r = systemctl(s,
                      json_pack("[ssss]", "show",
                                "--property=LoadState,ActiveState,SubState,UnitFileState,Job,"
                                "NRestarts,ActiveEnterTimestampMonotonic,Result,ExecMainStatus",
                                "--", unit),
                      &result, reterr);
        if (r < 0)
                return r;
        if (result.exit != 0)
                return error_set(reterr, EREMOTEIO, "systemctl",
                                 "systemctl cannot tell about %s: %.*s", unit,
                                 (int) strcspn(result.err, "\r\n"), result.err);
        return parse_properties(result.out, ret) < 0 ? error_oom(reterr) : 0;
}

/* ---- looking ---- */

static bool is_active(const json_t *p) {
        const char *state = args_text(p, "ActiveState", "");

        return streq(state, "active") || streq(state, "reloading");
}

static bool runs(const json_t *p) {
        const char *state = args_text(p, "ActiveState", "");

        return !streq(state, "inactive") && !streq(state, "failed") && !streq(state, "");
}

static char *describe(const json_t *p) {
        return strf("it is %s (%s%s%s)", args_text(p, "ActiveState", "?"),
                    args_text(p, "SubState", "?"),
                    streq(args_text(p, "Result", "success"), "success") ? "" : ", ",
                    streq(args_text(p, "Result", "success"), "success")
                            ? ""
                            : args_text(p, "Result", ""));
}

static int64_t restarts(const json_t *p) {
        return strtoll(args_text(p, "NRestarts", "0"), NULL, 10);
}

static int64_t active_us(const json_t *p) {
        return now_mono_us() -
               strtoll(args_text(p, "ActiveEnterTimestampMonotonic", "0"), NULL, 10);
}

/* Restarted by systemd, and not for long. */
static bool is_looping(const json_t *p) {
        const char *sub = args_text(p, "SubState", "");

        return restarts(p) > 0 &&
               (is_active(p) ? active_us(p) < SETTLED_US : startswith(sub, "auto-restart"));
}

static ServiceState unit_state(const json_t *p) {
        const char *job = args_text(p, "Job", "");

        if (is_looping(p))
                return restarts(p) >= RESTARTS_MAX ? SERVICE_FAILED : SERVICE_COMING;
        if (is_active(p))
                return active_us(p) < YOUNG_US ? SERVICE_COMING : SERVICE_UP;
        if (runs(p) || (*job && !streq(job, "0")))
                return SERVICE_COMING;
        return streq(args_text(p, "ActiveState", ""), "failed") ? SERVICE_FAILED : SERVICE_DOWN;
}

static int unit_judge(const json_t *p, const char *unit, ServiceLook *ret) {
        ret->runs = runs(p);
        ret->alive = is_active(p) && !is_looping(p);
        ret->state = unit_state(p);
        if (ret->state == SERVICE_UP)
                return 0;
        if (is_looping(p))
                ret->why = strf("it is restarted again and again (%lld times)",
                                (long long) restarts(p));
        else if (is_active(p))
                ret->why = strdup("it has only just begun");
        else if (streq(args_text(p, "LoadState", ""), "not-found"))
                ret->why = strf("there is no unit %s", unit);
        else
                ret->why = describe(p);
        return ret->why ? 0 : -ENOMEM;
}

static int unit_look(Step *s, Service *v, ServiceLook *ret, Error *reterr) {
        json_auto_t *p = NULL;
        int r = unit_show(s, unit_of(v), &p, reterr);

        if (r < 0)
                return r;
        return unit_judge(p, unit_of(v), ret) < 0 ? error_oom(reterr) : 0;
}

static int unit_tail(Step *s, Service *v, unsigned n, json_t **ret, Error *reterr) {
        json_auto_t *argv = json_pack("[sssssso]", "journalctl", "--no-pager", "--output=cat",
                                      "--unit", unit_of(v), "--lines", json_sprintf("%u", n));
        _cleanup_exec_ ExecResult result = {0};
        json_auto_t *lines = json_array();
        _cleanup_free_ char *clean = NULL;
        char *rest, *line;
        int r;

        if (!argv || !lines)
                return error_oom(reterr);
        r = step_exec(s,
                      &(Exec){.argv = argv,
                              .cwd = "/",
                              .user = "",
                              .quiet = true,
                              .max_out = 4U * 1024 * 1024},
                      &result, reterr);
        if (r < 0)
                return r;
        clean = utf8_clean(result.out, result.out_size);
        for (rest = clean; (line = strsep(&rest, "\n"));)
                if ((*line || rest) && json_array_append_new(lines, json_string(line)) < 0)
                        return error_oom(reterr);
        *ret = TAKE(lines);
        return 0;
}

/* ---- stop and its undo ---- */

/* What `systemctl disable` would take away. Static, generated or masked units have nothing. */
static bool is_enabled(const char *state) {
        return streq(state, "enabled") || streq(state, "enabled-runtime");
}

static const char *runtime_option(const char *state) {
        return endswith(state, "-runtime") ? "--runtime" : NULL;
}

static int unit_record(Step *s, Service *v, json_t *entry, Error *reterr) {
        json_auto_t *p = NULL;
        int r = unit_show(s, unit_of(v), &p, reterr);

        if (r < 0)
                return r;
        if (streq(args_text(p, "LoadState", ""), "not-found"))
                return error_set(reterr, ENOENT, "no-unit", "There is no unit %s (service %s)",
                                 unit_of(v), v->name);
        if (json_put(entry, "unit", json_string(unit_of(v))) < 0 ||
            json_put(entry, "ran", json_boolean(runs(p))) < 0 ||
            json_put(entry, "state", json_string(args_text(p, "ActiveState", ""))) < 0 ||
            json_put(entry, "enabled", json_string(args_text(p, "UnitFileState", ""))) < 0)
                return error_oom(reterr);
        return 0;
}

/* Without --now: a unit that is disabled while it runs stays down should the power fail now. */
static int hold_down(Step *s, const char *unit, const char *enabled, Error *reterr) {
        int r;

        if (!is_enabled(enabled))
                return 0;
        r = held_note(s, HELD, unit, json_string(enabled), reterr);
        return r < 0 ? r : systemctl_do(s, "disable", runtime_option(enabled), unit, reterr);
}

static int unit_stop(Step *s, Service *v, const json_t *entry, Error *reterr) {
        const char *unit = args_text(entry, "unit", unit_of(v));
        _cleanup_look_ ServiceLook look = {0};
        json_auto_t *p = NULL;
        int r;

        r = unit_show(s, unit, &p, reterr);
        if (r >= 0)
                r = hold_down(s, unit, args_text(p, "UnitFileState", ""), reterr);
        if (r >= 0 && runs(p))
                r = systemctl_do(s, "stop", NULL, unit, reterr);
        if (r >= 0)
                r = unit_look(s, v, &look, reterr);
        if (r < 0 || !look.runs)
                return r;
        return error_set(reterr, EBUSY, "still-running", "%s has not stopped: %s", unit,
                         look.why ? look.why : "it is active");
}

static int unit_restore(Step *s, Service *v, const json_t *entry, Error *reterr) {
        const char *unit = args_text(entry, "unit", ""), *enabled = args_text(entry, "enabled", "");
        json_auto_t *p = NULL;
        int r = 0;

        if (is_enabled(enabled)) {
                r = systemctl_do(s, "enable", runtime_option(enabled), unit, reterr);
                if (r >= 0)
                        r = held_drop(s, HELD, unit, reterr);
        }
        if (r < 0 || !json_is_true(json_object_get(entry, "ran")))
                return r;
        r = unit_show(s, unit, &p, reterr);
        if (r < 0 || is_active(p))
                return r;
        return systemctl_do(s, "start", "--no-block", unit, reterr);
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
        json_auto_t *held = NULL;
        int r = unit_record(s, v, entry, reterr);

        if (r >= 0)
                r = held_read(s, HELD, unit_of(v), &held, reterr);
        if (r < 0)
                return r;
        return held && json_put(entry, "held", json_incref(held)) < 0 ? error_oom(reterr) : 0;
}

static int unit_start(Step *s, Service *v, Error *reterr) {
        json_auto_t *held = NULL;
        int r = held_read(s, HELD, unit_of(v), &held, reterr);

        if (r < 0)
                return r;
        if (held) {
                r = systemctl_do(s, "enable", runtime_option(json_string_value(held)), unit_of(v),
                                 reterr);
                if (r >= 0)
                        r = held_drop(s, HELD, unit_of(v), reterr);
        }
        return r < 0 ? r : systemctl_do(s, "start", "--no-block", unit_of(v), reterr);
}

static int unit_unstart(Step *s, Service *v, const json_t *entry, Error *reterr) {
        const char *unit = args_text(entry, "unit", "");
        const char *held = args_text(entry, "held", NULL);
        json_auto_t *p = NULL;
        int r = unit_show(s, unit, &p, reterr);

        if (r >= 0 && held)
                r = hold_down(s, unit, args_text(p, "UnitFileState", ""), reterr);
        if (r < 0 || json_is_true(json_object_get(entry, "ran")) || !runs(p))
                return r;
        return systemctl_do(s, "stop", NULL, unit, reterr);
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
        .unstart = unit_unstart,
};
