/* SPDX-License-Identifier: MIT */
/*
 * Talking to systemd: the connection and calls. See services_unit.h. Waiting goes in slices,
 * so that a stop is heeded within one of them.
 */
#include "daemon/step/services_unit.h"
#include "daemon/step/system_bus.h"

#include <stdarg.h>
#include <systemd/sd-daemon.h>

#define SLICE_US (200 * 1000)
#define ANSWER_MS (90 * 1000) /* a reload of a large machine takes its time */
#define LOST_MS (30 * 1000)   /* so long a bus may be away */
#define AGAIN_MS 200

struct UnitBus {
        sd_bus *bus;
        json_t *ended; /* {path of a job: its result}, as heard */
};

void unit_bus_free(UnitBus *b) {
        if (!b)
                return;
        sd_bus_close_unref(b->bus);
        json_decref(b->ended);
        free(b);
}

int unit_bus(Service *v, UnitBus **ret, Error *reterr) {
        UnitBus *b = v->own;

        if (!b) {
                b = calloc(1, sizeof(*b));
                if (!b || !(b->ended = json_object())) {
                        free(b);
                        return error_oom(reterr);
                }
                v->own = b;
        }
        *ret = b;
        return 0;
}

/* ---- the connection ---- */

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        UnitBus *b = userdata;
        const char *path, *unit, *result;
        uint32_t id;

        if (sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) >= 0)
                (void) json_put(b->ended, path, json_string(result));
        return 0;
}

static int bus_open(UnitBus *b) {
        bool private;
        int r;

        if (b->bus && sd_bus_is_open(b->bus) > 0)
                return 0;
        b->bus = sd_bus_close_unref(b->bus);
        r = system_bus_open(&b->bus, &private);
        if (r < 0)
                return r;
        r = sd_bus_match_signal_async(b->bus, NULL, private ? NULL : SYSTEMD_NAME,
                                      UNIT_MANAGER_PATH, UNIT_MANAGER, "JobRemoved", on_job_removed,
                                      NULL, b);
        if (r >= 0)
                r = sd_bus_call_method_async(b->bus, NULL, SYSTEMD_NAME, UNIT_MANAGER_PATH,
                                             UNIT_MANAGER, "Subscribe", NULL, NULL, NULL);
        return MIN(r, 0);
}

/* Handles one thing that came, or waits a slice for it. */
static int bus_turn(Step *s, UnitBus *b) {
        int r = sd_bus_process(b->bus, NULL);

        if (r != 0)
                return MIN(r, 0);
        if (step_stopping(s))
                return -ECANCELED;
        r = sd_bus_wait(b->bus, SLICE_US);
        return r == -EINTR ? 0 : MIN(r, 0);
}

int unit_bus_turn(Step *s, Service *v) {
        UnitBus *b = v->own;

        return bus_turn(s, b);
}

const char *unit_bus_heard(const Service *v, const char *job) {
        const UnitBus *b = v->own;

        return args_text(b->ended, job, NULL);
}

/* ---- calls ---- */

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        sd_bus_message **reply = userdata;

        *reply = sd_bus_message_ref(m);
        return 0;
}

/* The answer, which may be an error; or -errno: the bus failed. */
static int call_once(Step *s, UnitBus *b, sd_bus_message *call, sd_bus_message **ret) {
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        int64_t ms = MIN((int64_t) ANSWER_MS, MAX(step_time_left_ms(s), 1));
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_call_async(b->bus, &slot, call, on_reply, &reply, (uint64_t) ms * 1000);
        while (r >= 0 && !reply)
                r = bus_turn(s, b);
        if (!reply)
                return r;
        *ret = reply;
        return 0;
}

static int call_made(Step *s, UnitBus *b, const char *const where[static 3], const char *types,
                     va_list ap, sd_bus_message **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        int r = bus_open(b);

        if (r >= 0)
                r = sd_bus_message_new_method_call(b->bus, &call, SYSTEMD_NAME, where[0], where[1],
                                                   where[2]);
        if (r >= 0)
                r = sd_bus_message_set_auto_start(call, false);
        if (r >= 0 && types)
                r = sd_bus_message_appendv(call, types, ap);
        return r < 0 ? r : call_once(s, b, call, ret);
}

