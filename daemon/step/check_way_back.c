/* SPDX-License-Identifier: MIT */
/*
 * way-back {saves, steps}: would all that the steps keep fit, and what their undo puts back? The
 * engine adds this check to every plan that keeps something. The whole estimate goes into the
 * attempt's folder, where the reserving (verb_reserve.c) finds it.
 */
#include "daemon/step/estimate.h"

#include <fcntl.h>

static int estimate_file(Step *s, const json_t *estimate, Error *reterr) {
        _cleanup_free_ char *path = path_join(step_dir(s), ESTIMATE_FILE);
        _cleanup_free_ char *text = json_dumps(estimate, JSON_COMPACT);
        int r = path && text ? file_write_atomic(AT_FDCWD, path, text, strlen(text), 0600)
                             : -ENOMEM;

        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot write the estimate: %s",
                                 strerror(-r))
                     : 0;
}

static int way_back_look(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *words = NULL;
        json_auto_t *estimate = NULL;
        int r = estimate_make(s, args, &estimate, reterr);

        if (r >= 0)
                r = estimate_file(s, estimate, reterr);
        if (r < 0)
                return r;
        words = estimate_words(estimate);
        if (!words || step_found(s, words, estimate_summary(estimate)) < 0)
                return error_oom(reterr);
        if (estimate_fits(estimate))
                return 0;
        r = error_set(reterr, EBADE, "check-failed", "the way back does not fit: %s", words);
        error_hint(reterr, "Free some space there, or begin without the certainty of a way back: "
                           "--override way-back");
        return r;
}

const Check check_way_back = {"way-back", way_back_look};
