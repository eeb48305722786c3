/* SPDX-License-Identifier: MIT */
/*
 * way-back {saves, steps, again}: would all that the steps keep fit, and what their undo puts back? The
 * engine adds this check to every plan that keeps something. The whole estimate goes into the
 * attempt's folder, where the reserving (verb_reserve.c) finds it.
 */
#include "daemon/step/estimate.h"
#include "daemon/step/reserve.h"

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

/* What was held for these steps before their plan was changed counts as free. */
static void shares_give_back(Step *s, const json_t *saves) {
        json_t *save;
        size_t i;

        json_array_foreach ((json_t *) saves, i, save) {
                reserve_take(s, args_text(save, "step", ""), SHARE_KEEP);
                reserve_take(s, args_text(save, "step", ""), SHARE_BACK);
        }
}

static int way_back_look(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *words = NULL;
        json_auto_t *estimate = NULL;
        bool again = json_is_true(json_object_get(args, "again"));
        int r;

        if (again)
                shares_give_back(s, json_object_get(args, "saves"));
        r = estimate_make(s, args, &estimate, reterr);
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
        error_hint(reterr, again ? "Free some space there, and try again"
                                 : "Free some space there, or begin without the certainty of a way "
                                   "back: --override way-back");
        return r;
}

const Check check_way_back = {"way-back", way_back_look};
