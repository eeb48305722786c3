/* SPDX-License-Identifier: MIT */
/* The links in /etc/systemd/system and /run/systemd/system that enable a unit, or are one. */
#pragma once

#include "daemon/step/step.h"

/* Of a unit with these properties (Names): [[path, target], …]. Masks are none. The caller owns. */
_must_check_ int unit_links_list(const json_t *properties, json_t **ret, Error *reterr);

/* Makes those that are missing, durably. What stands in the place of one is left and told. How many
 * were made. */
_must_check_ int unit_links_make(Step *s, const json_t *links, Error *reterr);

/* Removes those of them that are there, one excepted that `unit` itself is: a file that is linked
 * from elsewhere is none the less its file. How many were removed. */
_must_check_ int unit_links_remove(Step *s, const json_t *links, const char *unit, Error *reterr);

/* Removes what enables the unit now and is not among `links`. How many were removed. */
_must_check_ int unit_links_prune(Step *s, const json_t *properties, const json_t *links,
                                  const char *unit, Error *reterr);

/* What was changed there is on the disk when this returns. */
_must_check_ int unit_links_sync(Error *reterr);
