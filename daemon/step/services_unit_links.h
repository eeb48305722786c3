/* SPDX-License-Identifier: MIT */
/* The links in /etc/systemd/system and /run/systemd/system that enable a unit, or are one. */
#pragma once

#include "daemon/step/step.h"

/* Of a unit with these properties (Names, FragmentPath), and of what its file enables with it
 * (Also=): [[path, target], …]. Masks are none. The caller owns. -ENOMEM. */
_must_check_ int unit_links_list(const json_t *properties, json_t **ret);

/* Makes those that are missing, durably. What stands in the place of one is left and told. How many
 * were made. */
_must_check_ int unit_links_make(Step *s, const json_t *links, Error *reterr);

/* What systemd changed there is on the disk when this returns. */
_must_check_ int unit_links_sync(Error *reterr);
