/* SPDX-License-Identifier: MIT */
/*
 * A failure, whole: the step and what it printed last, what the unhealthy services print, the hint,
 * what runs now, what was undone and what was left, and the literal commands that may follow. And
 * the ways back, each with its undo steps and what it loses in clock time.
 */
#include <inttypes.h>

#include "api/text.h"
#include "client/updctl/ctl.h"

static const json_t *find_step(const json_t *job, const char *id) {
        json_t *step;
        size_t i;

        json_array_foreach (json_object_get(job, "steps"), i, step)
                if (id && streq0(get_text(step, "id"), id))
                        return step;
        return NULL;
}

static void put_tail(const Screen *s, const char *what, const char *of, const json_t *lines) {
        if (json_array_size(lines) == 0)
                return;
        put(s, DIM, "  %s %s\n", what, of);
        put_lines(s, 4, lines);
}

static void put_names(const Screen *s, const char *label, const json_t *names) {
        _cleanup_free_ char *text = join_texts(names, ", "), *padded = strf("%-12s ", label);

        if (text && padded)
                put_text(s, 2, padded, PLAIN, text);
}

static void put_left(const Screen *s, const json_t *left) {
        json_t *entry;
        size_t i;

        json_array_foreach ((json_t *) left, i, entry) {
                const char *why = get_text(entry, "why");
                _cleanup_free_ char *text =
                        strf("%s%s%s", step_of(entry), why ? ": " : "", why ? why : "");

                put_text(s, 2, i == 0 ? "left as is   " : "             ", PLAIN, text ? text : "");
        }
}

static bool any_bad_check(const json_t *step) {
        json_t *check;
        size_t i;

        json_array_foreach (json_object_get(step, "checks"), i, check)
                if (!get_bool(check, "ok") && !get_bool(check, "warn") &&
                    !get_bool(check, "overridden"))
                        return true;
        return false;
}

static void put_failure_head(const Screen *s, const json_t *failure, bool has_bad_check) {
        const char *message = get_text(failure, "message"), *phase = get_text(failure, "phase");
        bool undo = streq0(get_text(failure, "direction"), "undo");
        const char *step = get_text(failure, "step") ? step_of(failure) : NULL;
        bool checks = streq0(phase, "checks");

        put(s, BAD, "\n%s%s %s\n", undo ? "the undo of " : "",
            step     ? step
            : checks ? "the checks"
                     : "the job",
            get_bool(failure, "interrupted") ? "was interrupted" : "failed");
        /* Checks say by themselves, below, what is not as it should be. */
        if (message && !has_bad_check)
                put_text(s, 2, "", BOLD, message);
}

void put_failure(const Screen *s, const json_t *job) {
        const json_t *failure = json_object_get(job, "failure");
        json_t *lines;
        const char *step = get_text(failure, "step"), *hint = get_text(failure, "hint"), *service;
        const json_t *row = find_step(job, step);

        if (!json_is_object(failure))
                return;
        put_failure_head(s, failure, any_bad_check(row));
        put_checks(s, row, true);
        put_tail(s, "last lines of", step ? step_of(failure) : "",
                 json_object_get(failure, "tail"));
        json_object_foreach (json_object_get(failure, "services"), service, lines)
                put_tail(s, "log of service", service, lines);
        if (hint)
                put_text(s, 2, "hint: ", WARN, hint);
        put_names(s, "runs now", json_object_get(failure, "running"));
        put_names(s, "undone", json_object_get(failure, "undone"));
        put_left(s, json_object_get(failure, "left"));
        put_names(s, "still to undo", json_object_get(failure, "pending_undo"));
}

/* The commands that the daemon names; for an undisturbed job, what may be asked of it now. */
void put_next(const Screen *s, const json_t *job) {
        const json_t *next = json_object_get(json_object_get(job, "failure"), "next");
        json_t *command;
        size_t i;

        if (json_array_size(next) == 0)
                return;
        put(s, PLAIN, "\nwhat you can do now\n");
        json_array_foreach ((json_t *) next, i, command)
                put(s, NOTE, "  %s\n", json_string_value(command));
}

char *loses_text(const json_t *strategy) {
        const json_t *lost = json_object_get(strategy, "lost");
        const char *loses = get_text(strategy, "loses"), *span = get_text(lost, "for");
        int64_t since = get_time(lost, "since"), ms;
        _cleanup_free_ char *when = NULL, *length = NULL;

        if (since == 0 || streq0(loses, "nothing"))
                return strf("%s", loses ? loses : "not said");
        when = when_text(since);
        length =
                long_span_text(span && duration_parse(span, &ms) >= 0 ? ms : now_wall_ms() - since);
        return strf("%s%swrites since %s, %s", loses && !strstr(loses, "writes since") ? loses : "",
                    loses && !strstr(loses, "writes since") ? ": " : "", when, length);
}

void put_strategy(const Screen *s, const json_t *strategy) {
        _cleanup_free_ char *loses = loses_text(strategy);
        const json_t *situations = json_object_get(strategy, "situations");
        json_t *entry;
        _cleanup_free_ char *suits = join_texts(situations, "; ");
        _cleanup_free_ char *keep = join_texts(json_object_get(strategy, "keep"), ", ");
        const char *name = get_text(strategy, "name"), *type = get_text(strategy, "type");
        bool nothing = streq0(get_text(strategy, "loses"), "nothing");
        size_t i;

        put(s, BOLD, "%s\n", name ? name : "");
        put_text(s, 2, "loses     ", nothing ? GOOD : WARN, loses ? loses : "");
        if (suits)
                put_text(s, 2, "for       ", PLAIN, suits);
        if (keep)
                put_text(s, 2, "keeps     ", PLAIN, keep);
        json_array_foreach (json_object_get(strategy, "undo"), i, entry) {
                _cleanup_free_ char *number = strf("%zu.", i + 1);

                put_cells(s, 2, {DIM, -3, number}, {PLAIN, 18, step_of(entry)},
                          {DIM, 0, get_text(entry, "what")});
        }
        if (type)
                put(s, PLAIN, "  It asks for this text to be typed: %s\n", type);
}
