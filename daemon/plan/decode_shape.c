/* SPDX-License-Identifier: MIT */
/* Text of a certain shape: regular expressions, pointers, statuses, modes, hashes. See decode.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "api/memory.h"
#include "daemon/plan/decode.h"

static void check_regex(Decoder *d, const FieldInfo *f, const Node *n, const char *pattern) {
        PCRE2_UCHAR message[160];
        PCRE2_SIZE offset = 0;
        pcre2_code *code;
        int error = 0;

        code = pcre2_compile((PCRE2_SPTR) pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error,
                             &offset, NULL);
        if (code) {
                pcre2_code_free(code);
                return;
        }
        if (error == PCRE2_ERROR_HEAP_FAILED)
                memory_failed();
        (void) pcre2_get_error_message(error, message, sizeof(message));
        fault(d->faults, n, "bad-regex", NULL,
              "'%s' is '%s', not a regular expression: %s at character %zu", f->name, pattern,
              (const char *) message, offset + 1);
}

void decode_regex(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        int r = decode_template(d, sc, f, n);

        if (r == 0)
                check_regex(d, f, n, n->text);
        if (r >= 0)
                take_text(d, n, ret);
}

void decode_regex_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        Pair made = {0};

        if (!expect_kind(d, f, n, NODE_MAP))
                return;
        made = pair_new(d, json_object(), json_object());
        for (size_t i = 0; made.source && i < n->n_items; i++) {
                _cleanup_pair_ Pair p = {0};

                check_regex(d, f, n->items[i], n->items[i]->key);
                if (n->items[i]->kind == NODE_SCALAR)
                        take_text(d, n->items[i], &p);
                else
                        fault(d->faults, n->items[i], "wrong-type", NULL,
                              "a hint is %s, expected text", node_kind_text(n->items[i]));
                pair_put(d, &made, n->items[i]->key, &p);
        }
        *ret = made;
}

void decode_pointer(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        int r = decode_template(d, sc, f, n);

        if (r == 0 && *n->text && *n->text != '/')
                wrong_type(d, f, n);
        else if (r >= 0)
                take_text(d, n, ret);
}

/* Text of a certain shape. */
static void decode_shaped(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret,
                          bool (*fits)(const char *text)) {
        int r = decode_template(d, sc, f, n);

        if (r == 0 && !fits(n->text))
                wrong_type(d, f, n);
        else if (r >= 0)
                take_text(d, n, ret);
}

static bool is_status(const char *text) {
        return strlen(text) == 3 && *text >= '1' && *text <= '5' &&
               (streq(text + 1, "xx") || is_number(text + 1));
}

void decode_status(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        if (n->kind == NODE_LIST)
                decode_list(d, sc, f, TYPE_STATUS, n, ret);
        else
                decode_shaped(d, sc, f, n, ret, is_status);
}

void decode_exits(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        if (n->kind == NODE_LIST)
                decode_list(d, sc, f, TYPE_INT, n, ret);
        else
                decode_int(d, sc, f, n, ret);
}

static bool is_mode(const char *text) {
        size_t n = strlen(text);

        return n >= 3 && n <= 4 && strspn(text, "01234567") == n;
}

void decode_mode(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        decode_shaped(d, sc, f, n, ret, is_mode);
}

static bool is_sha256(const char *text) {
        return strlen(text) == 64 && strspn(text, "0123456789abcdefABCDEF") == 64;
}

void decode_sha256(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        decode_shaped(d, sc, f, n, ret, is_sha256);
}

static bool is_version(const char *text) {
        return *text >= '0' && *text <= '9';
}

void decode_version(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        decode_shaped(d, sc, f, n, ret, is_version);
}
