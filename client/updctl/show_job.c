/* SPDX-License-Identifier: MIT */
/* A job on the screen: its head, its state, what it waits for. Steps are in show_steps.c, failures
 * in show_failure.c. */
#include <inttypes.h>

#include "api/text.h"
#include "client/updctl/ctl.h"

static const StateLook looks[] = {
        {"queued", "queued", NOTE, EXIT_AS_ASKED},
        {"running", "running", NOTE, EXIT_AS_ASKED},
        {"waiting", "waiting", WARN, EXIT_WAITS},
        {"rolling_back", "rolling back", WARN, EXIT_AS_ASKED},
        {"succeeded", "succeeded", GOOD, EXIT_AS_ASKED},
        {"failed", "failed", BAD, EXIT_JOB_FAILED},
        {"rolled_back", "rolled back", WARN, EXIT_ROLLED_BACK},
        {"cancelled", "cancelled", WARN, EXIT_ROLLED_BACK},
        {"stuck", "stuck", BAD, EXIT_STUCK},
        {"abandoned", "abandoned", BAD, EXIT_STUCK},
};

const StateLook *state_look(const char *state) {
        static const StateLook unknown = {"", "unknown", PLAIN, EXIT_REFUSED};

        for (size_t i = 0; i < ELEMENTSOF(looks); i++)
                if (streq0(state, looks[i].name))
                        return &looks[i];
        return &unknown;
}

bool job_ended(const json_t *job) {
        static const char *const ends[] = {"succeeded", "failed", "rolled_back", "cancelled",
                                           "abandoned"};

        for (size_t i = 0; i < ELEMENTSOF(ends); i++)
                if (streq0(get_text(job, "state"), ends[i]))
                        return true;
        return false;
}

/* For a window that opens by itself; one that is over is a person's. */
static bool wait_is_ahead(const json_t *wait) {
        return streq0(get_text(wait, "kind"), "window") && !get_bool(wait, "overdue");
}

bool job_waits_for_person(const json_t *job) {
        json_t *wait;
        size_t i;

        if (!streq0(get_text(job, "state"), "waiting"))
                return false;
        json_array_foreach (json_object_get(job, "waits"), i, wait)
                if (!wait_is_ahead(wait))
                        return true;
        return false;
}

/* How long it has taken, or has been taking. Caller frees; NULL before it began. */
static char *job_span(const json_t *job) {
        int64_t from = get_time(job, "started"), to = get_time(job, "ended");

        if (from == 0)
                from = get_time(job, "created");
        return from > 0 ? span_text((to > 0 ? to : now_wall_ms()) - from) : NULL;
}

void put_job_line(const Screen *s, const json_t *job) {
        _cleanup_free_ char *id = strf("%" PRId64, get_int(job, "id")), *span = job_span(job);
        int64_t time = get_time(job, "started");
        _cleanup_free_ char *when = when_text(time > 0 ? time : get_time(job, "created"));
        const StateLook *look = state_look(get_text(job, "state"));

        put_cells(s, 0, {BOLD, -6, id}, {look->style, 12, look->words},
                  {PLAIN, 16, get_text(job, "plan")}, {PLAIN, 16, get_text(job, "target")},
                  {DIM, 12, when}, {DIM, 6, span});
}

static void put_item(const Screen *s, unsigned n, const json_t *item) {
        const json_t *ticked = json_object_get(item, "ticked");
        bool done = json_is_object(ticked);
        _cleanup_free_ char *when = done ? when_text(get_time(ticked, "at")) : NULL;
        const char *by = get_text(ticked, "by"), *text = get_text(item, "text");
        _cleanup_free_ char *label = strf("[%c] %u  ", done ? 'x' : ' ', n);
        _cleanup_free_ char *line = done ? strf("%s (%s, %s)", text ? text : "", by ? by : "", when)
                                         : strf("%s", text ? text : "");

        put_text(s, 4, label ? label : "", done ? DIM : PLAIN, line ? line : "");
}

