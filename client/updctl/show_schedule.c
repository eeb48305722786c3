/* SPDX-License-Identifier: MIT */
/* Screens of schedules. */
#include <inttypes.h>

#include "api/text.h"
#include "client/updctl/schedule.h"

char *schedule_time(const json_t *schedule, const char *key) {
        int64_t ms = get_time(schedule, key);

        return ms > 0 ? when_text(ms)
                      : strdup(json_object_get(schedule, key) ? "never" : "not known");
}

static void put_line(const Screen *s, const char *key, const char *value) {
        if (value)
                put_cells(s, 2, {DIM, 10, key}, {PLAIN, 0, value});
}

static char *inputs_text(const json_t *inputs) {
        json_auto_t *list = json_array();
        json_t *value;
        const char *key;

        json_object_foreach ((json_t *) inputs, key, value) {
                _cleanup_free_ char *text = value_text(value);

                (void) json_array_append_new(list, json_sprintf("%s=%s", key, text ? text : ""));
        }
        return join_texts(list, " ");
}

static void put_state(const Screen *s, const json_t *schedule) {
        const json_t *change = json_object_get(schedule, "change");
        _cleanup_free_ char *text = NULL;

        if (!change)
                return;
        text = strf("%s: job %" PRId64 " is to %s it", get_text(schedule, "state"),
                    get_int(change, "job"), get_text(change, "does"));
        put_line(s, "state", text);
}

void put_schedule(const Screen *s, const json_t *schedule) {
        _cleanup_free_ char *next = schedule_time(schedule, "next");
        _cleanup_free_ char *last = schedule_time(schedule, "last");
        _cleanup_free_ char *inputs = inputs_text(json_object_get(schedule, "inputs"));
        _cleanup_free_ char *labels = inputs_text(json_object_get(schedule, "labels"));
        _cleanup_free_ char *job =
                get_int(schedule, "job") > 0 ? strf("%" PRId64, get_int(schedule, "job")) : NULL;

        put(s, BOLD, "%s\n", get_text(schedule, "name"));
        put_state(s, schedule);
        put_line(s, "plan", get_text(schedule, "plan"));
        put_line(s, "on", get_text(schedule, "on"));
        put_line(s, "window", get_text(schedule, "window"));
        put_line(s, "inputs", inputs);
        put_line(s, "labels", labels);
        put_line(s, "missed", get_text(schedule, "missed"));
        put_line(s, "next", next);
        put_line(s, "last", last);
        put_line(s, "last job", job);
        put_line(s, "by", get_text(schedule, "by"));
}

void put_schedule_line(const Screen *s, const json_t *schedule) {
        _cleanup_free_ char *next = schedule_time(schedule, "next");
        _cleanup_free_ char *last = schedule_time(schedule, "last");
        const char *state = get_text(schedule, "state");

        put_cells(s, 0, {BOLD, 16, get_text(schedule, "name")},
                  {PLAIN, 18, get_text(schedule, "plan")}, {PLAIN, 18, next}, {DIM, 18, last},
                  {streq0(state, "active") ? DIM : WARN, 8, state},
                  {PLAIN, 0, get_text(schedule, "on")});
}
