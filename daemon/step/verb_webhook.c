/* SPDX-License-Identifier: MIT */
/*
 * webhook {url, headers, body}: tells somebody of an event. It may be sent more than once; the
 * header `Updd-Event` carries the event's number, by which the receiver can tell.
 */
#include "daemon/step/curl.h"

#define EVENT_HEADER "Updd-Event"
#define TIMEOUT_MS (30 * 1000)

static json_t *headers_with_event(const json_t *given, const json_t *event) {
        json_auto_t *headers = given ? json_deep_copy(given) : json_object();
        json_t *seq = json_object_get(event, "seq");

        if (!headers)
                return NULL;
        if (json_is_integer(seq) &&
            json_putf(headers, EVENT_HEADER, "%lld", (long long) json_integer_value(seq)) < 0)
                return NULL;
        return TAKE(headers);
}

static int webhook_run(Step *s, const json_t *args, Error *reterr) {
        const json_t *event = json_object_get(step_task(s), "event");
        const json_t *given = json_object_get(args, "body"), *body = given ? given : event;
        json_auto_t *headers = headers_with_event(json_object_get(args, "headers"), event);
        _cleanup_free_ char *text = json_is_string(body)
                                            ? strdup(json_string_value(body))
                                            : json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
        _cleanup_reply_ HttpReply reply = {0};
        HttpRequest q = {.url = args_text(args, "url", ""),
                         .method = "POST",
                         .headers = headers,
                         .body = text,
                         .body_size = text ? strlen(text) : 0,
                         .content_type = json_is_string(body) ? "text/plain; charset=utf-8"
                                                              : "application/json",
                         .timeout_ms = TIMEOUT_MS};
        int r;

        if (!body)
                return error_set(reterr, EINVAL, "no-event", "There is no event to tell of");
        if (!headers || !text)
                return error_oom(reterr);
        r = http_exchange(s, &q, &reply, reterr);
        if (r < 0)
                return r;
        if (reply.status / 100 != 2)
                return error_set(reterr, EREMOTEIO, "http-failed", "%s answered %ld, not 2xx",
                                 q.url, reply.status);
        step_log(s, "POST %s: %ld", q.url, reply.status);
        return 0;
}

const Verb verb_webhook = {"webhook", webhook_run, NULL};
