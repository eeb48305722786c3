/* SPDX-License-Identifier: MIT */
/* Plans and tokens: read and linted, nothing is changed here. */
#include "daemon/http/server.h"

static int respond_owned(Request *q, json_t *value) {
        json_auto_t *owned = value;

        return respond_json(q, MHD_HTTP_OK, owned);
}

int handle_plans(Request *q, Error *reterr) {
        json_t *plans = NULL;
        int r = engine_plans(q->server->engine, &plans, reterr);

        return r < 0 ? r : respond_owned(q, plans);
}

int handle_plan(Request *q, Error *reterr) {
        json_t *plan = NULL;
        int r = engine_plan(q->server->engine, q->name, &plan, reterr);

        return r < 0 ? r : respond_owned(q, plan);
}

int handle_plan_check(Request *q, Error *reterr) {
        const char *file = request_query(q, "file");
        json_t *verdict = NULL;
        int r;

        if (q->size == 0)
                return error_set(reterr, EINVAL, "bad-request",
                                 "the body must be the plan that is to be checked");
        r = engine_check(q->server->engine, file ? file : "plan", q->body, q->size, &verdict,
                         reterr);
        return r < 0 ? r : respond_owned(q, verdict);
}

int handle_tokens(Request *q, Error *reterr) {
        json_t *tokens = NULL;
        int r = engine_tokens(q->server->engine, &tokens, reterr);

        return r < 0 ? r : respond_owned(q, tokens);
}
