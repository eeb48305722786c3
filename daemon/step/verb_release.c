/* SPDX-License-Identifier: MIT */
/*
 * release {images: no}: the engine's own, after the job's end. It gives back the space that was held
 * for the way back (daemon/step/reserve.h) or, once that is closed, the images that stops have kept
 * for it (images.h).
 */
#include "daemon/step/images.h"
#include "daemon/step/reserve.h"

static int release_run(Step *s, const json_t *args, Error *reterr) {
        return json_is_true(json_object_get(args, "images")) ? images_release(s, reterr)
                                                             : reserve_drop(s, reterr);
}

const Verb verb_release = {"release", release_run, NULL};
