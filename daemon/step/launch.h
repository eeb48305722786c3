/* SPDX-License-Identifier: MIT */
/*
 * From a prepared command to a running process, private to child.c and spawn_service.c: everything
 * that takes memory happens before, because the child shares ours until it has become the command.
 */
#pragma once

#include <sys/resource.h>

#include "daemon/step/exec_env.h"

typedef enum Stage { STAGE_SETUP, STAGE_USER, STAGE_CWD, STAGE_EXEC, _STAGE_MAX } Stage;

typedef struct News { /* what the child tells when it cannot become the command */
        int stage, err;
} News;

typedef struct Launch {
        char **argv, **envp;
        char *cwd;
        Identity identity;
        char **script; /* sh, a place for the program's path, the arguments */
        const char *path;
        int in, out, err; /* become 0, 1, 2 */
        News news;        /* written by the child, which shares the memory until it is on its way */
        bool terminal, service;
        struct rlimit unmarked; /* RLIMIT_RTTIME of a service, which is not the attempt's */
        pid_t parent;
} Launch;

#define LAUNCH_INIT ((Launch){.in = -EBADF, .out = -EBADF, .err = -EBADF})

void launch_done(Launch *l);
/* Identity, arguments, environment and working folder, as the op and `x` have them. */
_must_check_ int launch_prepare(Step *s, const Exec *x, Launch *l, Error *reterr);
/* Starts it. 0 and the pid, or the child's news of why it could not become the command. */
_must_check_ int launch(Launch *l, pid_t *ret_pid, Error *reterr);
