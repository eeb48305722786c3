/* SPDX-License-Identifier: MIT */
/* Single values: text, durations, sizes, numbers, words, references. See decode.h. */
#include "daemon/plan/decode.h"

#include <ctype.h>

#include "daemon/plan/expand.h"

bool is_id(const char *text) {
        size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-");

        return *text >= 'a' && *text <= 'z' && !text[n] && n <= 63;
}

bool is_output_name(const char *text) {
        size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");

        return isalpha((unsigned char) *text) && !text[n] && n <= 63;
}

static unsigned use_flags(const FieldInfo *f) {
        return f->flags & FIELD_SECRET ? USE_SECRET_OK : 0;
}

static void note_template(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, const char *name,
                          bool script) {
        if (f->flags & FIELD_LITERAL)
                fault(d->faults, n, "no-template", NULL,
                      "'%s' holds ${%s}, but it must be known before any value is", f->name, name);
        else
                note_use(d, sc, USE_NAME, n, name, use_flags(f) | (script ? USE_IN_SCRIPT : 0));
}

bool scan_names(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, bool script) {
        bool found = false;

        if (f->flags & FIELD_INPUTS)
                sc.names = NS_IN;
        for (const char *p = strstr(n->text, "${"); p; p = strstr(p, "${")) {
                const char *end = strchr(p, '}');
                _cleanup_free_ char *name = NULL;

                if (p > n->text && p[-1] == '$') {
                        p += 2;
                        continue;
                }
                if (!end) {
                        fault(d->faults, n, "bad-template", "write $${ for the two characters",
                              "'${' in '%s' is never closed", f->name);
                        return true;
                }
                name = strndup(p + 2, (size_t) (end - p) - 2);
                if (!name) {
                        d->faults->oom = true;
                        return true;
                }
                note_template(d, sc, f, n, name, script);
                found = true;
                p = end;
        }
        return found;
}

int decode_template(Decoder *d, Scope sc, const FieldInfo *f, const Node *n) {
        if (!expect_kind(d, f, n, NODE_SCALAR))
                return -1;
        return scan_names(d, sc, f, n, false);
}

static void take(Decoder *d, json_t *value, Pair *ret) {
        *ret = pair_new(d, value, json_incref(value));
}

void take_text(Decoder *d, const Node *n, Pair *ret) {
        take(d, json_string(n->text), ret);
}

static void decode_text(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        if (decode_template(d, sc, f, n) >= 0)
                take_text(d, n, ret);
}

static void decode_id(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        int r = decode_template(d, sc, f, n);

        if (r == 0 && !is_id(n->text))
                fault(d->faults, n, "bad-id", "at most 63 characters", "'%s' is '%s', expected %s",
                      f->name, n->text, field_types[TYPE_ID].expected);
        else if (r >= 0)
                take_text(d, n, ret);
}

static void decode_path(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        bool cwd = f->flags & FIELD_OUTER_CWD ? sc.outer_cwd : sc.cwd;

        if (decode_template(d, sc, f, n) < 0)
                return;
        if (!*n->text)
                fault(d->faults, n, "empty", NULL, "'%s' is empty, expected a path", f->name);
        else if (*n->text == '~')
                fault(d->faults, n, "bad-path", "write the path out",
                      "'%s' is '%s', but no shell is there to expand '~'", f->name, n->text);
        else if (*n->text != '/' && !startswith(n->text, "${") && !cwd)
                fault(d->faults, n, "relative-path",
                      streq(f->name, "cwd") ? "begin it with '/'"
                                            : "set 'cwd', or begin the path with '/'",
                      "'%s' is '%s', a relative path, and no %s'cwd' is set", f->name, n->text,
                      streq(f->name, "cwd") ? "outer " : "");
        else
                take_text(d, n, ret);
}

bool is_number(const char *text) {
        return *text && strspn(text, "0123456789") == strlen(text);
}

static void bad_quantity(Decoder *d, const FieldInfo *f, const Node *n, const char *hint) {
        if (is_number(n->text))
                fault(d->faults, n, "bare-number", hint, "'%s' is the bare number %s, expected %s",
                      f->name, n->text, field_types[f->type].expected);
        else
                wrong_type(d, f, n);
}

static void decode_duration(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        int r = decode_template(d, sc, f, n);
        int64_t ms;

        if (r == 0 && duration_parse(n->text, &ms) < 0)
                bad_quantity(d, f, n, "write the unit: 30s, 5m");
        else if (r >= 0)
                take_text(d, n, ret);
}

