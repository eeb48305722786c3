/* SPDX-License-Identifier: MIT */
/*
 * Names: every `${…}`, every name in an expression and every reference to a step, service, database
 * or project is judged here, when the whole plan is known.
 */
#include "daemon/plan/decode.h"

/* ---- steps by id ---- */

/* A step of the way forward: only those have outputs and an undo. */
static bool is_outer(const StepInfo *s) {
        return s->phase == PHASE_MAIN || s->phase == PHASE_FINALISE;
}

static ssize_t find_step(const Decoder *d, const char *id) {
        const json_t *i = json_object_get(d->index, id);

        return i ? (ssize_t) json_integer_value(i) : -1;
}

static bool is_inside(const Decoder *d, ssize_t step, ssize_t group) {
        for (; step >= 0; step = d->steps[step].parent)
                if (step == group)
                        return true;
        return false;
}

/* The innermost group that holds both, or -1. */
static ssize_t common_group(const Decoder *d, ssize_t a, ssize_t b) {
        for (ssize_t g = d->steps[a].parent; g >= 0; g = d->steps[g].parent)
                if (is_inside(d, b, g))
                        return g;
        return -1;
}

/* Why a value at `sc` cannot know the outcome of `step`, or NULL. */
static const char *cannot_see(const Decoder *d, const Scope *sc, ssize_t step) {
        ssize_t group;

        if (sc->step < 0)
                return NULL;
        if (step == sc->step)
                return sc->own ? NULL : "is this step itself, which has not run yet";
        if (is_inside(d, sc->step, step))
                return "is a group around this step, which has not ended yet";
        if (step > sc->step && !(sc->own && is_inside(d, step, sc->step)))
                return "comes later";
        if (is_inside(d, step, sc->step))
                return NULL;
        group = common_group(d, step, sc->step);
        if (group >= 0 && d->steps[group].verb &&
            streq(d->steps[group].verb->spec.name, "parallel"))
                return "runs side by side with this one";
        return NULL;
}

/* ---- faults ---- */

void use_fault(Decoder *d, const Use *u, const char *code, const char *hint, const char *format,
               ...) {
        _cleanup_free_ char *message = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&message, format, ap);
        va_end(ap);
        if (n < 0) {
                message = NULL;
                d->faults->oom = true;
        } else if (u->at_key)
                fault_key(d->faults, u->node, code, hint, "%s", message);
        else
                fault(d->faults, u->node, code, hint, "%s", message);
}

/* A name as it is written at its place. */
static char *spell(const Use *u) {
        return u->kind == USE_NAME ? strf("${%s}", u->name) : strdup(u->name);
}

/* "did you mean": over the names of a JSON object. */
static char *near_key(const char *word, const json_t *object) {
        _cleanup_free_ const char **names = NULL;
        const char *key;
        json_t *value;
        size_t n = 0;

        names = calloc(json_object_size(object) + 1, sizeof(*names));
        if (!names)
                return NULL;
        json_object_foreach ((json_t *) object, key, value)
                names[n++] = key;
        return did_you_mean(word, names, n);
}

static char *near_step(const Decoder *d, const char *word) {
        _cleanup_free_ const char **names = calloc(d->n_steps + 1, sizeof(*names));
        size_t n = 0;

        for (size_t i = 0; names && i < d->n_steps; i++)
                if (d->steps[i].id && is_outer(&d->steps[i]))
                        names[n++] = d->steps[i].id;
        return names ? did_you_mean(word, names, n) : NULL;
}

static char *near_word(const char *word, const char *const *words) {
        size_t n = 0;

        while (words[n])
                n++;
        return did_you_mean(word, words, n);
}

static bool has_word(const char *const *words, const char *word) {
        for (; words && *words; words++)
                if (streq(*words, word))
                        return true;
        return false;
}

/* ---- where secrets may stand ---- */

static void check_secret(Decoder *d, const Use *u) {
        _cleanup_free_ char *name = spell(u);

        if (u->secret_ok && !u->script)
                return;
        use_fault(d, u, "secret-place", "pass it by 'env' or 'stdin'",
                  "%s is a secret and stands in '%s', where others could read it; secrets stand "
                  "only in env, stdin, answers, http headers and bodies, databases, stores, helm "
                  "set and hooks",
                  name ? name : u->name, u->scope.field);
}

static bool is_secret_output(const StepInfo *s, const char *key) {
        const json_t *save = json_object_get(json_object_get(s->norm, "args"), "save");

        return json_is_true(json_object_get(json_object_get(save, key), "secret"));
}

/* ---- one name ---- */

