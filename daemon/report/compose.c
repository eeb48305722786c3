/* SPDX-License-Identifier: MIT */
/*
 * What a report tells and in which order: how the job is, what can be done now, what failed, where
 * the way back stands, who decided what, then each step with its attempts, and the rest.
 */
#include "daemon/report/writer.h"

#include <inttypes.h>

static Tone state_tone(const char *state) {
        static const struct {
                const char *state;
                Tone tone;
        } table[] = {
                {"succeeded", TONE_GOOD}, {"waiting", TONE_WARN},     {"rolling_back", TONE_WARN},
                {"cancelled", TONE_WARN}, {"rolled_back", TONE_WARN}, {"failed", TONE_BAD},
                {"stuck", TONE_BAD},      {"abandoned", TONE_BAD},
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq0(table[i].state, state))
                        return table[i].tone;
        return TONE_PLAIN;
}

/* "rolled back (dry run)" */
static char *state_text(const json_t *report) {
        bool dry = json_is_true(json_object_get(report, "dry_run"));
        char *text = strf("%s%s", text_of(report, "state") ? text_of(report, "state") : "unknown",
                          dry ? " (dry run: nothing was changed)" : "");

        for (char *c = text; c && *c; c++)
                if (*c == '_')
                        *c = ' ';
        return text;
}

static char *way_back_text(const json_t *report) {
        const json_t *way = json_object_get(report, "way_back");
        char until[MOMENT_MAX];
        const char *when = moment_of(way, "until", until);

        if (!json_is_object(way))
                return NULL;
        if (!json_is_true(json_object_get(way, "open")))
                return strdup("closed");
        return strf("open%s%s", *when ? " until " : "", when);
}

static char *window_text(const json_t *report) {
        const json_t *window = json_object_get(report, "window");
        char begins[MOMENT_MAX], ends[MOMENT_MAX];

        if (!json_is_object(window))
                return NULL;
        return strf("%s to %s (%s)", moment_of(window, "begins", begins),
                    moment_of(window, "ends", ends), text_of(window, "state"));
}

static char *pairs_text(const json_t *object) {
        char *out = strdup("");
        const char *key;
        json_t *value;

        json_object_foreach ((json_t *) object, key, value) {
                _cleanup_free_ char *text = value_text(value);
                char *longer =
                        out && text ? strf("%s%s%s=%s", out, *out ? ", " : "", key, text) : NULL;

                free(out);
                out = longer;
        }
        return out;
}

static void compose_head(Writer *w, const json_t *report) {
        _cleanup_free_ char *way = way_back_text(report), *took = span_of(report, "took_ms");
        _cleanup_free_ char *overrides = joined(json_object_get(report, "overrides"), NULL);
        _cleanup_free_ char *labels = pairs_text(json_object_get(report, "labels"));
        _cleanup_free_ char *state = state_text(report), *window = window_text(report);
        char created[MOMENT_MAX], started[MOMENT_MAX], ended[MOMENT_MAX];

        w->paragraph(w, state_tone(text_of(report, "state")), state ? state : "");
        w->table_begin(w, NULL, 2);
        fact(w, "Plan", text_of(report, "plan"));
        fact(w, "Target", text_of(report, "target"));
        fact(w, "Started by", text_of(report, "by"));
        fact(w, "Reason", text_of(report, "reason"));
        fact(w, "Asked for", moment_of(report, "created", created));
        fact(w, "Began", moment_of(report, "started", started));
        fact(w, "Ended", moment_of(report, "ended", ended));
        fact(w, "Took", took);
        fact(w, "Last decision", text_of(report, "decided"));
        fact(w, "Window", window);
        fact(w, "Way back", way);
        fact(w, "Checks overridden", overrides);
        fact(w, "Labels", labels);
        fact(w, "About", text_of(report, "about"));
        fact(w, "SHA-256 of the plan", text_of(report, "sha256"));
        w->table_end(w);
}

static void compose_wait(Writer *w, const json_t *wait) {
        static const char *const keys[] = {"ask", "prompt", "why", "message"};
        _cleanup_free_ char *line = NULL;
        char since[MOMENT_MAX], deadline[MOMENT_MAX];
        const char *words = NULL, *until = moment_of(wait, "deadline", deadline);

        for (size_t i = 0; i < ELEMENTSOF(keys) && !words; i++)
                words = text_of(wait, keys[i]);
        line = strf("%s waits since %s%s%s: %s", step_name(wait, "step"),
                    moment_of(wait, "since", since), *until ? ", until " : "", until,
                    words ? words : text_of(wait, "kind"));
        w->paragraph(w, TONE_WARN, line ? line : "");
}

