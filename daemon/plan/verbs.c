/* SPDX-License-Identifier: MIT */
/* What the rows of the verb table say about one step: see plan.h. */
#include "api/args.h"
#include "daemon/plan/table.h"

static const char *const on_crash_names[] = {
        [ON_CRASH_UNDO] = "undo",
        [ON_CRASH_RERUN] = "rerun",
        [ON_CRASH_ASK] = "ask",
        [ON_CRASH_PROBE] = "probe",
};
_Static_assert(ELEMENTSOF(on_crash_names) == _ON_CRASH_MAX, "each policy has a name");

const char *on_crash_to_text(OnCrash c) {
        return c < _ON_CRASH_MAX ? on_crash_names[c] : NULL;
}

int on_crash_from_text(const char *text) {
        for (int i = 0; i < _ON_CRASH_MAX; i++)
                if (streq0(on_crash_names[i], text))
                        return i;
        return -EINVAL;
}

/* Of updd's own plans (internal.c): no verb that a person's plan may use. */
static const VerbInfo timer = {{.name = "timer"}, VERB_ACTION, UNDO_KNOWN, ON_CRASH_RERUN};

static const VerbInfo *step_verb(const json_t *step) {
        const char *verb = args_text(step, "verb", "");

        return streq(verb, "timer") ? &timer : verb_find(verb);
}

static bool is_mark(const json_t *step) {
        return streq(args_text(step, "verb", ""), "mark");
}

/* `http` and `sql` only look when their arguments say so. */
static bool only_looks(const json_t *step) {
        const char *verb = args_text(step, "verb", "");
        const json_t *args = json_object_get(step, "args");
        const char *method = args_text(args, "method", "GET");

        if (streq(verb, "http"))
                return streq(method, "GET") || streq(method, "HEAD");
        if (streq(verb, "sql"))
                return json_object_get(args, "query") || json_object_get(args, "count");
        return streq(verb, "helm") && json_object_get(args, "render");
}

VerbClass verb_class(const json_t *step) {
        const VerbInfo *v = step_verb(step);

        if (is_mark(step))
                return VERB_MARK;
        return v ? v->class : VERB_ACTION;
}

UndoKind verb_undo(const json_t *step) {
        const VerbInfo *v = step_verb(step);

        if (is_mark(step) || only_looks(step))
                return UNDO_NOTHING;
        return v ? v->undo : UNDO_SAY;
}

OnCrash verb_on_crash(const json_t *step) {
        const VerbInfo *v = step_verb(step);
        int said = on_crash_from_text(args_text(step, "on_crash", ""));

        if (said >= 0)
                return (OnCrash) said;
        if (json_object_get(step, "probe"))
                return ON_CRASH_PROBE;
        if (is_mark(step) || only_looks(step))
                return ON_CRASH_RERUN;
        return v ? v->on_crash : ON_CRASH_UNDO;
}
