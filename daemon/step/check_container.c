/* SPDX-License-Identifier: MIT */
/* container {name, except, state}: by name, whoever made them. `absent` means: not even stopped. */
#include <fnmatch.h>

#include "daemon/step/docker.h"

static bool is_excepted(const json_t *except, const char *name) {
        json_t *item;
        size_t i;

        if (json_is_string(except))
                return fnmatch(json_string_value(except), name, 0) == 0;
        json_array_foreach ((json_t *) except, i, item) {
                if (fnmatch(json_string_value(item), name, 0) == 0)
                        return true;
        }
        return false;
}

static int expect_condition(Docker *d, const json_t *found, bool healthy, Error *reterr) {
        _cleanup_free_ char *why = NULL;
        json_auto_t *container = NULL;
        Condition c;
        int r;

        r = docker_inspect(d, args_text(found, "Id", ""), &container, reterr);
        if (r < 0)
                return r;
        c = docker_condition(container, &why);
        if (c == CONDITION_HEALTHY || c == CONDITION_RUNNING ||
            (!healthy && (c == CONDITION_STARTING || c == CONDITION_UNHEALTHY))) {
                if (c != CONDITION_RUNNING || !healthy)
                        return 0;
                return error_set(reterr, EBADE, "check-failed", "%s has no healthcheck",
                                 docker_name(container));
        }
        return error_set(reterr, EBADE, "check-failed", "%s is not %s: %s", docker_name(container),
                         healthy ? "healthy" : "running", why ? why : condition_name(c));
}

static int container_look(Step *s, const json_t *args, Error *reterr) {
        const char *name = args_text(args, "name", ""),
                   *state = args_text(args, "state", "running");
        _cleanup_docker_ Docker d = {0};
        json_auto_t *all = NULL;
        json_t *found;
        size_t i, n = 0;
        int r;

        r = docker_open(s, NULL, &d, reterr);
        if (r >= 0)
                r = docker_list(&d, NULL, &all, reterr);
        if (r < 0)
                return r;
        json_array_foreach (all, i, found) {
                const char *own = docker_name(found);

                if (fnmatch(name, own, 0) != 0 || is_excepted(json_object_get(args, "except"), own))
                        continue;
                n++;
                if (streq(state, "absent"))
                        return error_set(reterr, EBADE, "check-failed", "%s is there (%s)", own,
                                         args_text(found, "Status", "?"));
                r = expect_condition(&d, found, streq(state, "healthy"), reterr);
                if (r < 0)
                        return r;
        }
        if (n > 0 || streq(state, "absent"))
                return 0;
        return error_set(reterr, EBADE, "check-failed", "There is no container '%s'", name);
}

const Check check_container = {"container", container_look};
