/* SPDX-License-Identifier: MIT */
/* http {url, …}: a request and what its answer must be. */
#include "daemon/step/curl.h"

static int http_look(Step *s, const json_t *args, Error *reterr) {
        _cleanup_reply_ HttpReply reply = {0};
        int r;

        r = http_exchange_args(s, args, MAX(step_time_left_ms(s), 1), &reply, reterr);
        return r < 0 ? r : http_expect(args, &reply, reterr);
}

const Check check_http = {"http", http_look};
