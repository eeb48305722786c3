/* SPDX-License-Identifier: MIT */
/*
 * The maintenance window that a job is given at its start: read, held against the plan, kept as the
 * fact "window" and shown. What becomes of it in time stands in window-time.c.
 *
 * The fact: "begins", "ends" (wall ms), "length", "expected", "reserve", "notify" (ms; notify -1:
 * the plan does not say), "at_end", "absolute", "state" (ahead, open, closed, lifted), "until" (the
 * deadline of an open one), "noticed", "reminded". A window that is `absolute` names a time of day and follows
 * the wall clock; one that was given as a length only is a span of time like any other deadline.
 */
#include <stdarg.h>

#include "api/args.h"
#include "daemon/engine/turn.h"
#include "daemon/plan/expand.h"

typedef struct Given {
        int64_t begins, ends;
        bool absolute;
} Given;

static int refuse(Error *reterr, const char *member, const char *message) {
        int r = error_set(reterr, EINVAL, "bad-window", "window%s%s: %s",
                          isempty(member) ? "" : ".", member, message);

        error_detail(reterr, "member",
                     isempty(member) ? json_string("window") : json_sprintf("window.%s", member));
        return r;
}

static int check_members(const json_t *given, Error *reterr) {
        static const char *const names[] = {"begins", "ends", "length"};
        const char *key, *nearest;
        json_t *value;

        json_object_foreach ((json_t *) given, key, value) {
                bool known = false;

                for (size_t i = 0; i < ELEMENTSOF(names); i++)
                        known |= streq(names[i], key);
                if (known)
                        continue;
                nearest = nearest_word(key, names, ELEMENTSOF(names));
                (void) refuse(reterr, key, "a window has no such member");
                if (nearest)
                        error_hint(reterr, "did you mean '%s'?", nearest);
                return -EINVAL;
        }
        return 0;
}

static int read_time(const json_t *given, const char *key, int64_t *ret, Error *reterr) {
        const char *text = args_text(given, key, NULL);

        if (!text || time_parse(text, ret) >= 0)
                return 0;
        (void) refuse(reterr, key, "this is no time");
        error_hint(reterr, "write it as in RFC 3339: 2026-01-31T03:00:00Z, or with +01:00");
        return -EINVAL;
}

static int read_length(const json_t *given, int64_t begins, int64_t *ret_ends, Error *reterr) {
        const char *text = args_text(given, "length", NULL);
        int64_t length = 0;

        if (!text)
                return 0;
        if (duration_parse(text, &length) < 0 || length <= 0 || length > INT64_MAX / 4) {
                (void) refuse(reterr, "length", "this is no length of time");
                error_hint(reterr, "write 30m, 2h or 1h30m");
                return -EINVAL;
        }
        *ret_ends = begins + length;
        return 0;
}

static int read_given(const json_t *given, int64_t now, Given *ret, Error *reterr) {
        bool length = json_object_get(given, "length"), ends = json_object_get(given, "ends");
        Given w = {.begins = now, .absolute = json_object_get(given, "begins") || ends};
        int r;

        r = check_members(given, reterr);
        if (r >= 0 && length == ends)
                r = refuse(reterr, "",
                           ends ? "'ends' and 'length' are given, and one of them is needed"
                                : "'ends' or 'length' is missing");
        if (r >= 0)
                r = read_time(given, "begins", &w.begins, reterr);
        if (r >= 0)
                r = read_time(given, "ends", &w.ends, reterr);
        if (r >= 0)
                r = read_length(given, w.begins, &w.ends, reterr);
        if (r < 0)
                return r;
        if (w.ends <= w.begins)
                return refuse(reterr, "ends", "it ends before it begins");
        if (w.ends <= now)
                return refuse(reterr, length ? "begins" : "ends", "the window is over");
        *ret = w;
        return 0;
}

/* ---- what the plan says ---- */

static int plan_says(const Turn *t, const Job *job, json_t **ret, Error *reterr) {
        const json_t *section = json_object_get(job->def->plan->norm, "window");
        json_auto_t *scope = NULL;

        if (!section) {
                *ret = json_object();
                return *ret ? 0 : error_oom(reterr);
        }
        if (job_scope(t, job, &scope) < 0)
                return error_oom(reterr);
        return plan_expand(section, scope, ret, reterr);
}

