/* SPDX-License-Identifier: MIT */
/* Plan folders: which plans there are, one of them for people, and lint. */
#include <dirent.h>
#include <fcntl.h>

#include "api/args.h"
#include "daemon/engine/internal.h"
#include "daemon/plan/expand.h"

#define PLAN_FILE_MAX (4U * 1024 * 1024 + 1)

static bool is_plan_file(const char *name) {
        return name[0] != '.' &&
               (endswith(name, ".yaml") || endswith(name, ".yml") || endswith(name, ".json"));
}

static int read_plan_file(const char *path, char **ret_text, size_t *ret_size, Error *reterr) {
        int r = file_read(AT_FDCWD, path, PLAN_FILE_MAX, ret_text, ret_size);

        return r < 0 ? error_set(reterr, -r, "bad-plan", "Cannot read %s: %s", path, strerror(-r))
                     : 0;
}

/* The name inside the file counts; the file's own name is what most plans agree with. */
static json_t *list_entry(const char *path, const char *file) {
        _cleanup_plan_ Plan *plan = NULL;
        json_auto_t *faults = NULL;
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        json_t *entry;

        if (read_plan_file(path, &text, &size, NULL) < 0)
                return NULL;
        if (plan_parse(path, text, size, &plan, &faults) < 0 && !faults)
                return NULL;
        entry = json_pack("{s:s, s:b, s:O*}", "file", path, "ok", plan != NULL, "faults", faults);
        if (!plan) {
                const char *dot = strrchr(file, '.');
                _cleanup_free_ char *name = strndup(file, (size_t) (dot - file));

                (void) json_put(entry, "plan", json_string(name ? name : file));
                return entry;
        }
        (void) json_put(entry, "plan", json_string(args_text(plan->norm, "plan", "")));
        (void) json_put(entry, "sha256", json_string(plan->sha256));
        if (json_object_get(plan->norm, "title"))
                (void) json_object_set(entry, "title", json_object_get(plan->norm, "title"));
        (void) json_put(
                entry, "target",
                json_string(args_text(plan->norm, "target", args_text(plan->norm, "plan", ""))));
        return entry;
}

static bool is_listed(const json_t *list, const json_t *entry) {
        const json_t *other;
        size_t i;

        json_array_foreach ((json_t *) list, i, other) {
                if (json_equal(json_object_get(other, "plan"), json_object_get(entry, "plan")))
                        return true;
        }
        return false;
}

static int list_folder(const char *dir, json_t *list) {
        struct dirent **entries = NULL;
        int n = scandir(dir, &entries, NULL, alphasort), r = 0;

        for (int i = 0; i < n; i++) {
                _cleanup_free_ struct dirent *d = entries[i];
                _cleanup_free_ char *path = path_join(dir, d->d_name);
                json_t *entry;

                if (!path)
                        r = -ENOMEM;
                if (r < 0 || !is_plan_file(d->d_name))
                        continue;
                entry = list_entry(path, d->d_name);
                /* The first folder wins. */
                if (!entry || is_listed(list, entry))
                        json_decref(entry);
                else if (json_array_append_new(list, entry) < 0)
                        r = -ENOMEM;
        }
        free(entries);
        return r;
}

int engine_plans(Engine *e, json_t **ret, Error *reterr) {
        json_auto_t *list = json_array();

        for (unsigned i = 0; list && e->plan_dirs[i]; i++)
                if (list_folder(e->plan_dirs[i], list) < 0)
                        return error_oom(reterr);
        *ret = json_pack("{s:O*}", "plans", list);
        return *ret ? 0 : error_oom(reterr);
}

static int no_such_plan(const json_t *list, const char *name, Error *reterr) {
        size_t n = json_array_size(list);
        _cleanup_free_ const char **names = calloc(n + 1, sizeof(char *));
        const char *nearest = NULL;
        int r;

        for (size_t i = 0; names && i < n; i++)
                names[i] = args_text(json_array_get(list, i), "plan", "");
        if (names)
                nearest = nearest_word(name, names, n);
        r = error_set(reterr, ENOENT, "no-such-plan", "There is no plan '%s'", name);
        if (nearest)
                error_hint(reterr, "did you mean '%s'?", nearest);
        else
                error_hint(reterr, "updctl plans lists what there is");
        return r;
}

