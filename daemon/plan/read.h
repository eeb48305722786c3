/* SPDX-License-Identifier: MIT */
/*
 * The two readers. Both take the whole document and give its tree, with faults for what the strict
 * subset forbids. `*ret` may be set although there are faults (a duplicate key does not hinder the
 * rest from being looked at) and is NULL when the text cannot be read at all. -ENOMEM or 0.
 */
#pragma once

#include "daemon/plan/faults.h"

/* Block and flow YAML without anchors, aliases, tags, merge keys or a second document. */
_must_check_ int yaml_read(Faults *f, const char *text, size_t size, Node **ret);
/* RFC 8259. */
_must_check_ int json_read(Faults *f, const char *text, size_t size, Node **ret);
