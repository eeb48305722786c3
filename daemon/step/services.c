/* SPDX-License-Identifier: MIT */
/* What all kinds of services share: finding, looking, waiting, telling. See services.h. */
#include "daemon/step/services.h"

#include "daemon/step/worker.h"

#define LOOK_EVERY_MS 400
#define TAIL_LINES 20
#define PATIENCE_MS (60 * 1000) /* what went down with a service may need its time to come back */
#define KEPT_BACK_MS 3000 /* at most; for fetching the log of a service that does not come up */

static const ServiceKind *const kinds[] = {&service_compose, &service_unit, &service_command};

void service_look_done(ServiceLook *look) {
        free(look->why);
        *look = (ServiceLook){0};
}

void service_done(Service *v) {
        if (v->kind && v->kind->done)
                v->kind->done(v);
        *v = (Service){0};
}

static const ServiceKind *kind_of(const json_t *def) {
        const char *by = args_text(def, "by", NULL);

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (by ? streq(by, kinds[i]->name) : json_object_get(def, kinds[i]->name) != NULL)
                        return kinds[i];
        return NULL;
}

int service_find(Step *s, const char *name, Service *ret, Error *reterr) {
        json_t *all = json_object_get(step_context(s), "services"), *def;
        const ServiceKind *kind;

        def = json_object_get(all, name);
        if (!def)
                return error_set(reterr, ENOENT, "no-service", "The plan has no service '%s'",
                                 name);
        kind = kind_of(def);
        if (!kind || !json_object_get(def, kind->name))
                return error_set(reterr, EINVAL, "no-service",
                                 "Service '%s' has no unit, compose or command to be run by", name);
        *ret = (Service){.name = name, .def = def, .kind = kind};
        return 0;
}

