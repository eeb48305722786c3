/* SPDX-License-Identifier: MIT */
/* The job's inputs: typed, completed, judged; all faults told together. See plan.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "api/args.h"
#include "api/memory.h"
#include "daemon/plan/expand.h"
#include "daemon/plan/plan.h"

typedef struct Inputs {
        const Plan *plan;
        const json_t *declared, *given;
        json_t *begun;  /* names that have been looked at */
        json_t *made;   /* name -> value */
        json_t *faults; /* {"input", "message", "hint"?} */
        int r;
} Inputs;

_printf_(4, 5) static void input_fault(Inputs *in, const char *name, const char *hint,
                                       const char *format, ...) {
        _cleanup_free_ char *message = NULL;
        json_t *o = json_object();
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&message, format, ap);
        va_end(ap);
        if (n < 0)
                message = NULL;
        if (!message || json_put(o, "input", json_string(name)) < 0 ||
            json_put(o, "message", json_string(message)) < 0 ||
            (hint && json_put(o, "hint", json_string(hint)) < 0)) {
                in->r = -ENOMEM;
                json_decref(o);
                return;
        }
        if (json_array_append_new(in->faults, o) < 0)
                in->r = -ENOMEM;
}

/* What was given, or the default, as text. Caller frees; NULL after a fault. */
static char *value_text(Inputs *in, const char *name, const json_t *value) {
        if (json_is_string(value))
                return strdup(json_string_value(value));
        if (json_is_integer(value) || json_is_boolean(value))
                return json_dumps(value, JSON_ENCODE_ANY);
        input_fault(in, name, NULL, "'%s' must be text, a whole number, true or false", name);
        return NULL;
}

/* ---- types: each gives the value, or NULL when the text is none of it ---- */

static json_t *type_string(const char *text) {
        return json_string(text);
}

static json_t *type_int(const char *text) {
        char *end = NULL;
        long long n;

        errno = 0;
        n = strtoll(text, &end, 10);
        return errno != 0 || end == text || *end || *text == ' ' ? NULL : json_integer(n);
}

static json_t *type_bool(const char *text) {
        static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (streq(words[i], text))
                        return json_boolean(i % 2 == 1);
        return NULL;
}

static json_t *type_path(const char *text) {
        return *text && *text != '~' ? json_string(text) : NULL;
}

static json_t *type_url(const char *text) {
        size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.");

        return n > 0 && text[n] == ':' && text[n + 1] ? json_string(text) : NULL;
}

static json_t *type_duration(const char *text) {
        int64_t ms;

        return duration_parse(text, &ms) < 0 ? NULL : json_string(text);
}

static json_t *type_backup(const char *text) {
        return *text && !strpbrk(text, " \t\r\n") ? json_string(text) : NULL;
}

static const struct {
        const char *name, *expected;
        json_t *(*read)(const char *text);
} types[] = {
        {"string", "text", type_string},
        {"int", "a whole number", type_int},
        {"bool", "yes or no", type_bool},
        {"path", "a path (written out, without '~')", type_path},
        {"url", "a url such as https://example.org/x", type_url},
        {"enum", "one of its values", type_string},
        {"duration", "a duration such as 30s or 1h30m", type_duration},
        {"backup", "a backup's id", type_backup},
};

/* ---- limits ---- */

static bool in_values(const json_t *values, const char *text) {
        json_t *v;
        size_t i;

        json_array_foreach (values, i, v)
                if (streq(json_string_value(v), text))
                        return true;
        return false;
}

static void check_values(Inputs *in, const char *name, const json_t *info, const char *text) {
        const json_t *values = json_object_get(info, "values");
        _cleanup_free_ char *known = NULL;
        const char **words;

        if (!values || in_values(values, text))
                return;
        known = json_dumps(values, JSON_COMPACT);
        words = calloc(json_array_size(values) + 1, sizeof(*words));
        for (size_t i = 0; words && i < json_array_size(values); i++)
                words[i] = json_string_value(json_array_get(values, i));
        if (known && words) {
                const char *near = nearest_word(text, words, json_array_size(values));
                _cleanup_free_ char *hint = near ? strf("did you mean '%s'?", near) : NULL;

                input_fault(in, name, hint, "'%s' is '%s', expected one of %s", name, text, known);
        } else
                in->r = -ENOMEM;
        free(words);
}

