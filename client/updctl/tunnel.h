/* SPDX-License-Identifier: MIT */
/*
 * The Unix socket of a daemon on another machine, brought here by ssh (-L local:remote). The tunnel
 * lives as long as this program; its end removes the private folder that holds the socket.
 */
#pragma once

#include "api/error.h"

typedef struct Tunnel Tunnel;

/* `remote` NULL: /run/updd/updd.sock. Waits until ssh has the socket ready, or has given up. */
_must_check_ int tunnel_new(const char *host, const char *remote, Tunnel **ret, Error *reterr);
void tunnel_free(Tunnel *t);
const char *tunnel_socket(const Tunnel *t);
DEFINE_CLEANUP(Tunnel *, tunnel_free)