static void decode_size(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        int r = decode_template(d, sc, f, n);
        int64_t bytes;

        if (r == 0 && size_parse(n->text, &bytes) < 0)
                bad_quantity(d, f, n, "write the unit: 64K, 10M, 1G");
        else if (r >= 0)
                take_text(d, n, ret);
}

static void decode_share(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        int r = decode_template(d, sc, f, n);
        int64_t us;

        if (r == 0 && share_parse(n->text, &us) < 0)
                bad_quantity(d, f, n, "write per cent of one processor: 50%, 200%");
        else if (r >= 0)
                take_text(d, n, ret);
}

static int read_int(const char *text, json_int_t *ret) {
        char *end = NULL;

        /* Only what a person would write so again: "007" and "+7" stay text. */
        if (text[*text == '-'] == '\0' ||
            strspn(text + (*text == '-'), "0123456789") != strlen(text + (*text == '-')))
                return -EINVAL;
        if (text[*text == '-'] == '0' && strlen(text) > 1)
                return -EINVAL;
        errno = 0;
        *ret = strtoll(text, &end, 10);
        return errno != 0 ? -ERANGE : 0;
}

void decode_int(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        int r = decode_template(d, sc, f, n);
        json_int_t i;

        if (r > 0)
                take_text(d, n, ret);
        else if (r == 0 && read_int(n->text, &i) < 0)
                wrong_type(d, f, n);
        else if (r == 0)
                take(d, json_integer(i), ret);
}

static void decode_bool(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
        int r = decode_template(d, sc, f, n);

        if (r > 0)
                take_text(d, n, ret);
        if (r != 0)
                return;
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (streq(n->text, words[i])) {
                        take(d, json_boolean(i % 2 == 1), ret);
                        return;
                }
        wrong_type(d, f, n);
}

static void decode_enum(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        _cleanup_free_ char *hint = NULL, *known = strdup("");
        int r = decode_template(d, sc, f, n);
        size_t count = 0;

        if (!known) {
                d->faults->oom = true;
                return;
        }
        for (const char *const *v = f->values; r == 0 && known && *v; v++, count++) {
                char *more = strf("%s%s%s", known, count == 0 ? "" : ", ", *v);

                if (streq(n->text, *v))
                        r = 1;
                free(known);
                known = more;
        }
        if (r > 0)
                take_text(d, n, ret);
        if (r != 0)
                return;
        hint = did_you_mean(n->text, f->values, count);
        fault(d->faults, n, "unknown-word", hint, "'%s' is '%s', expected one of: %s", f->name,
              n->text, known ? known : "");
}

static void take_scalar(Decoder *d, const Node *n, Pair *ret) {
        json_int_t i;

        if (n->plain && read_int(n->text, &i) == 0)
                take(d, json_integer(i), ret);
        else
                take_text(d, n, ret);
}

static void decode_scalar(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        int r = decode_template(d, sc, f, n);
        char *end = NULL;

        if (r < 0)
                return;
        if (r == 0 && (f->flags & FIELD_NUMBER)) {
                (void) strtod(n->text, &end);
                if (end == n->text || *end) {
                        fault(d->faults, n, "wrong-type", NULL, "'%s' is '%s', expected a number",
                              f->name, n->text);
                        return;
                }
        }
        take_scalar(d, n, ret);
}

static void decode_expression(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        json_auto_t *names = NULL;
        _cleanup_error_ Error error = ERROR_INIT;
        size_t i;
        json_t *name;

        if (!expect_kind(d, f, n, NODE_SCALAR))
                return;
        if (strstr(n->text, "${")) {
                fault(d->faults, n, "bad-expression", "write in.NAME, without ${ }",
                      "'%s' is '%s', but an expression takes names as they are", f->name, n->text);
                return;
        }
        if (expr_names_used(n->text, &names, &error) < 0) {
                fault(d->faults, n, "bad-expression", error.hint, "'%s': %s", f->name,
                      error.message ? error.message : "not an expression");
                return;
        }
        sc.names &= NS_IN | NS_STEPS;
        json_array_foreach (names, i, name)
                note_use(d, sc, USE_EXPRESSION, n, json_string_value(name), 0);
        take_text(d, n, ret);
}