static int make_fact(const Given *g, bool at_once, const json_t *plan, json_t **ret,
                     Error *reterr) {
        static const struct {
                const char *key, *fact;
                int64_t fallback;
        } spans[] = {{"expected", "expected", 0},
                     {"reserve", "reserve", 0},
                     {"notify_before", "notify", -1}};
        json_auto_t *fact =
                json_pack("{s:I, s:I, s:I, s:b, s:b, s:s, s:s}", "begins", (json_int_t) g->begins,
                          "ends", (json_int_t) g->ends, "length",
                          (json_int_t) (g->ends - g->begins), "absolute", g->absolute, "noticed",
                          at_once, "at_end", args_text(plan, "at_end", "hold"), "state", "ahead");
        int r;

        for (size_t i = 0; i < ELEMENTSOF(spans); i++) {
                int64_t ms;

                r = args_ms(plan, spans[i].key, spans[i].fallback, &ms, reterr);
                if (r < 0)
                        return r;
                if (json_put(fact, spans[i].fact, json_integer(ms)) < 0)
                        return error_oom(reterr);
        }
        *ret = TAKE(fact);
        return 0;
}

int64_t window_ms(const Job *job, const char *key) {
        return json_integer_value(json_object_get(json_object_get(job->facts, "window"), key));
}

const char *window_text(const Job *job, const char *key) {
        return args_text(json_object_get(job->facts, "window"), key, "");
}

bool window_is(const Job *job, const char *state) {
        return streq(window_text(job, "state"), state);
}

static bool overridden(const Job *job, const char *name) {
        return json_has_text(json_object_get(job->facts, "overrides"), name);
}

/* ---- what is refused beforehand ---- */

/* NULL: it fits. Caller frees. */
static char *too_short(const Job *job) {
        int64_t length = window_ms(job, "length"), reserve = window_ms(job, "reserve");
        int64_t expected = window_ms(job, "expected");
        _cleanup_free_ char *has = duration_format(length / 1000 * 1000);
        _cleanup_free_ char *needs = duration_format(expected), *back = duration_format(reserve);

        /* With nothing of it left for a step, no step could ever begin. */
        if (length > reserve && length >= expected + reserve)
                return NULL;
        return strf(
                "The window is %s long; the plan expects to take %s and keeps %s for a way back",
                has ? has : "?", needs ? needs : "?", back ? back : "?");
}

static int refuse_too_short(const Job *job, Error *reterr) {
        _cleanup_free_ char *why = too_short(job);
        int r;

        if (!why || overridden(job, WINDOW_OVERRIDE))
                return 0;
        r = error_set(reterr, EINVAL, "window-too-short", "%s", why);
        error_hint(reterr, "give it a longer window, or override '" WINDOW_OVERRIDE "'");
        error_detail(reterr, "member", json_string("window"));
        return r;
}

static const json_t *first_gate(const JobDef *def) {
        for (unsigned i = 0; i < def->n_steps; i++)
                if (def->steps[i].phase == PHASE_MAIN && def->steps[i].class == VERB_GATE)
                        return def->steps[i].norm;
        return NULL;
}

/* Does the gate end by itself before the window does? It opens later than the window, if only by a
 * moment. What cannot be known yet does not. */
static bool gate_ends(const Turn *t, const Job *job, const json_t *gate) {
        const json_t *within = json_object_get(json_object_get(gate, "args"), "within");
        json_auto_t *scope = NULL, *args = json_object();
        json_t *value = NULL;
        int64_t ms = 0;

        if (!within || job_scope(t, job, &scope) < 0 ||
            plan_expand(within, scope, &value, NULL) < 0 || json_put(args, "within", value) < 0 ||
            args_ms(args, "within", 0, &ms, NULL) < 0)
                return false;
        return ms > 0 && ms < window_ms(job, "length") - window_ms(job, "reserve") &&
               !streq(args_text(json_object_get(gate, "args"), "on_timeout", "hold"), "hold");
}

