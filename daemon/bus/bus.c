/* SPDX-License-Identifier: MIT */
/* The connection, and what every call needs. See bus.h. */
#include "daemon/bus/internal.h"

#define ASK_USEC (5 * 1000 * 1000)
#define ANSWER_USEC (30 * 1000 * 1000)

/* How many calls of a connection have not been answered. It outlives the Bus: slots are freed when
 * their owners like. */
typedef struct Open {
        unsigned n_ref, n_calls;
} Open;

struct Bus {
        sd_event *event;
        sd_bus *bus;
        Open *open;
};

/* One call that is on its way. */
typedef struct Sent {
        Open *open;
        bool answered;
        sd_bus_message_handler_t handler;
        void *userdata; /* malloc()ed */
} Sent;

/* One question that is on its way. */
typedef struct Question {
        BusAnswer answer;
        BusReader reader;
        void *userdata;
} Question;

static void open_unref(Open *open) {
        if (open && --open->n_ref == 0)
                free(open);
}

void bus_free(Bus *bus) {
        if (!bus)
                return;
        sd_bus_close_unref(bus->bus);
        open_unref(bus->open);
        sd_event_unref(bus->event);
        free(bus);
}

static int bus_open(Bus *bus) {
        sd_bus *opened = NULL;
        int r;

        if (bus->bus && sd_bus_is_open(bus->bus) > 0)
                return 0;
        /* Lost: sd-bus answers what is on its way with that, one call a turn, as long as it is
         * there. */
        if (bus->bus && bus->open->n_calls > 0)
                return -EAGAIN;
        bus->bus = sd_bus_close_unref(bus->bus);
        r = sd_bus_open_system(&opened);
        if (r >= 0)
                r = sd_bus_attach_event(opened, bus->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0) {
                sd_bus_close_unref(opened);
                return r;
        }
        bus->bus = opened;
        return 0;
}

int bus_new(sd_event *event, Bus **ret, Error *reterr) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(bus_freep) Bus *bus = calloc(1, sizeof(Bus));
        sd_bus_message *call = NULL;
        int r;

        if (!bus || !(bus->open = calloc(1, sizeof(Open))))
                return error_oom(reterr);
        bus->open->n_ref = 1;
        bus->event = sd_event_ref(event);
        r = bus_open(bus);
        if (r >= 0)
                r = sd_bus_message_new_method_call(bus->bus, &call, SYSTEMD_NAME, SYSTEMD_PATH,
                                                   "org.freedesktop.DBus.Peer", "Ping");
        if (r >= 0)
                r = sd_bus_call(bus->bus, call, ASK_USEC, &error, &reply);
        sd_bus_message_unref(call);
        if (r < 0)
                return error_set(reterr, -r, "no-systemd", "systemd cannot be asked: %s",
                                 error.message ? error.message : strerror(-r));
        *ret = TAKE(bus);
        return 0;
}

static bool is_lost(int r) {
        return r == -ETIMEDOUT || r == -ECONNRESET || r == -ECONNREFUSED || r == -ENOTCONN ||
               r == -EPIPE || r == -EHOSTDOWN;
}

static int errno_of(const sd_bus_error *error) {
        int r = -MAX(sd_bus_error_get_errno(error), 1);

        if (sd_bus_error_has_name(error, SYSTEMD_NAME ".UnitExists"))
                return -EEXIST;
        if (sd_bus_error_has_name(error, SYSTEMD_NAME ".NoSuchUnit"))
                return -ENOENT;
        if (sd_bus_error_has_name(error, SYSTEMD_NAME ".NoSuchProcess"))
                return -ESRCH;
        return is_lost(r) ? -EAGAIN : r;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *error = sd_bus_message_get_error(m);
        Question q = *(Question *) userdata;
        int r = 0;

        if (!q.answer)
                return 0;
        if (error) {
                q.answer(q.userdata, errno_of(error), error->message ? error->message : "");
                return 0;
        }
        if (q.reader)
                r = q.reader(m);
        q.answer(q.userdata, r, r < 0 ? "it answered with something else than what was asked" : "");
        return 0;
}

int bus_object_call_new(Bus *bus, const char *path, const char *interface, const char *method,
                        sd_bus_message **ret) {
        int r = bus_open(bus);

        /* What is not there now is there again when the bus is. */
        return r < 0 ? -EAGAIN
                     : sd_bus_message_new_method_call(bus->bus, ret, SYSTEMD_NAME, path, interface,
                                                      method);
}

int bus_call_new(Bus *bus, const char *method, sd_bus_message **ret) {
        return bus_object_call_new(bus, SYSTEMD_PATH, SYSTEMD_MANAGER, method, ret);
}

static void sent_answered(Sent *sent) {
        if (!sent->answered)
                sent->open->n_calls--;
        sent->answered = true;
}

static void sent_free(void *userdata) {
        Sent *sent = userdata;

        sent_answered(sent);
        open_unref(sent->open);
        free(sent->userdata);
        free(sent);
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Sent *sent = userdata;

        sent_answered(sent); /* first: the handler may free the slot, and make a call of its own */
        return sent->handler(m, sent->userdata, ret_error);
}

int bus_send(Bus *bus, sd_bus_message *call, sd_bus_message_handler_t handler, void *userdata,
             uint64_t timeout_us, sd_bus_slot **ret) {
        Sent *sent = malloc(sizeof(*sent));
        sd_bus_slot *slot = NULL;
        int r;

        if (!sent) {
                free(userdata);
                return -ENOMEM;
        }
        *sent = (Sent){.open = bus->open, .handler = handler, .userdata = userdata};
        bus->open->n_ref++;
        bus->open->n_calls++;
        r = sd_bus_call_async(bus->bus, &slot, call, on_answer, sent, timeout_us);
        if (r >= 0)
                r = sd_bus_slot_set_destroy_callback(slot, sent_free);
        if (r < 0) {
                sd_bus_slot_unref(slot);
                sent_free(sent);
                return r;
        }
        *ret = slot;
        return 0;
}

int bus_call_send(Bus *bus, sd_bus_message *call, BusReader reader, BusAnswer answer,
                  void *userdata, sd_bus_slot **ret) {
        Question *q = malloc(sizeof(*q));
        sd_bus_slot *slot = NULL;
        int r;

        if (!q)
                return -ENOMEM;
        *q = (Question){.answer = answer, .reader = reader, .userdata = userdata};
        r = bus_send(bus, call, on_reply, q, ANSWER_USEC, &slot);
        if (r < 0)
                return r;
        if (ret)
                *ret = slot;
        else {
                (void) sd_bus_slot_set_floating(slot, true);
                sd_bus_slot_unref(slot);
        }
        return 0;
}
