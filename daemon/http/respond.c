/* SPDX-License-Identifier: MIT */
/* Answers: how values become responses, and what every response carries. */
#include "daemon/http/server.h"

#include <stdarg.h>

#define JSON_TYPE "application/json"
#define PROBLEM_TYPE "application/problem+json"

int response_common(struct MHD_Response *response, const char *type, bool revalidate) {
        if ((type &&
             MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) != MHD_YES) ||
            MHD_add_response_header(response, "X-Content-Type-Options", "nosniff") != MHD_YES ||
            MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
                                    revalidate ? "no-cache" : "no-store") != MHD_YES)
                return -ENOMEM;
        return 0;
}

void response_drop(Request *q) {
        if (q->response && !q->borrowed)
                MHD_destroy_response(q->response);
        q->response = NULL;
        q->borrowed = false;
}

int respond_ready(Request *q, unsigned status, struct MHD_Response *response) {
        if (q->response)
                MHD_destroy_response(q->response);
        q->response = response;
        q->status = status;
        return response ? 0 : -ENOMEM;
}

/* Steals `data`, which free(3) frees. */
static int respond_data(Request *q, unsigned status, const char *type, char *data, size_t size) {
        struct MHD_Response *response =
                MHD_create_response_from_buffer(size, data, MHD_RESPMEM_MUST_FREE);

        if (!response) {
                free(data);
                return -ENOMEM;
        }
        if (response_common(response, type, false) < 0) {
                MHD_destroy_response(response);
                return -ENOMEM;
        }
        return respond_ready(q, status, response);
}

static int respond_value(Request *q, unsigned status, const char *type, const json_t *value) {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

        return text ? respond_data(q, status, type, text, strlen(text)) : -ENOMEM;
}

int respond_json(Request *q, unsigned status, const json_t *value) {
        return respond_value(q, status, JSON_TYPE, value);
}

int respond_problem_json(Request *q, unsigned status, const json_t *value) {
        return respond_value(q, status, PROBLEM_TYPE, value);
}

int respond_text(Request *q, unsigned status, const char *type, const char *text) {
        char *copy = strdup(text);

        return copy ? respond_data(q, status, type, copy, strlen(copy)) : -ENOMEM;
}

int respond_empty(Request *q, unsigned status) {
        struct MHD_Response *response =
                MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);

        if (response && response_common(response, NULL, false) < 0)
                MHD_destroy_response(TAKE(response));
        return respond_ready(q, status, response);
}

int respond_header(Request *q, const char *name, const char *format, ...) {
        _cleanup_free_ char *value = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&value, format, ap);
        va_end(ap);
        if (r < 0) {
                value = NULL;
                return -ENOMEM;
        }
        return MHD_add_response_header(q->response, name, value) == MHD_YES ? 0 : -ENOMEM;
}