static int regex_search(const char *pattern, const char *text) {
        pcre2_match_data *match;
        PCRE2_SIZE offset;
        pcre2_code *code;
        int error, r;

        code = pcre2_compile((PCRE2_SPTR) pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error,
                             &offset, NULL);
        if (!code && error == PCRE2_ERROR_HEAP_FAILED)
                memory_failed();
        if (!code)
                return -EINVAL;
        match = pcre2_match_data_create_from_pattern(code, NULL);
        r = match ? pcre2_match(code, (PCRE2_SPTR) text, strlen(text), 0, 0, match, NULL)
                  : PCRE2_ERROR_NOMEMORY;
        if (r == PCRE2_ERROR_NOMEMORY)
                memory_failed();
        pcre2_match_data_free(match);
        pcre2_code_free(code);
        return r >= 0;
}

static void check_match(Inputs *in, const char *name, const json_t *info, const char *text) {
        const char *pattern = args_text(info, "match", NULL);

        if (pattern && regex_search(pattern, text) != 1)
                input_fault(in, name, NULL, "'%s' is '%s', which does not match %s", name, text,
                            pattern);
}

/* An int's or a duration's size; false when it is neither. */
static bool measure(const char *type, const char *text, int64_t *ret) {
        char *end = NULL;

        if (streq(type, "duration"))
                return duration_parse(text, ret) >= 0;
        *ret = strtoll(text, &end, 10);
        return streq(type, "int") && end != text && !*end;
}

static void check_bounds(Inputs *in, const char *name, const json_t *info, const char *text) {
        static const char *const bounds[] = {"min", "max"};
        const char *type = args_text(info, "type", "string");
        int64_t value, bound;

        for (size_t i = 0; i < ELEMENTSOF(bounds); i++) {
                const json_t *b = json_object_get(info, bounds[i]);
                _cleanup_free_ char *bound_text = b ? value_text(in, name, b) : NULL;

                if (!bound_text || !measure(type, text, &value) ||
                    !measure(type, bound_text, &bound))
                        continue;
                if (i == 0 ? value < bound : value > bound)
                        input_fault(in, name, NULL, "'%s' is %s, expected at %s %s", name, text,
                                    i == 0 ? "least" : "most", bound_text);
        }
}

/* `cwd: ${in.root}` makes every relative path depend on it: that one must be absolute. */
static void check_absolute(Inputs *in, const char *name, const char *text) {
        _cleanup_free_ char *used = strf("${in.%s}", name);
        const char *cwd = args_text(in->plan->norm, "cwd", NULL);

        if (!used)
                in->r = -ENOMEM;
        else if (*text != '/' && (!cwd || startswith(cwd, used)))
                input_fault(in, name, NULL, "'%s' is '%s', expected a path that begins with '/'",
                            name, text);
}

/* ---- one input ---- */

static void take_text(Inputs *in, const char *name, const json_t *info, const char *text) {
        const char *type = args_text(info, "type", "string");
        json_auto_t *value = NULL;
        size_t i = 0, n_faults = json_array_size(in->faults);

        while (i + 1 < ELEMENTSOF(types) && !streq(types[i].name, type))
                i++;
        value = types[i].read(text);
        if (!value) {
                input_fault(in, name, NULL, "'%s' is '%s', expected %s", name, text,
                            types[i].expected);
                return;
        }
        check_values(in, name, info, text);
        check_match(in, name, info, text);
        check_bounds(in, name, info, text);
        if (streq(type, "path"))
                check_absolute(in, name, text);
        if (json_array_size(in->faults) == n_faults && json_object_set(in->made, name, value) < 0)
                in->r = -ENOMEM;
}

