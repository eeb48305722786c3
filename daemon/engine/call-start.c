/* SPDX-License-Identifier: MIT */
/* POST /v1/jobs: a plan and inputs become a job, or every reason why not is told. */
#include "api/args.h"
#include "daemon/engine/internal.h"

static int read_document(const char *file, const char *text, size_t size, Plan **ret,
                         Error *reterr) {
        json_auto_t *faults = NULL;
        int r;

        r = plan_parse(file, text, size, ret, &faults);
        if (r >= 0)
                return 0;
        if (!faults)
                return error_oom(reterr);
        r = error_set(reterr, EINVAL, "bad-plan", "The plan %s has errors", file);
        error_detail(reterr, "faults", json_incref(faults));
        return r;
}

static int find_plan(Engine *e, const Call *call, Plan **ret, Error *reterr) {
        const char *document = args_text(call->body, "document", NULL);
        const char *name = args_text(call->body, "plan", NULL);
        _cleanup_free_ char *path = NULL, *text = NULL;
        size_t size = 0;
        int r;

        if (document)
                return read_document(name ? name : "document", document, strlen(document), ret,
                                     reterr);
        if (!name)
                return error_set(reterr, EINVAL, "bad-request",
                                 "The request names no 'plan' and brings no 'document'");
        r = plan_file_find(e, name, &path, &text, &size, reterr);
        return r < 0 ? r : read_document(path, text, size, ret, reterr);
}

static int refuse_not_carried(const Engine *e, const Plan *plan, Error *reterr) {
        json_auto_t *list = NULL;
        int r;

        r = plan_unsupported(plan, e->bus != NULL, &list);
        if (r < 0)
                return error_oom(reterr);
        if (json_array_size(list) == 0)
                return 0;
        r = error_set(reterr, ENOTSUP, "not-carried",
                      "This version of updd cannot carry out all of the plan");
        error_detail(reterr, "unsupported", json_incref(list));
        return r;
}

/* The unfinished job that holds the target, in this turn's view; 0: none. */
static int64_t target_holder(const Batch *b, const char *target) {
        for (unsigned i = 0; i < b->n_jobs; i++)
                if (job_state_holds_target(b->jobs[i]->state) &&
                    streq(b->jobs[i]->def->target, target))
                        return b->jobs[i]->id;
        for (unsigned i = 0; i < b->engine->n_slots; i++) {
                const Job *job = b->engine->slots[i].job;
                bool copied = false;

                for (unsigned k = 0; k < b->n_jobs; k++)
                        copied |= b->jobs[k]->id == job->id;
                if (!copied && job_state_holds_target(job->state) &&
                    streq(job->def->target, target))
                        return job->id;
        }
        return 0;
}

static int refuse_busy(const Batch *b, const JobDef *def, Error *reterr) {
        int64_t holder = target_holder(b, def->target);
        int r;

        if (holder == 0)
                return unread_refuse_target(b->engine, def->target, reterr);
        r = error_set(reterr, EBUSY, "target-busy", "Job %lld is not finished with the target '%s'",
                      (long long) holder, def->target);
        error_hint(reterr, "updctl status %lld tells what it is doing", (long long) holder);
        error_detail(reterr, "job", json_integer(holder));
        return r;
}

static void way_back_end(Job *former, const Job *next) {
        former->way_back_open = false;
        former->way_back = (Deadline){0};
        former->finalising = true;
        former->advance = true;
        job_tell(former, "way_back_closed", -1, next->who,
                 json_pack("{s:s, s:I}", "because", "the next job begins", "job",
                           (json_int_t) next->id));
        job_tell(former, "finalise_started", -1, NULL, NULL);
}

/* It may still be finalising, or, when the window was ahead for long, have been rolled back. */
static bool is_to_end_first(const Job *former) {
        return former->finalising || job_state_holds_target(former->state);
}

int former_close(Batch *b, Job *job) {
        for (unsigned i = 0; !job->dry_run && i < b->engine->n_slots; i++) {
                const Job *other = b->engine->slots[i].job;
                Job *copy;

                if (other->id >= job->id || !streq(other->def->target, job->def->target))
                        continue;
                copy = batch_job(b, other->id);
                if (!copy)
                        return -ENOMEM;
                if (copy->state == JOB_SUCCEEDED && copy->way_back_open)
                        way_back_end(copy, job);
                if (is_to_end_first(copy))
                        job_fact(job, "after", json_integer(copy->id));
        }
        return 0;
}

/* Not a check of the plan, but of the window that the job is given. */
static bool is_of_window(const Call *call, const char *name) {
        return json_object_get(call->body, "window") &&
               (streq0(name, WINDOW_OVERRIDE) || streq0(name, GATE_OVERRIDE));
}

