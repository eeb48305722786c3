/* SPDX-License-Identifier: MIT */
/* What is kept of a child's output: all of it up to a limit, beyond that its beginning and end. */
#pragma once

#include "daemon/step/mask.h"

typedef struct Capture {
        char *data;
        size_t size, room, max;
        uint64_t total;
} Capture;

void capture_init(Capture *c, size_t max); /* 0: 64 KiB */
void capture_done(Capture *c);
_must_check_ int capture_add(Capture *c, const char *data, size_t size);
/* Was more added than is kept? */
bool capture_is_cut(const Capture *c);
/* NUL-terminated; the middle that was dropped is told in a line of its own, and with it goes every
 * secret of `masks` (or NULL) that the cut tears. Empties the capture. */
_must_check_ char *capture_take(Capture *c, const Masks *masks, size_t *ret_size);
