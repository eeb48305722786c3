/* SPDX-License-Identifier: MIT */
/*
 * reserve {again: no}: the engine's own, behind the checks. What the check "way-back" has measured in
 * this attempt is held (daemon/step/reserve.h) until the job ends (verb_release.c). With `again` it is
 * what one step keeps that the plan says in another way since.
 */
#include "daemon/step/estimate.h"
#include "daemon/step/reserve.h"

#include <fcntl.h>

#define ESTIMATE_MAX (64U * 1024 * 1024)

static bool is_overridden(Step *s) {
        return json_has_text(json_object_get(step_task(s), "overrides"), "way-back");
}

static int reserve_run(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *path = path_join(step_dir(s), ESTIMATE_FILE), *text = NULL;
        json_auto_t *estimate = NULL, *outside = NULL;
        bool again = json_is_true(json_object_get(args, "again"));
        int r = path ? file_read(AT_FDCWD, path, ESTIMATE_MAX, &text, NULL) : -ENOMEM;

        /* The check was overridden and came to no estimate. */
        if (r == -ENOENT)
                return 0;
        if (r >= 0) {
                estimate = json_loads(text, 0, NULL);
                r = estimate ? 0 : -ENOMEM;
        }
        if (r < 0)
                return error_set(reterr, -r, "read-failed", "Cannot read %s: %s", path,
                                 strerror(-r));
        r = reserve_make(s, estimate, is_overridden(s), again, &outside, reterr);
        return r < 0 || again ? r : step_output(s, "reserved", TAKE(outside));
}

const Verb verb_reserve = {"reserve", reserve_run, NULL};
