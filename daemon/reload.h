/* SPDX-License-Identifier: MIT */
/*
 * Options read anew while the daemon runs (SIGHUP): the command line as it was, the config file as
 * it is now. Those that config.c marks as live are in force at once; of the others that changed it
 * says that they need a restart. A fault leaves everything as it was.
 */
#pragma once

#include "daemon/config.h"
#include "daemon/engine/engine.h"
#include "daemon/http/http.h"

typedef struct Reload {
        int argc; /* of the command line; borrowed, as all here */
        char **argv;
        const char *executable;
        Config *config; /* in force; changed */
        Engine *engine;
        HttpServer *http;
} Reload;

/* Tells the service manager and the log how it went. */
void reload(Reload *re);
/* The parts of a config that engine and HTTP server take. Borrowed from it. */
EngineConfig config_for_engine(const Config *config, Bus *bus);
HttpConfig config_for_http(const Config *config);
