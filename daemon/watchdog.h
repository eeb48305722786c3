/* SPDX-License-Identifier: MIT */
/*
 * The service manager's watchdog, fed only while all of the daemon answers: the loop (a timer of
 * its own), the store (a small read of it), and the HTTP server (a request that it must answer). A
 * store that says why it cannot be used answers: a restart does not make room on a disk.
 */
#pragma once

#include "daemon/engine/engine.h"
#include "daemon/http/http.h"

typedef struct Watchdog Watchdog;

/* *ret is NULL when no watchdog is wanted (WATCHDOG_USEC). */
_must_check_ int watchdog_new(sd_event *event, Engine *engine, HttpServer *http, Watchdog **ret);
void watchdog_free(Watchdog *w);
DEFINE_CLEANUP(Watchdog *, watchdog_free)