/* A schedule starts its jobs when nobody may be there. */
static bool is_unattended(const Turn *t, const Job *job) {
        const json_t *gate = first_gate(job->def);

        return gate && json_object_get(json_object_get(job->facts, "labels"), "schedule") &&
               streq(window_text(job, "at_end"), "hold") && !gate_ends(t, job, gate);
}

static int refuse_unattended(const Turn *t, const Job *job, Error *reterr) {
        const char *gate;
        int r;

        if (!is_unattended(t, job) || overridden(job, GATE_OVERRIDE))
                return 0;
        gate = args_text(first_gate(job->def), "id", "?");
        r = error_set(
                reterr, EINVAL, "unattended-gate",
                "The job of a schedule would wait at the gate '%s' beyond the window's end, if "
                "nobody attends it",
                gate);
        error_hint(reterr, "give the gate 'within' and an 'on_timeout' that ends it, or the plan "
                           "'window: {at_end: rollback}'; or override '" GATE_OVERRIDE "'");
        error_detail(reterr, "step", json_string(gate));
        return r;
}

int window_set(const Turn *t, Job *job, const json_t *given, Error *reterr) {
        json_auto_t *plan = NULL, *fact = NULL;
        Given g = {0};
        int r;

        if (!given)
                return 0;
        r = read_given(given, t->wall_now, &g, reterr);
        if (r >= 0)
                r = plan_says(t, job, &plan, reterr);
        if (r >= 0)
                r = make_fact(&g, g.begins <= t->wall_now, plan, &fact, reterr);
        if (r < 0)
                return r;
        job_fact(job, "window", json_incref(fact));
        r = refuse_too_short(job, reterr);
        if (r >= 0)
                r = refuse_unattended(t, job, reterr);
        /* Overridden, and no step could begin: then nothing of it is kept for a way back. */
        if (r >= 0 && window_ms(job, "length") <= window_ms(job, "reserve"))
                r = json_put(fact, "reserve", json_integer(0)) < 0 ? error_oom(reterr) : 0;
        /* It changes nothing, so nothing of it is held by a window. */
        if (r >= 0 && job->dry_run)
                job_fact(job, "window", NULL);
        return r;
}

static void tell_override(Job *job, const char *name, const char *message) {
        job_tell(job, "override", -1, job->who,
                 json_pack("{s:s, s:s}", "name", name, "message", message));
}

void window_tell(const Turn *t, Job *job) {
        _cleanup_free_ char *why = NULL;

        if (!json_object_get(job->facts, "window"))
                return;
        why = overridden(job, WINDOW_OVERRIDE) ? too_short(job) : NULL;
        if (why)
                tell_override(job, WINDOW_OVERRIDE, why);
        if (is_unattended(t, job))
                tell_override(job, GATE_OVERRIDE,
                              "the first gate may wait beyond the window's end");
}

/* ---- shown ---- */

static void put_span(json_t *view, const char *key, int64_t ms) {
        _cleanup_free_ char *text = ms >= 1000 ? duration_format(ms / 1000 * 1000) : NULL;

        if (text)
                (void) json_put(view, key, json_string(text));
}

/* A span of time ends when it does, whatever the clock was when it began. */
static int64_t shown_end(const Job *job) {
        const json_t *fact = json_object_get(job->facts, "window");
        const json_t *until = json_object_get(fact, "until");

        if (!until || json_is_true(json_object_get(fact, "absolute")))
                return window_ms(job, "ends");
        return json_integer_value(json_object_get(until, "wall"));
}

json_t *window_view(const Job *job) {
        char begins[TIME_TEXT_MAX], ends[TIME_TEXT_MAX];
        json_t *view;

        if (!json_object_get(job->facts, "window"))
                return NULL;
        view = json_pack("{s:s, s:s, s:s, s:s}", "state", window_text(job, "state"), "begins",
                         time_format(window_ms(job, "begins"), begins), "ends",
                         time_format(shown_end(job), ends), "at_end", window_text(job, "at_end"));
        put_span(view, "length", window_ms(job, "length"));
        put_span(view, "expected", window_ms(job, "expected"));
        put_span(view, "reserve", window_ms(job, "reserve"));
        return view;
}
