/* SPDX-License-Identifier: MIT */
/*
 * Which way back: what on_failure says for a stretch, what each strategy keeps, undoes and loses. A
 * strategy that loses data is never begun by itself unless on_failure names it.
 */
#include <time.h>

#include "api/args.h"
#include "daemon/engine/turn.h"
#include "daemon/plan/expand.h"

Choice strategy_for(const Job *job, unsigned idx) {
        const json_t *norm = job->def->plan->norm;
        const json_t *entries = json_object_get(norm, "on_failure"), *value;
        /* Only what the plan itself wrote counts as naming. */
        const json_t *written = json_object_get(job->def->plan->source, "on_failure");
        const char *text = args_text(entries, "default", "full"), *key;
        Choice choice = {.stretch = "default"};
        int best = -1;

        choice.named = json_is_string(json_object_get(written, "default"));
        json_object_foreach ((json_t *) entries, key, value) {
                int from = streq(key, "default") ? -1 : job_def_find(job->def, key);

                if (from < 0 || from > (int) idx || from <= best || !json_is_string(value))
                        continue;
                best = from;
                text = json_string_value(value);
                choice.stretch = key;
                choice.named = true;
        }
        choice.strategy = streq(text, "hold") ? NULL : text;
        return choice;
}

int strategy_find(const Job *job, const char *name, const json_t **ret) {
        const json_t *s = json_object_get(json_object_get(job->def->plan->norm, "rollbacks"), name);

        if (!s && !streq(name, "full"))
                return -ENOENT;
        *ret = s;
        return 0;
}

int strategy_allowed(const Turn *t, const Job *job, const json_t *strategy, Error *reterr) {
        const char *when = args_text(strategy, "when", NULL);
        json_auto_t *scope = NULL;
        int r;

        if (!when)
                return 0;
        if (job_scope(t, job, &scope) < 0)
                return error_oom(reterr);
        r = expr_eval(when, scope, reterr);
        if (r > 0)
                return 0;
        return error_set(reterr, EPERM, "not-now", "The strategy is allowed only when %s%s%s", when,
                         r < 0 && reterr && reterr->message ? ": " : "",
                         r < 0 && reterr && reterr->message ? reterr->message : "");
}

bool strategy_keeps(const Job *job, const json_t *strategy, unsigned idx) {
        const json_t *keep = json_object_get(strategy, "keep");

        for (int i = (int) idx; i >= 0; i = job->def->steps[i].parent)
                if (json_has_text(keep, job->def->steps[i].id))
                        return true;
        return false;
}

/* What is written for a group, as its undo or by the strategy, stands for its members'. */
static bool member_of_written(const Job *job, const json_t *strategy, unsigned idx) {
        const json_t *instead = json_object_get(strategy, "instead");

        for (int i = job->def->steps[idx].parent; i >= 0; i = job->def->steps[i].parent)
                if (json_object_get(job->def->steps[i].norm, "undo") ||
                    json_object_get(instead, job->def->steps[i].id))
                        return true;
        return false;
}

static bool to_undo(const Job *job, const json_t *strategy, unsigned idx) {
        const StepState *s = &job->steps[idx];

        return job->def->steps[idx].phase == PHASE_MAIN && s->begun && s->status != STEP_UNDONE &&
               !json_object_get(s->more, "left") && !member_of_written(job, strategy, idx);
}

int strategy_next(const Job *job, const json_t *strategy) {
        int best = -ENOENT;

        for (unsigned i = 0; i < job->def->n_steps; i++)
                if (to_undo(job, strategy, i) &&
                    (best < 0 || job->steps[i].order > job->steps[best].order))
                        best = (int) i;
        return best;
}

static bool list_restores(const json_t *list) {
        const json_t *norm;
        size_t i;

        json_array_foreach ((json_t *) list, i, norm) {
                if (streq0(args_text(norm, "verb", NULL), "restore") ||
                    list_restores(json_object_get(json_object_get(norm, "args"), "steps")))
                        return true;
        }
        return false;
}

static bool verb_serves(const json_t *norm) {
        static const char *const verbs[] = {"start", "compose", "switch", "helm", "revert"};
        const char *verb = args_text(norm, "verb", "");

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (streq(verbs[i], verb))
                        return true;
        return false;
}

static bool stopped_before(const Job *job, unsigned idx) {
        for (unsigned i = 0; i < job->def->n_steps; i++) {
                const char *verb = args_text(job->def->steps[i].norm, "verb", "");

                if (job->steps[i].begun && job->steps[i].order < job->steps[idx].order &&
                    (streq(verb, "stop") || streq(verb, "compose")))
                        return true;
        }
        return false;
}

/* When services may first have written after data came to be at risk: at once if nothing was
 * stopped before it, else when the earliest later step brought services up. 0: not yet. */
