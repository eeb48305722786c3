/* SPDX-License-Identifier: MIT */
/* Flattening a plan into numbered steps: see daemon/engine/def.h. */
#include "daemon/engine/def.h"

#include "daemon/plan/scope.h"

#include "api/args.h"
#include "daemon/plan/expand.h"

static const char *const phase_names[_PHASE_MAX] = {
        [PHASE_CHECKS] = "checks", [PHASE_MAIN] = "main", [PHASE_FINALISE] = "finalise",
        [PHASE_THEN] = "then",     [PHASE_HOOK] = "hook",
};

const char *phase_to_text(Phase phase) {
        return phase_names[phase];
}

static int add_step(JobDef *def, const char *id, const json_t *norm, Phase phase, int parent,
                    StepDef **ret) {
        StepDef *grown = realloc(def->steps, sizeof(StepDef) * (def->n_steps + 1));
        StepDef *step;

        if (!grown)
                return -ENOMEM;
        def->steps = grown;
        step = &def->steps[def->n_steps];
        *step = (StepDef){
                .id = strdup(id),
                .norm = norm,
                .phase = phase,
                .class = verb_class(norm),
                .parent = parent,
                .end = def->n_steps + 1,
                .parallel = streq0(args_text(norm, "verb", NULL), "parallel"),
        };
        if (!step->id)
                return -ENOMEM;
        def->n_steps++;
        *ret = step;
        return 0;
}

static int add_list(JobDef *def, const json_t *list, Phase phase, int parent) {
        const json_t *norm;
        size_t i;

        json_array_foreach ((json_t *) list, i, norm) {
                unsigned idx = def->n_steps;
                StepDef *step;
                int r;

                r = add_step(def, args_text(norm, "id", "step"), norm, phase, parent, &step);
                if (r < 0)
                        return r;
                if (step->class != VERB_GROUP)
                        continue;
                r = add_list(def, json_object_get(json_object_get(norm, "args"), "steps"), phase,
                             (int) idx);
                if (r < 0)
                        return r;
                def->steps[idx].end = def->n_steps;
        }
        return 0;
}

/* A pseudo-step owns its normal form; `made` is stolen. */
static int add_made(JobDef *def, char *id, json_t *made, Phase phase) {
        _cleanup_free_ char *owned = id;
        json_auto_t *norm = made;
        StepDef *step;
        int r;

        if (!owned || !norm)
                return -ENOMEM;
        r = add_step(def, owned, norm, phase, -1, &step);
        if (r < 0)
                return r;
        step->made = TAKE(norm);
        return 0;
}

/* The plan's own, and behind them whether the way back would fit. */
static int add_checks(JobDef *def, bool reserved) {
        json_auto_t *checks = json_copy(json_object_get(def->plan->norm, "checks"));
        json_t *way_back = NULL;
        int r = plan_way_back_check(def->plan, &way_back);

        if (r < 0 || !checks)
                return -ENOMEM;
        if (way_back && json_array_append_new(checks, way_back) < 0)
                return -ENOMEM;
        def->saves = json_object_get(json_object_get(way_back, "args"), "saves");
        if (json_array_size(checks) == 0 && !reserved)
                return 0;
        return add_made(def, strdup(STEP_CHECKS),
                        json_pack("{s:s, s:s, s:s, s:{s:O, s:b}}", "id", STEP_CHECKS, "verb",
                                  "check", "title", "Checks before anything is touched", "args",
                                  "checks", checks, "all", 1),
                        PHASE_CHECKS);
}

static int add_release(JobDef *def, bool reserved) {
        if (!def->saves && !reserved)
                return 0;
        return add_made(def, strdup(STEP_RELEASE),
                        json_pack("{s:s, s:s, s:s, s:{}}", "id", STEP_RELEASE, "verb", "release",
                                  "title", "Gives back the space reserved for the way back",
                                  "args"),
                        PHASE_HOOK);
}

