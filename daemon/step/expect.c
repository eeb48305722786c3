/* SPDX-License-Identifier: MIT */
/* equals, min, max: see expect.h. */
#include "daemon/step/expect.h"

#include <math.h>

typedef enum Relation { EQUALS, AT_LEAST, AT_MOST } Relation;

static const char *const keys[] = {"equals", "min", "max"};
static const char *const words[] = {"expected", "expected at least", "expected at most"};

static bool number_of(const json_t *value, double *ret) {
        const char *text = json_string_value(value);
        char *end;
        double n;

        if (json_is_number(value)) {
                *ret = json_number_value(value);
                return true;
        }
        if (isempty(text))
                return false;
        n = strtod(text, &end);
        if (*end != '\0' || !isfinite(n))
                return false;
        *ret = n;
        return true;
}

char *expect_spell(const json_t *value) {
        if (!value)
                return strdup("nothing");
        if (json_is_string(value))
                return strdup(json_string_value(value));
        return json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
}

/* Counters beyond 2^53 are integers on both sides, and compared as such. */
bool expect_same(const json_t *a, const json_t *b) {
        _cleanup_free_ char *x = NULL, *y = NULL;
        double n, m;

        if (json_is_integer(a) && json_is_integer(b))
                return json_integer_value(a) == json_integer_value(b);
        if ((json_is_number(a) || json_is_number(b)) && number_of(a, &n) && number_of(b, &m))
                return n == m;
        x = expect_spell(a);
        y = expect_spell(b);
        return x && y && streq(x, y);
}

static int holds(Relation relation, const json_t *have, const json_t *want, Error *reterr) {
        _cleanup_free_ char *spelled = NULL;
        double n, m;

        if (relation == EQUALS)
                return expect_same(have, want);
        if (!number_of(want, &m)) {
                spelled = expect_spell(want);
                return error_set(reterr, EINVAL, "bad-value", "'%s' is %s, which is no number",
                                 keys[relation], spelled ? spelled : "?");
        }
        if (!number_of(have, &n))
                return 0;
        return relation == AT_LEAST ? n >= m : n <= m;
}

static int expect_one(Relation relation, const char *name, const json_t *have, const json_t *want,
                      Error *reterr) {
        _cleanup_free_ char *found = NULL, *wanted = NULL;
        int r = holds(relation, have, want, reterr);

        if (r != 0)
                return MIN(r, 0);
        found = expect_spell(have);
        wanted = expect_spell(want);
        return error_set(reterr, EBADE, "check-failed", "%s is %.200s, %s %.200s", name,
                         found ? found : "?", words[relation], wanted ? wanted : "?");
}

static int expect_relation(Relation relation, const json_t *want, const json_t *found,
                           Error *reterr) {
        const char *name;
        json_t *value;
        int r = 0;

        if (!want || json_is_null(want))
                return 0;
        if (json_is_object(want)) {
                json_object_foreach ((json_t *) want, name, value) {
                        r = expect_one(relation, name, json_object_get(found, name), value, reterr);
                        if (r < 0)
                                return r;
                }
                return 0;
        }
        if (json_object_size(found) == 0)
                return error_set(reterr, EBADE, "check-failed", "Nothing was found");
        json_object_foreach ((json_t *) found, name, value) {
                r = expect_one(relation, name, value, want, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

int expect_values(const json_t *args, const json_t *found, Error *reterr) {
        for (Relation relation = EQUALS; relation <= AT_MOST; relation++) {
                int r = expect_relation(relation, json_object_get(args, keys[relation]), found,
                                        reterr);

                if (r < 0)
                        return r;
        }
        return 0;
}