static void put_gate(const Screen *s, int64_t id, const json_t *wait) {
        const json_t *items = json_object_get(wait, "items");
        const char *type = get_text(wait, "type"), *ask = get_text(wait, "ask");
        json_t *item, *shown;
        size_t i;

        if (ask)
                put_text(s, 2, "", BOLD, ask);
        json_array_foreach (json_object_get(wait, "show"), i, shown) {
                put(s, DIM, "  from the log of %s\n", step_of(shown));
                put_lines(s, 4, json_object_get(shown, "tail"));
        }
        json_array_foreach (items, i, item)
                put_item(s, (unsigned) i + 1, item);
        if (get_bool(wait, "other_person"))
                put_text(s, 2, "", PLAIN, "Somebody else than who started the job must confirm.");
        if (type)
                put(s, PLAIN, "  The text to type: %s\n", type);
        put(s, NOTE, "  updctl confirm %" PRId64 "%s%s%s%s\n", id,
            json_array_size(items) > 0 ? " --all" : "", type ? " --type '" : "", type ? type : "",
            type ? "'" : "");
        if (json_array_size(items) > 1)
                put(s, NOTE, "  updctl confirm %" PRId64 " --tick 1\n", id);
        put(s, NOTE, "  updctl rollback %" PRId64 "\n", id);
}

static void put_choice(const Screen *s, int64_t id, const json_t *wait) {
        const char *why = get_text(wait, "why"), *message = get_text(wait, "message");

        if (why)
                put_text(s, 2, "", PLAIN, why);
        if (!isempty(message))
                put_text(s, 2, "", BOLD, message);
        if (wait_can_retry(wait))
                put(s, NOTE, "  updctl retry %" PRId64 "%s\n", id,
                    streq0(get_text(wait, "kind"), "window") ? " --reason TEXT" : "");
        if (wait_can_skip(wait))
                put(s, NOTE, "  updctl skip %" PRId64 " --reason TEXT\n", id);
}

static void put_secrets(const Screen *s, int64_t id, const json_t *wait) {
        const json_t *names = json_object_get(wait, "secrets");
        const char *why = get_text(wait, "why");
        json_t *name;
        size_t i;

        if (why)
                put_text(s, 2, "", PLAIN, why);
        put(s, NOTE, "  updctl retry %" PRId64, id);
        json_array_foreach ((json_t *) names, i, name)
                put(s, NOTE, " --secret %s=@FILE", json_string_value(name));
        put(s, PLAIN, "\n");
}

static const char *wait_words(const json_t *wait) {
        const char *kind = get_text(wait, "kind");

        if (streq0(kind, "gate"))
                return "waits for a confirmation";
        if (streq0(kind, "question"))
                return "asks";
        if (streq0(kind, "window"))
                return get_bool(wait, "overdue") ? "waits for a decision: its window is over"
                                                 : "waits for its window";
        if (streq0(kind, "missing-secret"))
                return "waits for a secret";
        return "waits for a decision";
}

static void put_wait(const Screen *s, int64_t id, const json_t *wait) {
        int64_t since = get_time(wait, "since"), deadline = get_time(wait, "deadline");
        _cleanup_free_ char *from = since > 0 ? when_text(since) : NULL;
        _cleanup_free_ char *until = deadline > 0 ? deadline_text(deadline) : NULL;
        _cleanup_free_ char *head = NULL;
        const char *then = get_text(wait, "on_timeout"), *prompt = get_text(wait, "prompt");

        head = strf("%s %s%s%s%s%s%s%s", step_of(wait), wait_words(wait), from ? " since " : "",
                    from ? from : "", until ? ", " : "", until ? until : "",
                    until && then ? ", then " : "", until && then ? then : "");
        put_text(s, 0, "", WARN, head ? head : "");
        if (wait_is_gate(wait))
                put_gate(s, id, wait);
        else if (wait_is_question(wait)) {
                put_text(s, 2, "", BOLD, prompt ? prompt : "");
                put(s, NOTE, "  updctl answer %" PRId64 " %s\n", id,
                    get_bool(wait, "echo") ? "TEXT" : "  (it is not shown while you type)");
        } else if (json_array_size(json_object_get(wait, "secrets")) > 0)
                put_secrets(s, id, wait);
        else if (!wait_is_ahead(wait))
                put_choice(s, id, wait);
}

