/* SPDX-License-Identifier: MIT */
/* Where a database is: see daemon/step/sqlite.h. Apart from the rest, for it needs no library. */
#include "daemon/step/sqlite.h"

int database_path(Step *s, const char *name, char **ret, Error *reterr) {
        const json_t *database =
                json_object_get(json_object_get(step_context(s), "databases"), name);
        const char *url = args_text(database, "url", NULL);

        if (!url)
                return error_set(reterr, ENOENT, "no-such-database",
                                 "The plan has no database '%s'", name);
        if (!startswith(url, "sqlite:"))
                return error_set(reterr, EPROTONOSUPPORT, "not-supported",
                                 "Database '%s' is not SQLite (%.*s), which is all that this "
                                 "version knows",
                                 name, (int) strcspn(url, ":"), url);
        url += strlen("sqlite:");
        if (startswith(url, "///"))
                url += 2;
        return step_path(s, url, ret, reterr);
}
