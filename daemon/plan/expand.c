/* SPDX-License-Identifier: MIT */
/*
 * `${…}`: see daemon/plan/expand.h. A text is read once, from left to right, into parts: literal
 * text and names of secrets. What a name gives is put in as it is and never looked at again, so a
 * value that holds `${…}` itself stays what it was.
 */
#include "daemon/plan/expand.h"

#include "daemon/plan/scope.h"

/* What one text may grow to: a plan is at most 4 MiB, but it may name a long input many times. */
#define EXPANDED_MAX (16U * 1024 * 1024)

typedef struct Parts {
        json_t *list; /* what is complete: texts and {"name": …} */
        bool secret;
        char *literal; /* the text being gathered */
        size_t size, room;
        size_t total;
} Parts;

static void parts_done(Parts *p) {
        json_decref(p->list);
        free(p->literal);
}

static int parts_literal(Parts *p, const char *text, size_t size, Error *reterr) {
        if (size > EXPANDED_MAX - p->total)
                return error_set(reterr, E2BIG, "too-large",
                                 "A text with its values put in is larger than %u MiB",
                                 EXPANDED_MAX / 1024 / 1024);
        if (p->size + size >= p->room) {
                size_t room = MAX(p->size + size + 1, p->room * 2);
                char *literal = realloc(p->literal, room);

                if (!literal)
                        return error_oom(reterr);
                p->literal = literal;
                p->room = room;
        }
        memcpy(p->literal + p->size, text, size);
        p->size += size;
        p->total += size;
        p->literal[p->size] = 0;
        return 0;
}

/* Closes the literal that is being gathered. */
static int parts_flush(Parts *p, Error *reterr) {
        if (p->size == 0)
                return 0;
        if (json_array_append_new(p->list, json_stringn(p->literal, p->size)) < 0)
                return error_oom(reterr);
        p->size = 0;
        return 0;
}

static int parts_secret(Parts *p, const char *name, Error *reterr) {
        int r;

        r = parts_flush(p, reterr);
        if (r < 0)
                return r;
        p->secret = true;
        if (json_array_append_new(p->list, json_pack("{s:s}", "name", name)) < 0)
                return error_oom(reterr);
        return 0;
}

