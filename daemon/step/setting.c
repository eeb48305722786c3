/* SPDX-License-Identifier: MIT */
/* Looking a variable up: see setting.h. */
#include "daemon/step/setting.h"

#include "daemon/step/exec_env.h"

int setting_variable(Step *s, const json_t *more, const char *name, char **ret, Error *reterr) {
        _cleanup_(identity_done) Identity identity = {0};
        _cleanup_strings_ char **env = NULL;
        size_t n = strlen(name);
        int r;

        r = identity_find(json_string_value(step_setting(s, "user")), &identity, reterr);
        if (r >= 0)
                r = exec_environment(s, &(Exec){.env = more}, &identity, true, &env, reterr);
        if (r < 0)
                return r;
        *ret = NULL;
        for (char **p = env; *p; p++)
                if (startswith(*p, name) && (*p)[n] == '=') {
                        *ret = strdup(*p + n + 1);
                        return *ret ? 0 : error_oom(reterr);
                }
        return 0;
}
