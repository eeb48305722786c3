/* SPDX-License-Identifier: MIT */
/*
 * Following without a terminal: the job's journal, a line for each event that a reader wants, and
 * what is asked when the job waits.
 */
#include <inttypes.h>

#include "api/text.h"
#include "client/updctl/follow.h"

#define QUIET_MS 3000

/* Events that are told, with their word. Those that are not in the table are of no use to who
 * reads along. */
typedef struct EventLook {
        const char *type, *word;
        Style style;
} EventLook;

static const EventLook looks[] = {

        {"step_done", "done", GOOD},          {"step_failed", "failed", BAD},
        {"step_skipped", "skipped", DIM},     {"step_interrupted", "broken", BAD},
        {"step_retry", "again", WARN},        {"step_undone", "undone", WARN},
        {"step_undo_failed", "failed", BAD},  {"step_left", "left", WARN},
        {"wait_ticked", "ticked", NOTE},      {"deadline_missed", "missed", WARN},
        {"override", "override", WARN},       {"plan_changed", "changed", NOTE},
        {"decided", "decided", WARN},         {"state", "job", NOTE},
        {"hook_failed", "failed", WARN},      {"way_back_closed", "closed", DIM},
        {"finalise_done", "finalised", GOOD}, {"stop_wanted", "stopping", WARN},
        {"clock_set", "clock", NOTE},         {"window_opened", "window", NOTE},
        {"window_closed", "window", WARN},    {"window_ahead", "window", WARN},
        {"reminded", "reminded", NOTE},
};

static const EventLook *event_look(const char *type) {
        for (size_t i = 0; i < ELEMENTSOF(looks); i++)
                if (streq0(type, looks[i].type))
                        return &looks[i];
        return NULL;
}

static void note_begin(Follow *f, const json_t *event) {
        const char *type = get_text(event, "type"), *step = get_text(event, "step");

        if (step && (streq0(type, "step_started") || streq0(type, "step_undoing")))
                (void) json_object_set_new(f->begun, step, json_integer(get_time(event, "time")));
}

/* " (1.2s)" for the end of an attempt. Caller frees. */
static char *took_text(const Follow *f, const json_t *event) {
        const char *type = get_text(event, "type"), *step = get_text(event, "step");
        int64_t from = step ? get_int(f->begun, step) : 0;
        _cleanup_free_ char *span = NULL;

        if (from == 0 || !(streq0(type, "step_done") || streq0(type, "step_failed") ||
                           streq0(type, "step_undone") || streq0(type, "step_undo_failed")))
                return strdup("");
        span = span_text(get_time(event, "time") - from);
        return strf(" (%s)", span);
}

/* What the event says beyond its type. Borrowed, or NULL. */
static const char *event_message(const json_t *event) {
        static const char *const keys[] = {"message", "decided", "why",   "because",
                                           "reason",  "item",    "check", "when"};
        const json_t *data = json_object_get(event, "data");
        const char *text = get_text(json_object_get(data, "error"), "message");

        for (size_t i = 0; !text && i < ELEMENTSOF(keys); i++)
                text = get_text(data, keys[i]);
        return text;
}

static void put_event(const Follow *f, const json_t *event) {
        const Screen *s = f->ctl->out;
        const char *type = get_text(event, "type");
        const char *step = get_text(event, "step") ? step_of(event) : NULL;
        const EventLook *look = event_look(type);
        _cleanup_free_ char *clock = clock_text(get_time(event, "time"));
        _cleanup_free_ char *took = took_text(f, event);
        const char *message = event_message(event), *to;

        if (!look)
                return;
        to = get_text(json_object_get(event, "data"), "to");
        put(s, DIM, "%s ", clock);
        if (streq(type, "state")) {
                put(s, PLAIN, "%-8s", "job");
                put(s, state_look(to)->style, "%s\n", state_look(to)->words);
                return;
        }
        put(s, look->style, "%-8s", look->word);
        /* Of several lines the first: a failure is told whole at the end. */
        put(s, PLAIN, "%s%s%.*s%s\n", step ? step : "", message && step ? ": " : "",
            message ? (int) strcspn(message, "\n") : 0, message ? message : "", took ? took : "");
}

static void put_new_waits(Follow *f) {
        const json_t *job = f->last.json;
        json_t *wait;
        size_t i;

        if (!job_waits_for_person(job))
                return;
        json_array_foreach (json_object_get(job, "waits"), i, wait) {
                const char *id = get_text(wait, "id");

                if (id && !json_object_get(f->seen, id)) {
                        (void) json_object_set_new(f->seen, id, json_true());
                        put_waits(f->ctl->out, job);
                }
        }
}

static int tell_event(Ctl *ctl, const json_t *event, void *userdata) {
        Follow *f = userdata;

        note_begin(f, event);
        put_event(f, event);
        return 0;
}

int plain_tell(Follow *f) {
        if (f->told < get_int(f->last.json, "version")) {
                int r = events_each(f->ctl, f->id, &f->told, tell_event, f);

                if (r > 0)
                        return r;
        }
        put_new_waits(f);
        (void) fflush(f->ctl->out->f);
        return 0;
}

void plain_tick(Follow *f) {
        json_t *step;
        size_t i;

        json_array_foreach (json_object_get(f->last.json, "steps"), i, step) {
                const char *state = get_text(step, "state"), *id = get_text(step, "id");
                const char *note = get_text(step, "note");
                int64_t began = id ? get_int(f->begun, id) : 0, now = now_wall_ms();
                _cleanup_free_ char *clock = clock_text(now);

                if (!streq0(state, "running") && !streq0(state, "undoing"))
                        continue;
                if (began == 0 || now - began < QUIET_MS || streq0(f->running, id))
                        return;
                free(f->running);
                f->running = strdup(id);
                put(f->ctl->out, DIM, "%s ", clock);
                put(f->ctl->out, NOTE, "%-8s", state);
                put(f->ctl->out, PLAIN, "%s%s%s\n", step_of(step), note ? ": " : "",
                    note ? note : "");
                (void) fflush(f->ctl->out->f);
                return;
        }
}
