/* SPDX-License-Identifier: MIT */
/*
 * The journal as a report tells it: who decided what (the decisions, the daemon's own included) and
 * what else happened, each event as one sentence. Events that say no more than the steps' attempts
 * do are passed over.
 */
#include "daemon/engine/report.h"

#include "api/args.h"

typedef char *(*Sentence)(const json_t *data);

static const char *of(const json_t *data, const char *key, const char *fallback) {
        return args_text(data, key, fallback);
}

/* "done: because", or only "done". */
static char *with(const char *what, const char *more) {
        return isempty(more) ? strdup(what) : strf("%s: %s", what, more);
}

static char *say_created(const json_t *data) {
        return with("started the job", of(data, "reason", NULL));
}

static char *say_ticked(const json_t *data) {
        return strf("ticked: %s", of(data, "item", ""));
}

static char *say_closed(const json_t *data) {
        const char *answer = of(data, "answer", NULL), *because = of(data, "because", NULL);
        const char *reason = of(data, "reason", NULL);

        if (streq0(answer, "confirmed"))
                return with("confirmed", reason);
        if (streq0(answer, "retry"))
                return with("asked for another try", reason);
        /* The answer and the skipped step tell of themselves. */
        if (answer)
                return NULL;
        return strf("no longer waits: %s", because ? because : "it is settled");
}

static char *say_question(const json_t *data) {
        return strf("asked: %s", of(data, "prompt", ""));
}

static char *say_answered(const json_t *data) {
        return strdup("answered the question (the answer is not recorded)");
}

static char *say_override(const json_t *data) {
        return strf("went on although the check %s fails: %s",
                    of(data, "name", of(data, "check", "")), of(data, "message", ""));
}

static char *say_deadline(const json_t *data) {
        return strdup("the deadline has passed");
}

static char *say_decided(const json_t *data) {
        return with(of(data, "decided", "decided"), of(data, "reason", NULL));
}

static char *say_skipped(const json_t *data) {
        const char *when = of(data, "when", NULL);

        return when ? strf("skipped, for this does not hold: %s", when)
                    : with("skipped", of(data, "reason", NULL));
}

static char *say_left(const json_t *data) {
        return with("left as it is", of(data, "why", NULL));
}

static char *say_way_back(const json_t *data) {
        const char *reason = of(data, "reason", NULL);
        _cleanup_free_ char *what = with("the way back is closed", of(data, "because", NULL));

        return what ? with(what, reason) : NULL;
}

static char *say_finalise(const json_t *data) {
        return strdup("what closes the way back begins");
}

static char *say_finalised(const json_t *data) {
        return strdup("what closes the way back is done");
}

static char *say_state(const json_t *data) {
        return strf("%s -> %s", of(data, "from", "?"), of(data, "to", "?"));
}

static char *say_passed(const json_t *data) {
        return strdup("the checks passed");
}

static char *say_refused(const json_t *data) {
        return strdup("the checks refused; nothing was touched");
}

static char *say_failed(const json_t *data) {
        return with("failed", of(data, "message", NULL));
}

static char *say_interrupted(const json_t *data) {
        const char *policy = of(data, "on_crash", NULL);

        return policy ? strf("was interrupted (on_crash: %s)", policy) : strdup("was interrupted");
}

static char *say_retry(const json_t *data) {
        return strf("failed and is tried again: %s", of(data, "message", ""));
}

static char *say_undo_failed(const json_t *data) {
        return with("could not be undone", of(data, "message", NULL));
}

static char *say_stop(const json_t *data) {
        return strdup("was told to stop");
}

static char *say_hook(const json_t *data) {
        return with("the hook failed", of(data, "why", NULL));
}

static char *say_opened(const json_t *data) {
        return strf("waits: %s", of(data, "kind", ""));
}

/* "a, b" of an array of texts or of an object's keys. */
static char *names_of(const json_t *value) {
        char *names = strdup("");
        const char *key;
        json_t *item;
        size_t i;

        json_array_foreach ((json_t *) value, i, item) {
                char *longer = names ? strf("%s%s%s", names, *names ? ", " : "",
                                            json_is_string(item) ? json_string_value(item) : "?")
                                     : NULL;

                free(names);
                names = longer;
        }
        json_object_foreach ((json_t *) value, key, item) {
                char *longer = names ? strf("%s%s%s", names, *names ? ", " : "", key) : NULL;

                free(names);
                names = longer;
        }
        return names;
}

static char *say_changed(const json_t *data) {
        static const char *const parts[] = {"inputs", "changed", "added", "removed", "sections"};
        static const char *const words[] = {"inputs", "changed steps", "new steps", "removed steps",
                                            "other sections"};
        char *said = strdup("changed the plan");

        for (size_t i = 0; said && i < ELEMENTSOF(parts); i++) {
                _cleanup_free_ char *names = names_of(json_object_get(data, parts[i]));
                char *longer;

                if (isempty(names))
                        continue;
                longer = strf("%s; %s: %s", said, words[i], names);
                free(said);
                said = longer;
        }
        return said;
}

static char *say_window(const json_t *data) {
        return strdup("the window opened");
}

static char *say_window_closed(const json_t *data) {
        return with("the window closed", of(data, "because", NULL));
}

static char *say_window_ahead(const json_t *data) {
        return with("the window is ahead again", of(data, "because", NULL));
}

static char *say_notice(const json_t *data) {
        return with("the notice of the window went out", of(data, "begins", NULL));
}

static char *say_reminded(const json_t *data) {
        return with("a reminder went out", of(data, "because", NULL));
}

static const struct {
        const char *type;
        Sentence say;
        bool decision; /* else only when somebody did it */
} table[] = {
        {"created", say_created, true},
        {"wait_ticked", say_ticked, true},
        {"wait_closed", say_closed, false},
        {"question", say_question, true},
        {"answered", say_answered, true},
        {"override", say_override, true},
        {"plan_changed", say_changed, true},
        {"decided", say_decided, true},
        {"deadline_missed", say_deadline, true},
        {"step_skipped", say_skipped, false},
        {"step_left", say_left, false},
        {"way_back_closed", say_way_back, true},
        {"finalise_started", say_finalise, false},
        {"finalise_done", say_finalised, false},
        {"state", say_state, false},
        {"checks_passed", say_passed, false},
        {"checks_refused", say_refused, false},
        {"step_failed", say_failed, false},
        {"step_interrupted", say_interrupted, false},
        {"step_retry", say_retry, false},
        {"step_undo_failed", say_undo_failed, false},
        {"stop_wanted", say_stop, false},
        {"hook_failed", say_hook, false},
        {"wait_opened", say_opened, false},
        {"window_opened", say_window, false},
        {"window_closed", say_window_closed, true},
        {"window_ahead", say_window_ahead, true},
        {"notice", say_notice, false},
        {"reminded", say_reminded, false},
};

char *event_sentence(const char *type, const json_t *data) {
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(table[i].type, type))
                        return table[i].say(data);
        return NULL;
}

void report_event(json_t *document, const json_t *event) {
        const char *type = args_text(event, "type", "");

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                bool decision = table[i].decision || json_object_get(event, "by");
                json_t *entry;
                char *said;

                if (!streq(table[i].type, type))
                        continue;
                said = table[i].say(json_object_get(event, "data"));
                if (!said)
                        return;
                entry = json_copy((json_t *) event);
                (void) json_put(entry, "says", json_string(said));
                free(said);
                report_keep(document, decision ? "decisions" : "history",
                            decision ? "decisions_left_out" : "history_left_out", entry,
                            REPORT_EVENTS_FIRST, REPORT_EVENTS_LAST);
                return;
        }
}