static void compose_choices(Writer *w, const json_t *report) {
        const json_t *choices = json_object_get(report, "choices");
        json_t *choice, *wait;
        size_t i;

        if (json_array_size(choices) == 0)
                return;
        w->heading(w, 2, "What can be done now");
        json_array_foreach (json_object_get(report, "waits"), i, wait)
                compose_wait(w, wait);
        json_array_foreach ((json_t *) choices, i, choice) {
                json_auto_t *line = json_pack("[O]", json_object_get(choice, "command"));

                w->lines(w, line);
                w->paragraph(w, TONE_PLAIN, text_of(choice, "does"));
        }
}

static void compose_inputs(Writer *w, const json_t *report) {
        const json_t *inputs = json_object_get(report, "inputs");
        const json_t *secrets = json_object_get(report, "secrets");
        const char *name;
        json_t *value;
        size_t i;

        if (json_object_size(inputs) + json_array_size(secrets) == 0)
                return;
        w->heading(w, 2, "Inputs");
        w->table_begin(w, NULL, 2);
        json_object_foreach ((json_t *) inputs, name, value) {
                _cleanup_free_ char *text = value_text(value);

                fact(w, name, text);
        }
        json_array_foreach ((json_t *) secrets, i, value)
                fact(w, json_string_value(value), "(a secret)");
        w->table_end(w);
}

static void compose_left_out(Writer *w, const json_t *report, const char *key) {
        int64_t n = int_of(report, key);
        _cleanup_free_ char *text =
                n > 0 ? strf("%" PRId64
                             " entries in the middle are left out: updctl events %" PRId64
                             " has them all.",
                             n, int_of(report, "id"))
                      : NULL;

        if (text)
                w->paragraph(w, TONE_PLAIN, text);
}

static void compose_events(Writer *w, const json_t *report, const char *title, const char *key,
                           const char *left_out) {
        const json_t *events = json_object_get(report, key);
        json_t *event;
        size_t i;

        if (json_array_size(events) == 0)
                return;
        w->heading(w, 2, title);
        table_of(w, "When", "Who", "Step", "What");
        json_array_foreach ((json_t *) events, i, event) {
                const char *by = text_of(event, "by");
                char time[MOMENT_MAX];

                row_of(w, moment_of(event, "time", time), by ? by : "updd",
                       step_name(event, "step"), text_of(event, "says"));
        }
        w->table_end(w);
        compose_left_out(w, report, left_out);
}

static void compose_backups(Writer *w, const json_t *report) {
        const json_t *backups = json_object_get(report, "backups");
        json_t *backup;
        size_t i;

        if (json_array_size(backups) == 0)
                return;
        w->heading(w, 2, "Backups");
        table_of(w, "Step", "Backup", "Path", "Bytes", "SHA-256");
        json_array_foreach ((json_t *) backups, i, backup) {
                _cleanup_free_ char *size = value_text(json_object_get(backup, "size"));

                row_of(w, step_name(backup, "step"), text_of(backup, "id"), text_of(backup, "path"),
                       size, text_of(backup, "sha256"));
        }
        w->table_end(w);
}

void compose(Writer *w, const json_t *report) {
        const char *title =
                text_of(report, "title") ? text_of(report, "title") : text_of(report, "plan");
        _cleanup_free_ char *head =
                strf("Job %" PRId64 ": %s", int_of(report, "id"), title ? title : "");
        char time[MOMENT_MAX];
        _cleanup_free_ char *foot =
                strf("Made by updd %s from event %" PRId64 " of the job's journal.",
                     moment_of(report, "generated", time), int_of(report, "version"));

        w->begin(w, head ? head : "Job");
        compose_head(w, report);
        compose_failure(w, report);
        compose_choices(w, report);
        compose_events(w, report, "Decisions", "decisions", "decisions_left_out");
        compose_inputs(w, report);
        compose_steps(w, report);
        compose_backups(w, report);
        compose_events(w, report, "What else happened", "history", "history_left_out");
        w->end(w, foot ? foot : "");
}

int writer_run(Writer *w, const json_t *report, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        bool failed;

        w->f = open_memstream(&text, &size);
        if (!w->f)
                return -ENOMEM;
        compose(w, report);
        failed = ferror(w->f);
        if (fclose(TAKE(w->f)) != 0 || failed)
                return -ENOMEM;
        *ret = TAKE(text);
        return 0;
}
