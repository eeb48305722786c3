/* SPDX-License-Identifier: MIT */
/* The field `save`: outputs that are taken out of what a program printed or a server answered. */
#pragma once

#include "daemon/step/step.h"

/* The value at an RFC 6901 pointer ("" is the whole), or NULL. Borrowed. */
const json_t *json_pointer_get(const json_t *value, const char *pointer);

/* Makes every output that args.save names, {NAME: {"regex"|"json", "secret"?}}. -EBADE when `text`
 * does not hold one of them; `what` names the text in messages. */
_must_check_ int save_outputs(Step *s, const json_t *args, const char *text, size_t size,
                              const char *what, Error *reterr);