static int64_t writes_since(const Job *job, const json_t *strategy) {
        int64_t since = 0;

        for (unsigned i = 0; i < job->def->n_steps; i++) {
                const json_t *instead = json_object_get(json_object_get(strategy, "instead"),
                                                        job->def->steps[i].id);
                const json_t *undo =
                        instead ? instead : json_object_get(job->def->steps[i].norm, "undo");

                if (!to_undo(job, strategy, i) || strategy_keeps(job, strategy, i) ||
                    !list_restores(undo))
                        continue;
                if (!stopped_before(job, i))
                        since = since == 0 ? job->steps[i].started
                                           : MIN(since, job->steps[i].started);
                for (unsigned k = 0; k < job->def->n_steps; k++) {
                        const StepState *s = &job->steps[k];

                        if (s->begun && s->order > job->steps[i].order && s->started > 0 &&
                            verb_serves(job->def->steps[k].norm) &&
                            (since == 0 || s->started < since))
                                since = s->started;
                }
        }
        return since;
}

/* Does the engine itself see when data is at risk? Only where an undo of the plan restores. */
static bool plan_restores(const Job *job) {
        for (unsigned i = 0; i < job->def->n_steps; i++)
                if (list_restores(json_object_get(job->def->steps[i].norm, "undo")))
                        return true;
        return false;
}

/* What the plan says of `full` counts once something may have been written; where no undo restores
 * nobody can see when that is, so then it counts from the start. */
bool strategy_loses_data(const Job *job, const char *name) {
        const json_t *strategy = NULL;
        const char *said;

        if (strategy_find(job, name, &strategy) < 0)
                return true;
        said = args_text(strategy, "loses", NULL);
        if (said)
                return !streq(said, "nothing") && (!streq(name, "full") || !plan_restores(job) ||
                                                   writes_since(job, strategy) > 0);
        return writes_since(job, strategy) > 0;
}

char *strategy_loses(const Job *job, const char *name) {
        const json_t *strategy = NULL;
        const char *said;

        if (strategy_find(job, name, &strategy) < 0)
                return strdup("unknown");
        said = args_text(strategy, "loses", NULL);
        if (said)
                return strdup(said);
        return strdup(writes_since(job, strategy) > 0 ? "what was written since the services came "
                                                        "up again"
                                                      : "nothing");
}

static json_t *lost_view(const Job *job, const json_t *strategy) {
        int64_t since = writes_since(job, strategy);
        _cleanup_free_ char *length = NULL;
        char time[TIME_TEXT_MAX];

        if (since == 0)
                return NULL;
        length = duration_format((job_now(job) - since) / 1000 * 1000);
        return length ? json_pack("{s:s, s:s}", "since", time_format(since, time), "for", length)
                      : NULL;
}

json_t *strategy_pending(const Job *job, const json_t *strategy) {
        json_t *list = json_array();
        unsigned below = UINT32_MAX;

        for (;;) {
                _cleanup_free_ char *what = NULL;
                int best = -1;

                for (unsigned i = 0; i < job->def->n_steps; i++) {
                        unsigned order = job->steps[i].order;

                        if (to_undo(job, strategy, i) && order < below &&
                            (best < 0 || order > job->steps[best].order))
                                best = (int) i;
                }
                if (best < 0)
                        return list;
                below = job->steps[best].order;
                if (strategy_keeps(job, strategy, (unsigned) best))
                        continue;
                what = undo_words(job, (unsigned) best, strategy);
                if (!what || streq(what, "nothing"))
                        continue;
                (void) json_array_append_new(
                        list, json_pack("{s:s, s:s*, s:s}", "step", job->def->steps[best].id,
                                        "title", job->def->steps[best].title, "what", what));
        }
}

static int strategy_view(const Job *job, const char *name, const json_t *strategy, json_t *list) {
        _cleanup_free_ char *loses = strategy_loses(job, name);
        json_t *view = json_pack("{s:s, s:s, s:o}", "name", name, "loses", loses ? loses : "",
                                 "undo", strategy_pending(job, strategy));
        json_t *lost = lost_view(job, strategy);
        static const char *const keys[] = {"situations", "keep", "type"};

        if (!view)
                return -ENOMEM;
        if (lost)
                (void) json_put(view, "lost", lost);
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (json_object_get(strategy, keys[i]))
                        (void) json_object_set(view, keys[i], json_object_get(strategy, keys[i]));
        return json_array_append_new(list, view) < 0 ? -ENOMEM : 0;
}

int strategies_view(const Turn *t, const Job *job, json_t **ret) {
        json_t *declared = json_object_get(job->def->plan->norm, "rollbacks"), *strategy;
        json_auto_t *list = json_array();
        const char *name;
        int r = 0;

        if (!list)
                return -ENOMEM;
        if (!json_object_get(declared, "full"))
                r = strategy_view(job, "full", NULL, list);
        json_object_foreach (declared, name, strategy) {
                if (r >= 0 && strategy_allowed(t, job, strategy, NULL) >= 0)
                        r = strategy_view(job, name, strategy, list);
        }
        if (r < 0)
                return r;
        *ret = TAKE(list);
        return 0;
}