static void decode_database_url(Decoder *d, Scope sc, const FieldInfo *f, const Node *n,
                                Pair *ret) {
        int r = decode_template(d, sc, f, n);
        const char *path = r >= 0 && startswith(n->text, "sqlite:") ? n->text + 7 : NULL;

        if (r < 0)
                return;
        if (!path && !startswith(n->text, "postgresql:") && !startswith(n->text, "${"))
                wrong_type(d, f, n);
        else if (path && *path != '/' && !startswith(path, "${") && !sc.cwd)
                fault(d->faults, n, "relative-path", "set 'cwd', or write sqlite:/…",
                      "'%s' is '%s', a relative path, and no 'cwd' is set", f->name, n->text);
        else
                take_text(d, n, ret);
}

/* A name of something of the plan: noted, judged when all of the plan is known. */
static void decode_name(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        static const UseKind kinds[_FIELD_TYPE_MAX] = {
                [TYPE_STEP] = USE_STEP,         [TYPE_BACKUP_STEP] = USE_BACKUP_STEP,
                [TYPE_BACKUP] = USE_BACKUP,     [TYPE_DATABASE] = USE_DATABASE,
                [TYPE_COMPOSE] = USE_COMPOSE,   [TYPE_COMPOSE_SERVICE] = USE_COMPOSE,
                [TYPE_STRATEGY] = USE_STRATEGY,
        };
        UseKind kind = kinds[f->type];
        int r = decode_template(d, sc, f, n);

        if (streq(f->name, "same_as"))
                kind = USE_SQL_STEP;
        if (f->type == TYPE_STEP && (f->flags & FIELD_ALONE))
                kind = USE_REVERT;
        if (r == 0)
                note_use(d, sc, kind, n, n->text, 0);
        if (r >= 0)
                take_text(d, n, ret);
}

const DecodeFunc decode_funcs[_FIELD_TYPE_MAX] = {
        [TYPE_TEXT] = decode_text,
        [TYPE_ID] = decode_id,
        [TYPE_PATH] = decode_path,
        [TYPE_PATHS] = decode_paths,
        [TYPE_DURATION] = decode_duration,
        [TYPE_SIZE] = decode_size,
        [TYPE_SHARE] = decode_share,
        [TYPE_INT] = decode_int,
        [TYPE_BOOL] = decode_bool,
        [TYPE_ENUM] = decode_enum,
        [TYPE_REGEX] = decode_regex,
        [TYPE_REGEXES] = decode_regexes,
        [TYPE_ARGV] = decode_argv,
        [TYPE_TEXTS] = decode_texts,
        [TYPE_TEXT_MAP] = decode_text_map,
        [TYPE_TEXTS_MAP] = decode_texts_map,
        [TYPE_PATH_MAP] = decode_path_map,
        [TYPE_SCALAR] = decode_scalar,
        [TYPE_EXPECTATION] = decode_expectation,
        [TYPE_JSON] = decode_json,
        [TYPE_POINTER] = decode_pointer,
        [TYPE_EXPRESSION] = decode_expression,
        [TYPE_EXITS] = decode_exits,
        [TYPE_STATUS] = decode_status,
        [TYPE_MODE] = decode_mode,
        [TYPE_SHA256] = decode_sha256,
        [TYPE_VERSION] = decode_version,
        [TYPE_STEPS] = decode_steps,
        [TYPE_CHECKS] = decode_checks,
        [TYPE_UNDO] = decode_undo,
        [TYPE_RETRY] = decode_retry,
        [TYPE_OBJECT] = decode_object_field,
        [TYPE_OBJECTS] = decode_objects,
        [TYPE_OBJECT_MAP] = decode_object_map,
        [TYPE_STEPS_MAP] = decode_steps_map,
        [TYPE_ON_FAILURE] = decode_on_failure,
        [TYPE_HOOKS] = decode_hooks,
        [TYPE_REGEX_MAP] = decode_regex_map,
        [TYPE_SERVICES] = decode_services,
        [TYPE_STEP] = decode_name,
        [TYPE_STEP_LIST] = decode_step_list,
        [TYPE_BACKUP_STEP] = decode_name,
        [TYPE_BACKUP] = decode_name,
        [TYPE_DATABASE] = decode_name,
        [TYPE_DATABASE_URL] = decode_database_url,
        [TYPE_COMPOSE] = decode_name,
        [TYPE_COMPOSE_SERVICE] = decode_name,
        [TYPE_STRATEGY] = decode_name,
};
