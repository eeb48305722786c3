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

/* One line each: the step, and what is to be said of it. */
static void put_entries(const Screen *s, const char *label, const json_t *entries, const char *key,
                        Style style) {
        _cleanup_free_ char *padded = strf("%-12s ", label);
        json_t *entry;
        size_t i;

        json_array_foreach ((json_t *) entries, i, entry) {
                const char *said = get_text(entry, key);
                _cleanup_free_ char *text =
                        strf("%s%s%s", step_of(entry), said ? ": " : "", said ? said : "");

                put_text(s, 2, i == 0 && padded ? padded : "             ", style,
                         text ? text : "");
        }
}

static void put_undone(const Screen *s, const json_t *entries) {
        json_auto_t *names = json_array();
        json_t *entry;
        size_t i;

        json_array_foreach ((json_t *) entries, i, entry)
                (void) json_array_append_new(names, json_string(step_of(entry)));
        put_names(s, "undone", names);
}

/* Where the way back stands, also of a job that went back because it was asked to. */
void put_back(const Screen *s, const json_t *job) {
        const json_t *back = json_object_get(job, "back");
        const json_t *failure = json_object_get(job, "failure");

        if (!back) {
                put_names(s, "undone", json_object_get(failure, "undone"));
                put_entries(s, "left as is", json_object_get(failure, "left"), "why", PLAIN);
                put_names(s, "still to undo", json_object_get(failure, "pending_undo"));
                return;
        }
        if (!failure && json_array_size(json_object_get(back, "undone")) +
                                        json_array_size(json_object_get(back, "left")) +
                                        json_array_size(json_object_get(back, "pending")) >
                                0)
                put(s, PLAIN, "\nthe way back, strategy %s\n", get_text(back, "strategy"));
        put_undone(s, json_object_get(back, "undone"));
        put_entries(s, "left as is", json_object_get(back, "left"), "why", PLAIN);
        put_entries(s, "not undone", json_object_get(back, "pending"), "what", WARN);
}

/* How far an undo of several steps came. */
static void put_list(const Screen *s, const json_t *list) {
        const char *failed = get_text(list, "failed");

        if (json_is_object(list))
                put(s, PLAIN, "  of its %" PRId64 " steps %" PRId64 " %s done%s%s%s\n",
                    get_int(list, "of"), get_int(list, "done"),
                    get_int(list, "done") == 1 ? "is" : "are", failed ? ", " : "",
                    failed ? failed : "", failed ? " failed" : "");
}

static void put_cause(const Screen *s, const json_t *cause) {
        const char *message = get_text(cause, "message"), *hint = get_text(cause, "hint");
        _cleanup_free_ char *text = NULL;

        if (!json_is_object(cause))
                return;
        text = strf("%s failed: %s", step_of(cause), message ? message : "");
        put_text(s, 2, "went back because ", PLAIN, text ? text : "");
        if (hint)
                put_text(s, 2, "hint: ", WARN, hint);
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
        put_list(s, json_object_get(failure, "list"));
        put_checks(s, row, true);
        put_tail(s, "last lines of", step ? step_of(failure) : "",
                 json_object_get(failure, "tail"));
        json_object_foreach (json_object_get(failure, "services"), service, lines)
                put_tail(s, "log of service", service, lines);
        if (hint)
                put_text(s, 2, "hint: ", WARN, hint);
        put_cause(s, json_object_get(failure, "cause"));
        put_names(s, "runs now", json_object_get(failure, "running"));
}

/* The commands that the daemon names; for an undisturbed job, what may be asked of it now. */
void put_next(const Screen *s, const json_t *job) {
        const json_t *failure = json_object_get(job, "failure");
        const json_t *next = json_object_get(failure, "next");
        const json_t *choices = json_object_get(failure, "choices");
        json_t *command;
        size_t i;

        if (json_array_size(next) == 0)
                return;
        put(s, PLAIN, "\nwhat you can do now\n");
        json_array_foreach ((json_t *) choices, i, command) {
                const char *does = get_text(command, "does");

                put(s, NOTE, "  %s\n", get_text(command, "command"));
                put_text(s, 6, "", DIM, does ? does : "");
        }
        if (json_array_size(choices) > 0)
                return;
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
