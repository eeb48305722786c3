/* SPDX-License-Identifier: MIT */
/* The steps: one table a phase, then whatever there is to tell of each. */
#include "daemon/report/writer.h"

#include <inttypes.h>

static const struct {
        const char *phase, *words;
} phases[] = {
        {"checks", "Checks before anything was touched"},
        {"main", "Steps"},
        {"then", "What the strategy did afterwards"},
        {"finalise", "When the way back closes"},
        {"hook", "Hooks"},
};

static bool is_of(const json_t *step, const char *phase) {
        return streq0(text_of(step, "phase"), phase);
}

/* "exit code 3", "killed by signal 9", or the error's message. */
static char *result_text(const json_t *attempt) {
        const char *message = text_of(json_object_get(attempt, "error"), "message");
        const json_t *exit = json_object_get(attempt, "exit");

        if (message)
                return strdup(message);
        return exit ? strf("exit code %" PRId64, (int64_t) json_integer_value(exit)) : strdup("");
}

static char *note_of(const json_t *step) {
        const char *left = text_of(step, "left"), *title = text_of(step, "title");
        const char *error = text_of(json_object_get(step, "error"), "message");
        const json_t *skipped = json_object_get(step, "skipped");

        if (left)
                return strf("left as it is: %s", left);
        if (skipped)
                return strf("skipped by %s: %s",
                            text_of(skipped, "by") ? text_of(skipped, "by") : "",
                            text_of(skipped, "reason") ? text_of(skipped, "reason") : "");
        return strdup(error ? error : title ? title : "");
}

static void compose_row(Writer *w, const json_t *step) {
        _cleanup_free_ char *took = span_of(step, "took_ms"), *note = note_of(step);
        size_t n = json_array_size(json_object_get(step, "attempts"));
        _cleanup_free_ char *attempts = strf("%zu", n + (size_t) int_of(step, "attempts_left_out"));
        char started[MOMENT_MAX];

        row_of(w, step_name(step, "id"), text_of(step, "state"),
               moment_of(step, "started", started), took, attempts, note);
}

static void compose_gate(Writer *w, const json_t *gate) {
        json_t *item;
        size_t i;

        fact(w, "Asked", text_of(gate, "ask"));
        fact(w, "Confirmed by", text_of(gate, "by"));
        fact(w, "Why", text_of(gate, "reason"));
        json_array_foreach (json_object_get(gate, "items"), i, item) {
                const json_t *ticked = json_object_get(item, "ticked");
                char at[MOMENT_MAX];
                const char *by = text_of(ticked, "by"), *text = text_of(item, "text");
                _cleanup_free_ char *line =
                        strf("%s (%s%s%s)", text ? text : "", by ? by : "not ticked",
                             by ? ", " : "", by ? moment_of(ticked, "at", at) : "");

                fact(w, "Item", line);
        }
}

static void compose_facts(Writer *w, const json_t *step) {
        const json_t *outputs = json_object_get(step, "outputs");
        _cleanup_free_ char *would = value_text(json_object_get(step, "would"));
        const char *name;
        json_t *value;

        w->table_begin(w, NULL, 2);
        fact(w, "Title", text_of(step, "title"));
        fact(w, "Action", text_of(step, "verb"));
        fact(w, "In", text_of(step, "parent"));
        fact(w, "Its undo", text_of(step, "undo"));
        fact(w, "Would do", would);
        compose_gate(w, json_object_get(step, "gate"));
        json_object_foreach ((json_t *) outputs, name, value) {
                _cleanup_free_ char *text = value_text(value);

                fact(w, name, text);
        }
        w->table_end(w);
}

