/* SPDX-License-Identifier: MIT */
/* A job's steps, one row each: mark, id, what is to be known of it, time. */
#include "api/text.h"
#include "client/updctl/ctl.h"

typedef struct StepLook {
        const char *state;
        const char *mark, *ascii;
        Style style;
} StepLook;

static const StepLook looks[] = {
        {"pending", "\u00b7", ".", DIM}, {"running", "\u25b8", ">", NOTE},
        {"waiting", "?", "?", WARN},     {"done", "\u2713", "+", GOOD},
        {"failed", "\u2717", "x", BAD},  {"interrupted", "!", "!", BAD},
        {"skipped", "-", "-", DIM},      {"undoing", "\u25c2", "<", WARN},
        {"undone", "\u21b6", "<", WARN}, {"undo_failed", "\u2717", "x", BAD},
};

static const StepLook *step_look(const json_t *step) {
        const char *state = get_text(step, "state");

        for (size_t i = 0; i < ELEMENTSOF(looks); i++)
                if (streq0(state, looks[i].state))
                        return &looks[i];
        return &looks[0];
}

static bool is_active(const json_t *step) {
        const char *state = get_text(step, "state");

        return streq0(state, "running") || streq0(state, "undoing") || streq0(state, "waiting");
}

static char *step_span(const json_t *step) {
        int64_t from = get_time(step, "started"), to = get_time(step, "ended");
        const json_t *attempt = json_object_get(step, "attempt");

        if (is_active(step)) {
                from = get_time(attempt, "started") > 0 ? get_time(attempt, "started") : from;
                to = now_wall_ms();
        }
        return from > 0 && to > 0 ? span_text(to - from) : NULL;
}

/* The one thing to know about a step now. Caller frees. */
static char *step_detail(const json_t *step) {
        const char *note = get_text(step, "note"), *title = get_text(step, "title");
        const char *left = get_text(step, "left"), *state = get_text(step, "state");
        const char *error = get_text(json_object_get(step, "error"), "message");

        if (error && !streq0(state, "done") && !is_active(step))
                return strdup(error);
        if (left)
                return strf("left as it is: %s", left);
        if (is_active(step) && note)
                return strdup(note);
        if (streq0(state, "interrupted"))
                return strdup("interrupted");
        if (streq0(state, "undone") || streq0(state, "undoing"))
                return strf("%s%s%s", state, title ? ": " : "", title ? title : "");
        if (streq0(state, "skipped"))
                return strf("skipped%s%s", note ? ": " : "", note ? note : "");
        return strdup(title ? title : "");
}

/* "git: checkout=v2.0, fetch=origin", what a dry run would have done. */
static void put_would(const Screen *s, const json_t *step) {
        const json_t *would = json_object_get(step, "would"), *args;
        _cleanup_free_ char *line = NULL;
        const char *verb = get_text(would, "verb"), *key;
        json_t *value;

        args = verb ? json_object_get(would, "args") : would;
        line = json_is_object(args) ? strf("would %s:", verb ? verb : "do") : NULL;
        json_object_foreach ((json_t *) args, key, value) {
                _cleanup_free_ char *text = value_text(value), *before = line;

                line = strf("%s %s=%s", before ? before : "", key, text ? text : "");
        }
        if (line)
                put_text(s, 5, "", DIM, line);
}

static void put_step(const Screen *s, const json_t *step) {
        const StepLook *look = step_look(step);
        bool child = get_text(step, "parent") != NULL;
        _cleanup_free_ char *span = step_span(step), *detail = step_detail(step);
        _cleanup_free_ char *id = strf("%s%s", child ? "  " : "", step_of(step));
        int room = s->width > 0 ? MAX(s->width - 2 - 1 - 2 - 18 - 2 - 2 - 8, 8) : 40;
        bool bad = look->style == BAD;

        put_cells(s, 2, {look->style, 1, s->utf8 ? look->mark : look->ascii},
                  {is_active(step) ? BOLD : PLAIN, 18, id},
                  {bad ? BAD : DIM, room, detail ? detail : ""}, {DIM, -8, span});
}

static bool is_shown(const json_t *step) {
        return !streq0(get_text(step, "phase"), "hook") ||
               !streq0(get_text(step, "state"), "pending");
}

/* A word before the first step of the phases that are not the plan's main line. */
static const char *phase_words(const char *phase) {
        if (streq0(phase, "checks"))
                return "checks";
        if (streq0(phase, "finalise"))
                return "when the way back closes";
        if (streq0(phase, "then"))
                return "afterwards";
        if (streq0(phase, "hook"))
                return "hooks";
        return "steps";
}

void put_checks(const Screen *s, const json_t *step, bool only_bad) {
        json_t *check;
        size_t i;

        json_array_foreach (json_object_get(step, "checks"), i, check) {
                bool ok = get_bool(check, "ok"),
                     soft = get_bool(check, "warn") || get_bool(check, "overridden");
                const char *name = get_text(check, "name"), *message = get_text(check, "message");
                const char *hint = get_text(check, "hint");
                _cleanup_free_ char *text = NULL;

                if (ok && only_bad)
                        continue;
                text = strf("%s%s%s%s", name ? name : get_text(check, "check"), message ? ": " : "",
                            message ? message : "",
                            get_bool(check, "overridden") ? " (overridden)" : "");
                put_text(s, 4,
                         ok     ? "ok  "
                         : soft ? "warn  "
                                : "NOT  ",
                         ok     ? DIM
                         : soft ? WARN
                                : BAD,
                         text ? text : "");
                if (hint && !ok)
                        put_text(s, 9, "hint: ", PLAIN, hint);
        }
}

void put_steps(const Screen *s, const json_t *job) {
        const char *last = NULL;
        json_t *step;
        size_t i;

        json_array_foreach (json_object_get(job, "steps"), i, step) {
                const char *phase = get_text(step, "phase");

                if (!is_shown(step))
                        continue;
                if (last && !streq0(last, phase))
                        put(s, DIM, "  %s\n", phase_words(phase));
                last = phase;
                put_step(s, step);
                put_would(s, step);
        }
}

/* The row that must be seen: the first active one, else the one after the last that has ended. */
static size_t focus_of(json_t **rows, size_t n) {
        size_t focus = 0;

        for (size_t i = 0; i < n; i++) {
                if (is_active(rows[i]))
                        return i;
                if (!streq0(get_text(rows[i], "state"), "pending"))
                        focus = i;
        }
        return focus;
}

static void put_more(const Screen *s, size_t n, const char *words) {
        if (n > 0)
                put(s, DIM, "  %s %zu %s\n", s->utf8 ? "\u2026" : "...", n, words);
}

void put_steps_within(const Screen *s, const json_t *job, int limit) {
        const json_t *steps = json_object_get(job, "steps");
        _cleanup_free_ json_t **rows = calloc(json_array_size(steps) + 1, sizeof(json_t *));
        size_t n = 0, first = 0, room = (size_t) MAX(limit, 3), i, focus;
        json_t *step;

        if (!rows)
                return;
        json_array_foreach ((json_t *) steps, i, step)
                if (is_shown(step) && !streq0(get_text(step, "phase"), "finalise"))
                        rows[n++] = step;
        if (limit > 0 && n > room) {
                room -= 2;
                focus = focus_of(rows, n);
                first = focus > room / 2 ? MIN(focus - room / 2, n - room) : 0;
        } else
                room = n;
        put_more(s, first, "before");
        for (i = first; i < first + room; i++)
                put_step(s, rows[i]);
        put_more(s, n - first - room, "to come");
}
