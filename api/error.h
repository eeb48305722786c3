/* SPDX-License-Identifier: MIT */
/*
 * The error contract, whole: a function returns 0 or more for success and -errno for failure. Where
 * a person will read about the failure it also fills one Error, its last parameter `reterr`, which
 * may be NULL. Only one place turns an Error into an HTTP status: daemon/http/problem.c.
 */
#pragma once

#include "api/util.h"

typedef struct Error {
        int err;       /* positive errno */
        char *type;    /* stable slug, e.g. "target-busy"; the problem document's type ends in it */
        char *message; /* one sentence for a person, without a full stop */
        char *hint;    /* what to do about it, or NULL */
        json_t *details; /* object of further members for the problem document, or NULL */
} Error;

#define _cleanup_error_ _cleanup_(error_done)
#define ERROR_INIT ((Error){0})

/* Frees what the Error holds and makes it empty again. */
void error_done(Error *e);

/* Fills *reterr (unless NULL), replacing what was there, and returns -err. */
_printf_(4, 5) int error_set(Error *reterr, int err, const char *type, const char *format, ...);

/* Adds a hint to an Error that is already set. */
_printf_(2, 3) void error_hint(Error *reterr, const char *format, ...);

/* Adds one member to the details; steals `value`. */
void error_detail(Error *reterr, const char *key, json_t *value);

/* For -ENOMEM: sets type "out-of-memory" and returns -ENOMEM. */
int error_oom(Error *reterr);

/* Moves an Error; `from` is empty afterwards. `to` may be NULL: then `from` is freed. */
void error_move(Error *to, Error *from);
