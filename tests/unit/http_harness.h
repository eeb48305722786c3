/* SPDX-License-Identifier: MIT */
/*
 * An HTTP server on real sockets with the fake engine behind it, and a client that turns the
 * server's loop while it waits. One thread, no sleeping.
 */
#pragma once

#include "daemon/http/http.h"
#include "fake_engine.h"

typedef struct Harness {
        sd_event *event;
        Engine *engine;
        HttpServer *http;
        char dir[64];
        char socket[96];
        unsigned port; /* 0: no TCP */
} Harness;

/* What a test wants otherwise; zeroes are the defaults. */
Harness *harness_new(const HttpConfig *config);
void harness_free(Harness *h);
DEFINE_CLEANUP(Harness *, harness_free)
#define _cleanup_harness_ _cleanup_(harness_freep)

/* Turns the loop for so long. */
void harness_turn(Harness *h, unsigned ms);

int client_open(Harness *h); /* over the Unix socket */
int client_open_tcp(Harness *h);
void client_send(Harness *h, int fd, const char *text, size_t size);
/* Reads until the answer holds `until`, or, when that is NULL, until it is complete by its own
 * headers or the connection ends. Fails the test after 10 s. Caller frees. */
char *client_read(Harness *h, int fd, const char *until);

/* One request on a connection of its own: "GET /v1" with further header lines (each ending in \r\n)
 * and a body; Content-Length is added with a body. Caller frees. */
char *ask(Harness *h, const char *request, const char *headers, const char *body);
char *ask_tcp(Harness *h, const char *request, const char *headers, const char *body);

unsigned answer_status(const char *answer);
/* A header's value; "" when it is not there. Caller frees. */
char *answer_header(const char *answer, const char *name);
const char *answer_body(const char *answer);
json_t *answer_json(const char *answer);
/* Fails the test unless the answer is that problem document. Caller decrefs. */
json_t *answer_problem(const char *answer, unsigned status, const char *type);
/* The same, when the document itself is not looked at. */
void assert_problem(const char *answer, unsigned status, const char *type);
