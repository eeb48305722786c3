/* SPDX-License-Identifier: MIT */
/* A plan as a person reads it before saying yes: see card.h. */
#include "client/updctl/card.h"

#include <inttypes.h>

#include "api/text.h"

#define DEPTH_MAX 8

static char *input_value_deep(const json_t *plan, const json_t *inputs, const char *name,
                              unsigned depth);

/* What is not known stays as the plan has it. */
static char *fill_deep(const json_t *plan, const json_t *inputs, const char *text, unsigned depth) {
        _cleanup_free_ char *out = NULL;
        size_t size;
        FILE *f = open_memstream(&out, &size);

        while (f && *text) {
                const char *start = strstr(text, "${in."), *end = start ? strchr(start, '}') : NULL;
                _cleanup_free_ char *name =
                        end ? strndup(start + 5, (size_t) (end - start - 5)) : NULL;
                _cleanup_free_ char *value = NULL;

                if (!end)
                        break;
                if (name && depth < DEPTH_MAX)
                        value = input_value_deep(plan, inputs, name, depth + 1);
                (void) fwrite(text, 1, (size_t) ((value ? start : end + 1) - text), f);
                (void) fputs(value ? value : "", f);
                text = end + 1;
        }
        if (!f)
                return NULL;
        (void) fputs(text, f);
        return fclose(f) == 0 ? TAKE(out) : NULL;
}

static char *input_value_deep(const json_t *plan, const json_t *inputs, const char *name,
                              unsigned depth) {
        const char *given = get_text(inputs, name);
        const json_t *input = json_object_get(json_object_get(plan, "inputs"), name);
        const json_t *fallback = json_object_get(input, "default");
        _cleanup_free_ char *text = NULL;

        if (given)
                return strdup(given);
        if (!fallback || json_is_null(fallback))
                return NULL;
        text = value_text(fallback);
        return text ? fill_deep(plan, inputs, text, depth) : NULL;
}

char *input_value(const json_t *plan, const json_t *inputs, const char *name) {
        return input_value_deep(plan, inputs, name, 0);
}

char *fill_inputs(const json_t *plan, const json_t *inputs, const char *text) {
        return fill_deep(plan, inputs, text ? text : "", 0);
}

static void put_label(const Screen *s, const char *label, Style style, const char *text) {
        _cleanup_free_ char *padded = strf("%-10s ", label);

        if (padded && !isempty(text))
                put_text(s, 2, padded, style, text);
}

static void put_inputs(const Screen *s, const json_t *plan, const json_t *inputs) {
        json_t *input;
        const char *name;
        bool first = true;

        json_object_foreach (json_object_get(plan, "inputs"), name, input) {
                _cleanup_free_ char *value = input_value(plan, inputs, name);
                bool given = json_object_get(inputs, name) != NULL;
                _cleanup_free_ char *text = strf("%s = %s", name, value ? value : "(needed: -i)");

                put_label(s, first ? "inputs" : "", given ? BOLD : value ? PLAIN : WARN, text);
                first = false;
        }
}

/* Where a secret may come from. Caller frees. */
static char *secret_sources(const json_t *secret) {
        static const char *const keys[] = {"credential", "env_file", "file"};
        const char *variable = get_text(secret, "env");
        _cleanup_free_ char *line = join_texts(json_object_get(secret, "sources"), ", ");

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                _cleanup_free_ char *before = line;
                const char *value = get_text(secret, keys[i]);

                line = value ? strf("%s%s%s %s", before ? before : "", before ? ", " : "", keys[i],
                                    value)
                             : TAKE(before);
        }
        return strf("%s%s%s%s", line ? line : "", line && variable ? "; " : "",
                    variable ? "your variable " : "", variable ? variable : "");
}

static void put_secret_names(const Screen *s, const json_t *plan, const json_t *inputs) {
        json_t *secret;
        const char *name;
        bool first = true;

        json_object_foreach (json_object_get(plan, "secrets"), name, secret) {
                _cleanup_free_ char *sources = secret_sources(secret);
                _cleanup_free_ char *filled = fill_inputs(plan, inputs, sources);
                _cleanup_free_ char *text = strf("%s from %s", name, filled ? filled : "");

                put_label(s, first ? "secrets" : "", PLAIN, text);
                first = false;
        }
}

static void put_plan_step(const Screen *s, size_t n, const json_t *plan, const json_t *inputs,
                          const json_t *step) {
        const char *title = get_text(step, "title"), *summary = get_text(step, "summary");
        const char *verb = get_text(step, "verb"), *what = title ? title : summary ? summary : verb;
        _cleanup_free_ char *number = strf("%zu.", n), *text = fill_inputs(plan, inputs, what);
        _cleanup_free_ char *id = strf("%s%s", get_text(step, "parent") ? "  " : "", step_of(step));

        put_cells(s, 2, {DIM, -3, number}, {PLAIN, 18, id}, {NOTE, 9, verb},
                  {DIM, 0, what == verb ? "" : text});
}