static void compose_checks(Writer *w, const json_t *checks) {
        json_t *check;
        size_t i;

        if (json_array_size(checks) == 0)
                return;
        table_of(w, "Check", "Result", "");
        json_array_foreach ((json_t *) checks, i, check) {
                bool ok = json_is_true(json_object_get(check, "ok"));
                bool overridden = json_is_true(json_object_get(check, "overridden"));
                bool warn = json_is_true(json_object_get(check, "warn"));
                const char *name = text_of(check, "name");

                row_of(w, name ? name : text_of(check, "check"),
                       ok           ? "ok"
                       : overridden ? "not ok, overridden"
                       : warn       ? "warning"
                                    : "NOT OK",
                       text_of(check, "message"));
        }
        w->table_end(w);
}

/* What an attempt leaves to be told below its row. */
static void compose_attempt_more(Writer *w, const json_t *attempt) {
        const json_t *tail = json_object_get(attempt, "tail");
        const char *hint = text_of(attempt, "hint");
        int64_t dropped = int_of(attempt, "log_dropped");
        _cleanup_free_ char *head =
                strf("Attempt %" PRId64 "%s%s%s", int_of(attempt, "n"), hint ? ": " : "",
                     hint ? hint : "", json_array_size(tail) > 0 ? ", its last lines:" : "");
        _cleanup_free_ char *cut =
                dropped > 0
                        ? strf("%" PRId64 " bytes in the middle of its log were dropped.", dropped)
                        : NULL;

        compose_checks(w, json_object_get(attempt, "checks"));
        if (head && (json_array_size(tail) > 0 || hint))
                w->paragraph(w, TONE_PLAIN, head);
        if (json_array_size(tail) > 0)
                w->lines(w, tail);
        if (cut)
                w->paragraph(w, TONE_PLAIN, cut);
}

static void compose_attempts(Writer *w, const json_t *step) {
        const json_t *attempts = json_object_get(step, "attempts");
        int64_t left_out = int_of(step, "attempts_left_out");
        _cleanup_free_ char *more =
                left_out > 0 ? strf("%" PRId64 " attempts in the middle are left out.", left_out)
                             : NULL;
        json_t *attempt;
        size_t i;

        if (json_array_size(attempts) == 0)
                return;
        table_of(w, "Attempt", "Direction", "State", "Started", "Took", "Result");
        json_array_foreach ((json_t *) attempts, i, attempt) {
                _cleanup_free_ char *n = value_text(json_object_get(attempt, "n"));
                _cleanup_free_ char *took = span_of(attempt, "took_ms");
                _cleanup_free_ char *result = result_text(attempt);
                char started[MOMENT_MAX];

                row_of(w, n, text_of(attempt, "direction"), text_of(attempt, "state"),
                       moment_of(attempt, "started", started), took, result);
        }
        w->table_end(w);
        if (more)
                w->paragraph(w, TONE_PLAIN, more);
        json_array_foreach ((json_t *) attempts, i, attempt)
                compose_attempt_more(w, attempt);
}

static bool has_begun(const json_t *step) {
        return json_array_size(json_object_get(step, "attempts")) > 0 ||
               json_object_get(step, "would") || text_of(json_object_get(step, "gate"), "by");
}

static void compose_phase(Writer *w, const json_t *steps, const char *phase, const char *words) {
        bool any = false;
        json_t *step;
        size_t i;

        json_array_foreach ((json_t *) steps, i, step)
                any |= is_of(step, phase);
        if (!any)
                return;
        w->heading(w, 2, words);
        table_of(w, "Step", "State", "Started", "Took", "Attempts", "");
        json_array_foreach ((json_t *) steps, i, step)
                if (is_of(step, phase))
                        compose_row(w, step);
        w->table_end(w);
        json_array_foreach ((json_t *) steps, i, step) {
                if (!is_of(step, phase) || !has_begun(step))
                        continue;
                w->heading(w, 3, step_name(step, "id"));
                compose_facts(w, step);
                compose_attempts(w, step);
        }
}

void compose_steps(Writer *w, const json_t *report) {
        for (size_t i = 0; i < ELEMENTSOF(phases); i++)
                compose_phase(w, json_object_get(report, "steps"), phases[i].phase,
                              phases[i].words);
}
