/* SPDX-License-Identifier: MIT */
/*
 * timer {name, on, missed}: updd's own, for schedules. The instance of updctl-start@.timer that has
 * the schedule's name gets a drop-in that says when it elapses, is enabled and started; without `on`
 * all of that is taken away, and nothing of anybody else's. Undo puts back the drop-in, and makes the
 * timer what it was.
 *   {"undo": "timer", …: unit_file_record()}   how it was, before the first change; noted by an
 *                                              earlier version: {"undo", "enabled", "active": bool}
 */
#include "daemon/plan/plan.h"
#include "daemon/step/place.h"
#include "daemon/step/services_unit.h"

#define UNITS "/etc/systemd/system"
#define DROP_IN "schedule.conf"
#define SETTLE_MS 30000
#define LOOK_MS 20

typedef struct Timer {
        Service service; /* no plan's: what the calls to systemd go by */
        char *unit, *folder, *file;
} Timer;

static void timer_done(Timer *t) {
        service_done(&t->service);
        free(t->unit);
        free(t->folder);
        free(t->file);
}
#define _cleanup_timer_ _cleanup_(timer_done)

static int timer_init(Timer *t, const json_t *args, Error *reterr) {
        t->service.kind = &service_unit;
        t->unit = strf(TIMER_UNIT, args_text(args, "name", ""));
        t->folder = t->unit ? strf(UNITS "/%s.d", t->unit) : NULL;
        t->file = t->folder ? path_join(t->folder, DROP_IN) : NULL;
        return t->file ? 0 : error_oom(reterr);
}

/* ---- systemd ---- */

static int timer_is_active(Step *s, Timer *t, Error *reterr) {
        json_auto_t *p = NULL;
        int r = unit_show(s, &t->service, t->unit, &p, reterr);

        return r < 0 ? r : unit_is_active(p);
}

static int timer_job(Step *s, Timer *t, const char *method, Error *reterr) {
        _cleanup_free_ char *result = NULL;
        int r = unit_job(s, &t->service, method, t->unit, SETTLE_MS, &result, reterr);

        if (r >= 0)
                r = timer_is_active(s, t, reterr);
        if (r < 0 || (r > 0) == streq(method, "StartUnit"))
                return MIN(r, 0);
        return error_set(reterr, EREMOTEIO, "timer-failed", "systemd: %s %s: %s", method, t->unit,
                         result ? result : "not done in time");
}

/* Before its files change: a timer that runs while systemd reads them counts what would have elapsed
 * since it did last, and a new calendar event would elapse at once. */
static int timer_stop(Step *s, Timer *t, Error *reterr) {
        int r = timer_is_active(s, t, reterr);

        return r <= 0 ? r : timer_job(s, t, "StopUnit", reterr);
}

/* Is it in systemd's memory? 1 or 0. Asking does not load it. */
static int timer_is_loaded(Step *s, Timer *t, Error *reterr) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = unit_call(s, &t->service, NULL, &error, UNIT_MANAGER_PATH, UNIT_MANAGER, "GetUnit",
                          "s", t->unit);

        if (r == -ENOENT)
                return 0;
        if (r >= 0)
                return 1;
        error_move(reterr, &error);
        return r;
}

/* A timer that is started again counts what would have elapsed since it was started before, whatever
 * it was then (systemd 252), unless systemd has forgotten it: one that nothing wants is let go. */
static int timer_unload(Step *s, Timer *t, Error *reterr) {
        json_auto_t *p = NULL;
        int r = unit_show(s, &t->service, t->unit, &p, reterr);

        if (r >= 0)
                r = unit_file_disable(s, t->unit, p, reterr);
        if (r >= 0) /* one that failed is not let go */
                r = unit_reset_failed(s, &t->service, t->unit, reterr);
        if (r >= 0)
                r = unit_reload(s, &t->service, reterr);
        for (int ms = 0; r >= 0 && ms < SETTLE_MS; ms += LOOK_MS) {
                r = timer_is_loaded(s, t, reterr);
                if (r <= 0)
                        return r;
                r = step_sleep(s, LOOK_MS);
        }
        return r < 0 ? r
                     : error_set(reterr, ETIMEDOUT, "timer-failed", "systemd does not let go of %s",
                                 t->unit);
}

/* When it elapsed last (`Persistent=`): what has another calendar event, or comes after it under its
 * name, has missed nothing. */
static void timer_forget(Step *s, Timer *t) {
        if (unit_call(s, &t->service, NULL, NULL, UNIT_MANAGER_PATH, UNIT_MANAGER, "CleanUnit",
                      "sas", t->unit, 1, "state") < 0)
                step_log(s, "systemd keeps nothing of %s", t->unit);
}

/* ---- the record ---- */

/* The record's entry, or NULL. Borrowed. */
static int find_note(Step *s, const json_t **ret, Error *reterr) {
        const json_t *entries, *entry;
        size_t i;
        int r = step_undo_entries(s, &entries, reterr);

        *ret = NULL;
        if (r < 0)
                return r;
        json_array_foreach ((json_t *) entries, i, entry)
                if (streq0(args_text(entry, "undo", NULL), "timer"))
                        *ret = entry;
        return 0;
}

