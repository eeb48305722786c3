/* SPDX-License-Identifier: MIT */
/* What the engine's description of a container says about it: see docker.h. */
#include "daemon/step/docker.h"

#include <assert.h>

/* The engine waits ever longer between restarts, and forgets them once a container has run for
 * 10 s: one that was restarted and has not run that long may end again at any moment. */
#define SETTLED_MS (10 * 1000)
/* Without a healthcheck, running is all there is to see: let it run a little before it counts. */
#define YOUNG_MS 1000

static const char *const names[] = {
        [CONDITION_DOWN] = "down",           [CONDITION_LOOPING] = "looping",
        [CONDITION_UNHEALTHY] = "unhealthy", [CONDITION_STARTING] = "starting",
        [CONDITION_RUNNING] = "running",     [CONDITION_HEALTHY] = "healthy",
};
static_assert(ELEMENTSOF(names) == _CONDITION_MAX, "every condition has a name");

const char *condition_name(Condition c) {
        return c >= 0 && c < _CONDITION_MAX ? names[c] : "?";
}

const char *docker_name(const json_t *container) {
        const char *name = args_text(container, "Name", NULL);

        if (!name)
                name = json_string_value(json_array_get(json_object_get(container, "Names"), 0));
        if (!name)
                return args_text(container, "Id", "?");
        return *name == '/' ? name + 1 : name;
}

/* By the wall clock, which the engine goes by. One that begins in the future began before the clock
 * was set back: how long ago is not known, and it must not stay young until the clock is there. */
static int64_t age_ms(const json_t *state) {
        int64_t ms, now = now_wall_ms();

        if (time_parse(args_text(state, "StartedAt", ""), &ms) < 0 || ms > now)
                return INT64_MAX;
        return now - ms;
}

static char *last_probe(const json_t *health) {
        const json_t *log = json_object_get(health, "Log");
        size_t n = json_array_size(log);
        const char *output = n > 0 ? args_text(json_array_get(log, n - 1), "Output", "") : "";

        output += strspn(output, " \t\r\n");
        return strf("its healthcheck fails%s%.*s", *output ? ": " : "",
                    (int) MIN(strcspn(output, "\r\n"), (size_t) 160), output);
}

static Condition by_health(const json_t *state, char **ret_why) {
        const json_t *health = json_object_get(state, "Health");
        const char *status = args_text(health, "Status", "none");

        if (streq(status, "healthy"))
                return CONDITION_HEALTHY;
        if (streq(status, "starting")) {
                *ret_why = strdup("its healthcheck has not succeeded yet");
                return CONDITION_STARTING;
        }
        if (!streq(status, "unhealthy")) {
                if (age_ms(state) >= YOUNG_MS)
                        return CONDITION_RUNNING;
                *ret_why = strdup("it has only just begun");
                return CONDITION_STARTING;
        }
        *ret_why = last_probe(health);
        return CONDITION_UNHEALTHY;
}

static Condition judge(const json_t *container, char **ret_why) {
        const json_t *state = json_object_get(container, "State");
        long long restarts = json_integer_value(json_object_get(container, "RestartCount"));
        long long code = json_integer_value(json_object_get(state, "ExitCode"));

        if (json_is_true(json_object_get(state, "Restarting")) ||
            (restarts > 0 && json_is_true(json_object_get(state, "Running")) &&
             age_ms(state) < SETTLED_MS)) {
                *ret_why = strf("it is restarted again and again (%lld times, last exit code %lld)",
                                restarts, code);
                return CONDITION_LOOPING;
        }
        if (!json_is_true(json_object_get(state, "Running"))) {
                *ret_why = streq(args_text(state, "Status", ""), "created")
                                   ? strdup("it was never started")
                                   : strf("it does not run (exit code %lld)", code);
                return CONDITION_DOWN;
        }
        if (json_is_true(json_object_get(state, "Paused"))) {
                *ret_why = strdup("it is paused");
                return CONDITION_UNHEALTHY;
        }
        return by_health(state, ret_why);
}

Condition docker_condition(const json_t *container, char **ret_why) {
        _cleanup_free_ char *why = NULL;
        Condition c = judge(container, &why);

        if (ret_why)
                *ret_why = TAKE(why);
        return c;
}
