/* SPDX-License-Identifier: MIT */
/* XPath over XML, or over HTML as browsers read it. */
#pragma once

#include "api/error.h"

/* The text of the first node that `path` finds, or its string, number or bool; without space at
 * its ends. 1 and the text, 0 nothing found, -EINVAL. `xml`: it is XML, else HTML. */
_must_check_ int xpath_text(const char *text, size_t size, bool xml, const char *path, char **ret,
                            Error *reterr);
