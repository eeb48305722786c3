/* SPDX-License-Identifier: MIT */
/* What is answered at once: from memory, or by one bounded SELECT. */
#include "api/args.h"
#include "api/memory.h"
#include "daemon/engine/internal.h"

/* ---- one job ---- */

static int render(const Turn *t, const Job *job, char **ret, size_t *ret_size) {
        json_auto_t *view = NULL;
        uint64_t before = memory_failures();
        char *text;

        if (job_view(t, job, &view) < 0)
                return -ENOMEM;
        text = json_dumps(view, JSON_COMPACT);
        if (!text || memory_failures() != before) {
                free(text);
                return -ENOMEM;
        }
        *ret = text;
        *ret_size = strlen(text);
        return 0;
}

static int view_of_slot(Engine *e, Slot *slot, JobView *ret) {
        Turn t = {.state_dir = e->state_dir};

        if (!slot->json || slot->json_version != slot->job->version) {
                free(TAKE(slot->json));
                if (render(&t, slot->job, &slot->json, &slot->json_size) < 0)
                        return -ENOMEM;
                slot->json_version = slot->job->version;
        }
        *ret = (JobView){.json = slot->json,
                         .size = slot->json_size,
                         .version = (uint64_t) slot->job->version};
        return 0;
}

typedef struct Loader {
        Engine *engine;
        Job *job;
        json_t *unread; /* the view of a job of which only its row can be read */
        Error *error;
} Loader;

static int load_one(void *userdata, const JobRow *row) {
        Loader *l = userdata;
        int r = job_load(l->engine->store, row, &l->job, l->error);

        if (r >= 0 || r == -ENOMEM || r == -EIO || store_is_damaged(l->engine->store))
                return r;
        l->unread = unread_row_view(row);
        return l->unread ? 0 : -ENOMEM;
}

static int show(Engine *e, json_t *view, int64_t version, JobView *ret) {
        json_auto_t *owned = view;
        char *text = owned ? json_dumps(owned, JSON_COMPACT) : NULL;

        if (!text)
                return -ENOMEM;
        free(e->history_json);
        e->history_json = text;
        e->history_size = strlen(text);
        *ret = (JobView){.json = text, .size = e->history_size, .version = (uint64_t) version};
        return 0;
}

/* Damage that a reader meets ends all writing, too. */
static int seen(Engine *e, int r, const Error *error) {
        if (r == -EUCLEAN && !e->damaged && store_is_damaged(e->store))
                engine_sicken(e, error);
        return r;
}

int engine_job_view(Engine *e, int64_t id, JobView *ret) {
        _cleanup_error_ Error error = ERROR_INIT;
        Loader l = {.engine = e, .error = &error};
        Slot *slot = slot_find(e, id);
        Turn t = {.state_dir = e->state_dir};
        const Unread *unread;
        int r;

        if (slot)
                return view_of_slot(e, slot, ret);
        unread = unread_find(e, id);
        if (unread)
                return show(e, unread_view(e, unread), unread->version, ret);
        r = seen(e, store_job_get(e->store, id, load_one, &l, &error), &error);
        if (r >= 0 && l.unread)
                return show(e, l.unread, json_integer_value(json_object_get(l.unread, "version")),
                            ret);
        if (r < 0 || !l.job) {
                job_free(l.job);
                return r < 0 ? r : -ENOENT;
        }
        free(TAKE(e->history_json));
        r = render(&t, l.job, &e->history_json, &e->history_size);
        if (r >= 0)
                *ret = (JobView){.json = e->history_json,
                                 .size = e->history_size,
                                 .version = (uint64_t) l.job->version};
        job_free(l.job);
        return r;
}

static int take_id(void *userdata, const JobRow *row) {
        int64_t *id = userdata;

        if (*id == 0)
                *id = row->id;
        return 0;
}

