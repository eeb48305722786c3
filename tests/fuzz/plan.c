/* SPDX-License-Identifier: MIT */
/*
 * A plan's text, YAML or JSON, the whole way: read, checked, linted, typed inputs, what this version
 * cannot carry out, every `${…}` put in and every expression decided. What is read well must give
 * the same plan again from its canonical form.
 */
#include "daemon/plan/plan.h"
#include "api/args.h"
#include "daemon/plan/expand.h"
#include "fuzz.h"

static void hold_faults(const json_t *faults, bool error) {
        json_t *fault;
        bool seen = false;
        size_t i;

        json_array_foreach ((json_t *) faults, i, fault) {
                const char *severity = args_text(fault, "severity", "");

                PROMISED(streq(severity, "error") || streq(severity, "warning"));
                PROMISED(json_string_length(json_object_get(fault, "message")) > 0);
                PROMISED(json_string_length(json_object_get(fault, "code")) > 0);
                PROMISED(json_integer_value(json_object_get(fault, "line")) >= 1);
                PROMISED(json_integer_value(json_object_get(fault, "column")) >= 1);
                seen |= streq(severity, "error");
        }
        PROMISED(seen == error);
}

static void hold_canonical(const Plan *plan) {
        _cleanup_plan_ Plan *again = NULL;
        json_auto_t *faults = NULL;

        PROMISED(plan_parse("again", plan->canonical, strlen(plan->canonical), &again, &faults) ==
                 0);
        PROMISED(streq(plan->sha256, again->sha256));
        PROMISED(json_equal(plan->norm, again->norm));
}

/* What a job of this plan would see. */
static json_t *make_scope(json_t *inputs) {
        return json_pack("{s:O, s:{s:{s:s}}, s:{s:{s:s, s:i, s:{s:s}}}, s:{s:s, s:s, s:s, s:s}}",
                         "in", inputs, "db", "main", "url", "sqlite:/srv/main.db", "steps", "code",
                         "old", "v1 ${in.root}", "exit", 3, "token", "$secret", "steps.code.token",
                         "job", "id", "7", "dir", "/var/lib/updd/jobs/7", "stamp",
                         "20260102-030405", "plan", "p");
}

static void try_expressions(const json_t *value, const json_t *scope) {
        static const char *const keys[] = {"when", "that", "expression"};
        const char *key;
        json_t *item;
        size_t i;

        for (size_t k = 0; k < ELEMENTSOF(keys); k++) {
                const char *text = args_text(value, keys[k], NULL);
                _cleanup_error_ Error error = ERROR_INIT;
                json_auto_t *names = NULL;

                if (!text)
                        continue;
                PROMISED(expr_eval(text, scope, &error) <= 1);
                (void) !expr_names_used(text, &names, NULL);
        }
        json_array_foreach ((json_t *) value, i, item)
                try_expressions(item, scope);
        json_object_foreach ((json_t *) value, key, item)
                try_expressions(item, scope);
}

static void try_steps(const json_t *steps) {
        json_t *step;
        size_t i;

        json_array_foreach ((json_t *) steps, i, step) {
                PROMISED(verb_class(step) < _VERB_CLASS_MAX);
                PROMISED(verb_undo(step) < _UNDO_KIND_MAX);
                PROMISED(verb_on_crash(step) < _ON_CRASH_MAX);
                try_steps(json_object_get(json_object_get(step, "args"), "steps"));
        }
}

static void try_plan(const Plan *plan, const json_t *inputs) {
        json_auto_t *scope = make_scope((json_t *) inputs), *names = NULL, *expanded = NULL;
        const json_t *part;
        const char *key;

        if (!scope)
                abort();
        try_expressions(plan->norm, scope);
        (void) !plan_names_used(plan->norm, &names);
        json_object_foreach (plan->norm, key, part) {
                _cleanup_error_ Error error = ERROR_INIT;

                json_decref(TAKE(expanded));
                if (plan_expand(part, scope, &expanded, &error) < 0)
                        PROMISED(error.message);
        }
}

/* All inputs that have no default get their own name. */
static json_t *make_given(const Plan *plan) {
        json_t *given = json_object(), *input;
        const char *name;

        json_object_foreach (json_object_get(plan->norm, "inputs"), name, input)
                if (!json_object_get(input, "default"))
                        (void) json_object_set_new(given, name, json_string(name));
        return given;
}

static void hold_plan(const Plan *plan) {
        json_auto_t *unsupported = NULL, *given = make_given(plan), *inputs = NULL, *some = NULL;
        _cleanup_error_ Error error = ERROR_INIT;

        hold_canonical(plan);
        PROMISED(plan_unsupported(plan, false, &unsupported) == 0 && json_is_array(unsupported));
        try_steps(json_object_get(plan->norm, "steps"));
        (void) !plan_inputs(plan, NULL, &some, NULL);
        if (plan_inputs(plan, given, &inputs, &error) < 0)
                PROMISED(error.message && streq0(error.type, "bad-inputs"));
        try_plan(plan, inputs ? inputs : given);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_plan_ Plan *plan = NULL;
        json_auto_t *faults = NULL;
        int r;

        r = plan_parse("fuzz", (const char *) data, size, &plan, &faults);
        PROMISED((r == 0 && plan) || (r == -EBADMSG && !plan));
        PROMISED(json_is_array(faults));
        hold_faults(faults, r < 0);
        if (plan)
                hold_plan(plan);
        return 0;
}
