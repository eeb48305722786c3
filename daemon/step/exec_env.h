/* SPDX-License-Identifier: MIT */
/* Who a child is and what surrounds it: user, working folder, environment, exactly as planned. */
#pragma once

#include <sys/types.h>

#include "daemon/step/worker.h"

typedef struct Identity {
        uid_t uid;
        gid_t gid;
        gid_t *groups;
        int n_groups;
        char *name, *home;
        bool change; /* ids have to be changed in the child */
} Identity;

void identity_done(Identity *identity);
/* `user` is a name or a number; NULL or "": whoever runs this. */
_must_check_ int identity_find(const char *user, Identity *ret, Error *reterr);

/* "NAME=value" texts, NULL-terminated. `service`: without the attempt's own variables. */
_must_check_ int exec_environment(Step *s, const Exec *x, const Identity *identity, bool service,
                                  char ***ret, Error *reterr);
void strings_free(char **strings);
DEFINE_CLEANUP(char **, strings_free)
#define _cleanup_strings_ _cleanup_(strings_freep)

/* The argv as C strings; refuses secrets in it. */
_must_check_ int exec_arguments(Step *s, const json_t *argv, char ***ret, Error *reterr);
