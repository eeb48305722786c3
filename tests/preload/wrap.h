/* SPDX-License-Identifier: MIT */
/*
 * What every library for LD_PRELOAD in this folder needs: the next definition of a function of the
 * C library, and the mark of one that stands in front of it.
 */
#pragma once

#include <dlfcn.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

/* The function that would have been called; ends the program when there is none: a test that
 * watches nothing must not pass. */
static inline void *next_of(const char *name) {
        void *found = dlsym(RTLD_NEXT, name);

        if (!found)
                abort();
        return found;
}
