/* SPDX-License-Identifier: MIT */
/*
 * Images that containers ran with before they were stopped: the way back may need them after the
 * tags have moved on and the containers are gone. Until the way back is closed the engine has each
 * under a name of ours, `updd-kept:<job>-<attempt>-<image>`, so that no clean-up takes it. The names
 * are noted (daemon/step/held.h) before they are given.
 */
#pragma once

#include "daemon/step/docker.h"

/* `containers` are full descriptions. An image that is gone already is nothing to keep. */
_must_check_ int images_keep(Step *s, Docker *d, const json_t *containers, Error *reterr);
/* Takes all names of this job back. An image that has no other one by then goes with it, unless a
 * container has it. */
_must_check_ int images_release(Step *s, Error *reterr);

/* Where the engine keeps images, when that is on this machine: NULL otherwise. Caller frees. */
_must_check_ int images_folder(Docker *d, char **ret, Error *reterr);
/* Bytes of all images that these containers have, each once. */
_must_check_ int images_size(Docker *d, const json_t *containers, int64_t *ret, Error *reterr);
