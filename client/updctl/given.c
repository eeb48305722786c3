/* SPDX-License-Identifier: MIT */
/* What the command line gives a job: its inputs, labels and overrides. */
#include "client/updctl/ctl.h"

static int put_pairs(Ctl *ctl, json_t *body, const char *key, OptionId option) {
        json_t *pairs = json_object();

        if (json_put(body, key, pairs) < 0)
                return tell(ctl, EXIT_REFUSED, "out of memory");
        return args_pairs(ctl->args, option, ctl->err, pairs);
}

static int put_overrides(Ctl *ctl, json_t *body) {
        const Args *args = ctl->args;
        json_t *names = json_array();

        if (json_put(body, "overrides", names) < 0)
                return tell(ctl, EXIT_REFUSED, "out of memory");
        for (unsigned i = 0; i < args->n_values[OPT_OVERRIDE]; i++)
                if (json_array_append_new(names, json_string(args->values[OPT_OVERRIDE][i])) < 0)
                        return tell(ctl, EXIT_USAGE, "the override's name is not UTF-8");
        return 0;
}

int put_given(Ctl *ctl, json_t *body) {
        int r = put_pairs(ctl, body, "inputs", OPT_INPUT);

        if (r == 0)
                r = put_pairs(ctl, body, "labels", OPT_LABEL);
        return r > 0 ? r : put_overrides(ctl, body);
}

int put_given_text(Ctl *ctl, json_t *body, const char *key, OptionId option) {
        const char *value = args_value(ctl->args, option);

        return value && json_put(body, key, json_string(value)) < 0
                       ? tell(ctl, EXIT_USAGE, "the value of --%s is not UTF-8", key)
                       : 0;
}
