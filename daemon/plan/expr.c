/* SPDX-License-Identifier: MIT */
/*
 * The expressions of `when` and `that`: see daemon/plan/expand.h.
 *
 *   or    = and ("or" and)*          and = not ("and" not)*
 *   not   = "not" not | equal        equal = value [("==" | "!=") value]
 *   value = "(" or ")" | text | number | true false yes no | in.N | steps.ID.KEY
 *
 * Recursive descent that computes while it reads. Both sides of `and` and `or` are always read and
 * looked up, so a wrong name is told whatever the values are. Depth is bounded.
 */
#include <ctype.h>

#include "daemon/plan/expand.h"
#include "daemon/plan/scope.h"

#define DEPTH_MAX 32

typedef struct Expr {
        const char *text;
        const char *at;
        const json_t *scope; /* NULL: names are gathered, not looked up */
        json_t *names;       /* NULL: names are looked up, not gathered */
        unsigned depth;
        Error *reterr;
} Expr;

static int read_or(Expr *x, json_t **ret);

static int expr_fault(Expr *x, const char *expected) {
        if (!*x->at)
                (void) error_set(x->reterr, EINVAL, "bad-expression",
                                 "Expression '%.200s': it ends where %s is expected", x->text,
                                 expected);
        else
                (void) error_set(x->reterr, EINVAL, "bad-expression",
                                 "Expression '%.200s': expected %s at '%.20s' (column %zu)",
                                 x->text, expected, x->at, (size_t) (x->at - x->text) + 1);
        error_hint(x->reterr, "There are ==, !=, and, or, not and parentheses, over in.N, "
                              "steps.ID.KEY, \"text\", numbers, yes and no");
        return -EINVAL;
}

static void skip_space(Expr *x) {
        while (isspace((unsigned char) *x->at))
                x->at++;
}

static bool is_word_char(char c) {
        return isalnum((unsigned char) c) || c == '_' || c == '.' || c == '-';
}

/* Takes `word` when it stands next; a word of letters must end there. */
static bool take(Expr *x, const char *word) {
        size_t n = strlen(word);

        skip_space(x);
        if (strncmp(x->at, word, n) != 0 ||
            (isalpha((unsigned char) *word) && is_word_char(x->at[n])))
                return false;
        x->at += n;
        return true;
}

static int give(Expr *x, json_t *value, json_t **ret) {
        if (!value)
                return error_oom(x->reterr);
        *ret = value;
        return 0;
}

/* Reads a decimal number that is all of `text`. */
static bool number_parse(const char *text, double *ret) {
        const char *p = text + (*text == '-');

        if (!isdigit((unsigned char) *p))
                return false;
        p += strspn(p, "0123456789");
        if (*p == '.' && isdigit((unsigned char) p[1]))
                p += 1 + strspn(p + 1, "0123456789");
        if (*p)
                return false;
        *ret = strtod(text, NULL);
        return true;
}

static bool value_number(const json_t *value, double *ret) {
        if (json_is_number(value)) {
                *ret = json_number_value(value);
                return true;
        }
        return json_is_string(value) && number_parse(json_string_value(value), ret);
}

static bool value_true(const json_t *value) {
        double n;

        if (json_is_boolean(value))
                return json_is_true(value);
        if (value_number(value, &n))
                return n != 0;
        if (json_is_string(value))
                return *json_string_value(value) && !streq(json_string_value(value), "false");
        return !json_is_null(value);
}

/* 1 or 0; -EINVAL when it is neither a bool nor one of the words for it. */
static int value_bool(const json_t *value) {
        const char *text = json_string_value(value);

        if (json_is_boolean(value))
                return json_is_true(value);
        if (text && (streq(text, "true") || streq(text, "yes")))
                return 1;
        return text && (streq(text, "false") || streq(text, "no")) ? 0 : -EINVAL;
}

static int values_equal(const json_t *a, const json_t *b) {
        _cleanup_free_ char *s = NULL, *t = NULL;
        double m, n;

        if (json_is_integer(a) && json_is_integer(b))
                return json_integer_value(a) == json_integer_value(b);
        if ((json_is_number(a) || json_is_number(b)) && value_number(a, &m) && value_number(b, &n))
                return !(m < n) && !(m > n);
        if ((json_is_boolean(a) || json_is_boolean(b)) && value_bool(a) >= 0 && value_bool(b) >= 0)
                return value_bool(a) == value_bool(b);
        s = scope_value_text(a);
        t = scope_value_text(b);
        if (!s || !t)
                return -ENOMEM;
        return streq(s, t);
}

static int read_text(Expr *x, json_t **ret) {
        const char *start = x->at + 1, *end = strchr(start, *x->at);

        if (!end)
                return expr_fault(x, "a text with its closing quote");
        x->at = end + 1;
        return give(x, json_stringn(start, (size_t) (end - start)), ret);
}

static int read_number(Expr *x, json_t **ret) {
        char word[32] = "";
        size_t size = 0;
        double n;

        while (is_word_char(x->at[size]))
                size++;
        if (size >= sizeof(word))
                return expr_fault(x, "a shorter number");
        memcpy(word, x->at, size);
        if (!number_parse(word, &n))
                return expr_fault(x, "a number (or a text in quotes)");
        x->at += size;
        if (!strchr(word, '.') && size <= 18)
                return give(x, json_integer(strtoll(word, NULL, 10)), ret);
        return give(x, json_real(n), ret);
}

