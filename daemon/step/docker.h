/* SPDX-License-Identifier: MIT */
/*
 * The Docker engine, asked over its own API at the address that a step's commands would use:
 * DOCKER_HOST of the op's env (unix://… or tcp://…), else /var/run/docker.sock.
 */
#pragma once

#include "daemon/step/step.h"

typedef struct Docker {
        Step *step;
        char *host;   /* as people write it */
        char *socket; /* of unix://, or NULL */
        char *base;   /* what urls begin with */
} Docker;

/* `more`: variables over the op's, or NULL. */
_must_check_ int docker_open(Step *s, const json_t *more, Docker *ret, Error *reterr);
void docker_done(Docker *d);
#define _cleanup_docker_ _cleanup_(docker_done)

/* One call; `path` begins with "/". `ret` may be NULL. A state that is there already (304) is 0;
 * -ENOENT what is asked for is not there, -EBUSY it is in use, -EREMOTEIO the engine refuses,
 * -EHOSTUNREACH it cannot be reached. */
_must_check_ int docker_call(Docker *d, const char *method, const char *path, const json_t *body,
                             json_t **ret, Error *reterr);

/* All containers, the stopped ones too, or those with a label ("key=value"): the engine's short
 * descriptions. */
_must_check_ int docker_list(Docker *d, const char *label, json_t **ret, Error *reterr);
/* Everything about one. -ENOENT. */
_must_check_ int docker_inspect(Docker *d, const char *id, json_t **ret, Error *reterr);

/* What they ask for may be so already. A container that is not there is -ENOENT. */
_must_check_ int docker_start(Docker *d, const char *id, Error *reterr);
_must_check_ int docker_stop(Docker *d, const char *id, Error *reterr);
_must_check_ int docker_remove(Docker *d, const char *id, Error *reterr); /* never its volumes */
/* `policy`: {"Name", "MaximumRetryCount"}. */
_must_check_ int docker_restart_policy(Docker *d, const char *id, const json_t *policy,
                                       Error *reterr);
/* The last `n` lines of its log, as an array of texts. */
_must_check_ int docker_tail(Docker *d, const char *id, unsigned n, json_t **ret, Error *reterr);

typedef enum Condition {
        CONDITION_DOWN,      /* it does not run */
        CONDITION_LOOPING,   /* it is restarted again and again */
        CONDITION_UNHEALTHY, /* its healthcheck says so, or it is paused */
        CONDITION_STARTING,  /* its healthcheck does not know yet */
        CONDITION_RUNNING,   /* it has no healthcheck */
        CONDITION_HEALTHY,
        _CONDITION_MAX,
} Condition;

/* Judges what docker_inspect() gave; *ret_why (unless NULL) is a short reason, the caller's. */
Condition docker_condition(const json_t *container, char **ret_why);
const char *condition_name(Condition c);
/* Its name without the slash; borrowed. Works for both descriptions. */
const char *docker_name(const json_t *container);
