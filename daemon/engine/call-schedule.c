/* SPDX-License-Identifier: MIT */
/*
 * Schedules: what is started, and when. A schedule is a row of the store; its timer is systemd's.
 * The daemon cannot write the timer's file, so each change is a job of updd's own plan
 * (daemon/plan/internal.c), on the target "schedule:NAME": it has a journal, undoes what failed, and
 * outlives the daemon. The row says what holds now and what the job is to make of it:
 *
 *   {"active": REQUEST}                                   the timer is set
 *   {"active"?: REQUEST, "change": {"job", "wanted"?}}    on its way to `wanted`, or to nothing
 *   {}                                                    it could not be read: set or remove it
 *
 * The job's end settles it, in the same commit: what succeeded holds, and what did not changed
 * nothing. The timer starts `updctl schedule fire NAME`, and that comes back as CALL_SCHEDULE_RUN,
 * for one elapse of the timer (elapses.c).
 */
#include "api/args.h"
#include "daemon/engine/internal.h"

#define NAME_MAX_BYTES 64
#define ON_MAX_BYTES 256
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* The row's members that are the request itself, in the order of the API. */
static const char *const members[] = {"plan",      "on",     "window", "inputs", "labels",
                                      "overrides", "missed", "by",     "created"};

int schedules_possible(const Engine *e, Error *reterr) {
        int r;

        if (e->bus)
                return 0;
        r = error_set(reterr, ENOTSUP, "no-schedules",
                      "Schedules are timers of systemd, and this updd does not run steps with it");
        error_hint(reterr, "let cron, or a timer of your own, run: updctl start --detach PLAN");
        return r;
}

int schedule_find(const json_t *schedules, const char *name, const json_t **ret, Error *reterr) {
        *ret = json_object_get(schedules, name);
        return *ret ? 0
                    : error_set(reterr, ENOENT, "no-such-schedule", "There is no schedule '%s'",
                                name);
}

/* ---- as the API tells it ---- */

static const char *row_state(Engine *e, const json_t *row) {
        const json_t *change = json_object_get(row, "change");
        const Slot *slot = slot_find(e, json_integer_value(json_object_get(change, "job")));

        if (!change && json_object_get(row, "active"))
                return "active";
        if (!slot || slot->job->state == JOB_STUCK || slot->job->state == JOB_WAITING)
                return "stuck";
        return "pending";
}

json_t *schedule_view(Engine *e, const char *name, const json_t *row) {
        const json_t *active = json_object_get(row, "active");
        const json_t *change = json_object_get(row, "change");
        const json_t *shown = active ? active : json_object_get(change, "wanted");
        int64_t job = json_integer_value(json_object_get(change, "job"));
        json_t *view = json_pack("{s:s}", "name", name);

        for (size_t i = 0; view && i < ELEMENTSOF(members); i++) {
                json_t *value = json_object_get(shown, members[i]);

                if (value && json_object_set(view, members[i], value) < 0)
                        return json_decref(view), NULL;
        }
        if (json_put(view, "state", json_string(row_state(e, row))) < 0 ||
            (change &&
             json_put(view, "change",
                      json_pack("{s:I, s:s}", "job", (json_int_t) job, "does",
                                json_object_get(change, "wanted") ? "set" : "remove")) < 0) ||
            (json_object_get(row, "job") &&
             json_object_set(view, "job", json_object_get(row, "job")) < 0))
                return json_decref(view), NULL;
        return view;
}

/* ---- writing a row ---- */

/* The schedules as this turn changes them; borrowed. */
static json_t *batch_schedules(Batch *b) {
        if (!b->schedules)
                b->schedules = json_deep_copy(b->engine->schedules);
        return b->schedules;
}

