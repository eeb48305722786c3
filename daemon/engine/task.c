/* SPDX-License-Identifier: MIT */
/*
 * Building task.json: a step's normal form, everything inherited merged in and every `${…}` put in,
 * as one list of ops for updd-step. The form stands in daemon/attempt/attempt.h.
 */
#include "api/args.h"
#include "daemon/engine/turn.h"
#include "daemon/plan/expand.h"

#define TIMEOUT_DEFAULT_MS (60 * 60 * 1000)
#define GRACE_MS (10 * 1000)
#define LOG_BYTES (64 * 1024 * 1024)

/* What an op takes over from around it. */
typedef struct Surroundings {
        char *cwd, *user, *env_file;
        json_t *env;
} Surroundings;

static void surroundings_done(Surroundings *s) {
        free(s->cwd);
        free(s->user);
        free(s->env_file);
        json_decref(s->env);
}

typedef struct Builder {
        const Turn *turn;
        const Job *job;
        json_t *scope;
        json_t *ops;     /* array being filled; owned by the task */
        const char *dir; /* folder below which ops of a list keep their records */
        bool again;      /* an undo that was interrupted before */
        bool nested;     /* ops come from a list inside a step: they carry their own `retry` */
} Builder;

static int take_text(const json_t *norm, const char *key, const json_t *scope, char **ret,
                     Error *reterr) {
        const char *text = args_text(norm, key, NULL);
        char *expanded = NULL;
        int r;

        if (!text)
                return 0;
        r = plan_expand_text(text, scope, &expanded, reterr);
        if (r < 0)
                return r;
        free(*ret);
        *ret = expanded;
        return 1;
}

/* Lays one level (plan, group, step, op) over what was there. */
static int surround(Surroundings *s, const json_t *norm, const json_t *scope, Error *reterr) {
        _cleanup_free_ char *cwd = NULL, *env_file = NULL;
        json_auto_t *env = NULL;
        int r;

        r = take_text(norm, "cwd", scope, &cwd, reterr);
        if (r < 0)
                return r;
        if (cwd) {
                char *joined = path_join(s->cwd ? s->cwd : "", cwd);

                if (!joined)
                        return error_oom(reterr);
                free(s->cwd);
                s->cwd = joined;
        }
        r = take_text(norm, "env_file", scope, &env_file, reterr);
        if (r < 0)
                return r;
        if (env_file) {
                free(s->env_file);
                s->env_file = path_join(s->cwd ? s->cwd : "", env_file);
                if (!s->env_file)
                        return error_oom(reterr);
        }
        r = take_text(norm, "user", scope, &s->user, reterr);
        if (r < 0)
                return r;
        if (!json_object_get(norm, "env"))
                return 0;
        r = plan_expand(json_object_get(norm, "env"), scope, &env, reterr);
        if (r < 0)
                return r;
        return json_object_update(s->env, env) < 0 ? error_oom(reterr) : 0;
}

static int surround_step(const Builder *b, unsigned idx, bool itself, Surroundings *ret,
                         Error *reterr) {
        int chain[64], n = 0, r;

        for (int i = itself ? (int) idx : b->job->def->steps[idx].parent;
             i >= 0 && n < (int) ELEMENTSOF(chain); i = b->job->def->steps[i].parent)
                chain[n++] = i;
        ret->env = json_object();
        if (!ret->env)
                return error_oom(reterr);
        r = surround(ret, b->job->def->plan->norm, b->scope, reterr);
        while (r >= 0 && n > 0)
                r = surround(ret, b->job->def->steps[chain[--n]].norm, b->scope, reterr);
        return r;
}

static int surroundings_copy(const Surroundings *from, Surroundings *ret) {
        *ret = (Surroundings){
                .cwd = from->cwd ? strdup(from->cwd) : NULL,
                .user = from->user ? strdup(from->user) : NULL,
                .env_file = from->env_file ? strdup(from->env_file) : NULL,
                .env = json_copy(from->env),
        };
        return ret->env && (!from->cwd || ret->cwd) && (!from->user || ret->user) &&
                               (!from->env_file || ret->env_file)
                       ? 0
                       : -ENOMEM;
}

