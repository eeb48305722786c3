/* SPDX-License-Identifier: MIT */
/*
 * start {services, settle}: in order, each up and healthy before the next. What is up already is
 * left as it is, and is not ours to stop again in the undo.
 */
#include "daemon/step/services.h"

#define KEY "started"
#define SETTLE_EVERY_MS 400

typedef struct Start {
        int64_t settle_ms;
        json_t *started;
} Start;

static bool is_recorded(const json_t *entries, const char *name) {
        json_t *entry;
        size_t i;

        json_array_foreach ((json_t *) entries, i, entry) {
                if (streq0(args_text(entry, KEY, NULL), name))
                        return true;
        }
        return false;
}

static int record(Step *s, Service *v, Error *reterr) {
        json_auto_t *entry = NULL;
        const json_t *entries;
        int r = step_undo_entries(s, &entries, reterr);

        if (r < 0 || is_recorded(entries, v->name))
                return r;
        entry = json_pack("{s:s, s:s}", KEY, v->name, "kind", v->kind->name);
        if (!entry)
                return error_oom(reterr);
        r = v->kind->prepare(s, v, entry, reterr);
        return r < 0 ? r : step_undo_note(s, TAKE(entry), reterr);
}

/* It went down again. Once more up, within what is left of the step's time. */
static int up_again(Step *s, Service *v, const ServiceLook *look, Error *reterr) {
        const char *why = look->why ? look->why : "it does not run";

        step_log(s, "%s: did not stay up: %s", v->name, why);
        if (service_limit_left_ms(s) <= SETTLE_EVERY_MS) {
                service_tell_log(s, v);
                return error_set(reterr, EREMOTEIO, "unhealthy", "%s does not stay up: %s", v->name,
                                 why);
        }
        return service_wait_up(s, v, reterr);
}

/* A service that falls over right after it came up is not up: it must stay so for as long. */
static int settle(Step *s, Service *v, int64_t ms, Error *reterr) {
        int64_t up_us = now_mono_us(), left;

        if (ms > 0)
                step_progress(s, "%s is up, and has %lld ms to settle", v->name, (long long) ms);
        while ((left = ms - (now_mono_us() - up_us) / 1000) > 0) {
                _cleanup_look_ ServiceLook look = {0};
                int r;

                if (step_sleep(s, MIN(left, (int64_t) SETTLE_EVERY_MS)) < 0)
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
                r = service_look(s, v, &look, reterr);
                if (r >= 0 && look.state == SERVICE_UP)
                        continue;
                if (r >= 0)
                        r = up_again(s, v, &look, reterr);
                if (r < 0)
                        return r;
                up_us = now_mono_us();
        }
        return 0;
}

static int bring_up(Step *s, Service *v, int64_t settle_ms, Error *reterr) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        step_progress(s, "starting %s", v->name);
        r = v->kind->start(s, v, &error);
        if (r < 0 && r != -ECANCELED)
                service_tell_log(s, v);
        if (r < 0) {
                error_move(reterr, &error);
                return r;
        }
        r = service_wait_up(s, v, reterr);
        if (r >= 0)
                r = settle(s, v, settle_ms, reterr);
        if (r >= 0 && v->kind->started)
                r = v->kind->started(s, v, reterr);
        return r;
}

static int start_one(Step *s, Service *v, void *userdata, Error *reterr) {
        const Start *start = userdata;
        _cleanup_look_ ServiceLook look = {0};
        _cleanup_error_ Error error = ERROR_INIT;
        const json_t *entries;
        int r;

        r = service_look(s, v, &look, &error);
        if (r < 0 && r != -ENODATA) {
                error_move(reterr, &error);
                return r;
        }
        r = step_undo_entries(s, &entries, reterr);
        if (r < 0)
                return r;
        if (look.state == SERVICE_UP && !is_recorded(entries, v->name)) {
                step_log(s, "%s: is up already", v->name);
                return v->kind->adopt ? v->kind->adopt(s, v, reterr) : 0;
        }
        r = record(s, v, reterr);
        if (r >= 0)
                r = bring_up(s, v, start->settle_ms, reterr);
        if (r < 0)
                return r;
        step_log(s, "%s: up and healthy", v->name);
        return json_array_append_new(start->started, json_string(v->name)) < 0 ? error_oom(reterr)
                                                                               : 0;
}

static int start_run(Step *s, const json_t *args, Error *reterr) {
        json_auto_t *started = json_array();
        Start start = {.started = started};
        int r;

        if (!started)
                return error_oom(reterr);
        r = args_ms(args, "settle", 0, &start.settle_ms, reterr);
        if (r >= 0)
                r = services_each(s, json_object_get(args, "services"), start_one, &start, reterr);
        return r < 0 ? r : step_output(s, "started", TAKE(started));
}

static int unstart_one(Step *s, const json_t *entry, Error *reterr) {
        _cleanup_service_ Service v = {0};
        const char *name = args_text(entry, KEY, NULL);
        int r;

        if (!name)
                return 0;
        r = service_find(s, name, &v, reterr);
        if (r < 0)
                return r;
        step_progress(s, "stopping %s again", name);
        r = v.kind->unstart(s, &v, entry, reterr);
        if (r >= 0)
                step_log(s, "%s: as it was before its start", name);
        return r;
}

static int start_undo(Step *s, const json_t *args, Error *reterr) {
        const json_t *entries;
        int r = step_undo_entries(s, &entries, reterr);

        for (size_t i = r < 0 ? 0 : json_array_size(entries); i > 0 && r >= 0; i--)
                r = unstart_one(s, json_array_get(entries, i - 1), reterr);
        return r;
}

const Verb verb_start = {"start", start_run, start_undo};
