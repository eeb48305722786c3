/* SPDX-License-Identifier: MIT */
/*
 * value {file | url, headers; json | xpath | regex | metric; equals, min, max}: one value out of a
 * document. Without an expectation it must be there.
 */
#include <fcntl.h>
#include <math.h>

#include "daemon/step/curl.h"
#include "daemon/step/expect.h"
#include "daemon/step/match.h"
#include "daemon/step/metric.h"
#include "daemon/step/pointer.h"
#include "daemon/step/xpath.h"

#define DOCUMENT_MAX (64U * 1024 * 1024)

typedef struct Document {
        char *text;
        size_t size;
        bool xml;
        const char *from; /* borrowed: how messages call it */
} Document;

static void document_done(Document *d) {
        free(d->text);
}

/* XHTML is read as HTML: its namespace would make every path in it clumsy. */
static bool is_xml(const char *name, const char *type, const char *text) {
        if (type)
                return strstr(type, "xml") && !strstr(type, "html");
        if (endswith(name, ".xml"))
                return true;
        return startswith(text + strspn(text, " \t\r\n"), "<?xml") && !strstr(text, "<html");
}

static int document_fetch(Step *s, const json_t *args, Document *ret, Error *reterr) {
        _cleanup_reply_ HttpReply reply = {0};
        HttpRequest q = {.url = args_text(args, "url", ""),
                         .headers = json_object_get(args, "headers"),
                         .timeout_ms = MAX(step_time_left_ms(s), 1),
                         .max_body = DOCUMENT_MAX,
                         .follow = true};
        int r = http_exchange(s, &q, &reply, reterr);

        if (r < 0)
                return r;
        if (reply.status / 100 != 2)
                return error_set(reterr, EBADE, "check-failed", "%s answered %ld, not 2xx", q.url,
                                 reply.status);
        ret->xml = is_xml(q.url, reply.content_type, reply.body);
        ret->size = reply.body_size;
        ret->text = TAKE(reply.body);
        return 0;
}

static int document_read(Step *s, const json_t *args, Document *ret, Error *reterr) {
        const char *file = args_text(args, "file", NULL);
        _cleanup_free_ char *path = NULL;
        int r;

        ret->from = file ? file : args_text(args, "url", "");
        if (!file)
                return document_fetch(s, args, ret, reterr);
        r = step_path(s, file, &path, reterr);
        if (r < 0)
                return r;
        r = file_read(AT_FDCWD, path, DOCUMENT_MAX, &ret->text, &ret->size);
        if (r < 0)
                return error_set(reterr, -r, "read-failed", "%s cannot be read: %s", path,
                                 strerror(-r));
        ret->xml = is_xml(path, NULL, ret->text);
        return 0;
}

/* ---- finding: 1 and the value, 0, -errno ---- */

static int find_json(const Document *d, const char *pointer, json_t **ret, Error *reterr) {
        json_error_t fault;
        json_auto_t *root = json_loadb(d->text, d->size, JSON_DECODE_ANY, &fault);
        const json_t *found;

        if (!root)
                return error_set(reterr, EBADE, "check-failed", "%s is no JSON: line %d: %s",
                                 d->from, fault.line, fault.text);
        found = pointer_get(root, pointer);
        *ret = json_incref((json_t *) found);
        return found != NULL;
}

static int find_metric(const Document *d, const char *metric, json_t **ret, Error *reterr) {
        double value;
        int r = metric_find(d->text, metric, &value, reterr);

        if (r <= 0)
                return r;
        *ret = isfinite(value) ? json_real(value) : json_string(isnan(value) ? "NaN" : "Inf");
        if (isfinite(value) && fabs(value) < 1e15 && value == (double) (int64_t) value) {
                json_decref(*ret);
                *ret = json_integer((json_int_t) value); /* told without ".0" */
        }
        return 1;
}

static int find_value(const Document *d, const json_t *args, json_t **ret, Error *reterr) {
        const char *json = args_text(args, "json", NULL), *xpath = args_text(args, "xpath", NULL);
        const char *regex = args_text(args, "regex", NULL);
        _cleanup_free_ char *text = NULL;
        int r;

        if (json)
                return find_json(d, json, ret, reterr);
        if (!xpath && !regex)
                return find_metric(d, args_text(args, "metric", ""), ret, reterr);
        r = xpath ? xpath_text(d->text, d->size, d->xml, xpath, &text, reterr)
                  : match_text(regex, d->text, d->size, &text, reterr);
        if (r <= 0)
                return r;
        *ret = json_string(text);
        return *ret ? 1 : error_oom(reterr);
}

static const char *where(const json_t *args) {
        static const char *const keys[] = {"json", "xpath", "regex", "metric"};

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (json_object_get(args, keys[i]))
                        return args_text(args, keys[i], "");
        return "";
}

static int value_look(Step *s, const json_t *args, Error *reterr) {
        _cleanup_(document_done) Document document = {0};
        json_auto_t *value = NULL, *found = NULL;
        int r;

        r = document_read(s, args, &document, reterr);
        if (r >= 0)
                r = find_value(&document, args, &value, reterr);
        if (r < 0)
                return r;
        if (r == 0)
                return error_set(reterr, EBADE, "check-failed", "%s has no '%s'", document.from,
                                 where(args));
        found = json_pack("{s:O}", *where(args) ? where(args) : "It", value);
        return found ? expect_values(args, found, reterr) : error_oom(reterr);
}

const Check check_value = {"value", value_look};