/* Its default, with earlier inputs put in. Caller frees; NULL after a fault. */
static char *default_text(Inputs *in, const char *name, const json_t *value) {
        _cleanup_free_ char *text = value_text(in, name, value), *made = NULL;
        _cleanup_error_ Error error = ERROR_INIT;
        json_auto_t *scope = json_pack("{s:O}", "in", in->made);

        if (!text || !scope) {
                in->r = -ENOMEM;
                return NULL;
        }
        /* An earlier input that is at fault itself has said so already. */
        if (plan_expand_text(text, scope, &made, &error) < 0 && json_array_size(in->faults) == 0)
                input_fault(in, name, error.hint, "the default of '%s': %s", name,
                            error.message ? error.message : "unreadable");
        return TAKE(made);
}

static void take_input(Inputs *in, const char *name);

/* The inputs that a default uses come first, wherever they stand. */
static void take_used(Inputs *in, const json_t *def) {
        json_auto_t *names = NULL;
        json_t *name;
        size_t i;

        if (plan_names_used(def, &names) < 0)
                return; /* expanding it will say why */
        json_array_foreach (names, i, name)
                if (startswith(json_string_value(name), "in."))
                        take_input(in, json_string_value(name) + 3);
}

/* One input, once. Lint has refused cycles; `begun` ends them whatever happens. */
static void take_input(Inputs *in, const char *name) {
        const json_t *info = json_object_get(in->declared, name),
                     *given = json_object_get(in->given, name),
                     *def = json_object_get(info, "default");
        _cleanup_free_ char *text = NULL;

        if (!info || json_object_get(in->begun, name))
                return;
        if (json_object_set_new(in->begun, name, json_true()) < 0)
                in->r = -ENOMEM;
        if (given && !json_is_null(given))
                text = value_text(in, name, given);
        else if (def) {
                take_used(in, def);
                text = default_text(in, name, def);
        } else {
                _cleanup_free_ char *hint = strf("-i %s=…", name);

                input_fault(in, name, hint, "'%s' must be given", name);
        }
        if (text)
                take_text(in, name, info, text);
}

static void refuse_unknown(Inputs *in) {
        size_t n = json_object_size(in->declared), i = 0;
        _cleanup_free_ const char **known = calloc(n + 1, sizeof(*known));
        const char *name;
        json_t *value;

        if (!known) {
                in->r = -ENOMEM;
                return;
        }
        json_object_foreach ((json_t *) in->declared, name, value)
                known[i++] = name;
        json_object_foreach ((json_t *) in->given, name, value) {
                const char *near = nearest_word(name, known, n);
                _cleanup_free_ char *hint = near ? strf("did you mean '%s'?", near) : NULL;

                if (!json_object_get(in->declared, name))
                        input_fault(in, name, hint, "the plan has no input '%s'", name);
        }
}

static int tell_faults(Inputs *in, Error *reterr) {
        size_t n = json_array_size(in->faults);
        const json_t *first = json_array_get(in->faults, 0);
        int r;

        r = error_set(reterr, EINVAL, "bad-inputs", "%s%s", args_text(first, "message", ""),
                      n > 1 ? " (and more)" : "");
        if (args_text(first, "hint", NULL))
                error_hint(reterr, "%s", args_text(first, "hint", ""));
        error_detail(reterr, "faults", TAKE(in->faults));
        return r;
}

int plan_inputs(const Plan *plan, const json_t *given, json_t **ret, Error *reterr) {
        json_auto_t *made = json_object(), *begun = json_object();
        Inputs in = {
                .plan = plan,
                .declared = json_object_get(plan->norm, "inputs"),
                .given = given,
                .begun = begun,
                .made = made,
                .faults = json_array(),
        };
        const char *name;
        json_t *info;
        int r = 0;

        if (!made || !begun || !in.faults)
                in.r = -ENOMEM;
        if (given && !json_is_null(given) && !json_is_object(given))
                input_fault(&in, "", NULL, "the inputs must be a map from names to values");
        else if (in.r >= 0)
                refuse_unknown(&in);
        json_object_foreach ((json_t *) in.declared, name, info)
                take_input(&in, name);
        if (in.r < 0)
                r = error_oom(reterr);
        else if (json_array_size(in.faults) > 0)
                r = tell_faults(&in, reterr);
        else
                *ret = TAKE(made);
        json_decref(in.faults);
        return r;
}
