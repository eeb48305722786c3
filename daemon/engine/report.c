/* SPDX-License-Identifier: MIT */
/*
 * A job's report: one document of what ran, when, by whom and with what result. It is made of the
 * job's rows alone, so an old job whose folder is gone has one as well. The job is the one of the
 * moment at which the report was begun; its attempts and events are read a page a call, so that
 * nobody else waits for a long history, and none that came later is taken in.
 */
#include "daemon/engine/report.h"

#include "api/args.h"

#define ATTEMPTS_PAGE 100
#define EVENTS_PAGE 200

void report_keep(json_t *document, const char *list, const char *left_out, json_t *entry,
                 size_t first, size_t last) {
        json_t *array = json_object_get(document, list);

        (void) json_array_append_new(array, entry);
        if (json_array_size(array) <= first + last)
                return;
        (void) json_array_remove(array, first);
        (void) json_put(document, left_out,
                        json_integer(1 + json_integer_value(json_object_get(document, left_out))));
}

/* ---- the head ---- */

static json_t *secret_names(const Job *job) {
        json_t *names = json_array(), *secret;
        const char *name;

        json_object_foreach (json_object_get(job->def->plan->norm, "secrets"), name, secret)
                (void) json_array_append_new(names, json_string(name));
        return names;
}

/* What the report takes over from the job as the API shows it. */
static int take_view(Report *r) {
        static const char *const keys[] = {
                "id",      "plan",    "title",     "about",    "target",     "state",    "version",
                "dry_run", "by",      "reason",    "created",  "started",    "ended",    "sha256",
                "inputs",  "labels",  "overrides", "strategy", "decided",    "way_back", "progress",
                "waits",   "actions", "failure",   "back",     "strategies", "window",
        };
        Turn t = {.state_dir = r->engine->state_dir};
        json_auto_t *view = NULL;

        if (job_view(&t, r->job, &view) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                json_t *value = json_object_get(view, keys[i]);

                if (value && json_object_set(r->document, keys[i], value) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static bool is_reported(const Job *job, unsigned idx) {
        Phase phase = job->def->steps[idx].phase;

        return (phase != PHASE_THEN && phase != PHASE_HOOK) || job->steps[idx].attempts > 0;
}

static int add_steps(Report *r) {
        json_t *list = json_array();

        if (json_put(r->document, "steps", list) < 0)
                return -ENOMEM;
        for (unsigned i = 0; i < r->job->def->n_steps; i++) {
                json_t *entry;

                if (!is_reported(r->job, i))
                        continue;
                entry = report_step(r->job, i);
                if (json_array_append_new(list, entry) < 0 ||
                    json_object_set(r->steps, r->job->def->steps[i].id, entry) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* Whoever reads the report need not be told how to get it. */
static json_t *choices(const Job *job) {
        json_t *list = job_choices(job), *choice;
        size_t i;

        json_array_foreach (list, i, choice) {
                if (startswith(args_text(choice, "command", ""), "updctl report")) {
                        (void) json_array_remove(list, i);
                        break;
                }
        }
        return list;
}

static int begin(Report *r) {
        int64_t now = now_wall_ms(), end = r->job->ended > 0 ? r->job->ended : now;

        if (json_put(r->document, "format", json_integer(1)) < 0 || take_view(r) < 0 ||
            json_put(r->document, "secrets", secret_names(r->job)) < 0 ||
            json_put(r->document, "choices", choices(r->job)) < 0 ||
            json_put(r->document, "decisions", json_array()) < 0 ||
            json_put(r->document, "history", json_array()) < 0 || add_steps(r) < 0 ||
            json_put(r->document, "backups", report_backups(r->job)) < 0)
                return -ENOMEM;
        report_put_time(r->document, "generated", now);
        if (r->job->started > 0)
                (void) json_put(r->document, "took_ms", json_integer(end - r->job->started));
        return 0;
}

static int load_one(void *userdata, const JobRow *row) {
        Report *r = userdata;

        return job_load(r->engine->store, row, &r->job, NULL);
}

int engine_report_new(Engine *e, int64_t job, Report **ret, Error *reterr) {
        _cleanup_(report_freep) Report *r = calloc(1, sizeof(Report));
        Slot *slot = slot_find(e, job);
        int q;

        if (!r)
                return error_oom(reterr);
        r->engine = e;
        r->document = json_object();
        r->steps = json_object();
        r->at_step = strdup("");
        q = slot ? job_copy(slot->job, &r->job) : store_job_get(e->store, job, load_one, r, reterr);
        if (q == -ENOENT || (q >= 0 && !r->job))
                return error_set(reterr, ENOENT, "no-such-job", "there is no job %lld",
                                 (long long) job);
        if (q < 0)
                return q == -ENOMEM ? error_oom(reterr) : q;
        if (!r->document || !r->steps || !r->at_step || begin(r) < 0)
                return error_oom(reterr);
        *ret = TAKE(r);
        return 0;
}

Report *report_free(Report *r) {
        if (!r)
                return NULL;
        job_free(r->job);
        json_decref(r->document);
        json_decref(r->steps);
        free(r->at_step);
        free(r);
        return NULL;
}

/* ---- page by page ---- */

typedef struct Page {
        Report *report;
        unsigned n;
} Page;

/* The newest attempt may have ended, or a next one begun, since the report was. */
static bool is_later(const Report *r, const AttemptRow *row) {
        int idx = job_def_find(r->job->def, row->step);

        return idx >= 0 && row->n > r->job->steps[idx].attempts;
}

static bool is_in_flight(const Report *r, const AttemptRow *row) {
        int idx = job_def_find(r->job->def, row->step);

        return idx >= 0 && row->n == r->job->steps[idx].attempts && r->job->steps[idx].in_flight;
}

static int take_attempt(void *userdata, const AttemptRow *row) {
        Page *page = userdata;
        Report *r = page->report;
        json_t *step = json_object_get(r->steps, row->step);
        AttemptRow now = *row;
        char *at = strdup(row->step);

        if (!at)
                return -ENOMEM;
        free(r->at_step);
        r->at_step = at;
        r->at_n = row->n;
        page->n++;
        if (!step || is_later(r, row))
                return 0;
        if (is_in_flight(r, row)) {
                now.state = "starting";
                now.ended = 0;
                now.data = NULL;
        }
        report_keep(step, "attempts", "attempts_left_out", report_attempt(&now),
                    REPORT_ATTEMPTS_FIRST, REPORT_ATTEMPTS_LAST);
        return 0;
}

static int read_attempts(Report *r, Error *reterr) {
        _cleanup_free_ char *step = strdup(r->at_step);
        Page page = {.report = r};
        int q;

        if (!step)
                return error_oom(reterr);
        q = store_attempts(r->engine->store, r->job->id, step, r->at_n, ATTEMPTS_PAGE, take_attempt,
                           &page, reterr);
        if (q < 0)
                return q;
        r->attempts_read = page.n < ATTEMPTS_PAGE;
        return 1;
}

static int read_events(Report *r, Error *reterr) {
        json_auto_t *events = NULL;
        json_t *event;
        size_t i;
        int q;

        q = store_events(r->engine->store, r->job->id, r->at_seq, EVENTS_PAGE, &events, reterr);
        if (q < 0)
                return q;
        json_array_foreach (events, i, event) {
                r->at_seq = json_integer_value(json_object_get(event, "seq"));
                if (r->at_seq > r->job->version)
                        return 0;
                report_event(r->document, event);
        }
        return json_array_size(events) == EVENTS_PAGE;
}

int engine_report_read(Report *r, Error *reterr) {
        return r->attempts_read ? read_events(r, reterr) : read_attempts(r, reterr);
}

const json_t *engine_report_json(const Report *r) {
        return r->document;
}
