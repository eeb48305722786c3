/* SPDX-License-Identifier: MIT */
/*
 * HTTP to the daemon through libcurl: over its Unix socket, or a URL with a bearer token. A daemon
 * that is not there is told within seconds, and a POST whose connection broke after it was sent is
 * sent once more under the same Idempotency-Key.
 */
#pragma once

#include "api/error.h"

typedef struct Client Client;

typedef struct ClientConfig {
        const char *socket; /* a path; NULL when `url` is given */
        const char *url;
        const char *token; /* or NULL */
} ClientConfig;

typedef struct Request {
        const char *method;
        const char *path;   /* from "/v1" on, already escaped, with its query */
        const json_t *body; /* or NULL */
        const char *text;   /* a body that is no JSON, or NULL */
        size_t text_size;
        const char *etag; /* If-None-Match */
        const char *key;  /* Idempotency-Key of a change; NULL: one of its own */
        unsigned wait_s;  /* Prefer: wait= */
} Request;

typedef struct Response {
        long status;
        char *text; /* always ends in NUL */
        size_t size;
        json_t *json; /* NULL when the body is none */
        char *etag;
        unsigned attempt; /* Updd-Attempt */
        int64_t log_size; /* Updd-Log-Size, -1 when absent */
        bool more;        /* Updd-Log-More: yes */
} Response;

#define RESPONSE_INIT ((Response){.log_size = -1})
#define _cleanup_response_ _cleanup_(response_done)
void response_done(Response *r);

_must_check_ int client_new(const ClientConfig *config, Client **ret, Error *reterr);
Client *client_free(Client *c);
static inline void client_freep(Client **c) {
        client_free(*c);
}

/* One request. 0 whatever the status. -errno with `reterr` of type "unreachable" when no answer
 * came; -EINTR, without an error, when `wake_fd` became readable meanwhile. */
_must_check_ int client_call(Client *c, const Request *q, Response *ret, Error *reterr);

/* Calls `tick` every half second while a request is under way, and ends the request when `wake_fd`
 * (or -1) becomes readable. */
void client_watch(Client *c, int wake_fd, void (*tick)(void *userdata), void *userdata);

/* Percent-escapes everything but unreserved characters. Caller frees. */
_must_check_ char *url_escape(const char *text);
