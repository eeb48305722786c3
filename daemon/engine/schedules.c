/* SPDX-License-Identifier: MIT */
/*
 * Reading schedules: what the store keeps, and of each timer what systemd knows of it. systemd is
 * asked over the bus, all timers at once; the answer is made when the last of them is known.
 */
#include "api/args.h"
#include "daemon/engine/internal.h"

#define USEC_PER_MSEC 1000

typedef struct TimerLook {
        ScheduleLook *look;
        json_t *view; /* borrowed */
        sd_bus_slot *slot;
} TimerLook;

struct ScheduleLook {
        Engine *engine;
        ScheduleLook *next, *prev;
        json_t *list;
        bool one;
        unsigned n, open;
        TimerLook *timers;
        ReplyFunc reply;
        void *userdata;
};

static ScheduleLook *look_free(ScheduleLook *look) {
        if (!look)
                return NULL;
        if (look->prev)
                look->prev->next = look->next;
        else if (look->engine->looks == look)
                look->engine->looks = look->next;
        if (look->next)
                look->next->prev = look->prev;
        for (unsigned i = 0; i < look->n; i++)
                sd_bus_slot_unref(look->timers[i].slot);
        free(look->timers);
        json_decref(look->list);
        free(look);
        return NULL;
}
DEFINE_CLEANUP(ScheduleLook *, look_free)

void schedule_looks_free(Engine *e) {
        while (e->looks)
                look_free(e->looks);
}

static json_t *time_view(uint64_t us) {
        char time[TIME_TEXT_MAX];

        return us > 0 ? json_string(time_format((int64_t) (us / USEC_PER_MSEC), time))
                      : json_null();
}

static json_t *look_result(const ScheduleLook *look) {
        return look->one ? json_incref(json_array_get(look->list, 0))
                         : json_pack("{s:O}", "schedules", look->list);
}

static void look_answer(ScheduleLook *look) {
        Reply reply = {.body = look_result(look)};
        ReplyFunc func = look->reply;
        void *userdata = look->userdata;

        look_free(look);
        if (!reply.body)
                reply.err = -error_oom(&reply.error);
        func(userdata, &reply);
        error_done(&reply.error);
        json_decref(reply.body);
}

static void on_timer(void *userdata, int r, const BusTimer *timer) {
        TimerLook *t = userdata;
        ScheduleLook *look = t->look;

        t->slot = sd_bus_slot_unref(t->slot);
        if (r >= 0) {
                (void) json_put(t->view, "next", time_view(timer->next_us));
                (void) json_put(t->view, "last", time_view(timer->last_us));
                if (timer->calendar_us > 0 && timer->calendar_us <= timer->last_us)
                        (void) json_put(t->view, "elapse", time_view(timer->calendar_us));
        }
        if (--look->open == 0)
                look_answer(look);
}

static int look_ask(ScheduleLook *look, unsigned i, const char *name) {
        _cleanup_free_ char *unit = strf(TIMER_UNIT, name);
        TimerLook *t = &look->timers[i];
        int r;

        if (!unit)
                return -ENOMEM;
        *t = (TimerLook){.look = look, .view = json_array_get(look->list, i)};
        r = bus_timer_look(look->engine->bus, unit, on_timer, t, &t->slot);
        if (r >= 0)
                look->open++;
        /* A bus that is not to be had now leaves the times unknown. */
        return r == -ENOMEM ? r : 0;
}

/* The views first, in the order of their names; then the questions. */
static int look_begin(ScheduleLook *look, const char *name, Error *reterr) {
        Engine *e = look->engine;
        const json_t *row;
        const char *key;
        json_t *value;
        int r = 0;

        if (name) {
                r = schedule_find(e->schedules, name, &row, reterr);
                if (r < 0)
                        return r;
                r = json_array_append_new(look->list, schedule_view(e, name, row));
        } else
                json_object_foreach (e->schedules, key, value)
                        r |= json_array_append_new(look->list, schedule_view(e, key, value));
        look->n = (unsigned) json_array_size(look->list);
        look->timers = calloc(look->n + 1, sizeof(TimerLook));
        if (r < 0 || !look->timers)
                return error_oom(reterr);
        for (unsigned i = 0; i < look->n; i++) {
                json_t *view = json_array_get(look->list, i);

                r = look_ask(look, i, json_string_value(json_object_get(view, "name")));
                if (r < 0)
                        return error_oom(reterr);
        }
        return 0;
}

int engine_schedules(Engine *e, const char *name, ReplyFunc reply, void *userdata, json_t **ret,
                     Error *reterr) {
        _cleanup_(look_freep) ScheduleLook *look = NULL;
        int r = schedules_possible(e, reterr);

        if (r < 0)
                return r;
        look = calloc(1, sizeof(ScheduleLook));
        if (!look)
                return error_oom(reterr);
        *look = (ScheduleLook){.engine = e,
                               .next = e->looks,
                               .list = json_array(),
                               .one = name,
                               .reply = reply,
                               .userdata = userdata};
        if (look->next)
                look->next->prev = look;
        e->looks = look;
        r = look_begin(look, name, reterr);
        if (r < 0)
                return r;
        if (look->open > 0) {
                (void) TAKE(look);
                return 1;
        }
        *ret = look_result(look);
        return *ret ? 0 : error_oom(reterr);
}