/* `row` is stolen; NULL removes. */
static int row_write(Batch *b, const char *name, json_t *row, Error *reterr) {
        _cleanup_free_ char *text = row ? json_canonical(row) : NULL;
        json_t *schedules = batch_schedules(b);
        int r;

        if (!schedules || (row && !text))
                return json_decref(row), error_oom(reterr);
        b->wrote = true;
        if (!row) {
                (void) json_object_del(schedules, name);
                return store_schedule_remove(b->engine->store, name, reterr);
        }
        r = json_object_set_new(schedules, name, row);
        return r < 0 ? error_oom(reterr) : store_schedule_put(b->engine->store, name, text, reterr);
}

/* As they are in this turn. */
static const json_t *schedules_seen(const Batch *b) {
        return b->schedules ? b->schedules : b->engine->schedules;
}

/* A copy of the row as it is in this turn, or an empty one. */
static json_t *row_copy(const Batch *b, const char *name) {
        const json_t *row = json_object_get(schedules_seen(b), name);

        return row ? json_copy((json_t *) row) : json_object();
}

/* ---- what is asked for ---- */

/* It becomes a part of a unit's name and of a target. */
static int check_name(const char *name, Error *reterr) {
        size_t n = strspn(name, LETTERS "-_.");

        if (n > 0 && n <= NAME_MAX_BYTES && !name[n] && strchr(LETTERS, name[0]))
                return 0;
        return error_set(
                reterr, EINVAL, "bad-request",
                "a schedule's name is 1 to 64 letters, digits, '-', '_' or '.', and begins "
                "with a letter or a digit");
}

/* What systemd's parser must not even see: it would end the line, or mean something to the file. */
static int check_on(const char *on, Error *reterr) {
        size_t n = strlen(on);
        bool bad = n == 0 || n > ON_MAX_BYTES || on[0] == ' ' || on[MAX(n, 1U) - 1] == ' ';
        int r;

        for (const char *p = on; *p; p++)
                bad |= *p < ' ' || *p > '~' || strchr("%$\\\"'#;", *p);
        if (!bad)
                return 0;
        r = error_set(reterr, EINVAL, "bad-calendar",
                      "'on' is no calendar event: it has characters that none has");
        error_hint(reterr, "systemd.time(7) describes them: Sun *-*-* 03:00 Europe/Paris");
        return r;
}

static int check_missed(const json_t *body, Error *reterr) {
        const char *missed = args_text(body, "missed", "skip");

        if (streq(missed, "run") || streq(missed, "skip"))
                return 0;
        return error_set(reterr, EINVAL, "bad-request", "'missed' must be run or skip, not '%s'",
                         missed);
}

/* What a start at that time would ask for. */
static json_t *start_body(const char *name, const json_t *request, const Elapse *e,
                          const json_t *asked) {
        json_auto_t *labels = json_copy(json_object_get(request, "labels")), *window = NULL;
        const char *length = args_text(request, "window", NULL), *begins = NULL;
        _cleanup_free_ char *reason = strf("schedule %s", name);
        char time[TIME_TEXT_MAX];

        if (!labels)
                labels = json_object();
        if (!reason || json_put(labels, "schedule", json_string(name)) < 0)
                return NULL;
        if (e->of != 0)
                begins = time_format(elapse_begins(e), time);
        if (length)
                window = json_pack("{s:s*, s:s}", "begins", begins, "length", length);
        return json_pack("{s:O*, s:O*, s:O*, s:O, s:O*, s:s*, s:s}", "plan",
                         json_object_get(request, "plan"), "inputs",
                         json_object_get(request, "inputs"), "overrides",
                         json_object_get(request, "overrides"), "labels", labels, "window", window,
                         "ahead_of", e->ends > 0 ? name : NULL, "reason",
                         args_text(asked, "reason", reason));
}

/* What would be refused at night is told now: the plan must be there and take the inputs, and the
 * window must do. */
static int check_startable(Batch *b, const char *name, const Call *call, int64_t *ret_notice,
                           Error *reterr) {
        Call start = {.kind = CALL_START, .who = call->who};
        int r;

        start.body = start_body(name, call->body, &(Elapse){0}, NULL);
        r = start.body ? call_check_start(b, &start, ret_notice, reterr) : error_oom(reterr);
        json_decref(start.body);
        return r;
}

