/* SPDX-License-Identifier: MIT */
/* What failed, why the job went back, and where its way back stands. */
#include "daemon/report/writer.h"

#include <inttypes.h>

static void compose_tail(Writer *w, const char *words, const json_t *lines) {
        if (json_array_size(lines) == 0)
                return;
        w->paragraph(w, TONE_PLAIN, words);
        w->lines(w, lines);
}

static void compose_hint(Writer *w, const json_t *object) {
        const char *hint = text_of(object, "hint");
        _cleanup_free_ char *text = hint ? strf("Hint: %s", hint) : NULL;

        if (text)
                w->paragraph(w, TONE_WARN, text);
}

static void compose_list(Writer *w, const json_t *list) {
        const char *failed = text_of(list, "failed");
        _cleanup_free_ char *text =
                json_is_object(list)
                        ? strf("Of its %" PRId64 " steps %" PRId64 " %s done%s%s%s.",
                               int_of(list, "of"), int_of(list, "done"),
                               int_of(list, "done") == 1 ? "is" : "are", failed ? ", " : "",
                               failed ? failed : "", failed ? " failed" : "")
                        : NULL;

        if (text)
                w->paragraph(w, TONE_PLAIN, text);
}

static void compose_what_failed(Writer *w, const json_t *failure) {
        bool undo = streq0(text_of(failure, "direction"), "undo");
        bool interrupted = json_is_true(json_object_get(failure, "interrupted"));
        const char *message = text_of(failure, "message"), *service;
        _cleanup_free_ char *head =
                strf("%s%s %s: %s", undo ? "The undo of " : "", step_name(failure, "step"),
                     interrupted ? "was interrupted" : "failed", message ? message : "");
        _cleanup_free_ char *running = joined(json_object_get(failure, "running"), NULL);
        _cleanup_free_ char *now = isempty(running) ? NULL : strf("Running now: %s.", running);
        json_t *lines;

        w->heading(w, 2, "What failed");
        w->paragraph(w, TONE_BAD, head ? head : "");
        compose_list(w, json_object_get(failure, "list"));
        compose_tail(w, "Its last lines:", json_object_get(failure, "tail"));
        json_object_foreach (json_object_get(failure, "services"), service, lines) {
                _cleanup_free_ char *words = strf("The last lines of the service %s:", service);

                compose_tail(w, words ? words : "", lines);
        }
        compose_hint(w, failure);
        if (now)
                w->paragraph(w, TONE_PLAIN, now);
}

static void compose_cause(Writer *w, const json_t *cause) {
        const char *message = text_of(cause, "message");
        _cleanup_free_ char *text = NULL;

        if (!json_is_object(cause))
                return;
        text = strf("It went back because %s failed: %s", step_name(cause, "step"),
                    message ? message : "");
        w->paragraph(w, TONE_BAD, text ? text : "");
        compose_tail(w, "The last lines of that:", json_object_get(cause, "tail"));
        compose_hint(w, cause);
}

static void compose_back_rows(Writer *w, const json_t *entries, const char *what, const char *key) {
        json_t *entry;
        size_t i;

        json_array_foreach ((json_t *) entries, i, entry) {
                const char *more = key ? text_of(entry, key) : NULL;

                row_of(w, step_name(entry, "step"), what, more ? more : text_of(entry, "title"));
        }
}

static void compose_back(Writer *w, const json_t *back) {
        const char *strategy = text_of(back, "strategy");
        _cleanup_free_ char *text = NULL;

        if (!json_is_object(back))
                return;
        w->heading(w, 2, "The way back");
        text = strf("Strategy: %s. In the order of the way back:", strategy ? strategy : "full");
        w->paragraph(w, TONE_PLAIN, text ? text : "");
        table_of(w, "Step", "State", "");
        compose_back_rows(w, json_object_get(back, "undone"), "undone", NULL);
        compose_back_rows(w, json_object_get(back, "left"), "left as it is", "why");
        compose_back_rows(w, json_object_get(back, "pending"), "not undone", "what");
        w->table_end(w);
}

void compose_failure(Writer *w, const json_t *report) {
        const json_t *failure = json_object_get(report, "failure");

        if (json_is_object(failure)) {
                compose_what_failed(w, failure);
                compose_cause(w, json_object_get(failure, "cause"));
        }
        compose_back(w, json_object_get(report, "back"));
}