static int look_up(Expr *x, const char *name, json_t **ret) {
        const json_t *value = NULL;
        int r;

        if (x->names) {
                if (json_object_set_new(x->names, name, json_true()) < 0)
                        return error_oom(x->reterr);
                return give(x, json_string(""), ret);
        }
        r = scope_find(x->scope, name, &value, x->reterr);
        if (r < 0)
                return r;
        if (scope_is_secret(value))
                return error_set(x->reterr, EINVAL, "secret-not-here",
                                 "Expression '%.200s': '%s' is a secret, and an expression's "
                                 "outcome would tell of it",
                                 x->text, name);
        return give(x, value ? json_incref((json_t *) value) : json_string(""), ret);
}

static int read_name(Expr *x, json_t **ret) {
        _cleanup_free_ char *name = NULL;
        size_t span = scope_name_span(x->at);
        int r;

        if (span == 0 || is_word_char(x->at[span]) ||
            !(startswith(x->at, "in.") || startswith(x->at, "steps.")))
                return expr_fault(x, "in.N, steps.ID.KEY, a text in quotes or a number");
        name = strndup(x->at, span);
        if (!name)
                return error_oom(x->reterr);
        r = scope_name_check(name, x->reterr);
        if (r < 0)
                return r;
        x->at += span;
        return look_up(x, name, ret);
}

static int read_value(Expr *x, json_t **ret) {
        skip_space(x);
        if (take(x, "(")) {
                json_auto_t *value = NULL;
                int r;

                r = read_or(x, &value);
                if (r < 0)
                        return r;
                if (!take(x, ")"))
                        return expr_fault(x, "')' or 'and', 'or', '==', '!='");
                return give(x, TAKE(value), ret);
        }
        if (*x->at == '"' || *x->at == '\'')
                return read_text(x, ret);
        if (isdigit((unsigned char) *x->at) || *x->at == '-')
                return read_number(x, ret);
        if (take(x, "true") || take(x, "yes"))
                return give(x, json_true(), ret);
        if (take(x, "false") || take(x, "no"))
                return give(x, json_false(), ret);
        return read_name(x, ret);
}

static int read_equal(Expr *x, json_t **ret) {
        json_auto_t *left = NULL, *right = NULL;
        bool wanted;
        int r;

        r = read_value(x, &left);
        if (r < 0)
                return r;
        if (take(x, "=="))
                wanted = true;
        else if (take(x, "!="))
                wanted = false;
        else
                return give(x, TAKE(left), ret);
        r = read_value(x, &right);
        if (r < 0)
                return r;
        r = values_equal(left, right);
        if (r < 0)
                return error_oom(x->reterr);
        return give(x, json_boolean((r > 0) == wanted), ret);
}

static int read_not(Expr *x, json_t **ret) {
        json_auto_t *value = NULL;
        int r;

        if (!take(x, "not"))
                return read_equal(x, ret);
        if (++x->depth > DEPTH_MAX)
                return expr_fault(x, "fewer levels than 32");
        r = read_not(x, &value);
        x->depth--;
        if (r < 0)
                return r;
        return give(x, json_boolean(!value_true(value)), ret);
}

/* One level of `and` or `or`: a lone value passes as it is, so that `==` may compare it. */
static int read_chain(Expr *x, const char *word, int (*read)(Expr *, json_t **), json_t **ret) {
        json_auto_t *left = NULL;
        bool is_or = streq(word, "or");
        int r;

        r = read(x, &left);
        while (r >= 0 && take(x, word)) {
                json_auto_t *right = NULL;
                bool both;

                r = read(x, &right);
                if (r < 0)
                        break;
                both = is_or ? value_true(left) || value_true(right)
                             : value_true(left) && value_true(right);
                json_decref(left);
                left = json_boolean(both);
        }
        return r < 0 ? r : give(x, TAKE(left), ret);
}

static int read_and(Expr *x, json_t **ret) {
        return read_chain(x, "and", read_not, ret);
}

static int read_or(Expr *x, json_t **ret) {
        int r;

        if (++x->depth > DEPTH_MAX)
                return expr_fault(x, "fewer levels than 32");
        r = read_chain(x, "or", read_and, ret);
        x->depth--;
        return r;
}

static int read_all(Expr *x, json_t **ret) {
        json_auto_t *value = NULL;
        int r;

        r = read_or(x, &value);
        if (r < 0)
                return r;
        skip_space(x);
        if (*x->at)
                return expr_fault(x, "'and', 'or', '==', '!=' or the end");
        return give(x, TAKE(value), ret);
}

int expr_eval(const char *text, const json_t *scope, Error *reterr) {
        Expr x = {.text = text, .at = text, .scope = scope, .reterr = reterr};
        json_auto_t *value = NULL;
        int r;

        r = read_all(&x, &value);
        return r < 0 ? r : value_true(value);
}

int expr_names_used(const char *text, json_t **ret, Error *reterr) {
        json_auto_t *names = json_object(), *value = NULL;
        Expr x = {.text = text, .at = text, .names = names, .reterr = reterr};
        json_t *list;
        int r;

        if (!names)
                return error_oom(reterr);
        r = read_all(&x, &value);
        if (r < 0)
                return r;
        list = scope_sorted_keys(names);
        if (!list)
                return error_oom(reterr);
        *ret = list;
        return 0;
}