static int note_state(Step *s, Timer *t, Error *reterr) {
        json_auto_t *p = NULL, *entry = NULL;
        const json_t *noted;
        int r = find_note(s, &noted, reterr);

        if (r < 0 || noted)
                return r;
        r = unit_show(s, &t->service, t->unit, &p, reterr);
        if (r < 0)
                return r;
        entry = json_pack("{s:s}", "undo", "timer");
        if (!entry)
                return error_oom(reterr);
        r = unit_file_record(p, t->unit, entry, reterr);
        return r < 0 ? r : step_undo_note(s, TAKE(entry), reterr);
}

/* As unit_file_restore() takes it. The caller owns. */
static int note_read(const Timer *t, const json_t *noted, json_t **ret, Error *reterr) {
        bool enabled = json_is_true(json_object_get(noted, "enabled"));
        bool active = json_is_true(json_object_get(noted, "active"));

        if (json_object_get(noted, "unit"))
                *ret = json_incref((json_t *) noted);
        else
                *ret = json_pack("{s:s, s:s, s:b}", "unit", t->unit, "enabled",
                                 enabled ? "enabled" : "disabled", "ran", active);
        return *ret ? 0 : error_oom(reterr);
}

/* ---- do and undo ---- */

static int set(Step *s, Timer *t, const json_t *args, const char *on, Error *reterr) {
        bool late = streq(args_text(args, "missed", "skip"), "run");
        _cleanup_free_ char *text = NULL;
        FileContent content = {.fd = -EBADF};
        int r;

        text = strf("# Written by updd: see `updctl schedule show %s`.\n"
                    "[Timer]\n"
                    "OnCalendar=\n"
                    "OnCalendar=%s\n"
                    "Persistent=%s\n",
                    args_text(args, "name", ""), on, late ? "yes" : "no");
        if (!text)
                return error_oom(reterr);
        content.data = text;
        content.size = strlen(text);
        r = timer_stop(s, t, reterr);
        if (r >= 0)
                r = keep_parents(s, t->file, reterr);
        if (r >= 0)
                r = place_file(s, NULL, t->file, &content, 0644, reterr);
        if (r < 0)
                return r;
        step_log(s, "%s says when", t->file);
        timer_forget(s, t);
        r = timer_unload(s, t, reterr);
        if (r >= 0)
                r = unit_file_change(s, &t->service, "EnableUnitFiles", t->unit, false, reterr);
        return r < 0 ? r : timer_job(s, t, "StartUnit", reterr);
}

/* Its folder goes with it, unless somebody else has put something there. */
static int take_drop_in(Step *s, Timer *t, Error *reterr) {
        struct stat st;
        int r = lstat(t->file, &st) >= 0 ? keep_move(s, t->file, t->file, reterr) : 0;

        if (r < 0)
                return r;
        if (rmdir(t->folder) >= 0)
                r = parent_sync(t->folder);
        else if (errno != ENOENT && errno != ENOTDIR && errno != ENOTEMPTY && errno != EEXIST)
                r = -errno;
        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot remove the folder %s: %s",
                                 t->folder, strerror(-r))
                     : 0;
}

static int take_away(Step *s, Timer *t, Error *reterr) {
        int r = timer_stop(s, t, reterr);

        if (r < 0)
                return r;
        timer_forget(s, t);
        r = take_drop_in(s, t, reterr);
        return r < 0 ? r : timer_unload(s, t, reterr);
}

static int timer_run(Step *s, const json_t *args, Error *reterr) {
        const char *on = args_text(args, "on", NULL);
        _cleanup_timer_ Timer t = {0};
        int r = timer_init(&t, args, reterr);

        if (r >= 0)
                r = note_state(s, &t, reterr);
        if (r < 0)
                return r;
        return on ? set(s, &t, args, on, reterr) : take_away(s, &t, reterr);
}

static int timer_undo(Step *s, const json_t *args, Error *reterr) {
        _cleanup_timer_ Timer t = {0};
        json_auto_t *was = NULL;
        const json_t *noted;
        int r = find_note(s, &noted, reterr);

        /* Nothing recorded: nothing was changed. */
        if (r < 0 || !noted)
                return r;
        r = timer_init(&t, args, reterr);
        if (r >= 0)
                r = note_read(&t, noted, &was, reterr);
        if (r < 0)
                return r;
        r = timer_stop(s, &t, reterr);
        if (r >= 0)
                r = keep_undo(s, reterr);
        if (r >= 0)
                r = timer_unload(s, &t, reterr);
        if (r >= 0)
                r = unit_file_restore(s, &t.service, was, reterr);
        if (r >= 0 && json_is_true(json_object_get(was, "ran")))
                r = timer_job(s, &t, "StartUnit", reterr);
        return unit_file_remask(s, &t.service, was, r, reterr);
}

const Verb verb_timer = {"timer", timer_run, timer_undo};
