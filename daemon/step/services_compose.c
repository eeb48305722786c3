/* SPDX-License-Identifier: MIT */
/*
 * Services of a compose project: looking at them and starting them. Their state is what the engine
 * says of their containers.
 *   entry of a start: "project", "before": [{"id", "running"}]
 */
#include "daemon/step/services_compose.h"

#include "daemon/step/held.h"

#define RESTARTS_MAX 3 /* so often a container may be restarted before that counts as failed */

static void compose_done(Service *v) {
        project_free(v->own);
}

int compose_project(Step *s, Service *v, Project **ret, Error *reterr) {
        int r = 0;

        if (!v->own) {
                Project *p = NULL;

                r = project_open(s, v, &p, reterr);
                v->own = p;
        }
        *ret = v->own;
        return r;
}

int compose_containers(Step *s, Service *v, Project **ret, json_t **ret_containers, Error *reterr) {
        int r = compose_project(s, v, ret, reterr);

        return r < 0 ? r : project_containers(*ret, ret_containers, reterr);
}

/* ---- looking ---- */

bool compose_runs(const json_t *container) {
        const json_t *state = json_object_get(container, "State");

        return json_is_true(json_object_get(state, "Running")) ||
               json_is_true(json_object_get(state, "Restarting"));
}

static ServiceState state_of(Condition c, const json_t *container) {
        if (c == CONDITION_LOOPING &&
            json_integer_value(json_object_get(container, "RestartCount")) >= RESTARTS_MAX)
                return SERVICE_FAILED;
        switch (c) {
        case CONDITION_HEALTHY:
        case CONDITION_RUNNING: return SERVICE_UP;
        case CONDITION_STARTING:
        case CONDITION_LOOPING: return SERVICE_COMING;
        default: return SERVICE_FAILED;
        }
}

static int worse(ServiceState a, ServiceState b) {
        static const int rank[] = {
                [SERVICE_UP] = 0, [SERVICE_COMING] = 1, [SERVICE_DOWN] = 2, [SERVICE_FAILED] = 3};

        return rank[a] > rank[b];
}

int compose_add(ServiceLook *look, const json_t *container) {
        _cleanup_free_ char *why = NULL;
        Condition c = docker_condition(container, &why);
        ServiceState state = state_of(c, container);

        look->runs = look->runs || compose_runs(container);
        look->alive = look->alive && c != CONDITION_DOWN && c != CONDITION_LOOPING;
        if (!worse(state, look->state))
                return 0;
        look->state = state;
        free(look->why);
        look->why = strf("%s: %s", docker_name(container), why ? why : condition_name(c));
        return look->why ? 0 : -ENOMEM;
}

static int look_at_service(const char *name, const json_t *containers, ServiceLook *look) {
        json_t *container;
        size_t i, n = 0;

        json_array_foreach ((json_t *) containers, i, container) {
                if (!streq(project_service_of(container), name))
                        continue;
                n++;
                if (compose_add(look, container) < 0)
                        return -ENOMEM;
        }
        if (n > 0)
                return 0;
        look->alive = false;
        if (worse(SERVICE_DOWN, look->state)) {
                look->state = SERVICE_DOWN;
                free(look->why);
                look->why = strf("%s has no container", name);
        }
        return look->state != SERVICE_DOWN || look->why ? 0 : -ENOMEM;
}

static int compose_look(Step *s, Service *v, ServiceLook *ret, Error *reterr) {
        _cleanup_look_ ServiceLook look = {.state = SERVICE_UP, .alive = true};
        json_auto_t *containers = NULL;
        const json_t *wanted;
        json_t *item;
        Project *p;
        size_t i;
        int r;

        r = compose_containers(s, v, &p, &containers, reterr);
        if (r >= 0)
                r = project_wanted(p, &wanted, reterr);
        if (r < 0)
                return r;
        json_array_foreach ((json_t *) wanted, i, item) {
                if (look_at_service(json_string_value(item), containers, &look) < 0)
                        return error_oom(reterr);
        }
        /* What runs of services that the files do not name any more runs all the same. */
        json_array_foreach (containers, i, item)
                look.runs = look.runs || compose_runs(item);
        if (!look.runs && look.state != SERVICE_COMING && json_array_size(containers) == 0)
                look.state = SERVICE_DOWN;
        *ret = look;
        look = (ServiceLook){0};
        return 0;
}

/* ---- its log ---- */

static int add_lines(Project *p, const json_t *container, unsigned n, bool named, json_t *all,
                     Error *reterr) {
        json_auto_t *lines = NULL;
        json_t *line;
        size_t i;
        int r = docker_tail(&p->docker, args_text(container, "Id", ""), n, &lines, reterr);

        if (r < 0)
                return r;
        json_array_foreach (lines, i, line) {
                json_t *own = named ? json_sprintf("%s | %s", docker_name(container),
                                                   json_string_value(line))
                                    : json_incref(line);

                if (json_array_append_new(all, own) < 0)
                        return error_oom(reterr);
        }
        return 0;
}