bool norm_any(const json_t *value, bool (*is)(const json_t *value, const void *wanted),
              const void *wanted) {
        const char *key;
        json_t *item;
        size_t i;

        if (is(value, wanted))
                return true;
        json_array_foreach ((json_t *) value, i, item)
                if (norm_any(item, is, wanted))
                        return true;
        json_object_foreach ((json_t *) value, key, item)
                if (norm_any(item, is, wanted))
                        return true;
        return false;
}

static bool is_stop(const json_t *value, const void *wanted) {
        return streq(args_text(value, "verb", ""), "stop");
}

/* A stop keeps images wherever it stands, in an undo too. */
static bool stops_containers(const json_t *norm) {
        const char *name;
        json_t *service;

        json_object_foreach (json_object_get(norm, "services"), name, service)
                if (json_object_get(service, "compose"))
                        return norm_any(norm, is_stop, NULL);
        return false;
}

static int add_images(JobDef *def) {
        if (!stops_containers(def->plan->norm))
                return 0;
        return add_made(def, strdup(STEP_IMAGES),
                        json_pack("{s:s, s:s, s:s, s:{s:b}}", "id", STEP_IMAGES, "verb", "release",
                                  "title", "Gives back the images kept for the way back", "args",
                                  "images", 1),
                        PHASE_HOOK);
}

/* The document that is read again has its keys sorted, and steps must then have the same numbers.
 */
static json_t *sorted_keys(const JobDef *def, const char *section) {
        return scope_sorted_keys(json_object_get(def->plan->norm, section));
}

