/* SPDX-License-Identifier: MIT */
/*
 * Starting a child: identity, session or process group, terminal or pipes, and the news, from
 * between fork and exec, why it could not be started.
 */
#pragma once

#include "daemon/step/exec_env.h"

typedef struct Child {
        pid_t pid;
        int out, err; /* read ends; with a terminal `out` is its master and `err` is -EBADF */
        bool terminal;
} Child;

#define CHILD_INIT ((Child){.out = -EBADF, .err = -EBADF})

/* Closes the descriptors; the process is the caller's affair. */
void child_done(Child *child);
_must_check_ int child_start(Step *s, const Exec *x, Child *ret, Error *reterr);