static void put_plan_steps(const Screen *s, const json_t *plan, const json_t *inputs) {
        const char *last = NULL;
        json_t *step;
        size_t i, n = 0;

        json_array_foreach (json_object_get(plan, "steps"), i, step) {
                const char *phase = get_text(step, "phase");

                if (phase && !streq0(phase, last))
                        put(s, BOLD, "%s\n",
                            streq(phase, "main")       ? "steps"
                            : streq(phase, "checks")   ? "checks, before anything is touched"
                            : streq(phase, "finalise") ? "when the way back closes"
                            : streq(phase, "hook")     ? "hooks"
                                                       : phase);
                last = phase ? phase : last;
                put_plan_step(s, ++n, plan, inputs, step);
        }
}

static void put_gates(const Screen *s, const json_t *plan, const json_t *inputs) {
        const json_t *gates = json_object_get(plan, "gates");
        json_t *gate;
        size_t i;

        if (json_array_size(gates) > 0)
                put(s, BOLD, "it asks a person\n");
        json_array_foreach ((json_t *) gates, i, gate) {
                const char *then = get_text(gate, "on_timeout");
                _cleanup_free_ char *within = fill_inputs(plan, inputs, get_text(gate, "within"));
                _cleanup_free_ char *ask = fill_inputs(plan, inputs, get_text(gate, "ask"));
                _cleanup_free_ char *text =
                        strf("%s%s%s%s%s%s", ask ? ask : "", isempty(within) ? "" : " (within ",
                             within ? within : "", isempty(within) || !then ? "" : ", else ",
                             isempty(within) || !then ? "" : then, isempty(within) ? "" : ")");
                _cleanup_free_ char *label = strf("%-18s  ", step_of(gate));

                put_text(s, 2, label ? label : "", PLAIN, text ? text : "");
        }
}

static void put_ways_back(const Screen *s, const json_t *plan) {
        const json_t *strategies = json_object_get(plan, "strategies");
        json_t *strategy;
        size_t i;

        if (json_array_size(strategies) > 0)
                put(s, BOLD, "ways back\n");
        json_array_foreach ((json_t *) strategies, i, strategy) {
                const char *loses = get_text(strategy, "loses"), *name = get_text(strategy, "name");
                _cleanup_free_ char *suits =
                        join_texts(json_object_get(strategy, "situations"), "; ");
                _cleanup_free_ char *text = strf("loses: %s%s%s", loses ? loses : "not said",
                                                 suits ? "\nfor: " : "", suits ? suits : "");
                _cleanup_free_ char *label = strf("%-18s  ", name ? name : "");

                put_text(s, 2, label ? label : "", streq0(loses, "nothing") ? PLAIN : WARN,
                         text ? text : "");
        }
}

void put_card(const Screen *s, const json_t *plan, const json_t *inputs, bool dry_run) {
        const char *name = get_text(plan, "plan"), *title = get_text(plan, "title");
        const char *sha256 = get_text(plan, "sha256"), *expected = get_text(plan, "expected");
        _cleanup_free_ char *heading = fill_inputs(plan, inputs, title ? title : name);
        _cleanup_free_ char *target = fill_inputs(plan, inputs, get_text(plan, "target"));
        _cleanup_free_ char *hash = sha256 ? strf("%.12s", sha256) : NULL;
        _cleanup_free_ char *about = fill_inputs(plan, inputs, get_text(plan, "about"));

        put(s, BOLD, "%s%s\n", heading ? heading : "", dry_run ? " (dry run)" : "");
        if (!isempty(about))
                put_text(s, 2, "", DIM, about);
        put_label(s, "plan", PLAIN, name);
        put_label(s, "file", PLAIN, get_text(plan, "file"));
        put_label(s, "hash", PLAIN, hash);
        put_label(s, "target", PLAIN, target);
        put_label(s, "expected", PLAIN, expected);
        put_inputs(s, plan, inputs);
        put_secret_names(s, plan, inputs);
        put_plan_steps(s, plan, inputs);
        put_gates(s, plan, inputs);
        put_ways_back(s, plan);
        put_faults(s, json_object_get(plan, "faults"));
        if (json_array_size(json_object_get(plan, "unsupported")) > 0)
                put(s, WARN, "this version cannot carry it out:\n");
        put_faults(s, json_object_get(plan, "unsupported"));
}