static void resolve_section(Decoder *d, const Use *u, const json_t *section, const char *key,
                            const char *what) {
        _cleanup_free_ char *hint = NULL, *name = spell(u);

        if (json_object_get(section, key))
                return;
        hint = near_key(key, section);
        use_fault(d, u, "undefined-name", hint, "%s: there is no %s '%s'", name ? name : u->name,
                  what, key);
}

static void resolve_output(Decoder *d, const Use *u, const char *rest) {
        const char *dot = strchr(rest, '.'), *why;
        _cleanup_free_ char *id = strndup(rest, dot ? (size_t) (dot - rest) : strlen(rest));
        _cleanup_free_ char *hint = NULL, *name = spell(u);
        const json_t *save;
        const StepInfo *s;
        ssize_t step;

        if (!id || !name)
                return;
        step = find_step(d, id);
        if (step < 0 || !dot) {
                hint = step < 0 ? near_step(d, id) : strf("steps.%s.state, for example", id);
                use_fault(d, u, "undefined-name", hint,
                          step < 0 ? "%s: there is no step '%s'" : "%s names no output of '%s'",
                          name, id);
                return;
        }
        s = &d->steps[step];
        why = cannot_see(d, &u->scope, step);
        if (why)
                use_fault(d, u, "not-yet", NULL, "%s: the step '%s' %s", name, id, why);
        save = json_object_get(json_object_get(s->norm, "args"), "save");
        if (is_secret_output(s, dot + 1))
                check_secret(d, u);
        if (has_word(step_outputs, dot + 1) || json_object_get(save, dot + 1) ||
            (s->verb && (s->verb->any_output || has_word(s->verb->outputs, dot + 1))))
                return;
        hint = s->verb && s->verb->outputs ? near_word(dot + 1, s->verb->outputs) : NULL;
        use_fault(d, u, "undefined-name", hint, "%s: '%s' has no output '%s'", name,
                  s->verb ? s->verb->spec.name : "undo", dot + 1);
}

static void resolve_db(Decoder *d, const Use *u, const json_t *norm, const char *rest) {
        const char *dot = strchr(rest, '.');
        _cleanup_free_ char *key = strndup(rest, dot ? (size_t) (dot - rest) : strlen(rest));
        const json_t *databases = json_object_get(norm, "databases"), *url;

        if (!key)
                return;
        resolve_section(d, u, databases, key, "database");
        url = json_object_get(json_object_get(databases, key), "url");
        if (url && strstr(json_string_value(url), "${secret."))
                check_secret(d, u);
        if (!streq0(dot, ".url"))
                use_fault(d, u, "undefined-name", NULL, "${%s}: a database has the name 'url' only",
                          u->name);
}

static unsigned name_space(const char *name) {
        static const struct {
                const char *prefix;
                NameSpace bit;
        } spaces[] = {{"in.", NS_IN},
                      {"secret.", NS_SECRET},
                      {"db.", NS_DB},
                      {"steps.", NS_STEPS},
                      {"job.", NS_JOB}};

        for (size_t i = 0; i < ELEMENTSOF(spaces); i++)
                if (startswith(name, spaces[i].prefix))
                        return spaces[i].bit;
        return 0;
}

static bool script_refuses(const char *name, unsigned space) {
        return space != NS_JOB || streq(name, "job.target");
}

/* What is wrong with the kind of name at its place. True if a fault was told. */
static bool refuse_space(Decoder *d, const Use *u, unsigned space) {
        _cleanup_free_ char *name = spell(u), *hint = NULL;

        if (!name)
                return true;
        if (space == 0) {
                hint = u->kind == USE_NAME ? strf("$%s gives these characters as they are", name)
                                           : NULL;
                use_fault(d, u, "undefined-name", hint,
                          "%s: expected a name that begins with in., secret., db., steps. or job.",
                          name);
                return true;
        }
        if (u->script && script_refuses(u->name, space)) {
                use_fault(d, u, "template-in-script",
                          "pass it by 'env' and write \"$NAME\" in the script",
                          "%s stands in the script of a shell, which would read its value as code",
                          name);
                return true;
        }
        if (space == NS_SECRET && !u->secret_ok) {
                check_secret(d, u);
                return true;
        }
        if (u->scope.names & space)
                return false;
        if (u->kind == USE_EXPRESSION && !(space & (NS_IN | NS_STEPS))) {
                use_fault(d, u, "undefined-name", NULL,
                          "%s: an expression knows in.NAME and steps.ID.OUTPUT only", name);
                return true;
        }
        use_fault(d, u, "not-yet", NULL, "%s cannot be used in '%s', where it has no value yet",
                  name, u->scope.field);
        return true;
}

