/* SPDX-License-Identifier: MIT */
/*
 * Jobs that are there before their schedule's timer elapses. A plan may want a notice to go out some
 * time before its window opens (`notify_before`, and hooks for `notice`), and notices are a job's: so
 * systemd is asked for the next elapse of such a schedule, and the job of that elapse is made that
 * much earlier, with the window where it belongs. When the timer elapses it finds its job there
 * (elapses.c). A job that was made ahead goes when its schedule is changed or removed.
 *
 * Nothing of this is kept: it is looked at anew when updd starts, a schedule changes, the wall clock
 * is set, and when something is due.
 */
#include "api/args.h"
#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define SOON_MS (INT64_C(60) * 1000)      /* systemd cannot say */
#define LATER_MS (INT64_C(5) * 60 * 1000) /* the job cannot be made now: its target is busy, say */
#define BEHIND_MS (INT64_C(10) * 1000)    /* after an elapse systemd knows of the next */
#define ELAPSING_MS (INT64_C(15) * 60 * 1000) /* so long what the timer started may run */

struct AheadLook {
        Engine *engine;
        AheadLook *next;
        char *name;
        sd_bus_slot *slot;
};

static AheadLook *look_free(AheadLook *look) {
        if (!look)
                return NULL;
        sd_bus_slot_unref(look->slot);
        free(look->name);
        free(look);
        return NULL;
}
DEFINE_CLEANUP(AheadLook *, look_free)

void ahead_free(Engine *e) {
        while (e->ahead) {
                AheadLook *look = e->ahead;

                e->ahead = look->next;
                look_free(look);
        }
}

static void look_in(Engine *e, int64_t ms) {
        e->ahead_at = MIN(e->ahead_at, now_boot_ms() + ms);
}

static int64_t notice_ms(const json_t *row) {
        return json_integer_value(json_object_get(json_object_get(row, "active"), "notice"));
}

/* ---- calls of updd's own ---- */

static void on_reply(void *userdata, const Reply *reply) {
        Engine *e = userdata;

        if (reply->err == 0)
                return;
        log_warning("a schedule's job cannot be made or withdrawn ahead of its elapse, trying "
                    "again: %s",
                    reply->error.message ? reply->error.message : strerror(reply->err));
        look_in(e, LATER_MS);
}

/* Steals the body. */
static void submit(Engine *e, CallKind kind, int64_t job, json_t *body) {
        Call *call = calloc(1, sizeof(*call));

        if (call)
                *call = (Call){.kind = kind,
                               .job = job,
                               .body = body,
                               .who = strdup("updd"),
                               .reply = on_reply,
                               .userdata = e};
        else
                json_decref(body);
        if (call && (!call->body || !call->who))
                call = call_free(call);
        if (!call || engine_submit(e, call) < 0)
                look_in(e, SOON_MS);
}

static void make(Engine *e, const char *name, const Elapse *elapse) {
        char of[TIME_TEXT_MAX], at[TIME_TEXT_MAX];

        submit(e, CALL_SCHEDULE_RUN, 0,
               json_pack("{s:s, s:s, s:s, s:b}", "name", name, "elapse",
                         time_format(elapse->of, of), "at", time_format(elapse->at, at), "ahead",
                         1));
}

static bool is_ahead(const Job *job) {
        return json_object_get(job->facts, "ahead_of") &&
               (job->state == JOB_QUEUED || job->state == JOB_WAITING) && job->started == 0 &&
               window_is(job, "ahead");
}

/* Made ahead for an elapse that its schedule does not have any more. */
static bool is_orphan(const Engine *e, const Job *job) {
        const char *name = args_text(job->facts, "ahead_of", "");

        return is_ahead(job) && !elapse_has_job(json_object_get(e->schedules, name), job->id);
}

static void withdraw_orphans(Engine *e) {
        for (unsigned i = 0; i < e->n_slots; i++)
                if (is_orphan(e, e->slots[i].job))
                        submit(e, CALL_CANCEL, e->slots[i].job->id,
                               json_pack("{s:s}", "reason", "its schedule was changed"));
}

int ahead_withdraw_missed(Batch *b, Error *reterr) {
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < b->engine->n_slots; i++) {
                const Job *job = b->engine->slots[i].job;
                Job *copy;

                if (!is_ahead(job) || window_ms(job, "begins") > b->turn.wall_now)
                        continue;
                copy = batch_job(b, job->id);
                if (!copy)
                        return error_oom(reterr);
                r = waits_check(&b->turn, copy, reterr);
                if (r >= 0)
                        r = schedule_settle(b, copy, reterr);
        }
        return r;
}

/* ---- looking ---- */

/* A random delay is worked out anew whenever systemd reads its units; the elapse stays the same. */
static Elapse next_elapse(const BusTimer *timer) {
        int64_t at = (int64_t) (timer->next_us / 1000), of = (int64_t) (timer->calendar_us / 1000);

        return (Elapse){.of = of > 0 && of < at ? of : at, .at = at};
}

static void decide(Engine *e, const char *name, const BusTimer *timer) {
        const json_t *row = json_object_get(e->schedules, name);
        int64_t last = (int64_t) (timer->last_us / 1000), now = now_wall_ms();
        int64_t notice = notice_ms(row);
        Elapse next = next_elapse(timer);

        if (next.at == 0 && last > now - ELAPSING_MS)
                look_in(e, SOON_MS);
        if (next.at == 0 || notice == 0)
                return;
        if (elapse_job(row, &(Elapse){.of = next.of}) > 0)
                look_in(e, MAX(next.at - now, INT64_C(0)) + BEHIND_MS);
        else if (next.at <= now) /* its timer fires: there is no ahead of it any more */
                look_in(e, SOON_MS);
        else if (next.at - notice <= now)
                make(e, name, &next);
        else
                look_in(e, next.at - notice - now);
}

static void on_timer(void *userdata, int r, const BusTimer *timer) {
        AheadLook *look = userdata;

        look->slot = sd_bus_slot_unref(look->slot);
        if (r >= 0)
                decide(look->engine, look->name, timer);
        else
                look_in(look->engine, SOON_MS);
}

static int ask(Engine *e, const char *name) {
        _cleanup_(look_freep) AheadLook *look = calloc(1, sizeof(AheadLook));
        _cleanup_free_ char *unit = strf(TIMER_UNIT, name);
        int r;

        if (!look || !unit || !(look->name = strdup(name)))
                return -ENOMEM;
        look->engine = e;
        r = bus_timer_look(e->bus, unit, on_timer, look, &look->slot);
        if (r < 0)
                return r;
        look->next = e->ahead;
        e->ahead = TAKE(look);
        return 0;
}

void ahead_look(Engine *e) {
        const char *name;
        json_t *row;

        if (!e->bus || e->sick || e->ahead_at > now_boot_ms())
                return;
        ahead_free(e);
        e->ahead_at = INT64_MAX;
        withdraw_orphans(e);
        json_object_foreach (e->schedules, name, row)
                if (notice_ms(row) > 0 && ask(e, name) < 0)
                        look_in(e, SOON_MS);
}