/* Several containers share the lines, so that the last one does not push the others out. */
static int compose_tail(Step *s, Service *v, unsigned n, json_t **ret, Error *reterr) {
        json_auto_t *containers = NULL, *all = json_array();
        json_t *container;
        size_t i, count;
        Project *p;
        int r;

        r = compose_containers(s, v, &p, &containers, reterr);
        if (r < 0)
                return r;
        count = json_array_size(containers);
        json_array_foreach (containers, i, container) {
                unsigned share = MAX(n / (unsigned) count, 1U);

                r = add_lines(p, container, share, count > 1, all, reterr);
                if (r < 0)
                        return r;
        }
        *ret = TAKE(all);
        return 0;
}

/* ---- start and its undo ---- */

static int compose_prepare(Step *s, Service *v, json_t *entry, Error *reterr) {
        json_auto_t *containers = NULL, *before = json_array();
        json_t *container;
        Project *p;
        size_t i;
        int r;

        r = compose_containers(s, v, &p, &containers, reterr);
        if (r < 0)
                return r;
        json_array_foreach (containers, i, container) {
                if (json_array_append_new(
                            before, json_pack("{s:s, s:b}", "id", args_text(container, "Id", ""),
                                              "running", compose_runs(container))) < 0)
                        return error_oom(reterr);
        }
        if (json_put(entry, "project", json_string(p->label)) < 0 ||
            json_put(entry, "before", TAKE(before)) < 0)
                return error_oom(reterr);
        return 0;
}

/* What this job's stop took away from containers that compose has started again. */
static int give_back(Step *s, Project *p, Error *reterr) {
        json_auto_t *containers = NULL;
        json_t *container;
        size_t i;
        int r = project_containers(p, &containers, reterr);

        json_array_foreach (containers, i, container) {
                const char *id = args_text(container, "Id", "");
                json_auto_t *policy = NULL;

                r = held_read(s, HELD_CONTAINER, id, &policy, reterr);
                if (r >= 0 && policy)
                        r = docker_restart_policy(&p->docker, id, policy, reterr);
                if (r >= 0 && policy)
                        r = held_drop(s, HELD_CONTAINER, id, reterr);
                if (r < 0)
                        return r;
        }
        return r;
}

static int compose_start(Step *s, Service *v, Error *reterr) {
        static const char *const up[] = {"up", "-d", "--no-deps", "--no-build", NULL};
        const json_t *wanted;
        Project *p;
        int r;

        r = compose_project(s, v, &p, reterr);
        if (r >= 0)
                r = project_wanted(p, &wanted, reterr);
        if (r < 0)
                return r;
        if (json_array_size(wanted) == 0)
                return error_set(reterr, ENOENT, "no-service",
                                 "The compose project %s has no service for %s", p->name, v->name);
        r = project_run(p, p->def, up, wanted, reterr);
        return r < 0 ? r : give_back(s, p, reterr);
}

static int compose_adopt(Step *s, Service *v, Error *reterr) {
        Project *p;
        int r = compose_project(s, v, &p, reterr);

        return r < 0 ? r : give_back(s, p, reterr);
}

/* 1: it was there and ran; 0: it was there; -1: this start made it. */
static int was_there(const json_t *before, const char *id) {
        json_t *item;
        size_t i;

        json_array_foreach ((json_t *) before, i, item) {
                if (streq(args_text(item, "id", ""), id))
                        return json_is_true(json_object_get(item, "running"));
        }
        return -1;
}

static int compose_unstart(Step *s, Service *v, const json_t *entry, Error *reterr) {
        const json_t *before = json_object_get(entry, "before");
        json_auto_t *containers = NULL, *made = json_array(), *kept = json_array();
        json_t *container;
        Project *p;
        size_t i;
        int r;

        r = compose_containers(s, v, &p, &containers, reterr);
        if (r < 0)
                return r;
        json_array_foreach (containers, i, container) {
                int there = was_there(before, args_text(container, "Id", ""));

                if (there <= 0 && json_array_append(there < 0 ? made : kept, container) < 0)
                        return error_oom(reterr);
        }
        r = compose_take_down(s, p, made, true, reterr);
        return r < 0 ? r : compose_take_down(s, p, kept, false, reterr);
}

const ServiceKind service_compose = {
        .name = "compose",
        .look = compose_look,
        .tail = compose_tail,
        .record = compose_record,
        .stop = compose_stop,
        .restore = compose_restore,
        .restored = compose_restored,
        .prepare = compose_prepare,
        .start = compose_start,
        .adopt = compose_adopt,
        .unstart = compose_unstart,
        .done = compose_done,
};