int services_each(Step *s, const json_t *names, ServiceFunc func, void *userdata, Error *reterr) {
        size_t n = json_is_array(names) ? json_array_size(names) : 1;

        for (size_t i = 0; i < n; i++) {
                const json_t *item = json_is_array(names) ? json_array_get(names, i) : names;
                _cleanup_service_ Service v = {0};
                int r = service_find(s, json_string_value(item) ? json_string_value(item) : "", &v,
                                     reterr);

                if (r >= 0)
                        r = func(s, &v, userdata, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- looking ---- */

int service_checks_hold(Step *s, Service *v, char **ret_why, Error *reterr) {
        const json_t *health = json_object_get(v->def, "health");
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        if (json_array_size(health) == 0)
                return 1;
        r = checks_look(s, health, &error);
        if (r >= 0)
                return 1;
        if (r == -ECANCELED) {
                error_move(reterr, &error);
                return r;
        }
        *ret_why = strdup(error.message ? error.message : strerror(-r));
        return *ret_why ? 0 : error_oom(reterr);
}

int service_look(Step *s, Service *v, ServiceLook *ret, Error *reterr) {
        _cleanup_look_ ServiceLook look = {0};
        _cleanup_free_ char *why = NULL;
        int r;

        r = v->kind->look(s, v, &look, reterr);
        if (r < 0)
                return r;
        if (look.alive && json_array_size(json_object_get(v->def, "health")) > 0) {
                r = service_checks_hold(s, v, &why, reterr);
                if (r < 0)
                        return r;
                free(look.why);
                look.why = TAKE(why);
                look.state = r > 0 ? SERVICE_UP : SERVICE_COMING;
        }
        *ret = look;
        look = (ServiceLook){0};
        return 0;
}

/* ---- the log ---- */

int services_tail(Step *s, const char *service, unsigned lines, json_t **ret, Error *reterr) {
        _cleanup_service_ Service v = {0};
        int r = service_find(s, service, &v, reterr);

        return r < 0 ? r : v.kind->tail(s, &v, lines, ret, reterr);
}

void service_tell_log(Step *s, Service *v) {
        json_t *lines = NULL;
        _cleanup_error_ Error error = ERROR_INIT;

        if (v->kind->tail(s, v, TAIL_LINES, &lines, &error) < 0)
                lines = json_pack(
                        "[o]", json_sprintf("(no log: %s)", error.message ? error.message : "?"));
        (void) step_service_log(s, v->name, lines);
}

/* ---- waiting ---- */

int64_t service_limit_left_ms(Step *s) {
        int64_t limit = json_integer_value(json_object_get(step_task(s), "timeout_ms"));

        if (limit <= 0)
                return INT64_MAX;
        return limit - (now_mono_us() - s->began_us) / 1000 - MIN(KEPT_BACK_MS, limit / 5);
}

typedef int (*LookFunc)(Step *s, Service *v, const json_t *entry, ServiceLook *ret, Error *reterr);

static int look_up(Step *s, Service *v, const json_t *entry, ServiceLook *ret, Error *reterr) {
        return service_look(s, v, ret, reterr);
}

static int wait_failed(Step *s, Service *v, const ServiceLook *look, const char *when,
                       Error *reterr) {
        service_tell_log(s, v);
        (void) error_set(reterr, EREMOTEIO, "unhealthy", "%s is not up%s: %s", v->name, when,
                         look->why ? look->why : "it does not run");
        error_detail(reterr, "service", json_string(v->name));
        return -EREMOTEIO;
}

/* Tells what is waited for once, not at every look. */
static void tell_wait(Step *s, const Service *v, const ServiceLook *look, char **last) {
        if (streq0(*last, look->why))
                return;
        free(*last);
        *last = look->why ? strdup(look->why) : NULL;
        step_progress(s, "%s: %s", v->name, *last ? *last : "coming up");
        step_log(s, "%s: not up yet: %s", v->name, *last ? *last : "");
}

/* 1: up. 0: look again. */
static int judge(Step *s, Service *v, const ServiceLook *look, int64_t *bad_since_us,
                 int64_t patience_ms, Error *reterr) {
        int64_t now = now_mono_us();

        if (look->state == SERVICE_UP)
                return 1;
        if (look->state == SERVICE_COMING)
                *bad_since_us = 0;
        else if (*bad_since_us == 0)
                *bad_since_us = now;
        if (*bad_since_us > 0 && now - *bad_since_us >= patience_ms * 1000)
                return wait_failed(s, v, look, "", reterr);
        if (service_limit_left_ms(s) <= LOOK_EVERY_MS)
                return wait_failed(s, v, look, " within the step's time", reterr);
        return 0;
}

static int wait_until(Step *s, Service *v, const json_t *entry, LookFunc func, int64_t patience_ms,
                      Error *reterr) {
        _cleanup_free_ char *last = NULL;
        int64_t bad_since_us = 0;

        for (;;) {
                _cleanup_look_ ServiceLook look = {0};
                int r = func(s, v, entry, &look, reterr);

                if (r >= 0)
                        r = judge(s, v, &look, &bad_since_us, patience_ms, reterr);
                if (r != 0)
                        return MIN(r, 0);
                tell_wait(s, v, &look, &last);
                if (step_sleep(s, LOOK_EVERY_MS) < 0)
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
        }
}

int service_wait_up(Step *s, Service *v, Error *reterr) {
        return wait_until(s, v, NULL, look_up, 0, reterr);
}

/* No more than the health that it had, but that. */
static int look_restored(Step *s, Service *v, const json_t *entry, ServiceLook *ret,
                         Error *reterr) {
        _cleanup_look_ ServiceLook look = {0};
        _cleanup_free_ char *why = NULL;
        int r = v->kind->restored(s, v, entry, &look, reterr);

        if (r >= 0 && look.state == SERVICE_UP &&
            json_is_true(json_object_get(entry, "checks_held"))) {
                r = service_checks_hold(s, v, &why, reterr);
                if (r == 0) {
                        free(look.why);
                        look.why = TAKE(why);
                        look.state = SERVICE_COMING;
                }
        }
        if (r < 0)
                return r;
        *ret = look;
        look = (ServiceLook){0};
        return 0;
}

int service_wait_restored(Step *s, Service *v, const json_t *entry, Error *reterr) {
        return wait_until(s, v, entry, look_restored, PATIENCE_MS, reterr);
}
