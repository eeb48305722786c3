/* SPDX-License-Identifier: MIT */
/* healthy {services}, stopped {services}: all that does not fit is told, not the first only. */
#include "daemon/step/services.h"

static void add_fault(Error *all, const char *name, const char *why) {
        (void) error_set(all, EBADE, "check-failed", "%s%s%s: %s", all->message ? all->message : "",
                         all->message ? "; " : "", name, why);
}

static int look_healthy(Step *s, Service *v, void *userdata, Error *reterr) {
        _cleanup_look_ ServiceLook look = {0};
        int r = service_look(s, v, &look, reterr);

        if (r < 0 || look.state == SERVICE_UP)
                return r;
        service_tell_log(s, v);
        add_fault(userdata, v->name, look.why ? look.why : "it does not run");
        return 0;
}

static int look_stopped(Step *s, Service *v, void *userdata, Error *reterr) {
        _cleanup_look_ ServiceLook look = {0};
        int r = v->kind->look(s, v, &look, reterr);

        if (r >= 0 && look.runs)
                add_fault(userdata, v->name, "it runs");
        return r;
}

static int look_all(Step *s, const json_t *args, ServiceFunc func, Error *reterr) {
        _cleanup_error_ Error all = ERROR_INIT;
        int r = services_each(s, json_object_get(args, "services"), func, &all, reterr);

        if (r < 0 || !all.message)
                return r;
        error_move(reterr, &all);
        return -EBADE;
}

static int healthy_look(Step *s, const json_t *args, Error *reterr) {
        return look_all(s, args, look_healthy, reterr);
}

static int stopped_look(Step *s, const json_t *args, Error *reterr) {
        return look_all(s, args, look_stopped, reterr);
}

const Check check_healthy = {"healthy", healthy_look};
const Check check_stopped = {"stopped", stopped_look};
