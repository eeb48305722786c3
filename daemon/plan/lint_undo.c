/* SPDX-License-Identifier: MIT */
/* Warnings about ways back that would not work when they are needed. */
#include "daemon/plan/decode.h"

void lint_ways_back(Decoder *d, const json_t *norm) {
}
