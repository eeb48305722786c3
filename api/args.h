/* SPDX-License-Identifier: MIT */
/*
 * Typed reads out of JSON objects. Plan values reach their users as they were written ("10m", "1G",
 * or a number or bool given through an input as text); these functions are the only ones that read
 * them. Every function takes a missing or null key as "use the default" and never changes its
 * output on failure.
 */
#pragma once

#include "api/error.h"

/* Borrowed; `fallback` may be NULL. A number or bool there is a caller's bug and gives `fallback`.
 */
const char *args_text(const json_t *args, const char *key, const char *fallback);
_must_check_ int args_ms(const json_t *args, const char *key, int64_t fallback, int64_t *ret,
                         Error *reterr);
_must_check_ int args_bytes(const json_t *args, const char *key, int64_t fallback, int64_t *ret,
                            Error *reterr);
/* Microseconds in a second; 0 when it is missing. */
_must_check_ int args_share(const json_t *args, const char *key, int64_t *ret, Error *reterr);
_must_check_ int args_int(const json_t *args, const char *key, int64_t fallback, int64_t *ret,
                          Error *reterr);
/* true/false, or the words yes no true false on off. */
_must_check_ int args_bool(const json_t *args, const char *key, bool fallback, bool *ret,
                           Error *reterr);

/* Is the text one of the list's? Neither may be there: then it is not. */
bool json_has_text(const json_t *list, const char *text);

/* Canonical JSON: sorted keys, no spaces. Caller frees; NULL when memory is out. */
_must_check_ char *json_canonical(const json_t *value);

/* Sets a key, stealing `value`; a NULL value (allocation failed) is -ENOMEM. */
int json_put(json_t *object, const char *key, json_t *value);
_printf_(3, 4) int json_putf(json_t *object, const char *key, const char *format, ...);
