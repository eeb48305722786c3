/* SPDX-License-Identifier: MIT */
/* JSON bodies: read whole, checked against the call's members, every fault told with its place or
 * name. */
#include "daemon/http/server.h"

static const char *type_words(MemberType type) {
        static const char *const words[] = {
                [MEMBER_TEXT] = "a text",
                [MEMBER_BOOL] = "true or false",
                [MEMBER_OBJECT] = "an object",
                [MEMBER_TEXTS] = "a list of texts",
                [MEMBER_TEXT_OBJECT] = "an object of texts",
        };

        return words[type];
}

static bool all_texts(const json_t *value) {
        const char *key;
        json_t *item;
        size_t i;

        json_array_foreach (value, i, item) {
                if (!json_is_string(item))
                        return false;
        }
        json_object_foreach ((json_t *) value, key, item) {
                if (!json_is_string(item))
                        return false;
        }
        return true;
}

static bool type_fits(const json_t *value, MemberType type) {
        switch (type) {
        case MEMBER_TEXT: return json_is_string(value);
        case MEMBER_BOOL: return json_is_boolean(value);
        case MEMBER_OBJECT: return json_is_object(value);
        case MEMBER_TEXTS: return json_is_array(value) && all_texts(value);
        case MEMBER_TEXT_OBJECT: return json_is_object(value) && all_texts(value);
        default: return false;
        }
}

static int unknown_member(const char *key, const Member *members, Error *reterr) {
        const char *names[32], *nearest;
        size_t n = 0;

        for (const Member *m = members; m->name && n < ELEMENTSOF(names); m++)
                names[n++] = m->name;
        (void) error_set(reterr, EINVAL, "bad-request", "this call takes no member '%s'", key);
        error_detail(reterr, "member", json_string(key));
        nearest = nearest_word(key, names, n);
        if (nearest)
                error_hint(reterr, "did you mean '%s'?", nearest);
        return -EINVAL;
}

static int check_member(const char *key, const json_t *value, const Member *members,
                        Error *reterr) {
        for (const Member *m = members; m->name; m++) {
                if (!streq(m->name, key))
                        continue;
                if (type_fits(value, m->type))
                        return 0;
                (void) error_set(reterr, EINVAL, "bad-request", "'%s' must be %s", key,
                                 type_words(m->type));
                error_detail(reterr, "member", json_string(key));
                return -EINVAL;
        }
        return unknown_member(key, members, reterr);
}

static int check_required(const json_t *body, const Member *members, Error *reterr) {
        for (const Member *m = members; m->name; m++) {
                if (!m->required || json_object_get(body, m->name))
                        continue;
                (void) error_set(reterr, EINVAL, "bad-request", "'%s' is missing", m->name);
                error_detail(reterr, "member", json_string(m->name));
                return -EINVAL;
        }
        return 0;
}

static int load(const char *text, size_t size, json_t **ret, Error *reterr) {
        json_error_t fault;

        if (size == 0)
                *ret = json_object();
        else
                *ret = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &fault);
        if (*ret)
                return 0;
        if (size == 0 || json_error_code(&fault) == json_error_out_of_memory)
                return error_oom(reterr);
        (void) error_set(reterr, EBADMSG, "bad-json", "line %d, column %d: %s", fault.line,
                         fault.column, fault.text);
        error_detail(reterr, "line", json_integer(fault.line));
        error_detail(reterr, "column", json_integer(fault.column));
        return -EBADMSG;
}

int body_read(const char *text, size_t size, const Member *members, json_t **ret, Error *reterr) {
        json_auto_t *body = NULL;
        const char *key;
        json_t *value;
        void *next;
        int r;

        r = load(text, size, &body, reterr);
        if (r < 0)
                return r;
        if (!json_is_object(body))
                return error_set(reterr, EINVAL, "bad-request", "the body must be an object");
        json_object_foreach_safe (body, next, key, value) {
                if (json_is_null(value)) {
                        (void) json_object_del(body, key);
                        continue;
                }
                r = check_member(key, value, members, reterr);
                if (r < 0)
                        return r;
        }
        r = check_required(body, members, reterr);
        if (r >= 0)
                *ret = TAKE(body);
        return r;
}