void put_waits(const Screen *s, const json_t *job) {
        json_t *wait;
        size_t i;

        json_array_foreach (json_object_get(job, "waits"), i, wait)
                put_wait(s, get_int(job, "id"), wait);
}

static void put_label(const Screen *s, const char *label, const char *text) {
        _cleanup_free_ char *padded = strf("%-10s ", label);

        if (!isempty(text))
                put_text(s, 2, padded ? padded : "", PLAIN, text);
}

static void put_state(const Screen *s, const json_t *job) {
        const StateLook *look = state_look(get_text(job, "state"));
        const json_t *progress = json_object_get(job, "progress");
        int64_t started = get_time(job, "started");
        _cleanup_free_ char *span = job_span(job);
        _cleanup_free_ char *when = when_text(started > 0 ? started : get_time(job, "created"));

        put(s, PLAIN, "  %-10s ", "state");
        put(s, look->style, "%s", look->words);
        put(s, PLAIN, "%s, %" PRId64 " of %" PRId64 " steps, since %s",
            get_bool(job, "dry_run") ? " (dry run)" : "", get_int(progress, "done"),
            get_int(progress, "total"), when);
        put(s, PLAIN, "%s%s\n", span ? ", " : "", span ? span : "");
        if (get_int(job, "after") > 0)
                put(s, WARN, "  %-10s job %" PRId64 ", on the same target, to come to its end\n",
                    "waits for", get_int(job, "after"));
}

static void put_way_back(const Screen *s, const json_t *job) {
        const json_t *way = json_object_get(job, "way_back");
        int64_t until = get_time(way, "until");
        _cleanup_free_ char *text = until > 0 ? deadline_text(until) : NULL;

        if (get_bool(way, "open"))
                put_label(s, "way back", text ? text : "open, until finalised");
        else if (json_is_object(way))
                put_label(s, "way back", "closed");
}

static void put_window(const Screen *s, const json_t *job) {
        const json_t *window = json_object_get(job, "window");
        int64_t begins = get_time(window, "begins"), ends = get_time(window, "ends");
        _cleanup_free_ char *from = begins > 0 ? when_text(begins) : NULL;
        _cleanup_free_ char *to = ends > 0 ? when_text(ends) : NULL, *line = NULL;
        const char *state = get_text(window, "state"), *length = get_text(window, "length");
        const char *then = get_text(window, "at_end");

        if (!from || !to)
                return;
        line = strf("%s to %s (%s), %s, then %s", from, to, length ? length : "?",
                    state ? state : "?", then ? then : "?");
        put_label(s, "window", line);
}

/* What the way back takes of the disks, as it was measured before the first step. */
static void put_room(const Screen *s, const json_t *job) {
        const json_t *steps = json_object_get(job, "steps");
        const json_t *checks = json_object_get(json_array_get(steps, 0), "checks"), *check;
        size_t i;

        json_array_foreach (checks, i, check)
                if (json_object_get(check, "space") && get_bool(check, "ok"))
                        put_label(s, "room", get_text(check, "message"));
}

void put_job(Ctl *ctl, const Screen *s, const json_t *job) {
        const char *title = get_text(job, "title"), *plan = get_text(job, "plan");
        _cleanup_free_ char *overrides = join_texts(json_object_get(job, "overrides"), ", ");

        put(s, BOLD, "job %" PRId64 "  %s\n", get_int(job, "id"), title ? title : plan);
        put_state(s, job);
        put_label(s, "plan", plan);
        put_label(s, "target", get_text(job, "target"));
        put_label(s, "by", get_text(job, "by"));
        put_label(s, "reason", get_text(job, "reason"));
        put_label(s, "overridden", overrides);
        put_label(s, "decided", get_text(job, "decided"));
        put_label(s, "strategy", get_text(job, "strategy"));
        put_window(s, job);
        put_way_back(s, job);
        put_room(s, job);
        put(s, PLAIN, "\n");
        put_steps(s, job);
        if (json_array_size(json_object_get(job, "waits")) > 0) {
                put(s, PLAIN, "\n");
                put_waits(s, job);
        }
        put_failure(s, job);
        put_back(s, job);
        put_next(s, job);
}
