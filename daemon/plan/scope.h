/* SPDX-License-Identifier: MIT */
/*
 * The names that `${…}` and expressions may use, and what a scope (daemon/plan/expand.h) has for
 * them. A name is at least two words with dots between them; a word is letters, digits, `_` and
 * `-`, so step ids may hold `-`.
 */
#pragma once

#include "api/error.h"

/* How many bytes at the start of `text` are a well-formed name; 0: none. */
size_t scope_name_span(const char *text);

/* Is it a name that a plan may use (in.N, secret.N, db.N.url, steps.ID.KEY, job.FIELD)?
 * 0 or -EINVAL with a message that says what would be. */
_must_check_ int scope_name_check(const char *name, Error *reterr);

/* The name's value, borrowed. NULL (and 0) stands for the empty text: what no step has given.
 * A name that is missing elsewhere is -ENOKEY. `secret.N` is no matter of scopes: -EINVAL. */
_must_check_ int scope_find(const json_t *scope, const char *name, const json_t **ret,
                            Error *reterr);

/* Is it {"$secret": …}? */
bool scope_is_secret(const json_t *value);

/* A value as text: text as it is, numbers and bools in their JSON spelling, null as nothing, lists
 * and objects as canonical JSON. Caller frees; NULL when memory is out. */
_must_check_ char *scope_value_text(const json_t *value);

/* The keys of an object as a sorted array of texts. NULL when memory is out. */
_must_check_ json_t *scope_sorted_keys(const json_t *object);
