/* SPDX-License-Identifier: MIT */
/*
 * The API over HTTP, as main sees it: one server with a Unix socket and, when asked, a loopback TCP
 * port, both in the caller's sd_event loop. It decides nothing about jobs: it checks who asks and
 * what, hands calls to the engine and renders what the engine says. Nothing here blocks.
 */
#pragma once

#include <systemd/sd-event.h>

#include "api/error.h"
#include "daemon/engine/engine.h"

typedef struct HttpServer HttpServer;

typedef struct HttpConfig {
        const char *socket; /* path of the Unix socket; NULL: none is made */
        const char *listen; /* "HOST:PORT" of a loopback address, port 0 for any; NULL: no TCP */
        const char *const *origins; /* further allowed Origin values, NULL-terminated; may be NULL;
                                       borrowed until others are given */
        const char *group;        /* members may operate; a group that does not exist is no group */
        bool others_view;         /* other local users may look */
        unsigned heartbeat_ms;    /* of event streams; 0 = 15 s */
        unsigned timeout_s;       /* of idle and slow connections; 0 = 30 s */
        unsigned max_connections; /* per socket; 0 = 512 */
} HttpConfig;

/* Opens the sockets (those of socket activation first, sd_listen_fds(3)) and serves from the loop
 * on. The config's texts are copied, but for its origins. */
_must_check_ int http_new(sd_event *event, Engine *engine, const HttpConfig *config,
                          HttpServer **ret, Error *reterr);

/* Closes sockets and connections. Calls that the engine still holds are forgotten: their replies,
 * which may come until http_free, go nowhere. So: http_stop, engine_free, http_free. */
void http_stop(HttpServer *server);
void http_free(HttpServer *server);
DEFINE_CLEANUP(HttpServer *, http_free)

typedef void (*HttpProbeFunc)(void *userdata);
/* Asks the server a question over a connection of its own; `answered` is called from the loop once
 * it has answered. -EALREADY: the last one is unanswered still; else -errno: it could not be
 * asked. */
_must_check_ int http_probe(HttpServer *server, HttpProbeFunc answered, void *userdata);

/* Takes over what may change while it serves: origins, others_view. It cannot fail: see
 * engine_reconfigure(). */
void http_reconfigure(HttpServer *server, const HttpConfig *config);

/* "127.0.0.1:8080", or NULL when there is no TCP listener. Borrowed. */
const char *http_address(const HttpServer *server);
