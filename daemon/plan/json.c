/* SPDX-License-Identifier: MIT */
/*
 * JSON -> Node tree. jansson judges the text; only what it accepted is walked here once more, for
 * the places and for duplicate keys. Strings are decoded by jansson too (surrogates, escapes), so
 * the walker only has to find where tokens begin and end. Numbers and words stay as they were
 * written.
 */
#include <ctype.h>

#include "daemon/plan/read.h"

typedef struct Walker {
        Faults *faults;
        const char *p, *end;
        unsigned line, column; /* of p */
        size_t n_nodes;
        bool ended;
} Walker;

static void advance(Walker *w, size_t n) {
        for (; n > 0 && w->p < w->end; n--, w->p++)
                if (*w->p == '\n') {
                        w->line++;
                        w->column = 1;
                } else if (((unsigned char) *w->p & 0xc0) != 0x80)
                        w->column++;
}

static char peek(Walker *w) {
        while (w->p < w->end && strchr(" \t\r\n", *w->p))
                advance(w, 1);
        return w->p < w->end ? *w->p : '\0';
}

static size_t token_size(const Walker *w) {
        const char *q = w->p;

        if (*q != '"') {
                while (q < w->end && (isalnum((unsigned char) *q) || strchr("+-.", *q)))
                        q++;
                return (size_t) (q - w->p);
        }
        for (q++; q < w->end && *q != '"'; q++)
                if (*q == '\\')
                        q++;
        return (size_t) (q + 1 - w->p);
}

/* Reads the string at p. Caller frees. NULL when memory is out. */
static char *read_string(Walker *w) {
        size_t size = token_size(w);
        json_auto_t *s = json_loadb(w->p, size, JSON_DECODE_ANY, NULL);

        advance(w, size);
        return s ? strdup(json_string_value(s)) : NULL;
}

static int read_scalar(Walker *w, Node *n) {
        n->plain = *w->p != '"';
        if (!n->plain) {
                n->kind = NODE_SCALAR;
                n->text = read_string(w);
        } else {
                size_t size = token_size(w);

                n->text = strndup(w->p, size);
                n->kind = n->text && streq(n->text, "null") ? NODE_NULL : NODE_SCALAR;
                advance(w, size);
        }
        return n->text ? 0 : -ENOMEM;
}

static int read_value(Walker *w, unsigned depth, Node **ret);

static int read_key(Walker *w, json_t *seen, Node *member, char **ret_key) {
        unsigned line, column;
        char *key;

        peek(w);
        line = w->line;
        column = w->column;
        key = read_string(w);
        if (!key)
                return -ENOMEM;
        *ret_key = key;
        if (strlen(key) > NODE_KEY_MAX)
                fault_at(w->faults, member, line, column, "long-key", NULL,
                         "a key is longer than %u bytes", NODE_KEY_MAX);
        if (json_object_get(seen, key))
                fault_at(w->faults, member, line, column, "duplicate-key", "keep one of the two",
                         "the key '%s' stands here twice (first on line %lld)", key,
                         json_integer_value(json_object_get(seen, key)));
        else if (json_object_set_new(seen, key, json_integer(line)) < 0)
                return -ENOMEM;
        peek(w);
        advance(w, 1); /* the colon */
        return 0;
}

static int read_member(Walker *w, unsigned depth, Node *map, json_t *seen) {
        _cleanup_free_ char *key = NULL;
        _cleanup_node_ Node *value = NULL;
        unsigned line, column;
        int r;

        peek(w);
        line = w->line;
        column = w->column;
        r = read_key(w, seen, NULL, &key);
        if (r < 0)
                return r;
        r = read_value(w, depth, &value);
        if (r < 0 || w->ended)
                return r;
        value->key = TAKE(key);
        value->key_line = line;
        value->key_column = column;
        return node_add(map, TAKE(value));
}

static int read_map(Walker *w, unsigned depth, Node *n) {
        json_auto_t *seen = json_object();
        int r = 0;

        if (!seen)
                return -ENOMEM;
        advance(w, 1);
        while (r >= 0 && !w->ended && peek(w) != '}') {
                if (*w->p == ',')
                        advance(w, 1);
                r = read_member(w, depth, n, seen);
        }
        advance(w, 1);
        return r;
}

static int read_list(Walker *w, unsigned depth, Node *n) {
        int r = 0;

        advance(w, 1);
        while (r >= 0 && !w->ended && peek(w) != ']') {
                _cleanup_node_ Node *item = NULL;

                if (*w->p == ',')
                        advance(w, 1);
                r = read_value(w, depth, &item);
                if (r >= 0 && !w->ended)
                        r = node_add(n, TAKE(item));
        }
        advance(w, 1);
        return r;
}

static int read_value(Walker *w, unsigned depth, Node **ret) {
        _cleanup_node_ Node *n = NULL;
        char c = peek(w);
        bool deep = (c == '{' || c == '[') && depth >= NODE_DEPTH_MAX;
        int r;

        if (deep || ++w->n_nodes > NODE_COUNT_MAX) {
                fault_at(w->faults, NULL, w->line, w->column, deep ? "too-deep" : "too-large", NULL,
                         deep ? "the document is nested deeper than %u"
                              : "the document has more than %u values",
                         deep ? (unsigned) NODE_DEPTH_MAX : NODE_COUNT_MAX);
                w->ended = true;
                return 0;
        }
        n = node_new(c == '{' ? NODE_MAP : NODE_LIST, w->line, w->column);
        if (!n)
                return -ENOMEM;
        r = c == '{'   ? read_map(w, depth + 1, n)
            : c == '[' ? read_list(w, depth + 1, n)
                       : read_scalar(w, n);
        if (r >= 0)
                *ret = TAKE(n);
        return r;
}

static void report_syntax(Faults *f, const json_error_t *e) {
        if (json_error_code(e) == json_error_out_of_memory)
                f->oom = true;
        else if (json_error_code(e) == json_error_stack_overflow)
                fault_at(f, NULL, (unsigned) MAX(e->line, 1), (unsigned) MAX(e->column, 1),
                         "too-deep", NULL, "the document is nested deeper than %d", NODE_DEPTH_MAX);
        else
                fault_at(f, NULL, (unsigned) MAX(e->line, 1), (unsigned) MAX(e->column, 1),
                         "bad-json", NULL, "this is not JSON: %s", e->text);
}

int json_read(Faults *f, const char *text, size_t size, Node **ret) {
        Walker w = {.faults = f, .p = text, .end = text + size, .line = 1, .column = 1};
        _cleanup_node_ Node *root = NULL;
        json_auto_t *judged = NULL;
        json_error_t error;
        int r;

        *ret = NULL;
        judged = json_loadb(text, size, 0, &error);
        if (!judged) {
                report_syntax(f, &error);
                return f->oom ? -ENOMEM : 0;
        }
        r = read_value(&w, 0, &root);
        if (r < 0 || f->oom)
                return -ENOMEM;
        if (!w.ended)
                *ret = TAKE(root);
        return 0;
}