static int check_put(Batch *b, const char *name, const Call *call, int64_t *ret_notice,
                     Error *reterr) {
        int r = check_name(name, reterr);

        if (r >= 0)
                r = check_on(args_text(call->body, "on", ""), reterr);
        if (r >= 0)
                r = check_missed(call->body, reterr);
        return r < 0 ? r : check_startable(b, name, call, ret_notice, reterr);
}

/* ---- the calls ---- */

/* What is wanted, as the row keeps it; "notice" (ms) when its jobs are made ahead by so much. */
static json_t *request_of(const Batch *b, const Call *call, int64_t notice) {
        json_t *request = json_copy(call->body);
        char time[TIME_TEXT_MAX];

        (void) json_object_del(request, "name");
        if (notice > 0)
                (void) json_put(request, "notice", json_integer(notice));
        if (!json_object_get(request, "inputs"))
                (void) json_put(request, "inputs", json_object());
        if (!json_object_get(request, "missed"))
                (void) json_put(request, "missed", json_string("skip"));
        if (json_put(request, "by", json_string(call->who)) < 0 ||
            json_put(request, "created", json_string(time_format(b->turn.wall_now, time))) < 0)
                return json_decref(request), NULL;
        return request;
}

/* Begins the job that brings it about; `wanted` is stolen, NULL removes the timer. */
static int change_begin(Batch *b, const char *name, json_t *wanted, const Call *call,
                        Reply *reply) {
        json_auto_t *inputs = json_object(), *owned = wanted, *body = NULL;
        _cleanup_(job_def_unrefp) JobDef *def = NULL;
        _cleanup_plan_ Plan *plan = NULL;
        json_t *row = NULL;
        int r;

        body = json_pack("{s:{s:s}}", "labels", "schedule", name);
        if (!inputs || !body ||
            plan_schedule(name, args_text(wanted, "on", NULL), args_text(wanted, "missed", NULL),
                          &plan) < 0)
                return error_oom(&reply->error);
        r = job_def_new(plan, inputs, false, &def, &reply->error);
        if (r >= 0)
                r = call_begin(b, &(Call){.kind = CALL_START, .who = call->who, .body = body}, def,
                               reply);
        if (r < 0)
                return r;
        row = row_copy(b, name);
        if (json_put(row, "change",
                     json_pack("{s:I, s:O*}", "job", (json_int_t) reply->job, "wanted", owned)) < 0)
                return json_decref(row), error_oom(&reply->error);
        r = row_write(b, name, row, &reply->error);
        if (r < 0)
                return r;
        reply->created = false;
        reply->body = schedule_view(b->engine, name, json_object_get(b->schedules, name));
        /* The job is not in memory before the commit. */
        return json_put(reply->body, "state", json_string("pending")) < 0 ? error_oom(&reply->error)
                                                                          : 0;
}

static int schedule_put(Batch *b, const char *name, const Call *call, Reply *reply) {
        int64_t notice = 0;
        json_t *wanted;
        int r = check_put(b, name, call, &notice, &reply->error);

        if (r < 0)
                return r;
        wanted = request_of(b, call, notice);
        return wanted ? change_begin(b, name, wanted, call, reply) : error_oom(&reply->error);
}

static int check_run(const json_t *row, const char *name, Error *reterr) {
        if (json_object_get(row, "active"))
                return 0;
        return error_set(reterr, EPERM, "not-now", "The schedule '%s' is not set yet", name);
}

static int run_begin(Batch *b, const char *name, const Call *call, json_t *row, const Elapse *e,
                     Reply *reply) {
        Call start = {.kind = CALL_START, .who = call->who};
        int r;

        start.body = start_body(name, json_object_get(row, "active"), e, call->body);
        r = start.body ? call_start(b, &start, reply) : error_oom(&reply->error);
        json_decref(start.body);
        if (r < 0)
                return r;
        if (json_put(row, "job", json_integer(reply->job)) < 0 ||
            (e->of != 0 && elapse_note(row, e, reply->job) < 0))
                return error_oom(&reply->error);
        return row_write(b, name, json_incref(row), &reply->error);
}

