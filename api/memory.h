/* SPDX-License-Identifier: MIT */
/*
 * Whether memory has run out. A JSON value or a text is put together in many small steps, each of
 * which may fail; instead of at each of them this is looked at once, where the whole is used:
 *   uint64_t before = memory_failures();
 *   … build it …
 *   if (memory_failures() != before) → it is not whole: error_oom()
 */
#pragma once

#include <stdint.h>

/* From now on jansson's allocations are counted when they fail. Called once, first of all. */
void memory_watch(void);
/* How many allocations have failed so far: jansson's, and those of strf(). */
uint64_t memory_failures(void);
/* Counts one more. */
void memory_failed(void);
