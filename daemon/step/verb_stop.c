/* SPDX-License-Identifier: MIT */
/*
 * stop {services}: in order, each one gone before the next. What exactly runs is recorded before
 * anything is done about it; the undo gives back just that, in the other order.
 */
#include "daemon/step/services.h"

#define KEY "stopped"

/* The entry of an earlier attempt: what it found is what ran, not what it left. */
static const json_t *find_entry(const json_t *entries, const char *name) {
        json_t *entry;
        size_t i;

        json_array_foreach ((json_t *) entries, i, entry) {
                if (streq0(args_text(entry, KEY, NULL), name))
                        return entry;
        }
        return NULL;
}

static int record(Step *s, Service *v, const json_t **ret, Error *reterr) {
        json_auto_t *entry = NULL;
        _cleanup_free_ char *why = NULL;
        const json_t *entries;
        int r = step_undo_entries(s, &entries, reterr);

        if (r < 0)
                return r;
        *ret = find_entry(entries, v->name);
        if (*ret)
                return 0;
        entry = json_pack("{s:s, s:s}", KEY, v->name, "kind", v->kind->name);
        if (!entry)
                return error_oom(reterr);
        r = v->kind->record(s, v, entry, reterr);
        if (r >= 0 && json_is_true(json_object_get(entry, "ran")))
                r = service_checks_hold(s, v, &why, reterr);
        if (r < 0)
                return r;
        if (json_put(entry, "checks_held", json_boolean(r > 0)) < 0)
                return error_oom(reterr);
        r = step_undo_note(s, TAKE(entry), reterr);
        if (r >= 0)
                r = step_undo_entries(s, &entries, reterr);
        *ret = r < 0 ? NULL : find_entry(entries, v->name);
        return r;
}

static int stop_one(Step *s, Service *v, void *userdata, Error *reterr) {
        json_t *ran = userdata;
        const json_t *entry = NULL;
        int r;

        r = record(s, v, &entry, reterr);
        if (r < 0)
                return r;
        step_progress(s, "stopping %s", v->name);
        if (json_is_true(json_object_get(entry, "ran"))) {
                if (json_array_append_new(ran, json_string(v->name)) < 0)
                        return error_oom(reterr);
        } else
                step_log(s, "%s: does not run", v->name);
        r = v->kind->stop(s, v, entry, reterr);
        if (r >= 0)
                step_log(s, "%s: stopped", v->name);
        return r;
}

static int stop_run(Step *s, const json_t *args, Error *reterr) {
        json_auto_t *ran = json_array();
        int r;

        if (!ran)
                return error_oom(reterr);
        r = services_each(s, json_object_get(args, "services"), stop_one, ran, reterr);
        return r < 0 ? r : step_output(s, "ran", TAKE(ran));
}

static int restore_one(Step *s, const json_t *entry, Error *reterr) {
        _cleanup_service_ Service v = {0};
        const char *name = args_text(entry, KEY, NULL);
        int r;

        if (!name)
                return 0;
        r = service_find(s, name, &v, reterr);
        if (r < 0)
                return r;
        step_progress(s, "starting %s again", name);
        r = v.kind->restore(s, &v, entry, reterr);
        if (r < 0)
                return r;
        if (!json_is_true(json_object_get(entry, "ran"))) {
                step_log(s, "%s: did not run before", name);
                return 0;
        }
        r = service_wait_restored(s, &v, entry, reterr);
        if (r >= 0 && v.kind->started)
                r = v.kind->started(s, &v, reterr);
        if (r >= 0)
                step_log(s, "%s: runs as it did", name);
        return r;
}

static int stop_undo(Step *s, const json_t *args, Error *reterr) {
        const json_t *entries;
        int r = step_undo_entries(s, &entries, reterr);

        for (size_t i = r < 0 ? 0 : json_array_size(entries); i > 0 && r >= 0; i--)
                r = restore_one(s, json_array_get(entries, i - 1), reterr);
        return r;
}

const Verb verb_stop = {"stop", stop_run, stop_undo};
