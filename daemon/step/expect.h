/* SPDX-License-Identifier: MIT */
/*
 * The expectations equals, min and max: a value that holds for everything that was found, or a map
 * by column (or table). Numbers compare as numbers, also when one is spelled as text.
 */
#pragma once

#include "api/error.h"

/* Holds `found` {NAME: scalar} to args.equals, args.min, args.max. 0 or -EBADE. */
_must_check_ int expect_values(const json_t *args, const json_t *found, Error *reterr);

/* Are two scalars the same value? */
bool expect_same(const json_t *a, const json_t *b);

/* A scalar as people read it. Caller frees. */
_must_check_ char *expect_spell(const json_t *value);
