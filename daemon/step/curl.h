/* SPDX-License-Identifier: MIT */
/*
 * HTTP as verbs and checks speak it: one request, one reply, over libcurl. A request ends early
 * with -ECANCELED when the step is to stop. Requests to this machine (localhost, 127.*, ::1) never
 * go through a proxy; others use the proxy that the op's env names (http_proxy, https_proxy,
 * no_proxy).
 */
#pragma once

#include "daemon/step/step.h"

#define HTTP_BODY_MAX (64U * 1024)

typedef struct HttpRequest {
        const char *url;       /* http, https; with `files` file too */
        const char *method;    /* NULL: GET */
        const json_t *headers; /* {NAME: text} or ["Name: text"], or NULL */
        const char *body;      /* NULL: none */
        size_t body_size;
        const char *content_type; /* used when `headers` has none */
        const char *ca;           /* PEM file to trust instead of the system's, absolute */
        const char *unix_socket;  /* connect there, whatever host the url names */
        int64_t timeout_ms;       /* 0: only the attempt's own limit (connecting: 30 s) */
        size_t max_body;          /* bytes kept of the reply; 0: HTTP_BODY_MAX */
        int out_fd;               /* > 0: the reply's body goes there, whole, instead */
        bool follow;              /* follow redirections (at most 10) */
        bool files;               /* file:// is allowed */
} HttpRequest;

typedef struct HttpReply {
        long status; /* 0 for file:// */
        char *body;  /* NUL-terminated, never NULL after success */
        size_t body_size;
        uint64_t total;     /* bytes received, the part that was not kept included */
        char *content_type; /* or NULL */
} HttpReply;

void http_reply_done(HttpReply *r);
#define _cleanup_reply_ _cleanup_(http_reply_done)

/* 0 whenever a reply came, whatever its status. -EHOSTUNREACH (type "http-failed") with curl's
 * reason when none did, -ETIMEDOUT, -ECANCELED, -EINVAL for an address that makes no sense, or the
 * errno of writing to out_fd. */
_must_check_ int http_exchange(Step *s, const HttpRequest *q, HttpReply *ret, Error *reterr);

/* The same, with the request read from a verb's or check's args: url, method, headers, body or
 * body_json, ca (relative to cwd). */
_must_check_ int http_exchange_args(Step *s, const json_t *args, int64_t timeout_ms, HttpReply *ret,
                                    Error *reterr);

/* Holds the reply to what `args` expects: status (default "2xx"; a code, a class, or a list), json
 * (a subset of the body), has, lacks. 0, or -EBADE with a message that says what was found. */
_must_check_ int http_expect(const json_t *args, const HttpReply *reply, Error *reterr);

/* Is everything in `want` also in `have`? Objects by key; arrays element by element, `have` may be
 * longer; a text equals a number or bool that is spelled like it. 1, or 0 with the pointer of the
 * first difference in *ret_where (caller frees; may be NULL). */
int json_covers(const json_t *have, const json_t *want, char **ret_where);