/* A value that was itself put together from secrets: its parts become ours. */
static int parts_splice(Parts *p, const json_t *secret, Error *reterr) {
        size_t i;
        json_t *part;
        int r;

        if (json_is_string(secret))
                return parts_secret(p, json_string_value(secret), reterr);
        json_array_foreach ((json_t *) secret, i, part) {
                const char *text = json_string_value(part);
                const char *name = json_string_value(json_object_get(part, "name"));

                if (!text && !name)
                        return error_set(reterr, EINVAL, "bad-value", "A secret's parts are wrong");
                r = name ? parts_secret(p, name, reterr)
                         : parts_literal(p, text, strlen(text), reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int parts_value(Parts *p, const json_t *value, Error *reterr) {
        _cleanup_free_ char *text = NULL;

        if (scope_is_secret(value))
                return parts_splice(p, json_object_get(value, "$secret"), reterr);
        text = scope_value_text(value);
        if (!text)
                return error_oom(reterr);
        return parts_literal(p, text, strlen(text), reterr);
}

/* Reads the reference at `text`, which begins with "${". 0, its name (caller frees) and its size,
 * braces included. */
static int reference_read(const char *text, char **ret_name, size_t *ret_size, Error *reterr) {
        _cleanup_free_ char *name = NULL;
        size_t span = scope_name_span(text + 2);
        int r;

        if (span == 0 || text[2 + span] != '}') {
                (void) error_set(reterr, EINVAL, "bad-reference",
                                 "'%.40s' is not a reference such as ${in.name}", text);
                error_hint(reterr, "For a plain dollar sign and brace write $${");
                return -EINVAL;
        }
        name = strndup(text + 2, span);
        if (!name)
                return error_oom(reterr);
        r = scope_name_check(name, reterr);
        if (r < 0)
                return r;
        *ret_name = TAKE(name);
        *ret_size = span + 3;
        return 0;
}

static int parts_reference(Parts *p, const char *text, const json_t *scope, size_t *ret_size,
                           Error *reterr) {
        _cleanup_free_ char *name = NULL;
        const json_t *value = NULL;
        int r;

        r = reference_read(text, &name, ret_size, reterr);
        if (r < 0)
                return r;
        if (startswith(name, "secret."))
                return parts_secret(p, name + strlen("secret."), reterr);
        r = scope_find(scope, name, &value, reterr);
        if (r < 0)
                return r;
        return parts_value(p, value, reterr);
}

static int parts_read(Parts *p, const char *text, const json_t *scope, Error *reterr) {
        int r = 0;

        p->list = json_array();
        if (!p->list)
                return error_oom(reterr);
        while (*text && r >= 0) {
                size_t size = strcspn(text, "$");

                if (size > 0)
                        r = parts_literal(p, text, size, reterr);
                else if (startswith(text, "$${")) {
                        size = 3;
                        r = parts_literal(p, "${", 2, reterr);
                } else if (startswith(text, "${"))
                        r = parts_reference(p, text, scope, &size, reterr);
                else {
                        size = 1;
                        r = parts_literal(p, "$", 1, reterr);
                }
                text += size;
        }
        return r;
}

/* "${in.port}" alone keeps the type of its value. NULL: not such a text. */
static json_t *typed_reference(const char *text, const json_t *scope) {
        _cleanup_free_ char *name = NULL;
        const json_t *value = NULL;
        size_t size = 0;

        if (!startswith(text, "${") || reference_read(text, &name, &size, NULL) < 0 || text[size])
                return NULL;
        if (scope_find(scope, name, &value, NULL) < 0)
                return NULL;
        return json_is_number(value) || json_is_boolean(value) ? json_deep_copy(value) : NULL;
}

static int expand_text(const char *text, const json_t *scope, json_t **ret, Error *reterr) {
        _cleanup_(parts_done) Parts p = {0};
        json_auto_t *made = typed_reference(text, scope);
        int r;

        if (!made) {
                r = parts_read(&p, text, scope, reterr);
                if (r < 0)
                        return r;
                if (p.secret) {
                        r = parts_flush(&p, reterr);
                        if (r < 0)
                                return r;
                        made = json_pack("{s:O}", "$secret", p.list);
                } else
                        made = json_stringn(p.size ? p.literal : "", p.size);
        }
        if (!made)
                return error_oom(reterr);
        *ret = TAKE(made);
        return 0;
}

static int expand_array(const json_t *value, const json_t *scope, json_t **ret, Error *reterr) {
        json_auto_t *made = json_array();
        size_t i;
        json_t *element;

        if (!made)
                return error_oom(reterr);
        json_array_foreach ((json_t *) value, i, element) {
                json_t *expanded = NULL;
                int r;

                r = plan_expand(element, scope, &expanded, reterr);
                if (r < 0)
                        return r;
                if (json_array_append_new(made, expanded) < 0)
                        return error_oom(reterr);
        }
        *ret = TAKE(made);
        return 0;
}

static int expand_object(const json_t *value, const json_t *scope, json_t **ret, Error *reterr) {
        json_auto_t *made = json_object();
        const char *key;
        json_t *element;

        if (!made)
                return error_oom(reterr);
        json_object_foreach ((json_t *) value, key, element) {
                json_t *expanded = NULL;
                int r;

                r = plan_expand(element, scope, &expanded, reterr);
                if (r < 0)
                        return r;
                if (json_object_set_new(made, key, expanded) < 0)
                        return error_oom(reterr);
        }
        *ret = TAKE(made);
        return 0;
}

int plan_expand(const json_t *value, const json_t *scope, json_t **ret, Error *reterr) {
        json_t *copy;

        if (json_is_string(value))
                return expand_text(json_string_value(value), scope, ret, reterr);
        if (json_is_array(value))
                return expand_array(value, scope, ret, reterr);
        /* What was expanded before holds values by now, and values are never parsed. */
        if (json_is_object(value) && !scope_is_secret(value))
                return expand_object(value, scope, ret, reterr);
        copy = json_deep_copy(value);
        if (!copy)
                return error_oom(reterr);
        *ret = copy;
        return 0;
}

int plan_expand_text(const char *text, const json_t *scope, char **ret, Error *reterr) {
        _cleanup_(parts_done) Parts p = {0};
        char *made;
        int r;

        r = parts_read(&p, text, scope, reterr);
        if (r < 0)
                return r;
        if (p.secret)
                return error_set(reterr, EINVAL, "secret-not-here",
                                 "A secret cannot be used here: '%.80s'", text);
        made = strndup(p.size ? p.literal : "", p.size);
        if (!made)
                return error_oom(reterr);
        *ret = made;
        return 0;
}

static int text_names(const char *text, json_t *set) {
        while ((text = strchr(text, '$'))) {
                _cleanup_free_ char *name = NULL;
                size_t size = 1;
                int r;

                if (startswith(text, "$${"))
                        size = 3;
                else if (startswith(text, "${")) {
                        r = reference_read(text, &name, &size, NULL);
                        if (r < 0)
                                return r;
                        if (json_object_set_new(set, name, json_true()) < 0)
                                return -ENOMEM;
                }
                text += size;
        }
        return 0;
}

static int value_names(const json_t *value, json_t *set) {
        const char *key;
        json_t *element;
        size_t i;
        int r = 0;

        if (json_is_string(value))
                return text_names(json_string_value(value), set);
        json_array_foreach ((json_t *) value, i, element) {
                r = value_names(element, set);
                if (r < 0)
                        return r;
        }
        json_object_foreach ((json_t *) value, key, element) {
                r = value_names(element, set);
                if (r < 0)
                        return r;
        }
        return r;
}

int plan_names_used(const json_t *value, json_t **ret) {
        json_auto_t *set = json_object();
        json_t *list;
        int r;

        if (!set)
                return -ENOMEM;
        r = value_names(value, set);
        if (r < 0)
                return r;
        list = scope_sorted_keys(set);
        if (!list)
                return -ENOMEM;
        *ret = list;
        return 0;
}
