/* SPDX-License-Identifier: MIT */
/* What a plan expects of a reply: see daemon/step/curl.h. */
#include "daemon/step/curl.h"
#include "daemon/step/match.h"

/* "2xx", "200", "204"; anything else matches nothing. */
static bool status_fits(const char *want, long status) {
        char text[24];

        (void) snprintf(text, sizeof(text), "%ld", status);
        if (strlen(want) != strlen(text))
                return false;
        for (size_t i = 0; want[i]; i++)
                if (want[i] != text[i] && want[i] != 'x' && want[i] != 'X')
                        return false;
        return true;
}

static bool status_wanted(const json_t *want, long status) {
        const json_t *one;
        size_t i;

        if (!want || json_is_null(want))
                return status_fits("2xx", status);
        if (json_is_string(want))
                return status_fits(json_string_value(want), status);
        if (json_is_integer(want))
                return json_integer_value(want) == status;
        json_array_foreach (want, i, one) {
                if (status_wanted(one, status))
                        return true;
        }
        return false;
}

/* The body's first line, short enough for a message. */
static int excerpt_length(const char *body) {
        return (int) MIN(strcspn(body, "\r\n"), (size_t) 200);
}

static int expect_status(const json_t *args, const HttpReply *reply, Error *reterr) {
        const json_t *want = json_object_get(args, "status");
        _cleanup_free_ char *wanted = NULL;

        if (status_wanted(want, reply->status))
                return 0;
        wanted = want ? json_dumps(want, JSON_COMPACT | JSON_ENCODE_ANY) : strdup("2xx");
        return error_set(reterr, EBADE, "check-failed", "%s answered %ld, not %s%s%.*s",
                         args_text(args, "url", "The server"), reply->status, wanted ? wanted : "",
                         reply->body_size ? ": " : "", excerpt_length(reply->body), reply->body);
}

static char *spelled(const json_t *value) {
        if (json_is_string(value))
                return strdup(json_string_value(value));
        return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}

static bool scalars_equal(const json_t *have, const json_t *want) {
        _cleanup_free_ char *a = NULL, *b = NULL;

        if (json_equal(have, want))
                return true;
        if (json_is_number(have) && json_is_number(want))
                return json_number_value(have) == json_number_value(want);
        if (!json_is_string(want) || json_is_array(have) || json_is_object(have))
                return false;
        a = spelled(have);
        b = spelled(want);
        return a && b && streq(a, b);
}

static int covers_at(const json_t *have, const json_t *want, const char *at, char **ret_where) {
        const json_t *value;
        const char *key;
        size_t i;

        if (json_is_object(want) && json_is_object(have)) {
                json_object_foreach ((json_t *) want, key, value) {
                        _cleanup_free_ char *below = strf("%s/%s", at, key);
                        const json_t *found = json_object_get(have, key);

                        if (!covers_at(found, value, below ? below : "", ret_where))
                                return 0;
                }
                return 1;
        }
        if (json_is_array(want) && json_is_array(have)) {
                json_array_foreach (want, i, value) {
                        _cleanup_free_ char *below = strf("%s/%zu", at, i);

                        if (!covers_at(json_array_get(have, i), value, below ? below : "",
                                       ret_where))
                                return 0;
                }
                return 1;
        }
        if (have && scalars_equal(have, want))
                return 1;
        if (ret_where && !*ret_where)
                *ret_where = strdup(at);
        return 0;
}

int json_covers(const json_t *have, const json_t *want, char **ret_where) {
        if (ret_where)
                *ret_where = NULL;
        return covers_at(have, want, "", ret_where);
}

static int expect_json(const json_t *args, const HttpReply *reply, Error *reterr) {
        const json_t *want = json_object_get(args, "json");
        _cleanup_free_ char *where = NULL, *wanted = NULL;
        json_auto_t *have = NULL;
        json_error_t fault;

        if (!want || json_is_null(want))
                return 0;
        have = json_loadb(reply->body, reply->body_size, JSON_DECODE_ANY, &fault);
        if (!have)
                return error_set(reterr, EBADE, "check-failed", "%s answered no JSON (%s): %.*s",
                                 args_text(args, "url", "The server"), fault.text,
                                 excerpt_length(reply->body), reply->body);
        if (json_covers(have, want, &where))
                return 0;
        wanted = json_dumps(want, JSON_COMPACT | JSON_ENCODE_ANY);
        return error_set(reterr, EBADE, "check-failed",
                         "%s answered JSON that differs at '%s' from %s: %.*s",
                         args_text(args, "url", "The server"), where ? where : "",
                         wanted ? wanted : "", excerpt_length(reply->body), reply->body);
}

int http_expect(const json_t *args, const HttpReply *reply, Error *reterr) {
        int r = expect_status(args, reply, reterr);

        if (r < 0)
                return r;
        r = expect_json(args, reply, reterr);
        if (r < 0)
                return r;
        r = match_expect(args, reply->body, reply->body_size, "The reply", reterr);
        if (r < 0 || reply->total <= reply->body_size || !json_object_get(args, "lacks"))
                return r;
        return error_set(reterr, EBADE, "check-failed",
                         "The reply is too long to tell what it lacks: only the first %zu bytes "
                         "were looked at",
                         reply->body_size);
}
