/* SPDX-License-Identifier: MIT */
/*
 * timer {name, on, missed}: updd's own, for schedules. The instance of updctl-start@.timer that has
 * the schedule's name gets a drop-in that says when it elapses, is enabled and started; without `on`
 * all of that is taken away. Undo puts back the drop-in, and makes the timer what it was.
 *   {"undo": "timer", "enabled", "active"}   how it was, before the first change
 */
#include "daemon/step/place.h"
#include "daemon/step/timer_bus.h"

#include <systemd/sd-bus.h>

#define UNITS "/etc/systemd/system"
#define DROP_IN "schedule.conf"

typedef struct Timer {
        sd_bus *bus;
        char *unit, *folder, *file;
} Timer;

static void timer_done(Timer *t) {
        sd_bus_flush_close_unref(t->bus);
        free(t->unit);
        free(t->folder);
        free(t->file);
}
#define _cleanup_timer_ _cleanup_(timer_done)

static int timer_init(Timer *t, const json_t *args, Error *reterr) {
        t->unit = strf("updctl-start@%s.timer", args_text(args, "name", ""));
        t->folder = t->unit ? strf(UNITS "/%s.d", t->unit) : NULL;
        t->file = t->folder ? path_join(t->folder, DROP_IN) : NULL;
        return t->file ? timer_bus_open(&t->bus, reterr) : error_oom(reterr);
}

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

static int note_state(Step *s, const Timer *t, Error *reterr) {
        const json_t *noted;
        TimerState was;
        int r = find_note(s, &noted, reterr);

        if (r < 0 || noted)
                return r;
        r = timer_look(t->bus, t->unit, &was, reterr);
        if (r < 0)
                return r;
        return step_undo_note(s,
                              json_pack("{s:s, s:b, s:b}", "undo", "timer", "enabled", was.enabled,
                                        "active", was.active),
                              reterr);
}

static int set(Step *s, const Timer *t, const json_t *args, const char *on, Error *reterr) {
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
        r = keep_parents(s, t->file, reterr);
        if (r >= 0)
                r = place_file(s, NULL, t->file, &content, 0644, reterr);
        if (r < 0)
                return r;
        step_log(s, "%s says when", t->file);
        return timer_set(s, t->bus, t->unit, (TimerState){.enabled = true, .active = true}, reterr);
}

static int take_away(Step *s, const Timer *t, Error *reterr) {
        struct stat st;
        int r = timer_set(s, t->bus, t->unit, (TimerState){0}, reterr);

        if (r < 0)
                return r;
        timer_forget(t->bus, t->unit);
        if (lstat(t->folder, &st) < 0 && errno == ENOENT)
                return 0;
        r = keep_move(s, t->folder, t->folder, reterr);
        /* What systemd still has of it must go too. */
        return r < 0 ? r : timer_set(s, t->bus, t->unit, (TimerState){0}, reterr);
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
        const json_t *noted;
        int r = find_note(s, &noted, reterr);

        /* Nothing recorded: nothing was changed. */
        if (r < 0 || !noted)
                return r;
        r = timer_init(&t, args, reterr);
        if (r >= 0)
                r = keep_undo(s, reterr);
        if (r < 0)
                return r;
        return timer_set(s, t.bus, t.unit,
                         (TimerState){
                                 .enabled = json_is_true(json_object_get(noted, "enabled")),
                                 .active = json_is_true(json_object_get(noted, "active")),
                         },
                         reterr);
}

const Verb verb_timer = {"timer", timer_run, timer_undo};