/* What an op of a list has of its own: as a step, the engine would look after it. */
static int nested_add(const Builder *b, const json_t *norm, json_t *op, Error *reterr) {
        const json_t *timeout = json_object_get(norm, "timeout");
        json_auto_t *verify = NULL, *probe = NULL, *expanded = NULL;
        json_auto_t *given = json_pack("{s:O*}", "timeout", timeout);
        int64_t ms = 0;
        int r = 0;

        if (json_object_get(norm, "retry"))
                (void) json_object_set(op, "retry", json_object_get(norm, "retry"));
        if (json_object_get(norm, "verify"))
                r = plan_expand(json_object_get(norm, "verify"), b->scope, &verify, reterr);
        if (r >= 0 && b->again && verb_on_crash(norm) == ON_CRASH_PROBE)
                r = plan_expand(json_object_get(norm, "probe"), b->scope, &probe, reterr);
        if (r >= 0 && timeout)
                r = plan_expand(given, b->scope, &expanded, reterr);
        if (r >= 0 && timeout)
                r = args_ms(expanded, "timeout", 0, &ms, reterr);
        if (r < 0)
                return r;
        if (verify)
                (void) json_object_set(op, "verify", verify);
        if (json_array_size(probe) > 0)
                (void) json_object_set(op, "probe", probe);
        if (ms > 0)
                (void) json_put(op, "timeout_ms", json_integer(ms));
        return 0;
}

static int op_add(Builder *b, const json_t *norm, const char *direction, const Surroundings *s,
                  const char *record, Error *reterr) {
        json_auto_t *op = json_object(), *args = NULL;
        int r;

        if (!op)
                return error_oom(reterr);
        r = plan_expand(json_object_get(norm, "args"), b->scope, &args, reterr);
        if (r < 0)
                return r;
        (void) json_object_set(op, "verb", json_object_get(norm, "verb"));
        (void) json_object_set(op, "id", json_object_get(norm, "id"));
        (void) json_put(op, "direction", json_string(direction));
        (void) json_object_set(op, "args", args);
        (void) json_put(op, "record", json_string(record));
        (void) json_object_set(op, "env", s->env);
        if (s->cwd)
                (void) json_put(op, "cwd", json_string(s->cwd));
        if (s->user)
                (void) json_put(op, "user", json_string(s->user));
        if (s->env_file)
                (void) json_put(op, "env_file", json_string(s->env_file));
        r = b->nested ? nested_add(b, norm, op, reterr) : 0;
        if (r < 0)
                return r;
        return json_array_append(b->ops, op) < 0 ? error_oom(reterr) : 0;
}

static int list_add(Builder *b, const json_t *list, const Surroundings *outer, Error *reterr);

static int undo_add(Builder *b, unsigned idx, Error *reterr);
static int do_add(Builder *b, unsigned idx, Error *reterr);

/* One entry of a list that the plan writes: undo, instead, then, dry_run. */
static int entry_add(Builder *b, const json_t *norm, const Surroundings *outer, Error *reterr) {
        _cleanup_(surroundings_done) Surroundings s = {0};
        const char *when = args_text(norm, "when", NULL);
        _cleanup_free_ char *record = NULL;
        int r;

        if (when) {
                r = expr_eval(when, b->scope, reterr);
                if (r <= 0)
                        return r;
        }
        if (surroundings_copy(outer, &s) < 0)
                return error_oom(reterr);
        r = surround(&s, norm, b->scope, reterr);
        if (r < 0)
                return r;
        switch (verb_class(norm)) {
        case VERB_GROUP:
                return list_add(b, json_object_get(json_object_get(norm, "args"), "steps"), &s,
                                reterr);
        case VERB_REVERT: {
                const char *id = args_text(json_object_get(norm, "args"), "step", "");
                int idx = job_def_find(b->job->def, id);

                return idx < 0 ? error_set(reterr, EINVAL, "bad-plan", "There is no step '%s'", id)
                               : undo_add(b, (unsigned) idx, reterr);
        }
        default:
                record = strf("%s/op-%zu", b->dir, json_array_size(b->ops));
                if (!record)
                        return error_oom(reterr);
                return op_add(b, norm, "do", &s, record, reterr);
        }
}

