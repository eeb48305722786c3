/* SPDX-License-Identifier: MIT */
/* that {expression}: over inputs and the outputs of steps. */
#include "daemon/plan/expand.h"
#include "daemon/step/step.h"

static int that_look(Step *s, const json_t *args, Error *reterr) {
        const char *expression = args_text(args, "expression", "");
        int r = expr_eval(expression, step_scope(s), reterr);

        if (r != 0)
                return MIN(r, 0);
        return error_set(reterr, EBADE, "check-failed", "%s is not true", expression);
}

const Check check_that = {"that", that_look};
