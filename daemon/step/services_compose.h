/* SPDX-License-Identifier: MIT */
/* The two halves of services by compose: looking and starting; stopping and its undo. */
#pragma once

#include "daemon/step/project.h"

#define HELD_CONTAINER "container"

/* The service's project, opened once. Borrowed. */
_must_check_ int compose_project(Step *s, Service *v, Project **ret, Error *reterr);
/* The same, and its containers; the caller owns those. */
_must_check_ int compose_containers(Step *s, Service *v, Project **ret, json_t **ret_containers,
                                    Error *reterr);

/* Runs it now, however badly? */
bool compose_runs(const json_t *container);
/* Puts one container into a look: the worst of them is what the service is. */
int compose_add(ServiceLook *look, const json_t *container);
/* Stops what runs of `containers` (full descriptions) and with `remove` removes all of them. What
 * the engine would start again after a reboot is held down. */
_must_check_ int compose_take_down(Step *s, Project *p, const json_t *containers, bool remove,
                                   Error *reterr);

int compose_record(Step *s, Service *v, json_t *entry, Error *reterr);
int compose_stop(Step *s, Service *v, const json_t *entry, Error *reterr);
int compose_restore(Step *s, Service *v, const json_t *entry, Error *reterr);
int compose_restored(Step *s, Service *v, const json_t *entry, ServiceLook *ret, Error *reterr);