/* Most plans stand in the file of their name: look there before all files are read. */
static int find_by_file(Engine *e, const char *name, char **ret_path, char **ret_text,
                        size_t *ret_size) {
        static const char *const endings[] = {"yaml", "yml", "json"};

        if (strchr(name, '/') || name[0] == '.')
                return -ENOENT;
        for (unsigned i = 0; e->plan_dirs[i]; i++)
                for (size_t k = 0; k < ELEMENTSOF(endings); k++) {
                        _cleanup_free_ char *path =
                                strf("%s/%s.%s", e->plan_dirs[i], name, endings[k]);
                        int r;

                        if (!path)
                                return -ENOMEM;
                        r = file_read(AT_FDCWD, path, PLAN_FILE_MAX, ret_text, ret_size);
                        if (r >= 0)
                                *ret_path = TAKE(path);
                        if (r != -ENOENT)
                                return r;
                }
        return -ENOENT;
}

int plan_file_find(Engine *e, const char *name, char **ret_path, char **ret_text, size_t *ret_size,
                   Error *reterr) {
        json_auto_t *listing = NULL;
        json_t *list, *entry;
        size_t i;
        int r;

        r = find_by_file(e, name, ret_path, ret_text, ret_size);
        if (r >= 0)
                return 0;
        r = engine_plans(e, &listing, reterr);
        if (r < 0)
                return r;
        list = json_object_get(listing, "plans");
        json_array_foreach (list, i, entry) {
                _cleanup_free_ char *path = NULL;

                if (!streq0(args_text(entry, "plan", NULL), name))
                        continue;
                path = strdup(args_text(entry, "file", ""));
                if (!path)
                        return error_oom(reterr);
                r = read_plan_file(path, ret_text, ret_size, reterr);
                if (r >= 0)
                        *ret_path = TAKE(path);
                return r;
        }
        return no_such_plan(list, name, reterr);
}

/* ---- one plan, for cards ---- */

static json_t *plan_steps(const JobDef *def) {
        json_t *list = json_array();

        for (unsigned i = 0; i < def->n_steps; i++) {
                const StepDef *s = &def->steps[i];
                json_t *step;

                if (s->phase == PHASE_HOOK || s->phase == PHASE_THEN)
                        continue;
                step = json_pack("{s:s, s:s, s:s, s:s*}", "id", s->id, "verb",
                                 args_text(s->norm, "verb", ""), "phase", phase_to_text(s->phase),
                                 "title", s->title);
                if (s->parent >= 0)
                        (void) json_put(step, "parent", json_string(def->steps[s->parent].id));
                (void) json_array_append_new(list, step);
        }
        return list;
}

static json_t *plan_gates(const JobDef *def) {
        json_t *list = json_array();

        for (unsigned i = 0; i < def->n_steps; i++) {
                const json_t *args = json_object_get(def->steps[i].norm, "args");
                json_t *gate;

                if (def->steps[i].class != VERB_GATE)
                        continue;
                gate = json_pack("{s:s, s:s, s:s, s:O*, s:O*}", "step", def->steps[i].id, "ask",
                                 args_text(args, "ask", ""), "on_timeout",
                                 args_text(args, "on_timeout", "hold"), "within",
                                 json_object_get(args, "within"), "items",
                                 json_object_get(args, "items"));
                (void) json_array_append_new(list, gate);
        }
        return list;
}

static json_t *plan_strategies(const Plan *plan) {
        json_t *list = json_array(), *declared = json_object_get(plan->norm, "rollbacks"), *s;
        const char *name;

        if (!json_object_get(declared, "full"))
                (void) json_array_append_new(
                        list, json_pack("{s:s, s:s, s:[]}", "name", "full", "loses",
                                        "what was written since the data was saved, once the "
                                        "services run again",
                                        "situations"));
        json_object_foreach (declared, name, s) {
                (void) json_array_append_new(list,
                                             json_pack("{s:s, s:s, s:O*}", "name", name, "loses",
                                                       args_text(s, "loses", ""), "situations",
                                                       json_object_get(s, "situations")));
        }
        return list;
}

