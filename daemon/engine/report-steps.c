/* SPDX-License-Identifier: MIT */
/* The steps of a report: what each was, how it ended, and each of its attempts. */
#include "daemon/engine/report.h"

#include "api/args.h"

void report_put_time(json_t *object, const char *key, int64_t wall_ms) {
        char text[TIME_TEXT_MAX];

        if (wall_ms > 0)
                (void) json_put(object, key, json_string(time_format(wall_ms, text)));
}

static void put_known(json_t *object, const char *key, const json_t *value) {
        if (value)
                (void) json_object_set(object, key, (json_t *) value);
}

json_t *report_masked(const json_t *value) {
        json_t *copy, *item;
        const char *key;
        size_t i;

        if (json_object_get(value, "$secret"))
                return json_string("(secret)");
        if (!json_is_object(value) && !json_is_array(value))
                return json_incref((json_t *) value);
        copy = json_is_object(value) ? json_object() : json_array();
        json_object_foreach ((json_t *) value, key, item)
                (void) json_object_set_new(copy, key, report_masked(item));
        json_array_foreach ((json_t *) value, i, item)
                (void) json_array_append_new(copy, report_masked(item));
        return copy;
}

static void put_span(json_t *entry, int64_t from, int64_t to) {
        report_put_time(entry, "started", from);
        report_put_time(entry, "ended", to);
        if (from > 0 && to >= from)
                (void) json_put(entry, "took_ms", json_integer(to - from));
}

/* What undoing it does, or would do. */
static void put_undo(const Job *job, unsigned idx, json_t *entry) {
        const char *name = args_text(job->facts, "strategy", NULL);
        const json_t *strategy = NULL;
        _cleanup_free_ char *words = NULL;

        if (job->def->steps[idx].phase != PHASE_MAIN)
                return;
        if (name && strategy_find(job, name, &strategy) < 0)
                strategy = NULL;
        words = undo_words(job, idx, strategy);
        if (words && !streq(words, "nothing"))
                (void) json_put(entry, "undo", json_string(words));
}

/* Who confirmed a gate, what was ticked, why. */
static void put_gate(const Job *job, unsigned idx, json_t *entry) {
        const json_t *outputs = job->steps[idx].outputs;
        const json_t *args = json_object_get(job->def->steps[idx].norm, "args");
        json_t *gate;

        if (job->def->steps[idx].class != VERB_GATE)
                return;
        gate = json_pack("{s:s}", "ask", args_text(args, "ask", "Go on?"));
        if (outputs && gate)
                (void) json_object_update(gate, (json_t *) outputs);
        (void) json_put(entry, "gate", gate);
}

json_t *report_step(const Job *job, unsigned idx) {
        static const char *const of_more[] = {"left", "would"};
        const StepDef *def = &job->def->steps[idx];
        const StepState *s = &job->steps[idx];
        json_t *failed = json_object_get(s->more, "failed");
        json_t *result = s->status == STEP_UNDONE && failed ? failed : s->result;
        json_t *entry = json_pack(
                "{s:s, s:s, s:s, s:s, s:s*, s:s*, s:[]}", "id", def->id, "verb",
                args_text(def->norm, "verb", ""), "phase", phase_to_text(def->phase), "state",
                step_status_to_text((StepStatus) s->status), "title", def->title, "parent",
                def->parent >= 0 ? job->def->steps[def->parent].id : NULL, "attempts");

        if (!entry)
                return NULL;
        put_span(entry, s->started, s->in_flight ? 0 : s->ended);
        if (s->outputs && def->class != VERB_GATE)
                (void) json_put(entry, "outputs", report_masked(s->outputs));
        if (!s->in_flight && s->status != STEP_DONE)
                put_known(entry, "error", json_object_get(result, "error"));
        for (size_t i = 0; i < ELEMENTSOF(of_more); i++)
                put_known(entry, of_more[i], json_object_get(s->more, of_more[i]));
        put_known(entry, "skipped", json_object_get(s->more, "skipped_by"));
        put_gate(job, idx, entry);
        put_undo(job, idx, entry);
        return entry;
}

/* updd-step's own times where there are any: the rows' are those of the daemon that heard of it. */
static int64_t time_of(const json_t *result, const char *key, int64_t fallback) {
        json_int_t ms = json_integer_value(json_object_get(result, key));

        return ms > 0 ? ms : fallback;
}

json_t *report_attempt(const AttemptRow *row) {
        static const char *const keys[] = {"phase",    "reason",    "exit",       "signal", "error",
                                           "hint",     "checks",    "op",         "ops",    "op_id",
                                           "services", "log_bytes", "log_dropped"};
        json_auto_t *result = row->data ? json_loads(row->data, 0, NULL) : NULL;
        bool running = streq(row->state, "starting");
        json_t *entry = json_pack("{s:i, s:s, s:s}", "n", (int) row->n, "direction", row->direction,
                                  "state", running ? "running" : row->state);

        if (!entry)
                return NULL;
        put_span(entry, time_of(result, "started", row->started),
                 running ? 0 : time_of(result, "ended", row->ended));
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                put_known(entry, keys[i], json_object_get(result, keys[i]));
        /* The last lines of what went well stand in its log. */
        if (!streq(row->state, "done"))
                put_known(entry, "tail", json_object_get(result, "tail"));
        return entry;
}

json_t *report_backups(const Job *job) {
        static const char *const keys[] = {"id", "path", "size", "created", "sha256"};
        json_t *list = json_array();

        for (unsigned i = 0; i < job->def->n_steps; i++) {
                const json_t *outputs = job->steps[i].outputs;
                json_t *entry;

                if (!streq(args_text(job->def->steps[i].norm, "verb", ""), "backup") ||
                    !json_object_get(outputs, "path"))
                        continue;
                entry = json_pack("{s:s}", "step", job->def->steps[i].id);
                for (size_t k = 0; k < ELEMENTSOF(keys); k++)
                        put_known(entry, keys[k], json_object_get(outputs, keys[k]));
                (void) json_array_append_new(list, entry);
        }
        return list;
}