int engine_job_find(Engine *e, const char *name, int64_t *ret) {
        int64_t by_plan = 0, by_target = 0;

        for (unsigned i = e->n_slots; i > 0; i--) {
                const Job *job = e->slots[i - 1].job;

                if (job_state_is_end(job->state))
                        continue;
                if (streq(job->def->target, name) ||
                    streq(args_text(job->def->plan->norm, "plan", ""), name)) {
                        *ret = job->id;
                        return 0;
                }
        }
        if (store_jobs_page(e->store, NULL, name, NULL, 0, 1, take_id, &by_plan, NULL) < 0 ||
            store_jobs_page(e->store, NULL, NULL, name, 0, 1, take_id, &by_target, NULL) < 0)
                return -EIO;
        if (by_plan == 0 && by_target == 0)
                return -ENOENT;
        *ret = MAX(by_plan, by_target);
        return 0;
}

/* ---- pages ---- */

typedef struct Pager {
        Engine *engine;
        const JobsQuery *query;
        json_t *list;
        unsigned seen;
        int64_t last;
} Pager;

static json_t *row_view(const JobRow *row) {
        json_t *view =
                json_pack("{s:I, s:s, s:s*, s:s, s:s, s:I, s:b, s:s, s:s*, s:[]}", "id",
                          (json_int_t) row->id, "plan", row->plan, "title", row->title, "target",
                          row->target, "state", row->state, "version", (json_int_t) row->version,
                          "dry_run", row->dry_run, "by", row->who, "reason", row->reason, "waits");
        const int64_t times[] = {row->created, row->started, row->ended};
        static const char *const names[] = {"created", "started", "ended"};
        char text[TIME_TEXT_MAX];

        for (size_t i = 0; view && i < ELEMENTSOF(times); i++)
                if (times[i] > 0)
                        (void) json_put(view, names[i], json_string(time_format(times[i], text)));
        return view;
}

static bool fits(const JobsQuery *q, const JobRow *row) {
        static const char *const unfinished[] = {"queued", "running", "waiting", "rolling_back",
                                                 "stuck"};
        bool open = false;

        for (size_t i = 0; i < ELEMENTSOF(unfinished); i++)
                open |= streq(row->state, unfinished[i]);
        if (q->state && !(streq(q->state, "unfinished") ? open : streq(q->state, row->state)))
                return false;
        return (!q->plan || streq(q->plan, row->plan)) &&
               (!q->target || streq(q->target, row->target));
}

static int page_row(void *userdata, const JobRow *row) {
        Pager *p = userdata;
        Slot *slot = slot_find(p->engine, row->id);
        json_t *view = NULL;

        p->seen++;
        p->last = row->id;
        if (!fits(p->query, row) || json_array_size(p->list) >= p->query->limit)
                return 0;
        if (slot) {
                if (job_view_short(slot->job, &view) < 0)
                        return -ENOMEM;
        } else
                view = row_view(row);
        if (view && unread_find(p->engine, row->id))
                (void) json_put(view, "state", json_string("stuck"));
        return json_array_append_new(p->list, view) < 0 ? -ENOMEM : 0;
}

int engine_jobs(Engine *e, const JobsQuery *q, json_t **ret, Error *reterr) {
        enum { ROUNDS = 20 };
        json_auto_t *list = json_array();
        Pager p = {.engine = e, .query = q, .list = list, .last = q->after};
        _cleanup_error_ Error error = ERROR_INIT;
        bool more = true;
        json_t *next;
        int r;

        if (!list)
                return error_oom(reterr);
        /* An index serves one filter; a second one may leave a page short, so ask a few more times.
         */
        for (unsigned i = 0; i < ROUNDS && more && json_array_size(list) < q->limit; i++) {
                unsigned want = q->limit - (unsigned) json_array_size(list);

                p.seen = 0;
                r = seen(e,
                         store_jobs_page(e->store, q->state, q->plan, q->target, p.last, want,
                                         page_row, &p, &error),
                         &error);
                if (r < 0) {
                        error_move(reterr, &error);
                        return r == -ENOMEM ? error_oom(reterr) : r;
                }
                more = p.seen == want;
        }
        next = more ? json_integer(p.last) : json_null();
        *ret = json_pack("{s:O, s:o}", "jobs", list, "next", next);
        return *ret ? 0 : error_oom(reterr);
}

