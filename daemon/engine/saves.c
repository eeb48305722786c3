/* SPDX-License-Identifier: MIT */
/*
 * What a plan's steps will keep for the way back, taken out of the plan before anything has begun:
 * the check "way-back" measures it (daemon/step/estimate.h). A save is
 *   {"step", "verb", "cwd": [TEXT, …], "when": [EXPRESSION, …], "args": {…},
 *    "restored"?: true     something of the way back restores this backup
 *    "uses"?: NAME}        the output of a step that has not run yet: nothing can be said of it
 * with the folders and conditions from the plan's down to the step's own, and only those arguments
 * that say what is kept and where.
 */
#include "api/args.h"
#include "daemon/engine/def.h"
#include "daemon/plan/expand.h"

typedef struct Saver {
        const char *verb;
        const char *args[7];
        bool (*keeps)(const json_t *args); /* whether it keeps something with these; NULL: always */
} Saver;

/* New images beside those that the way back may need. */
static bool makes_images(const json_t *args) {
        const char *first = json_string_value(json_array_get(json_object_get(args, "args"), 0));

        return streq0(first, "pull") || streq0(first, "build");
}

/* Verbs that keep something. A program's own text (`run`) says nothing about sizes. */
static const Saver savers[] = {
        {"backup", {"db", "files", "dir", "stdout", "to", "prove"}},
        {"snapshot", {"paths"}},
        {"copy", {"from", "to"}},
        {"write", {"to"}},
        {"append", {"to"}},
        {"remove", {"paths"}},
        {"switch", {"path"}},
        {"fetch", {"url", "to", "unpack"}},
        {"git", {"dir"}},
        {"compose", {"project", "args"}, makes_images},
};

typedef struct Walk {
        const Plan *plan;
        json_t *list;
        unsigned steps;
} Walk;

static const Saver *saver_of(const json_t *norm) {
        const char *verb = args_text(norm, "verb", "");
        const json_t *args = json_object_get(norm, "args");

        for (size_t i = 0; i < ELEMENTSOF(savers); i++)
                if (streq(verb, savers[i].verb))
                        return !savers[i].keeps || savers[i].keeps(args) ? &savers[i] : NULL;
        return NULL;
}

static json_t *args_of(const Saver *saver, const json_t *args) {
        json_t *some = json_object();

        for (size_t i = 0; some && i < ELEMENTSOF(saver->args) && saver->args[i]; i++)
                if (json_object_get(args, saver->args[i]))
                        (void) json_object_set(some, saver->args[i],
                                               json_object_get(args, saver->args[i]));
        if (some && json_object_get(args, "run"))
                (void) json_put(some, "run", json_true());
        return some;
}

/* The value with one more at its end, for the steps inside. NULL: out of memory. */
static json_t *with(const json_t *list, const json_t *norm, const char *key) {
        json_t *longer = json_copy((json_t *) list);
        const char *text = args_text(norm, key, NULL);

        /* An expression that looks like a template would be taken for one. */
        if (longer && text && !(streq(key, "when") && strstr(text, "${")) &&
            json_array_append_new(longer, json_string(text)) < 0) {
                json_decref(longer);
                return NULL;
        }
        return longer;
}

/* Does this restore the backup? */
static bool is_restore_of(const json_t *value, const void *id) {
        return streq(args_text(value, "verb", ""), "restore") &&
               streq(args_text(json_object_get(value, "args"), "from", ""), id);
}

/* The first output of another step that it uses, or NULL. Borrowed from `names`. */
static const char *output_used(const json_t *names) {
        json_t *name;
        size_t i;

        json_array_foreach ((json_t *) names, i, name)
                if (startswith(json_string_value(name), "steps."))
                        return json_string_value(name);
        return NULL;
}

static int add_save(Walk *w, const Saver *saver, const json_t *norm, json_t *cwd, json_t *when) {
        json_auto_t *args = args_of(saver, json_object_get(norm, "args")), *names = NULL;
        json_auto_t *used = json_pack("[O,O]", cwd, args), *save = NULL;
        const char *uses;

        if (!args || !used || plan_names_used(used, &names) < 0)
                return -ENOMEM;
        uses = output_used(names);
        if (uses && (json_object_clear(args) < 0 || json_array_clear(cwd) < 0))
                return -ENOMEM;
        save = json_pack("{s:O, s:s, s:O, s:O, s:O, s:s*}", "step", json_object_get(norm, "id"),
                         "verb", saver->verb, "cwd", cwd, "when", when, "args", args, "uses", uses);
        if (save && streq(saver->verb, "backup") &&
            norm_any(w->plan->norm, is_restore_of, args_text(norm, "id", "")))
                (void) json_put(save, "restored", json_true());
        return save ? json_array_append(w->list, save) : -ENOMEM;
}

static int walk(Walk *w, const json_t *steps, const json_t *outer_cwd, const json_t *outer_when) {
        const json_t *norm;
        size_t i;

        json_array_foreach ((json_t *) steps, i, norm) {
                json_auto_t *cwd = with(outer_cwd, norm, "cwd");
                json_auto_t *when = with(outer_when, norm, "when");
                const Saver *saver = saver_of(norm);
                int r = 0;

                if (!cwd || !when)
                        return -ENOMEM;
                w->steps++;
                if (verb_class(norm) == VERB_GROUP)
                        r = walk(w, json_object_get(json_object_get(norm, "args"), "steps"), cwd,
                                 when);
                else if (saver)
                        r = add_save(w, saver, norm, cwd, when);
                if (r < 0)
                        return -ENOMEM;
        }
        return 0;
}

static json_t *check_of(json_t *args) {
        return json_pack("{s:s, s:s, s:s, s:s, s:o}", "check", WAY_BACK_CHECK, "name",
                         WAY_BACK_CHECK, "override", WAY_BACK_CHECK, "timeout", "10m", "args",
                         args);
}

int plan_way_back_check(const Plan *plan, json_t **ret) {
        json_auto_t *none = json_array(), *list = json_array(), *cwd = NULL;
        Walk w = {.plan = plan, .list = list};

        cwd = none ? with(none, plan->norm, "cwd") : NULL;
        if (!cwd || !list)
                return -ENOMEM;
        if (walk(&w, json_object_get(plan->norm, "steps"), cwd, none) < 0)
                return -ENOMEM;
        if (json_array_size(list) == 0)
                return 0;
        *ret = check_of(json_pack("{s:O, s:i}", "saves", list, "steps", (int) w.steps));
        return *ret ? 1 : -ENOMEM;
}

json_t *save_check_again(const json_t *save) {
        return check_of(json_pack("{s:[O], s:b}", "saves", save, "again", 1));
}

const json_t *job_def_save(const JobDef *def, const char *step) {
        const json_t *save;
        size_t i;

        json_array_foreach ((json_t *) def->saves, i, save)
                if (streq0(args_text(save, "step", NULL), step))
                        return save;
        return NULL;
}