static int check_overrides(const Call *call, const Plan *plan, Error *reterr) {
        const json_t *given = json_object_get(call->body, "overrides");
        json_t *checks = json_object_get(plan->norm, "checks"), *check, *name;
        json_auto_t *way_back = NULL;
        size_t i, k;

        if (json_array_size(given) > 0 && plan_way_back_check(plan, &way_back) < 0)
                return error_oom(reterr);
        json_array_foreach ((json_t *) given, i, name) {
                bool known = is_of_window(call, json_string_value(name)) ||
                             (way_back && streq0(json_string_value(name), WAY_BACK_CHECK));

                json_array_foreach (checks, k, check) {
                        known |=
                                streq0(args_text(check, "override", NULL), json_string_value(name));
                }
                if (!known)
                        return error_set(reterr, EINVAL, "bad-request",
                                         "No check of the plan can be overridden as '%s'",
                                         json_string_value(name));
        }
        return 0;
}

static int make_def(Batch *b, const Call *call, JobDef **ret, Error *reterr) {
        _cleanup_plan_ Plan *plan = NULL;
        json_auto_t *inputs = NULL, *none = json_object();
        json_t *given = json_object_get(call->body, "inputs");
        int r;

        r = find_plan(b->engine, call, &plan, reterr);
        if (r >= 0)
                r = refuse_not_carried(b->engine, plan, reterr);
        if (r >= 0)
                r = secrets_known(plan, json_object_get(call->body, "secrets"), reterr);
        if (r >= 0)
                r = check_overrides(call, plan, reterr);
        if (r >= 0)
                r = plan_inputs(plan, given ? given : none, &inputs, reterr);
        return r < 0 ? r : job_def_new(plan, inputs, false, ret, reterr);
}

static int fill(Job *job, const Call *call) {
        const char *reason = args_text(call->body, "reason", NULL);
        static const char *const facts[] = {"labels", "overrides", "ahead_of"};

        job->who = strdup(call->who);
        job->reason = reason ? strdup(reason) : NULL;
        job->created = now_wall_ms();
        job->dry_run = json_is_true(json_object_get(call->body, "dry_run"));
        job->advance = true;
        for (size_t i = 0; i < ELEMENTSOF(facts); i++)
                if (json_object_get(call->body, facts[i]))
                        job_fact(job, facts[i], json_incref(json_object_get(call->body, facts[i])));
        return job->who && (!reason || job->reason) ? 0 : -ENOMEM;
}

/* The job that the call asks for, in memory only. */
static int make_job(Batch *b, const Call *call, JobDef *def, Job **ret, Error *reterr) {
        _cleanup_job_ Job *job = NULL;
        int r = job_new(b->engine->last_job + 1, def, &job);

        if (r >= 0)
                r = fill(job, call);
        if (r < 0)
                return error_oom(reterr);
        r = window_set(&b->turn, job, json_object_get(call->body, "window"), reterr);
        if (r >= 0)
                *ret = TAKE(job);
        return r;
}

int call_check_start(Batch *b, const Call *call, int64_t *ret_notice, Error *reterr) {
        _cleanup_(job_def_unrefp) JobDef *def = NULL;
        _cleanup_job_ Job *job = NULL;
        int r = make_def(b, call, &def, reterr);

        if (r >= 0)
                r = make_job(b, call, def, &job, reterr);
        if (r >= 0)
                *ret_notice = window_notice(job);
        return r;
}

int call_begin(Batch *b, const Call *call, JobDef *def, Reply *reply) {
        _cleanup_free_ char *dir = NULL;
        _cleanup_job_ Job *job = NULL;
        Engine *e = b->engine;
        int r = refuse_busy(b, def, &reply->error);

        if (r >= 0)
                r = make_job(b, call, def, &job, &reply->error);
        if (r < 0)
                return r;
        /* A folder of that number can only be left from a request that was never committed. */
        dir = job_dir(e->state_dir, job->id);
        if (!dir)
                return error_oom(&reply->error);
        (void) remove_tree(dir);
        r = secrets_keep(e->state_dir, job->id, json_object_get(call->body, "secrets"),
                         &reply->error);
        if (r < 0)
                return r;
        job_tell(job, "created", -1, call->who,
                 json_pack("{s:s, s:s, s:O, s:s*, s:o*}", "plan",
                           args_text(def->plan->norm, "plan", ""), "sha256", def->plan->sha256,
                           "inputs", def->inputs, "reason", job->reason, "window",
                           window_view(job)));
        window_tell(&b->turn, job);
        reply->job = job->id;
        reply->created = true;
        r = batch_add(b, job);
        if (r < 0)
                return error_oom(&reply->error);
        e->last_job = TAKE(job)->id;
        return 0;
}

int call_start(Batch *b, Call *call, Reply *reply) {
        _cleanup_(job_def_unrefp) JobDef *def = NULL;
        int r = make_def(b, call, &def, &reply->error);

        return r < 0 ? r : call_begin(b, call, def, reply);
}