/* Its job is there already: asked for again, or made ahead. */
static int run_found(Batch *b, const char *name, json_t *row, const Elapse *e, Reply *reply) {
        int r = elapse_settle(row, e);

        reply->replayed = true;
        if (r < 0)
                return error_oom(&reply->error);
        return r > 0 ? row_write(b, name, json_incref(row), &reply->error) : 0;
}

/* updd's own request for a job before its elapse: its window is what it waits for. */
static int ahead_ends(const json_t *row, const Call *call, Elapse *e, Error *reterr) {
        const char *length = args_text(json_object_get(row, "active"), "window", "");
        int64_t ms;

        if (!json_is_true(json_object_get(call->body, "ahead")))
                return 0;
        if (duration_parse(length, &ms) < 0)
                return error_set(reterr, EINVAL, "bad-window", "'%s' is no length of time", length);
        e->ends = e->at + ms;
        return 0;
}

static int schedule_run(Batch *b, const char *name, const Call *call, Reply *reply) {
        int r = ahead_withdraw_missed(b, &reply->error);
        json_auto_t *row = row_copy(b, name);
        Elapse elapse = {0};

        if (r >= 0)
                r = check_run(row, name, &reply->error);
        if (r >= 0)
                r = elapse_read(call->body, &elapse, &reply->error);
        if (r >= 0)
                r = ahead_ends(row, call, &elapse, &reply->error);
        if (r < 0)
                return r;
        reply->job = elapse_job(row, &elapse);
        return reply->job > 0 ? run_found(b, name, row, &elapse, reply)
                              : run_begin(b, name, call, row, &elapse, reply);
}

int call_schedule(Batch *b, Call *call, Reply *reply) {
        const char *name = args_text(call->body, "name", "");
        const json_t *row;
        int r = schedules_possible(b->engine, &reply->error);

        if (r < 0)
                return r;
        if (call->kind == CALL_SCHEDULE_PUT)
                return schedule_put(b, name, call, reply);
        r = schedule_find(schedules_seen(b), name, &row, &reply->error);
        if (r < 0)
                return r;
        return call->kind == CALL_SCHEDULE_RUN ? schedule_run(b, name, call, reply)
                                               : change_begin(b, name, NULL, call, reply);
}

/* ---- the end of a job ---- */

static int missed_settle(Batch *b, const Job *job, Error *reterr) {
        const char *name = args_text(job->facts, "ahead_of", "");
        json_auto_t *row = row_copy(b, name);
        int r = elapse_forget(row, job->id);

        if (r < 0)
                return error_oom(reterr);
        return r > 0 ? row_write(b, name, json_incref(row), reterr) : 0;
}

int schedule_settle(Batch *b, const Job *job, Error *reterr) {
        const char *name = args_text(job->def->plan->source, "name", "");
        json_auto_t *row = NULL;
        json_t *change, *wanted;

        if (job->state != job->stored_state && window_was_missed(job))
                return missed_settle(b, job, reterr);
        if (!plan_is_internal(job->def->plan) || job->state == job->stored_state ||
            !job_state_is_end(job->state))
                return 0;
        row = row_copy(b, name);
        change = json_object_get(row, "change");
        /* A change that was given up is not to touch what came after it. */
        if (json_integer_value(json_object_get(change, "job")) != job->id)
                return 0;
        wanted = json_object_get(change, "wanted");
        if (job->state == JOB_SUCCEEDED && !wanted)
                return row_write(b, name, NULL, reterr);
        if (job->state == JOB_SUCCEEDED && (json_object_set(row, "active", wanted) < 0 ||
                                            elapses_forget(row, b->turn.wall_now) < 0))
                return error_oom(reterr);
        /* How far a change went that was abandoned is known to nobody: it stays, and says so. */
        if (job->state == JOB_ABANDONED)
                return 0;
        (void) json_object_del(row, "change");
        return row_write(b, name, json_object_get(row, "active") ? json_incref(row) : NULL, reterr);
}
