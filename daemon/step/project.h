/* SPDX-License-Identifier: MIT */
/*
 * A compose project as a service of the plan sees it: which of its services and containers count.
 * compose itself is run for what needs the project's files; all else is asked of the engine.
 */
#pragma once

#include "daemon/step/docker.h"
#include "daemon/step/services.h"

typedef struct Project {
        Step *step;
        const char *name;    /* of the plan's `compose` entry; borrowed */
        const json_t *def;   /* that entry */
        const char *service; /* the only one that counts, or NULL: all but `except` */
        const json_t *except;
        char *label; /* the project's name as its containers carry it */
        char *dir;
        Docker docker;
        json_t *wanted; /* services by the files as they are now; cache */
} Project;

_must_check_ int project_open(Step *s, const Service *v, Project **ret, Error *reterr);
void project_free(Project *p);
DEFINE_CLEANUP(Project *, project_free)

bool project_counts(const Project *p, const char *service);

/* The names of the services that the files describe and that count. Borrowed. */
_must_check_ int project_wanted(Project *p, const json_t **ret, Error *reterr);
/* Everything the engine knows about the containers that count, stopped ones too: an array of full
 * descriptions. */
_must_check_ int project_containers(Project *p, json_t **ret, Error *reterr);
/* The compose service that a container (full description) belongs to; borrowed. */
const char *project_service_of(const json_t *container);

/* The files, put together and with every variable in place: `compose config`. */
_must_check_ int project_render(Project *p, char **ret, Error *reterr);

/* Runs compose with `args` and then `services` (texts), its output in the log; exit 0 demanded.
 * `def`: the project's own entry, or another one in its place. */
_must_check_ int project_run(Project *p, const json_t *def, const char *const *args,
                             const json_t *services, Error *reterr);
