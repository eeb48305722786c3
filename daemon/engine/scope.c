/* SPDX-License-Identifier: MIT */
/* What a plan's `${…}` and expressions see of a job, and where a job's files are. */
#include <time.h>

#include "api/args.h"
#include "daemon/engine/turn.h"
#include "daemon/plan/expand.h"

char *job_dir(const char *state_dir, int64_t job) {
        return strf("%s/jobs/%lld", state_dir, (long long) job);
}

char *step_dir_of(const char *state_dir, const Job *job, unsigned idx) {
        return strf("%s/jobs/%lld/%s", state_dir, (long long) job->id, job->def->steps[idx].id);
}

char *attempt_dir(const char *state_dir, const Job *job, unsigned idx, unsigned n) {
        return strf("%s/jobs/%lld/%s/%u", state_dir, (long long) job->id, job->def->steps[idx].id,
                    n);
}

static int scope_steps(const Job *job, json_t *steps) {
        char time[TIME_TEXT_MAX];

        for (unsigned i = 0; i < job->def->n_steps; i++) {
                const StepState *s = &job->steps[i];
                _cleanup_free_ char *took = NULL;
                json_t *outputs;

                if (s->status == STEP_PENDING && !s->begun)
                        continue;
                outputs = s->outputs && s->status != STEP_SKIPPED ? json_copy(s->outputs)
                                                                  : json_object();
                took = duration_format(s->ended > s->started ? s->ended - s->started : 0);
                if (!outputs || !took)
                        return -ENOMEM;
                (void) json_put(outputs, "state",
                                json_string(step_status_to_text((StepStatus) s->status)));
                (void) json_put(outputs, "started", json_string(time_format(s->started, time)));
                (void) json_put(outputs, "took", json_string(took));
                if (json_put(steps, job->def->steps[i].id, outputs) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* "20260131-031502" in local time: it goes into names that people read. */
static json_t *stamp(int64_t wall_ms, bool day_only) {
        time_t seconds = (time_t) (wall_ms / 1000);
        char text[32];
        struct tm tm;

        if (!localtime_r(&seconds, &tm))
                return NULL;
        if (day_only)
                (void) strftime(text, sizeof(text), "%Y-%m-%d", &tm);
        else
                (void) strftime(text, sizeof(text), "%Y%m%d-%H%M%S", &tm);
        return json_string(text);
}

static int scope_job(const Turn *t, const Job *job, json_t *scope) {
        _cleanup_free_ char *dir = job_dir(t->state_dir, job->id);
        _cleanup_free_ char *took = duration_format(job_now(job) - job->created);
        json_t *facts = json_object();

        if (!dir || !took || json_put(scope, "job", facts) < 0)
                return -ENOMEM;
        (void) json_put(facts, "id", json_integer(job->id));
        (void) json_put(facts, "dir", json_string(dir));
        (void) json_put(facts, "took", json_string(took));
        (void) json_put(facts, "target", json_string(job->def->target));
        (void) json_put(facts, "plan", json_string(args_text(job->def->plan->norm, "plan", "")));
        if (json_put(facts, "stamp", stamp(job->created, false)) < 0)
                return -ENOMEM;
        return json_put(facts, "date", stamp(job->created, true));
}

/* Database urls may use inputs; one that needs a secret is not offered as `${db.N.url}`. */
static int scope_databases(const Job *job, json_t *scope) {
        json_t *dbs = json_object();
        const char *name;
        json_t *db;

        if (json_put(scope, "db", dbs) < 0)
                return -ENOMEM;
        json_object_foreach (json_object_get(job->def->plan->norm, "databases"), name, db) {
                json_auto_t *url = NULL;

                if (plan_expand(json_object_get(db, "url"), scope, &url, NULL) < 0 ||
                    !json_is_string(url))
                        continue;
                if (json_put(dbs, name, json_pack("{s:O}", "url", url)) < 0)
                        return -ENOMEM;
        }
        return 0;
}

int job_scope(const Turn *t, const Job *job, json_t **ret) {
        json_auto_t *scope = json_object();
        json_t *steps = json_object();
        int r;

        if (!scope || json_put(scope, "steps", steps) < 0 ||
            json_object_set(scope, "in", job->def->inputs) < 0)
                return -ENOMEM;
        r = scope_steps(job, steps);
        if (r >= 0)
                r = scope_job(t, job, scope);
        if (r >= 0)
                r = scope_databases(job, scope);
        if (r < 0)
                return r;
        *ret = TAKE(scope);
        return 0;
}
