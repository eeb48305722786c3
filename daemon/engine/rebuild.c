/* SPDX-License-Identifier: MIT */
/* The task of an attempt that is in flight already: what its unit must know of it, and how it is made
 * once more for a start that failed or that a former daemon did not come to. */
#include "api/args.h"
#include "daemon/attempt/attempt.h"
#include "daemon/engine/internal.h"

/* What of the task its unit must know. */
void watch_task(Watch *w, const json_t *task) {
        json_decref(w->limits);
        w->limits = json_incref(json_object_get(task, "limits"));
        w->grace_ms = json_integer_value(json_object_get(task, "grace_ms"));
}

/* What a spawn that never happened, or never claimed, needs once more. */
int watch_rebuild(Watch *w, const Job *job) {
        Turn t = {.state_dir = w->engine->state_dir};
        json_auto_t *task = NULL, *missing = NULL, *names = json_array(), *secrets = NULL;
        const char *name;
        json_t *value;
        int r;

        r = task_build(&t, job, w->step, (Direction) job->steps[w->step].direction, &task, NULL);
        if (r >= 0)
                r = secrets_resolve(&t, job, task, &secrets, &missing, NULL);
        if (r < 0)
                return r;
        json_decref(w->secrets);
        w->secrets = TAKE(secrets);
        json_object_foreach (w->secrets, name, value) {
                (void) json_array_append_new(names, json_string(name));
        }
        (void) json_object_set(task, "secrets", names);
        value = json_array_get(json_object_get(job->steps[w->step].more, "pending"), 0);
        if (value)
                (void) json_object_set(task, "event", value);
        watch_task(w, task);
        return attempt_task_write(w->dirfd, task);
}
