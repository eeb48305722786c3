/* SPDX-License-Identifier: MIT */
/*
 * What the libraries for LD_PRELOAD in this folder need: the next definition of a function of the C
 * library, the mark of one that stands in front of it, and the file by which a test steers.
 */
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* The function that would have been called; ends the program when there is none: a test that
 * watches nothing must not pass. */
static inline void *next_of(const char *name) {
        void *found = dlsym(RTLD_NEXT, name);

        if (!found)
                abort();
        return found;
}

/* The file's first `size` bytes, shared with the test. Without them the program ends too. */
static inline void *control_of(const char *file, size_t size) {
        int fd = open(file, O_RDWR | O_CLOEXEC);
        void *at =
                fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (at == MAP_FAILED)
                abort();
        (void) close(fd);
        return at;
}