/* Nobody was there to answer, so that it is worth being asked again. */
static bool is_lost(const sd_bus_error *e) {
        static const char *const names[] = {
                SD_BUS_ERROR_NO_REPLY,          SD_BUS_ERROR_DISCONNECTED,
                SD_BUS_ERROR_TIMEOUT,           SD_BUS_ERROR_SERVICE_UNKNOWN,
                SD_BUS_ERROR_NAME_HAS_NO_OWNER, SD_BUS_ERROR_NO_SERVER,
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (sd_bus_error_has_name(e, names[i]))
                        return true;
        return false;
}

static int refused(const sd_bus_error *e, const char *method, Error *reterr) {
        const char *said = e->message ? e->message : e->name;

        if (sd_bus_error_has_name(e, SYSTEMD_NAME ".NoSuchUnit"))
                return error_set(reterr, ENOENT, "no-unit", "%s", said);
        if (sd_bus_error_has_name(e, SYSTEMD_NAME ".UnitMasked"))
                return error_set(reterr, EPERM, "unit-masked", "%s", said);
        if (sd_bus_error_has_name(e, SD_BUS_ERROR_ACCESS_DENIED) ||
            sd_bus_error_has_name(e, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED)) {
                (void) error_set(reterr, EACCES, "not-permitted", "systemd refuses %s: %s", method,
                                 said);
                error_hint(reterr, "Units are started and stopped by root, or by whom polkit lets");
                return -EACCES;
        }
        return error_set(reterr, EREMOTEIO, "systemd", "systemd refuses %s: %s", method, said);
}

static int nobody_there(int r, const char *said, Error *reterr) {
        (void) error_set(reterr, ENOTCONN, "no-systemd", "systemd cannot be asked: %s",
                         said ? said : strerror(-r));
        error_hint(reterr, "%s",
                   sd_booted() > 0
                           ? "Does dbus run (systemctl status dbus)?"
                           : "This machine was not booted by systemd, so that it has no units; a "
                             "service can be run by compose or by a command as well");
        return -ENOTCONN;
}

/* Once more? Not without systemd, and not for ever. */
static bool may_ask_again(Step *s, int64_t since_us) {
        return sd_booted() > 0 && now_mono_us() - since_us < (int64_t) LOST_MS * 1000 &&
               step_time_left_ms(s) > AGAIN_MS && step_sleep(s, AGAIN_MS) >= 0;
}

int unit_call(Step *s, Service *v, sd_bus_message **ret, Error *reterr, const char *path,
              const char *interface, const char *method, const char *types, ...) {
        const char *const where[] = {path, interface, method};
        int64_t since_us = now_mono_us();
        UnitBus *b;
        int r = unit_bus(v, &b, reterr);

        while (r >= 0) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
                const sd_bus_error *e = NULL;
                va_list ap;

                va_start(ap, types);
                r = call_made(s, b, where, types, ap, &reply);
                va_end(ap);
                if (r >= 0 && !(e = sd_bus_message_get_error(reply))) {
                        if (ret)
                                *ret = TAKE(reply);
                        return 0;
                }
                if (e && !is_lost(e))
                        return refused(e, method, reterr);
                if (r == -ENOMEM)
                        return error_oom(reterr);
                if (r == -EINVAL) /* the caller's name is none */
                        return error_set(reterr, EINVAL, "systemd", "systemd has no such name: %s",
                                         path);
                if (r == -ECANCELED || !may_ask_again(s, since_us))
                        return step_stopping(s) ? error_set(reterr, ECANCELED, "stopped", "Stopped")
                                                : nobody_there(r, e ? e->message : NULL, reterr);
                r = 0;
        }
        return r;
}

int unit_reload(Step *s, Service *v, Error *reterr) {
        return unit_call(s, v, NULL, reterr, UNIT_MANAGER_PATH, UNIT_MANAGER, "Reload", NULL);
}
