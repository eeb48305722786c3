/* SPDX-License-Identifier: MIT */
/* Places in JSON as RFC 6901 spells them. */
#pragma once

#include "api/util.h"

/* What stands at "/a/0/b~1c" (the empty pointer: the whole). NULL when nothing does. Borrowed. */
const json_t *pointer_get(const json_t *value, const char *pointer);