static int list_add(Builder *b, const json_t *list, const Surroundings *outer, Error *reterr) {
        const json_t *norm;
        size_t i;

        json_array_foreach ((json_t *) list, i, norm) {
                int r = entry_add(b, norm, outer, reterr);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int written_add(Builder *b, unsigned idx, const json_t *list, Error *reterr) {
        _cleanup_(surroundings_done) Surroundings s = {0};
        bool nested = b->nested;
        int r;

        r = surround_step(b, idx, true, &s, reterr);
        if (r < 0)
                return r;
        b->nested = true;
        r = list_add(b, list, &s, reterr);
        b->nested = nested;
        return r;
}

/* The verb's own do or undo of a step. */
static int own_add(Builder *b, unsigned idx, const char *direction, Error *reterr) {
        _cleanup_free_ char *record = step_dir_of(b->turn->state_dir, b->job, idx);
        _cleanup_(surroundings_done) Surroundings s = {0};
        int r;

        if (!record)
                return error_oom(reterr);
        r = surround_step(b, idx, true, &s, reterr);
        return r < 0 ? r : op_add(b, b->job->def->steps[idx].norm, direction, &s, record, reterr);
}

static int reverted_step(const Job *job, unsigned idx, Error *reterr) {
        const json_t *norm = job->def->steps[idx].norm;
        const char *id = args_text(json_object_get(norm, "args"), "step", "");
        int target = job_def_find(job->def, id);

        if (target < 0)
                return error_set(reterr, EINVAL, "bad-plan", "There is no step '%s'", id);
        return target;
}

/* What the way back needs is reserved behind the last check, in the same attempt. */
static int checks_add(Builder *b, unsigned idx, Error *reterr) {
        _cleanup_free_ char *record = step_dir_of(b->turn->state_dir, b->job, idx);
        json_auto_t *norm =
                json_pack("{s:s, s:s, s:{}}", "verb", "reserve", "id", STEP_CHECKS, "args");
        _cleanup_(surroundings_done) Surroundings s = {.env = json_object()};
        int r = own_add(b, idx, "do", reterr);

        if (r < 0 || b->job->dry_run || !b->job->def->saves)
                return r;
        if (!record || !norm || !s.env)
                return error_oom(reterr);
        return op_add(b, norm, "do", &s, record, reterr);
}

/* What the step keeps is not what "@checks" has measured: that is done before it, in the same
 * attempt and from where "@checks" looked. */
static int measure_add(Builder *b, unsigned idx, Error *reterr) {
        const json_t *save = job_def_save(b->job->def, b->job->def->steps[idx].id);
        _cleanup_free_ char *record = step_dir_of(b->turn->state_dir, b->job, idx);
        json_auto_t *check = NULL, *reserve = NULL;
        _cleanup_(surroundings_done) Surroundings s = {0};
        int checks = job_def_find(b->job->def, STEP_CHECKS), r;

        if (!json_object_get(b->job->steps[idx].more, "unmeasured") || !save || checks < 0)
                return 0;
        check = json_pack("{s:s, s:s, s:{s:[o]}}", "verb", "check", "id", STEP_CHECKS, "args",
                          "checks", save_check_again(save));
        reserve = json_pack("{s:s, s:s, s:{s:b}}", "verb", "reserve", "id", STEP_CHECKS, "args",
                            "again", 1);
        if (!record || !check || !reserve)
                return error_oom(reterr);
        r = surround_step(b, (unsigned) checks, true, &s, reterr);
        if (r >= 0)
                r = op_add(b, check, "do", &s, record, reterr);
        return r < 0 ? r : op_add(b, reserve, "do", &s, record, reterr);
}

static int do_add(Builder *b, unsigned idx, Error *reterr) {
        const StepDef *def = &b->job->def->steps[idx];
        int target;

        if (streq0(args_text(def->norm, "verb", NULL), "then"))
                return written_add(b, idx,
                                   json_object_get(json_object_get(def->norm, "args"), "list"),
                                   reterr);
        if (def->phase == PHASE_CHECKS)
                return checks_add(b, idx, reterr);
        if (b->job->dry_run && def->phase == PHASE_MAIN)
                return written_add(b, idx, json_object_get(def->norm, "dry_run"), reterr);
        if (def->class != VERB_REVERT) {
                int r = measure_add(b, idx, reterr);

                return r < 0 ? r : own_add(b, idx, "do", reterr);
        }
        target = reverted_step(b->job, idx, reterr);
        return target < 0 ? target : undo_add(b, (unsigned) target, reterr);
}

const json_t *undo_of(const Job *job, unsigned idx) {
        const StepDef *def = &job->def->steps[idx];
        const char *name = json_string_value(json_object_get(job->facts, "strategy"));
        const json_t *strategy = NULL, *instead;

        if (name && strategy_find(job, name, &strategy) >= 0 && job->state != JOB_RUNNING) {
                instead = json_object_get(json_object_get(strategy, "instead"), def->id);
                if (instead)
                        return instead;
        }
        return json_object_get(def->norm, "undo");
}

bool undo_is_written(const Job *job, unsigned idx) {
        return json_is_array(undo_of(job, idx));
}

static int undo_add(Builder *b, unsigned idx, Error *reterr) {
        const StepDef *def = &b->job->def->steps[idx];
        const json_t *undo = undo_of(b->job, idx);
        int target;

        if (json_is_array(undo))
                return written_add(b, idx, undo, reterr);
        if (json_is_string(undo) || verb_undo(def->norm) != UNDO_KNOWN)
                return 0;
        if (def->class != VERB_REVERT)
                return own_add(b, idx, "undo", reterr);
        target = reverted_step(b->job, idx, reterr);
        return target < 0 ? target : do_add(b, (unsigned) target, reterr);
}

/* Sections of the plan that verbs look into, expanded; relative places made absolute here, where
 * the plan's own cwd is known. */
static int absolutise(json_t *object, const char *key, const char *prefix, const char *cwd) {
        const char *text = args_text(object, key, NULL);
        _cleanup_free_ char *joined = NULL;

        if (!text || !startswith(text, prefix) || !cwd)
                return 0;
        joined = path_join(cwd, text + strlen(prefix));
        return joined ? json_putf(object, key, "%s%s", prefix, joined) : -ENOMEM;
}

static int context_section(const Builder *b, const char *section, const char *key,
                           const char *prefix, const char *cwd, json_t *context, Error *reterr) {
        json_t *norm = json_object_get(b->job->def->plan->norm, section), *entry;
        json_auto_t *expanded = NULL;
        const char *name;
        int r;

        if (json_object_size(norm) == 0)
                return 0;
        r = plan_expand(norm, b->scope, &expanded, reterr);
        if (r < 0)
                return r;
        json_object_foreach (expanded, name, entry) {
                if (key && absolutise(entry, key, prefix, cwd) < 0)
                        return error_oom(reterr);
        }
        return json_object_set(context, section, expanded) < 0 ? error_oom(reterr) : 0;
}

static int context_build(const Builder *b, json_t *task, Error *reterr) {
        json_t *context = json_object(), *hints = json_object_get(b->job->def->plan->norm, "hints");
        _cleanup_(surroundings_done) Surroundings s = {.env = json_object()};
        int r;

        if (json_put(task, "context", context) < 0 || !s.env)
                return error_oom(reterr);
        r = surround(&s, b->job->def->plan->norm, b->scope, reterr);
        if (r >= 0)
                r = context_section(b, "services", NULL, "", NULL, context, reterr);
        if (r >= 0)
                r = context_section(b, "databases", "url", "sqlite:", s.cwd, context, reterr);
        if (r >= 0)
                r = context_section(b, "compose", "dir", "", s.cwd, context, reterr);
        if (r < 0)
                return r;
        if (s.cwd)
                (void) json_put(context, "cwd", json_string(s.cwd));
        if (hints)
                (void) json_object_set(context, "hints", hints);
        return json_object_set(context, "scope", b->scope) < 0 ? error_oom(reterr) : 0;
}

/* A wait or an observation says itself how long it takes; the plan's limit is not for them. */
static int own_length(const StepDef *def, const json_t *ops, int64_t *ret, Error *reterr) {
        const json_t *args = json_object_get(json_array_get(ops, 0), "args");
        const char *verb = args_text(def->norm, "verb", "");
        int64_t within = 0, during = 0;
        int r;

        if (!streq(verb, "wait") && !streq(verb, "observe"))
                return 0;
        r = args_ms(args, "within", streq(verb, "wait") ? 300000 : 0, &within, reterr);
        if (r >= 0)
                r = args_ms(args, "for", 0, &during, reterr);
        if (r < 0)
                return r;
        *ret = MAX(within, during) + 10 * 60 * 1000;
        return 1;
}

/* Steps of a list that have time limits of their own: together they may take what all may take. */
static int64_t nested_length(const json_t *ops, int64_t each) {
        int64_t sum = 0;
        bool own = false;
        const json_t *op;
        size_t i;

        json_array_foreach ((json_t *) ops, i, op) {
                int64_t ms = json_integer_value(json_object_get(op, "timeout_ms"));

                own |= ms > 0;
                sum += ms > 0 ? ms : each;
        }
        return own ? sum : each;
}

/* Numbers, as systemd.resource-control(5) has them. */
static int limits_read(const json_t *limits, json_t *task, int64_t *ret_log, Error *reterr) {
        int64_t memory = 0, io = 0, tasks = 0, cpu_us = 0;
        int r;

        r = args_bytes(limits, "log", LOG_BYTES, ret_log, reterr);
        if (r >= 0)
                r = args_bytes(limits, "memory", 0, &memory, reterr);
        if (r >= 0)
                r = args_bytes(limits, "io", 0, &io, reterr);
        if (r >= 0)
                r = args_int(limits, "tasks", 0, &tasks, reterr);
        if (r >= 0)
                r = args_share(limits, "cpu", &cpu_us, reterr);
        if (r < 0)
                return r;
        return json_put(task, "limits",
                        json_pack("{s:I, s:I, s:I, s:I}", "memory", (json_int_t) memory, "io",
                                  (json_int_t) io, "tasks", (json_int_t) tasks, "cpu_us",
                                  (json_int_t) cpu_us)) < 0
                       ? error_oom(reterr)
                       : 0;
}

static int limits_build(const Builder *b, unsigned idx, json_t *task, Error *reterr) {
        const StepDef *def = &b->job->def->steps[idx];
        const json_t *timeout = job_def_inherited(b->job->def, idx, "timeout");
        const json_t *limits = job_def_inherited(b->job->def, idx, "limits");
        json_auto_t *given = json_pack("{s:O*}", "timeout", timeout);
        json_auto_t *expanded = NULL, *expanded_limits = NULL;
        int64_t timeout_ms = TIMEOUT_DEFAULT_MS, log = LOG_BYTES;
        int r;

        r = plan_expand(given, b->scope, &expanded, reterr);
        if (r >= 0)
                r = args_ms(expanded, "timeout", TIMEOUT_DEFAULT_MS, &timeout_ms, reterr);
        if (r >= 0 && !json_object_get(def->norm, "timeout"))
                r = own_length(def, b->ops, &timeout_ms, reterr);
        if (r >= 0 && limits) {
                r = plan_expand(limits, b->scope, &expanded_limits, reterr);
                if (r >= 0)
                        r = limits_read(expanded_limits, task, &log, reterr);
        }
        if (r < 0)
                return r;
        timeout_ms = nested_length(b->ops, timeout_ms);
        (void) json_put(task, "timeout_ms", json_integer(timeout_ms));
        (void) json_put(task, "grace_ms", json_integer(GRACE_MS));
        (void) json_put(task, "log_bytes", json_integer(log));
        return 0;
}

static int checks_build(const Builder *b, unsigned idx, Direction direction, json_t *task,
                        Error *reterr) {
        const StepDef *def = &b->job->def->steps[idx];
        const char *key = direction == DIRECTION_PROBE ? "probe" : "verify";
        json_auto_t *checks = NULL;
        int r;

        if (direction == DIRECTION_UNDO || b->job->dry_run || !json_object_get(def->norm, key))
                return 0;
        r = plan_expand(json_object_get(def->norm, key), b->scope, &checks, reterr);
        if (r < 0)
                return r;
        return json_object_set(task, key, checks) < 0 ? error_oom(reterr) : 0;
}

static int head_build(const Builder *b, unsigned idx, Direction direction, json_t *task) {
        const Job *job = b->job;
        const StepState *s = &job->steps[idx];
        _cleanup_free_ char *record = step_dir_of(b->turn->state_dir, job, idx);
        _cleanup_free_ char *dir = attempt_dir(b->turn->state_dir, job, idx, s->attempts);
        _cleanup_free_ char *folder = job_dir(b->turn->state_dir, job->id);
        json_auto_t *head = NULL;
        json_t *overrides = json_object_get(job->facts, "overrides");

        if (!record || !dir || !folder)
                return -ENOMEM;
        head = json_pack("{s:i, s:s, s:I, s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:O*}", "format",
                         1, "id", s->id, "job", (json_int_t) job->id, "plan",
                         args_text(job->def->plan->norm, "plan", ""), "target", job->def->target,
                         "step", job->def->steps[idx].id, "n", (int) s->attempts, "direction",
                         direction_to_text(direction), "dir", dir, "record", record, "job_dir",
                         folder, "overrides", overrides);
        return head && json_object_update(task, head) >= 0 ? 0 : -ENOMEM;
}

int task_build(const Turn *t, const Job *job, unsigned idx, Direction direction, json_t **ret,
               Error *reterr) {
        _cleanup_free_ char *dir = step_dir_of(t->state_dir, job, idx);
        json_auto_t *task = json_object(), *scope = NULL;
        Builder b = {.turn = t, .job = job, .ops = json_array(), .dir = dir};
        int r;

        if (!task || !dir || json_put(task, "ops", b.ops) < 0 || job_scope(t, job, &scope) < 0)
                return error_oom(reterr);
        b.scope = scope;
        b.again = direction == DIRECTION_UNDO &&
                  streq0(args_text(job->steps[idx].result, "state", NULL), "interrupted");
        r = head_build(&b, idx, direction, task);
        if (r < 0)
                return error_oom(reterr);
        if (direction == DIRECTION_DO)
                r = do_add(&b, idx, reterr);
        else if (direction == DIRECTION_UNDO)
                r = undo_add(&b, idx, reterr);
        else {
                /* A probe's checks still want the step's surroundings: they take those of its op.
                 */
                r = own_add(&b, idx, "do", reterr);
        }
        if (r >= 0)
                r = list_from(job, idx, direction, task, reterr);
        if (r >= 0)
                r = checks_build(&b, idx, direction, task, reterr);
        if (r >= 0)
                r = limits_build(&b, idx, task, reterr);
        if (r >= 0)
                r = context_build(&b, task, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(task);
        return 0;
}
