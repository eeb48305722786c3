/* SPDX-License-Identifier: MIT */
/* When a timer elapses next and when it did last: see bus.h. */
#include "daemon/bus/internal.h"

#define UNIT_PATH SYSTEMD_PATH "/unit"
#define TIMER_INTERFACE SYSTEMD_NAME ".Timer"
#define LOOK_USEC (5 * 1000 * 1000)

typedef struct Look {
        BusTimerAnswer answer;
        void *userdata;
} Look;

/* (property, calendar event, its next elapse), and the last of them counts. That next elapse is worked
 * out when the timer begins to wait: while what it started runs, it is the one that came. */
static int read_calendar(sd_bus_message *m, uint64_t *ret_us) {
        int r = sd_bus_message_enter_container(m, 'v', "a(sst)");

        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "(sst)");
        while (r >= 0 && (r = sd_bus_message_read(m, "(sst)", NULL, NULL, ret_us)) > 0)
                ;
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* A member of a{sv}; what is not asked for is passed over. */
static int read_member(sd_bus_message *m, BusTimer *t) {
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        if (r < 0)
                return r;
        if (streq(name, "NextElapseUSecRealtime"))
                return sd_bus_message_read(m, "v", "t", &t->next_us);
        if (streq(name, "LastTriggerUSec"))
                return sd_bus_message_read(m, "v", "t", &t->last_us);
        if (streq(name, "TimersCalendar"))
                return read_calendar(m, &t->calendar_us);
        return sd_bus_message_skip(m, "v");
}

static int read_timer(sd_bus_message *m, BusTimer *t) {
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_member(m, t);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        /* systemd's word for never. */
        if (t->next_us == UINT64_MAX)
                t->next_us = 0;
        return r;
}

static int on_timer(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *error = sd_bus_message_get_error(m);
        Look look = *(Look *) userdata;
        BusTimer timer = {0};
        int r;

        r = error ? -MAX(sd_bus_error_get_errno(error), 1) : read_timer(m, &timer);
        look.answer(look.userdata, r < 0 ? r : 0, &timer);
        return 0;
}

int bus_timer_look(Bus *bus, const char *unit, BusTimerAnswer answer, void *userdata,
                   sd_bus_slot **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        _cleanup_free_ char *path = NULL;
        sd_bus_slot *slot = NULL;
        Look *look;
        int r = sd_bus_path_encode(UNIT_PATH, unit, &path);

        if (r >= 0)
                r = bus_object_call_new(bus, path, "org.freedesktop.DBus.Properties", "GetAll",
                                        &call);
        if (r >= 0)
                r = sd_bus_message_append(call, "s", TIMER_INTERFACE);
        if (r < 0)
                return r;
        look = malloc(sizeof(*look));
        if (!look)
                return -ENOMEM;
        *look = (Look){.answer = answer, .userdata = userdata};
        r = bus_send(bus, call, on_timer, look, LOOK_USEC, &slot);
        if (r < 0)
                return r;
        *ret = slot;
        return 0;
}
