/* SPDX-License-Identifier: MIT */
/*
 * Regular expressions of plans (PCRE2, multi-line: ^ and $ stand at lines), and the expectations
 * `has` and `lacks` that checks and actions share.
 */
#pragma once

#include "api/error.h"

/* A text may be any bytes: those that are no UTF-8, and NUL, match as U+FFFD, as which they are told
 * to people. */

/* 1 when it matches somewhere, 0 when not, -EINVAL for a pattern that is none. With `ret_group`:
 * the first capture group, or the whole match where there is no group (caller frees; NULL when it
 * does not match). */
_must_check_ int match_text(const char *pattern, const char *text, size_t size, char **ret_group,
                            Error *reterr);

/* Holds `text` to args.has (each must match) and args.lacks (none may); both a text or a list.
 * `what` names the text in messages ("The reply", "Output"). 0 or -EBADE. */
_must_check_ int match_expect(const json_t *args, const char *text, size_t size, const char *what,
                              Error *reterr);
