/* SPDX-License-Identifier: MIT */
/*
 * http {url, method, headers, body | body_json, status, json, has, lacks, ca, save}: one request.
 * The body in the outputs is its first 64 KiB; where a secret is saved out of it, there is none.
 */
#include <inttypes.h>

#include "api/text.h"
#include "daemon/step/command.h"
#include "daemon/step/curl.h"
#include "daemon/step/worker.h"

/* As text, without what a cut at the end has torn: a secret, a character. */
static json_t *body_text(const Step *s, const char *body, size_t size) {
        size_t max = MIN(size, (size_t) HTTP_BODY_MAX);
        _cleanup_free_ char *clean = NULL;

        if (max < size) {
                max = masks_whole_end(&s->masks, body, max);
                for (size_t cut = 0; cut < 4 && cut < max; cut++)
                        if (utf8_is_text(body, max - cut))
                                return json_stringn(body, max - cut);
        }
        clean = utf8_clean(body, max);
        return clean ? json_string(clean) : NULL;
}

/* A secret must be known as one before anything of the reply is told; when it cannot be found,
 * nobody knows where it stands, and nothing of the body is told at all. */
static int settle(Step *s, const json_t *args, HttpReply *reply, Error *reterr) {
        const json_t *save = json_object_get(args, "save");
        bool hidden = save_has_secret(save);
        _cleanup_error_ Error unsaved = ERROR_INIT;
        int saved = save_outputs(s, save, reply->body, reply->body_size, &unsaved), r;

        if (saved < 0 && hidden) {
                explicit_bzero(reply->body, reply->body_size);
                reply->body_size = 0;
        }
        r = http_expect(args, reply, reterr);
        if (r < 0)
                return r;
        if (saved < 0) {
                error_move(reterr, &unsaved);
                return saved;
        }
        if (hidden)
                return 0;
        return step_output(s, "body", body_text(s, reply->body, reply->body_size));
}

static int http_run(Step *s, const json_t *args, Error *reterr) {
        _cleanup_reply_ HttpReply reply = {0};
        int r;

        step_log(s, "%s %s", args_text(args, "method", "GET"), args_text(args, "url", ""));
        r = http_exchange_args(s, args, 0, &reply, reterr);
        if (r < 0)
                return r;
        step_log(s, "Answered %ld, %" PRIu64 " bytes", reply.status, reply.total);
        r = step_output(s, "status", json_integer(reply.status));
        return r < 0 ? r : settle(s, args, &reply, reterr);
}

const Verb verb_http = {"http", http_run, NULL};
