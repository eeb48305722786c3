/* SPDX-License-Identifier: MIT */
/* The calls of timer_bus.h: org.freedesktop.systemd1(5). */
#include "daemon/step/timer_bus.h"

#include <systemd/sd-bus.h>

#define SYSTEMD "org.freedesktop.systemd1"
#define MANAGER_PATH "/org/freedesktop/systemd1"
#define MANAGER SYSTEMD ".Manager"
#define SETTLE_US (30 * 1000 * 1000)
#define LOOK_MS 50

int timer_bus_open(sd_bus **ret, Error *reterr) {
        int r = sd_bus_open_system(ret);

        if (r >= 0)
                return 0;
        (void) error_set(reterr, -r, "no-systemd", "systemd cannot be asked: %s", strerror(-r));
        error_hint(reterr, "does dbus run (systemctl status dbus)?");
        return r;
}

static int refused(int r, const sd_bus_error *error, const char *method, Error *reterr) {
        return error_set(reterr, r < 0 ? -r : EREMOTEIO, "systemd", "systemd refuses %s: %s",
                         method, error->message ? error->message : strerror(-r));
}

/* ---- looking ---- */

static int unit_path(sd_bus *bus, const char *unit, char **ret, Error *reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *path;
        int r = sd_bus_call_method(bus, SYSTEMD, MANAGER_PATH, MANAGER, "LoadUnit", &error, &reply,
                                   "s", unit);

        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return refused(r, &error, "LoadUnit", reterr);
        *ret = strdup(path);
        return *ret ? 0 : error_oom(reterr);
}

static int unit_state(sd_bus *bus, const char *unit, char **ret, Error *reterr) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *path = NULL;
        int r = unit_path(bus, unit, &path, reterr);

        if (r < 0)
                return r;
        r = sd_bus_get_property_string(bus, SYSTEMD, path, SYSTEMD ".Unit", "ActiveState", &error,
                                       ret);
        return r < 0 ? refused(r, &error, "to tell a unit's state", reterr) : 0;
}

/* A unit whose file is not there is not enabled. */
static bool is_enabled(sd_bus *bus, const char *unit) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *state;

        return sd_bus_call_method(bus, SYSTEMD, MANAGER_PATH, MANAGER, "GetUnitFileState", NULL,
                                  &reply, "s", unit) >= 0 &&
               sd_bus_message_read(reply, "s", &state) >= 0 && streq(state, "enabled");
}

int timer_look(sd_bus *bus, const char *unit, TimerState *ret, Error *reterr) {
        _cleanup_free_ char *state = NULL;
        int r = unit_state(bus, unit, &state, reterr);

        if (r < 0)
                return r;
        *ret = (TimerState){.enabled = is_enabled(bus, unit), .active = streq(state, "active")};
        return 0;
}

/* ---- changing ---- */

static int call(Step *s, sd_bus *bus, const char *method, Error *reterr) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = sd_bus_call_method(bus, SYSTEMD, MANAGER_PATH, MANAGER, method, &error, NULL, NULL);

        step_log(s, "systemd: %s", method);
        return r < 0 ? refused(r, &error, method, reterr) : 0;
}

static int call_unit(Step *s, sd_bus *bus, const char *method, const char *unit, Error *reterr) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = sd_bus_call_method(bus, SYSTEMD, MANAGER_PATH, MANAGER, method, &error, NULL, "ss",
                                   unit, "replace");

        step_log(s, "systemd: %s %s", method, unit);
        return r < 0 ? refused(r, &error, method, reterr) : 0;
}

/* EnableUnitFiles(files, runtime, force), DisableUnitFiles(files, runtime). */
static int call_files(Step *s, sd_bus *bus, bool enable, const char *unit, Error *reterr) {
        const char *method = enable ? "EnableUnitFiles" : "DisableUnitFiles";
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        step_log(s, "systemd: %s %s", method, unit);
        r = enable ? sd_bus_call_method(bus, SYSTEMD, MANAGER_PATH, MANAGER, method, &error, NULL,
                                        "asbb", 1, unit, 0, 0)
                   : sd_bus_call_method(bus, SYSTEMD, MANAGER_PATH, MANAGER, method, &error, NULL,
                                        "asb", 1, unit, 0);
        return r < 0 ? refused(r, &error, method, reterr) : 0;
}

/* A job was queued: its end shows in the unit's state. */
static int wait_for(Step *s, sd_bus *bus, const char *unit, const char *wanted, Error *reterr) {
        for (int64_t end = now_mono_us() + SETTLE_US;;) {
                _cleanup_free_ char *state = NULL;
                int r = unit_state(bus, unit, &state, reterr);

                if (r < 0 || streq(state, wanted))
                        return r;
                if (now_mono_us() > end || (streq(state, "failed") && streq(wanted, "active")))
                        return error_set(reterr, EREMOTEIO, "timer-failed",
                                         "%s is %s, and not %s as it should be", unit, state,
                                         wanted);
                r = step_sleep(s, LOOK_MS);
                if (r < 0)
                        return r;
        }
}

int timer_set(Step *s, sd_bus *bus, const char *unit, TimerState wanted, Error *reterr) {
        int r = wanted.active ? 0 : call_unit(s, bus, "StopUnit", unit, reterr);

        if (r >= 0 && !wanted.active)
                r = wait_for(s, bus, unit, "inactive", reterr);
        if (r >= 0)
                r = call_files(s, bus, wanted.enabled, unit, reterr);
        if (r >= 0)
                r = call(s, bus, "Reload", reterr);
        if (r >= 0 && wanted.active)
                r = call_unit(s, bus, "RestartUnit", unit, reterr);
        if (r >= 0 && wanted.active)
                r = wait_for(s, bus, unit, "active", reterr);
        return r;
}

void timer_forget(sd_bus *bus, const char *unit) {
        (void) sd_bus_call_method(bus, SYSTEMD, MANAGER_PATH, MANAGER, "CleanUnit", NULL, NULL,
                                  "sas", unit, 1, "state");
}
