/* SPDX-License-Identifier: MIT */
/*
 * http {url, method, headers, body | body_json, status, json, has, lacks, ca, save}: one request.
 * The body in the outputs is its first 64 KiB; where a secret is saved out of it, there is none.
 */
#include "daemon/step/curl.h"
#include "daemon/step/save.h"

#include <inttypes.h>

static bool saves_secret(const json_t *args) {
        const json_t *how;
        const char *name;

        json_object_foreach (json_object_get(args, "save"), name, how) {
                bool secret = false;

                if (args_bool(how, "secret", false, &secret, NULL) >= 0 && secret)
                        return true;
        }
        return false;
}

/* JSON holds text only: bytes that are no UTF-8 are replaced. */
static json_t *body_text(const char *body, size_t size) {
        json_t *text = json_stringn(body, size);
        _cleanup_free_ char *clean = NULL;

        if (text)
                return text;
        /* A character may have been cut at the end. */
        for (size_t cut = 1; cut < 4 && cut < size; cut++) {
                text = json_stringn(body, size - cut);
                if (text)
                        return text;
        }
        clean = strndup(body, size);
        for (char *p = clean; p && *p; p++)
                if ((unsigned char) *p >= 0x80)
                        *p = '?';
        return clean ? json_string(clean) : NULL;
}

static int http_run(Step *s, const json_t *args, Error *reterr) {
        const char *method = args_text(args, "method", "GET");
        _cleanup_reply_ HttpReply reply = {0};
        int r;

        step_log(s, "%s %s", method, args_text(args, "url", ""));
        r = http_exchange_args(s, args, 0, &reply, reterr);
        if (r < 0)
                return r;
        step_log(s, "Answered %ld, %" PRIu64 " bytes", reply.status, reply.total);
        r = step_output(s, "status", json_integer(reply.status));
        if (r >= 0)
                r = http_expect(args, &reply, reterr);
        if (r >= 0)
                r = save_outputs(s, args, reply.body, reply.body_size, "The reply", reterr);
        if (r >= 0 && !saves_secret(args))
                r = step_output(
                        s, "body",
                        body_text(reply.body, MIN(reply.body_size, (size_t) HTTP_BODY_MAX)));
        return r;
}

const Verb verb_http = {"http", http_run, NULL};