/* `then` of a strategy: one pseudo-step whose ops are the list. */
static int add_thens(JobDef *def) {
        json_t *strategies = json_object_get(def->plan->norm, "rollbacks"), *key;
        json_auto_t *keys = sorted_keys(def, "rollbacks");
        size_t i;

        if (!keys)
                return -ENOMEM;
        json_array_foreach (keys, i, key) {
                const char *name = json_string_value(key);
                json_t *then = json_object_get(json_object_get(strategies, name), "then");
                int r;

                if (json_array_size(then) == 0)
                        continue;
                r = add_made(def, strf("@then.%s", name),
                             json_pack("{s:s, s:s, s:{s:O}}", "id", "@then", "verb", "then", "args",
                                       "list", then),
                             PHASE_THEN);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_hooks(JobDef *def) {
        json_t *hooks = json_object_get(def->plan->norm, "hooks"), *key, *hook;
        json_auto_t *keys = sorted_keys(def, "hooks");
        size_t i, k;

        if (!keys)
                return -ENOMEM;
        json_array_foreach (keys, i, key) {
                const char *event = json_string_value(key);

                json_array_foreach (json_object_get(hooks, event), k, hook) {
                        int r = add_made(def, strf("@hook.%s.%zu", event, k), json_incref(hook),
                                         PHASE_HOOK);

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* A title that uses what is not known yet, an output say, is shown as it is written. */
static int expand_titles(JobDef *def) {
        json_auto_t *scope =
                json_pack("{s:O, s:{s:s, s:s}}", "in", def->inputs, "job", "plan",
                          args_text(def->plan->norm, "plan", ""), "target", def->target);

        for (unsigned i = 0; scope && i < def->n_steps; i++) {
                const char *title = args_text(def->steps[i].norm, "title", NULL);

                if (title && (strstr(title, "${steps.") ||
                              plan_expand_text(title, scope, &def->steps[i].title, NULL) < 0))
                        def->steps[i].title = strdup(title);
                if (title && !def->steps[i].title)
                        return -ENOMEM;
        }
        return scope ? 0 : -ENOMEM;
}

static int expand_names(JobDef *def, Error *reterr) {
        json_auto_t *scope = json_pack("{s:O, s:{s:s}}", "in", def->inputs, "job", "plan",
                                       args_text(def->plan->norm, "plan", ""));
        const char *plan = args_text(def->plan->norm, "plan", "");
        int r;

        if (!scope)
                return error_oom(reterr);
        r = plan_expand_text(args_text(def->plan->norm, "target", plan), scope, &def->target,
                             reterr);
        if (r < 0)
                return r;
        return plan_expand_text(args_text(def->plan->norm, "title", plan), scope, &def->title,
                                reterr);
}

int job_def_new(Plan *plan, json_t *inputs, bool reserved, JobDef **ret, Error *reterr) {
        _cleanup_(job_def_unrefp) JobDef *def = calloc(1, sizeof(JobDef));
        int r;

        if (!def)
                return error_oom(reterr);
        def->n_ref = 1;
        def->plan = plan_ref(plan);
        def->inputs = json_incref(inputs);
        r = expand_names(def, reterr);
        if (r < 0)
                return r;
        r = add_checks(def, reserved);
        if (r >= 0)
                r = add_list(def, json_object_get(plan->norm, "steps"), PHASE_MAIN, -1);
        if (r >= 0)
                r = add_list(def, json_object_get(plan->norm, "finalise"), PHASE_FINALISE, -1);
        if (r >= 0)
                r = add_thens(def);
        if (r >= 0)
                r = add_hooks(def);
        if (r >= 0)
                r = add_release(def, reserved);
        if (r >= 0)
                r = add_images(def);
        if (r >= 0)
                r = expand_titles(def);
        if (r < 0)
                return error_oom(reterr);
        *ret = TAKE(def);
        return 0;
}

/* "run-2", where the plan gave no id. */
static bool id_is_made_up(const json_t *step) {
        const char *verb = args_text(step, "verb", NULL), *id = args_text(step, "id", NULL);
        size_t n = verb ? strlen(verb) : 0;

        return verb && id && startswith(id, verb) && id[n] == '-' && id[n + 1] &&
               !id[n + 1 + strspn(id + n + 1, "0123456789")];
}

static void drop_ids(json_t *value) {
        const char *key;
        json_t *item;
        size_t i;

        if (id_is_made_up(value))
                (void) json_object_del(value, "id");
        json_object_foreach (value, key, item)
                drop_ids(item);
        json_array_foreach (value, i, item)
                drop_ids(item);
}

json_t *norm_plain(const json_t *norm) {
        json_t *copy = json_deep_copy(norm);

        drop_ids(copy);
        return copy;
}

JobDef *job_def_ref(JobDef *def) {
        def->n_ref++;
        return def;
}

void job_def_unref(JobDef *def) {
        if (!def || --def->n_ref > 0)
                return;
        for (unsigned i = 0; i < def->n_steps; i++) {
                free(def->steps[i].id);
                free(def->steps[i].title);
                json_decref(def->steps[i].made);
        }
        free(def->steps);
        free(def->target);
        free(def->title);
        json_decref(def->inputs);
        plan_unref(def->plan);
        free(def);
}

int job_def_find(const JobDef *def, const char *id) {
        for (unsigned i = 0; i < def->n_steps; i++)
                if (streq(def->steps[i].id, id))
                        return (int) i;
        return -ENOENT;
}

void job_def_range(const JobDef *def, Phase phase, unsigned *ret_begin, unsigned *ret_end) {
        unsigned begin = 0, end;

        while (begin < def->n_steps && def->steps[begin].phase != phase)
                begin++;
        for (end = begin; end < def->n_steps && def->steps[end].phase == phase; end++)
                ;
        *ret_begin = begin;
        *ret_end = end;
}

const json_t *job_def_inherited(const JobDef *def, unsigned idx, const char *key) {
        for (int i = (int) idx; i >= 0; i = def->steps[i].parent) {
                const json_t *v = json_object_get(def->steps[i].norm, key);

                if (v)
                        return v;
        }
        return json_object_get(def->plan->norm, key);
}
