/* SPDX-License-Identifier: MIT */
/* A plan as a person reads it before saying yes. */
#pragma once

#include "client/updctl/ctl.h"

/* `inputs`: what was given with -i, or NULL. `dry_run` and `overrides` only mark the head. */
void put_card(const Screen *s, const json_t *plan, const json_t *inputs, bool dry_run);
/* The value an input will have: given, else its default. Caller frees; NULL when it has none. */
char *input_value(const json_t *plan, const json_t *inputs, const char *name);
/* "${in.x}" replaced by the inputs' values, where they are known. Caller frees. */
char *fill_inputs(const json_t *plan, const json_t *inputs, const char *text);