/* ---- events, logs, health ---- */

int engine_events(Engine *e, int64_t job, int64_t after, unsigned limit, json_t **ret,
                  Error *reterr) {
        _cleanup_error_ Error error = ERROR_INIT;
        json_auto_t *events = NULL;
        int64_t next = after;
        json_t *last;
        int r;

        r = seen(e, store_events(e->store, job, after, limit, &events, &error), &error);
        if (r < 0) {
                error_move(reterr, &error);
                return r;
        }
        last = json_array_get(events, json_array_size(events) - 1);
        if (json_array_size(events) > 0)
                next = json_integer_value(json_object_get(last, job > 0 ? "seq" : "id"));
        *ret = json_pack("{s:O, s:I}", "events", events, "next", (json_int_t) next);
        return *ret ? 0 : error_oom(reterr);
}

int engine_log_path(Engine *e, int64_t job, const char *step, unsigned attempt, char **ret,
                    unsigned *ret_attempt, bool *ret_running, Error *reterr) {
        Slot *slot = slot_find(e, job);
        unsigned n = 0;
        int r, idx;

        r = store_attempt_find(e->store, job, step, attempt, &n, reterr);
        if (r == -ENOENT)
                return error_set(reterr, ENOENT, "no-such-step",
                                 attempt > 0 ? "Step '%s' has no attempt %u"
                                             : "Step '%s' has not begun",
                                 step, attempt);
        if (r < 0)
                return r;
        idx = slot ? job_def_find(slot->job->def, step) : -1;
        *ret = strf("%s/jobs/%lld/%s/%u/log", e->state_dir, (long long) job, step, n);
        if (!*ret)
                return error_oom(reterr);
        *ret_attempt = n;
        *ret_running =
                idx >= 0 && slot->job->steps[idx].in_flight && slot->job->steps[idx].attempts == n;
        return 0;
}

static json_t *time_json(int64_t ms) {
        char time[TIME_TEXT_MAX];

        return ms > 0 ? json_string(time_format(ms, time)) : json_null();
}

int engine_health(Engine *e, json_t **ret) {
        json_auto_t *jobs = json_object(), *health = NULL;
        const char *why = e->sickness.message ? e->sickness.message : "failed";
        const char *word = !e->sick ? "ok" : e->damaged ? "damaged" : "degraded";

        for (int s = 0; s < _JOB_STATE_MAX; s++) {
                int n = 0;

                for (unsigned i = 0; i < e->n_slots; i++)
                        n += (int) e->slots[i].job->state == s;
                if (s == JOB_STUCK)
                        n += (int) e->n_unreads;
                (void) json_put(jobs, job_state_to_text((JobState) s), json_integer(n));
        }
        health = json_pack("{s:b, s:s, s:O, s:i, s:s, s:I, s:o, s:s}", "ok", !e->sick, "state",
                           word, "jobs", jobs, "attempts", (int) e->n_watches, "store",
                           e->sick ? why : "ok", "failures", (json_int_t) e->failures, "started",
                           time_json(e->started), "version", UPDD_VERSION);
        if (health && e->sick)
                (void) json_put(health, "since", time_json(e->sick_since));
        if (!health)
                return -ENOMEM;
        *ret = TAKE(health);
        return 0;
}

int engine_run(Engine *e, json_t **ret) {
        const RunRow *before = &e->run_before;
        json_auto_t *run =
                json_pack("{s:I, s:o}", "n", (json_int_t) e->run, "started", time_json(e->started));

        if (run && before->n > 0)
                (void) json_put(run, "before",
                                json_pack("{s:I, s:s, s:o, s:o, s:b}", "n", (json_int_t) before->n,
                                          "version", before->version, "started",
                                          time_json(before->started), "seen",
                                          time_json(before->seen), "ended", before->ended > 0));
        if (!run)
                return -ENOMEM;
        *ret = TAKE(run);
        return 0;
}