/* A definition for looking at: inputs without a default stand as their own name. */
static int def_for_looking(Plan *plan, JobDef **ret) {
        json_auto_t *given = json_object(), *inputs = NULL;
        json_t *declared = json_object_get(plan->norm, "inputs"), *input;
        const char *name;

        if (!given)
                return -ENOMEM;
        json_object_foreach (declared, name, input) {
                json_t *value = json_object_get(input, "default");

                (void) json_object_set_new(given, name,
                                           value ? json_incref(value) : json_string(name));
        }
        if (plan_inputs(plan, given, &inputs, NULL) < 0)
                inputs = json_incref(given);
        return job_def_new(plan, inputs, false, ret, NULL);
}

static int describe(const Engine *e, Plan *plan, const char *path, const char *text,
                    const json_t *faults, json_t **ret) {
        _cleanup_(job_def_unrefp) JobDef *def = NULL;
        static const char *const sections[] = {"title", "about", "inputs", "secrets"};
        json_auto_t *view = NULL, *unsupported = NULL;
        const char *name = args_text(plan->norm, "plan", "");

        if (def_for_looking(plan, &def) < 0 ||
            plan_unsupported(plan, e->bus != NULL, &unsupported) < 0)
                return -ENOMEM;
        view = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:O*, s:O*}", "plan", name,
                         "target", args_text(plan->norm, "target", name), "file", path, "sha256",
                         plan->sha256, "text", text, "steps", plan_steps(def), "gates",
                         plan_gates(def), "strategies", plan_strategies(plan), "faults", faults,
                         "unsupported", unsupported);
        if (!view)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(sections); i++)
                if (json_object_get(plan->norm, sections[i]))
                        (void) json_object_set(view, sections[i],
                                               json_object_get(plan->norm, sections[i]));
        if (json_object_get(json_object_get(plan->norm, "window"), "expected"))
                (void) json_object_set(
                        view, "expected",
                        json_object_get(json_object_get(plan->norm, "window"), "expected"));
        *ret = TAKE(view);
        return 0;
}

int engine_plan(Engine *e, const char *name, json_t **ret, Error *reterr) {
        _cleanup_free_ char *path = NULL, *text = NULL;
        _cleanup_plan_ Plan *plan = NULL;
        json_auto_t *faults = NULL;
        size_t size = 0;
        int r;

        r = plan_file_find(e, name, &path, &text, &size, reterr);
        if (r < 0)
                return r;
        r = plan_parse(path, text, size, &plan, &faults);
        if (r < 0) {
                r = error_set(reterr, EINVAL, "bad-plan", "The plan %s has errors", path);
                error_detail(reterr, "faults", json_incref(faults));
                return r;
        }
        return describe(e, plan, path, text, faults, ret) < 0 ? error_oom(reterr) : 0;
}

int engine_check(Engine *e, const char *file, const char *text, size_t size, json_t **ret,
                 Error *reterr) {
        json_auto_t *faults = NULL, *unsupported = NULL, *view = NULL;
        _cleanup_plan_ Plan *plan = NULL;

        if (plan_parse(file ? file : "document", text, size, &plan, &faults) < 0 && !faults)
                return error_oom(reterr);
        if (!faults || (plan && plan_unsupported(plan, e->bus != NULL, &unsupported) < 0))
                return error_oom(reterr);
        if (!unsupported)
                unsupported = json_array();
        view = json_pack("{s:b, s:O, s:O}", "ok", plan != NULL, "faults", faults, "unsupported",
                         unsupported);
        if (!view)
                return error_oom(reterr);
        if (plan) {
                (void) json_put(view, "plan", json_string(args_text(plan->norm, "plan", "")));
                (void) json_put(view, "sha256", json_string(plan->sha256));
        }
        *ret = TAKE(view);
        return 0;
}