static void resolve_name(Decoder *d, const Use *u, const json_t *norm) {
        unsigned space = name_space(u->name);
        const char *rest = strchr(u->name, '.');
        _cleanup_free_ char *hint = NULL;

        if (refuse_space(d, u, space))
                return;
        rest++;
        switch (space) {
        case NS_IN:
                resolve_section(d, u, json_object_get(norm, "inputs"), rest, "input");
                if (u->scope.input >= 0)
                        resolve_input(d, u, rest);
                return;
        case NS_SECRET:
                resolve_section(d, u, json_object_get(norm, "secrets"), rest, "secret");
                return;
        case NS_DB: resolve_db(d, u, norm, rest); return;
        case NS_STEPS: resolve_output(d, u, rest); return;
        default:
                if (has_word(job_names, rest))
                        return;
                hint = near_word(rest, job_names);
                use_fault(d, u, "undefined-name", hint,
                          "${%s}: a job has id, dir, stamp, date, took, target and plan", u->name);
        }
}

/* ---- references ---- */

static void resolve_step(Decoder *d, const Use *u) {
        ssize_t step = find_step(d, u->name);
        const char *verb = u->kind == USE_BACKUP_STEP || u->kind == USE_BACKUP ? "backup"
                           : u->kind == USE_SQL_STEP                           ? "sql"
                                                                               : NULL;
        _cleanup_free_ char *hint = NULL;
        const char *why;

        if (step < 0) {
                hint = near_step(d, u->name);
                if (u->kind == USE_BACKUP && !hint)
                        hint = strdup("a backup made earlier is named by an input of type backup");
                use_fault(d, u, "unknown-step", hint,
                          "'%s' names the step '%s', which is not there", u->scope.field, u->name);
                return;
        }
        if (verb && !(d->steps[step].verb && streq(d->steps[step].verb->spec.name, verb)))
                use_fault(d, u, "wrong-step", NULL, "'%s' names '%s', which is not a %s step",
                          u->scope.field, u->name, verb);
        why = u->kind == USE_ANY_STEP ? NULL : cannot_see(d, &u->scope, step);
        if (why)
                use_fault(d, u, "not-yet", NULL, "'%s' names the step '%s', which %s",
                          u->scope.field, u->name, why);
        if (u->kind == USE_REVERT && verb_undo(d->steps[step].norm) == UNDO_NOTHING &&
            !json_is_array(json_object_get(d->steps[step].norm, "undo")))
                use_fault(d, u, "wrong-step", NULL, "'%s' has nothing to undo", u->name);
}

static void resolve_reference(Decoder *d, const Use *u, const json_t *norm, const char *section,
                              const char *what) {
        _cleanup_free_ char *name = strndup(u->name, strcspn(u->name, "/")), *hint = NULL;
        const json_t *entries = json_object_get(norm, section);

        if (!name || json_object_get(entries, name))
                return;
        hint = near_key(name, entries);
        use_fault(d, u, "unknown-reference", hint, "'%s' names the %s '%s', which is not in '%s'",
                  u->scope.field, what, name, section);
}

static void resolve_strategy(Decoder *d, const Use *u, const json_t *norm) {
        bool gate = streq(u->scope.field, "on_timeout");
        _cleanup_free_ char *hint = NULL;

        if (streq(u->name, "full") || streq(u->name, "hold") ||
            (gate && (streq(u->name, "rollback") || streq(u->name, "continue"))) ||
            json_object_get(json_object_get(norm, "rollbacks"), u->name))
                return;
        hint = near_key(u->name, json_object_get(norm, "rollbacks"));
        use_fault(d, u, "unknown-strategy", hint,
                  "'%s' names the strategy '%s', expected full, hold%s or a name of 'rollbacks'",
                  u->scope.field, u->name, gate ? ", rollback, continue" : "");
}

void resolve_uses(Decoder *d, const json_t *norm) {
        /* Beyond the last fault that is shown, nothing is worth the search for near names. */
        for (size_t i = 0; i < d->n_uses && d->faults->n_errors < FAULTS_MAX; i++) {
                const Use *u = &d->uses[i];

                switch (u->kind) {
                case USE_NAME:
                case USE_EXPRESSION: resolve_name(d, u, norm); break;
                case USE_SERVICE: resolve_reference(d, u, norm, "services", "service"); break;
                case USE_DATABASE: resolve_reference(d, u, norm, "databases", "database"); break;
                case USE_COMPOSE: resolve_reference(d, u, norm, "compose", "project"); break;
                case USE_STRATEGY: resolve_strategy(d, u, norm); break;
                case USE_STEP:
                case USE_SQL_STEP:
                case USE_BACKUP_STEP:
                case USE_BACKUP:
                case USE_REVERT:
                case USE_ANY_STEP: resolve_step(d, u); break;
                }
        }
}
