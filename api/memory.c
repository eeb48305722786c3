/* SPDX-License-Identifier: MIT */
/* See memory.h. The count is the program's, as jansson's allocator is: it stands in this file. */
#include "api/memory.h"

#include <jansson.h>
#include <stdlib.h>

static uint64_t failures;

static void *counted_malloc(size_t size) {
        void *p = malloc(size);

        if (!p)
                failures++;
        return p;
}

void memory_watch(void) {
        json_set_alloc_funcs(counted_malloc, free);
}

uint64_t memory_failures(void) {
        return failures;
}

void memory_failed(void) {
        failures++;
}
