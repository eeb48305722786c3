/* SPDX-License-Identifier: MIT */
/*
 * What went wrong with a job and where it stands on its way back, for whoever is called at night:
 * the failure with its last lines and its hint, why it went back at all, what was undone, what is
 * still to be undone and in which order, what was left, what runs now, and what can be typed next.
 */
#include "api/args.h"
#include "daemon/engine/turn.h"

/* Services that are believed to run now, from what stop and start steps said they did. */
static json_t *running_now(const Job *job) {
        json_auto_t *set = json_object();
        json_t *list = json_array(), *name;
        unsigned last = 0;
        const char *key;
        size_t n;

        for (;;) {
                int next = -1;
                const StepState *s;
                bool stop, undone;
                json_t *names;

                for (unsigned i = 0; i < job->def->n_steps; i++)
                        if (job->steps[i].order > last &&
                            (next < 0 || job->steps[i].order < job->steps[next].order))
                                next = (int) i;
                if (next < 0)
                        break;
                s = &job->steps[next];
                last = s->order;
                stop = streq(args_text(job->def->steps[next].norm, "verb", ""), "stop");
                undone = s->status == STEP_UNDONE;
                names = json_object_get(s->outputs, stop ? "ran" : "started");
                json_array_foreach (names, n, name) {
                        if (!json_is_string(name))
                                continue;
                        if (stop == undone)
                                (void) json_object_set_new(set, json_string_value(name),
                                                           json_true());
                        else
                                (void) json_object_del(set, json_string_value(name));
                }
        }
        json_object_foreach (set, key, name) {
                (void) json_array_append_new(list, json_string(key));
        }
        return list;
}

/* ---- the way back ---- */

static bool was_undone(const Job *job, unsigned idx) {
        const StepState *s = &job->steps[idx];

        return s->status == STEP_UNDONE && s->direction == DIRECTION_UNDO &&
               !json_object_get(s->more, "left");
}

static bool was_left(const Job *job, unsigned idx) {
        return json_object_get(job->steps[idx].more, "left") != NULL;
}

static bool is_of_main_line(const Job *job, unsigned idx) {
        Phase phase = job->def->steps[idx].phase;

        return (phase == PHASE_MAIN && job->steps[idx].begun) || phase == PHASE_THEN;
}

/* Steps that fit, in the order of the way back. */
static json_t *back_list(const Job *job, bool (*fits)(const Job *job, unsigned idx)) {
        json_t *list = json_array();
        unsigned below = UINT32_MAX;

        for (;;) {
                const StepDef *def;
                int best = -1;

                for (unsigned i = 0; i < job->def->n_steps; i++) {
                        unsigned order = job->steps[i].order;

                        if (is_of_main_line(job, i) && order < below && fits(job, i) &&
                            (best < 0 || order > job->steps[best].order))
                                best = (int) i;
                }
                if (best < 0)
                        return list;
                below = job->steps[best].order;
                def = &job->def->steps[best];
                (void) json_array_append_new(
                        list, json_pack("{s:s, s:s*, s:O*}", "step", def->id, "title", def->title,
                                        "why", json_object_get(job->steps[best].more, "left")));
        }
}

/* `then` of the strategy comes last of all. */
static void add_then(const Job *job, const char *name, json_t *pending) {
        _cleanup_free_ char *id = strf("@then.%s", name);
        int idx = id ? job_def_find(job->def, id) : -1;

        if (idx >= 0 && job->steps[idx].status != STEP_DONE &&
            job->steps[idx].status != STEP_SKIPPED)
                (void) json_array_append_new(pending,
                                             json_pack("{s:s, s:s}", "step", id, "what",
                                                       "what the strategy does afterwards"));
}

json_t *job_back(const Job *job) {
        const char *name = args_text(job->facts, "strategy", NULL);
        const json_t *strategy = NULL;
        json_t *pending, *back;

        if (!name)
                return NULL;
        if (strategy_find(job, name, &strategy) < 0)
                strategy = NULL;
        if (job->state == JOB_STUCK || job->state == JOB_ROLLING_BACK) {
                pending = strategy_pending(job, strategy);
                add_then(job, name, pending);
        } else
                pending = json_array();
        back = json_pack("{s:s, s:o, s:o, s:o}", "strategy", name, "undone",
                         back_list(job, was_undone), "left", back_list(job, was_left), "pending",
                         pending);
        return back;
}

static json_t *ids_of(const json_t *entries) {
        json_t *ids = json_array(), *entry;
        size_t i;

        json_array_foreach ((json_t *) entries, i, entry) {
                (void) json_array_append(ids, json_object_get(entry, "step"));
        }
        return ids;
}

/* ---- what to type next ---- */

/* Inputs that are not the plan's defaults, so that the line does the same when it is typed. */
static char *start_again(const Job *job) {
        char *line = strf("updctl start %s", args_text(job->def->plan->norm, "plan", ""));
        json_t *declared = json_object_get(job->def->plan->norm, "inputs"), *value;
        const char *name;

        json_object_foreach (job->def->inputs, name, value) {
                json_t *fallback = json_object_get(json_object_get(declared, name), "default");
                _cleanup_free_ char *text = json_is_string(value)
                                                    ? strdup(json_string_value(value))
                                                    : json_dumps(value, JSON_ENCODE_ANY);
                bool plain = text && !text[strcspn(text, " \t\n'\"\\$`!*?[]{}()<>|&;#~")];
                char *longer;

                if (!line || !text || json_equal(value, fallback))
                        continue;
                longer = strf("%s -i %s%s=%s%s", line, plain ? "" : "'", name, text,
                              plain ? "" : "'");
                free(line);
                line = longer;
        }
        return line;
}

/* Steals both texts. */
static void choice_add(json_t *list, char *command, char *does) {
        if (command && does)
                (void) json_array_append_new(
                        list, json_pack("{s:s, s:s}", "command", command, "does", does));
        free(command);
        free(does);
}

static char *names_of(const json_t *entries, size_t from) {
        char *names = strdup("");

        for (size_t i = from; names && i < json_array_size(entries); i++) {
                const char *step = args_text(json_array_get(entries, i), "step", "?");
                char *longer = strf("%s%s%s", names, *names ? ", " : "", step);

                free(names);
                names = longer;
        }
        return names;
}

/* " --secret NAME=@FILE" for each secret whose lack made the undo fail. */
static char *secrets_wanted(const Job *job, int idx) {
        json_t *error = json_object_get(job->steps[idx].result, "error"), *name;
        char *options = strdup("");
        size_t i;

        json_array_foreach (json_object_get(json_object_get(error, "details"), "secrets"), i,
                            name) {
                char *longer =
                        options ? strf("%s --secret %s=@FILE", options, json_string_value(name))
                                : NULL;

                free(options);
                options = longer;
        }
        return options;
}

/* A stuck job: what failed stands first in what is still to be undone. */
static void stuck_choices(const Job *job, int idx, json_t *list) {
        json_auto_t *back = job_back(job);
        const json_t *pending = json_object_get(back, "pending");
        const char *step = job->def->steps[idx].id;
        _cleanup_free_ char *rest = names_of(pending, 1), *all = names_of(pending, 0);
        _cleanup_free_ char *secrets = secrets_wanted(job, idx);
        long long id = job->id;

        if (!rest || !all || !secrets)
                return;
        choice_add(list, strf("updctl retry %lld%s", id, secrets),
                   strf("try %s%s again%s%s", *step == '@' ? "" : "the undo of ", step,
                        *rest ? ", then undo " : "", rest));
        choice_add(list, strf("updctl retry %lld --plan FILE", id),
                   strf("the same with a mended undo: a copy of the plan in which the undo of what "
                        "is not undone yet may be another"));
        choice_add(list, strf("updctl skip %lld --reason TEXT", id),
                   *rest ? strf("leave %s as it is, then undo %s", step, rest)
                         : strf("leave %s as it is; nothing else is to be undone", step));
        choice_add(list, strf("updctl abandon %lld --reason TEXT", id),
                   strf("end the job here: %s stay%s as %s, and the target is free for another job",
                        *all ? all : step, *rest ? "" : "s", *rest ? "they are" : "it is"));
}

static char *does_what(const char *verb, const char *step) {
        static const struct {
                const char *verb, *does;
        } table[] = {
                {"confirm", "confirm at the gate"},
                {"answer", "answer the question"},
                {"rollback", "see the ways back and what each loses, and go back"},
                {"retry", "try it again; other inputs with -i KEY=VALUE, another plan with --plan"},
                {"skip", "go on without it"},
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(table[i].verb, verb))
                        return strdup(table[i].does);
        return strf("%s %s", verb, step);
}

static void other_choices(const Job *job, int idx, json_t *list) {
        json_auto_t *actions = job_actions(job);
        const char *step = idx >= 0 ? job->def->steps[idx].id : "the job";
        json_t *verb;
        size_t i;

        json_array_foreach (actions, i, verb) {
                const char *word = json_string_value(verb);

                if (!word || streq(word, "cancel") || streq(word, "finalise"))
                        continue;
                choice_add(list,
                           strf("updctl %s %lld%s", word, (long long) job->id,
                                streq(word, "skip") ? " --reason TEXT" : ""),
                           does_what(word, step));
        }
}

static void ended_choices(const Job *job, json_t *list) {
        long long id = job->id;

        choice_add(list, strf("updctl events %lld", id), strdup("what happened, event by event"));
        choice_add(list, strf("updctl report %lld", id),
                   strdup("the whole story: what ran, when, by whom, with what result"));
        if (job_state_is_end(job->state))
                choice_add(list, start_again(job), strdup("start it again"));
}

json_t *job_choices(const Job *job) {
        json_t *fact = json_object_get(job->facts, "failure"), *list = json_array();
        int idx = fact ? job_def_find(job->def, args_text(fact, "step", "")) : -1;

        if (job->state == JOB_STUCK && idx >= 0)
                stuck_choices(job, idx, list);
        else
                other_choices(job, idx, list);
        if (json_array_size(list) == 0)
                ended_choices(job, list);
        return list;
}

static json_t *commands_of(const json_t *choices) {
        json_t *commands = json_array(), *choice;
        size_t i;

        json_array_foreach ((json_t *) choices, i, choice) {
                (void) json_array_append(commands, json_object_get(choice, "command"));
        }
        return commands;
}

/* ---- the failure ---- */

/* For checks that refuse, all of them are told, one a line. */
static const char *failure_message(const json_t *result) {
        return args_text(json_object_get(result, "error"), "message", "it failed");
}

/* What failed on the way forward is kept when its undo has a result of its own. */
static json_t *result_of(const Job *job, const json_t *fact, int idx) {
        json_t *failed = json_object_get(job->steps[idx].more, "failed");

        return failed && !streq0(args_text(fact, "direction", NULL), "undo")
                       ? failed
                       : job->steps[idx].result;
}

static void put_hint(json_t *object, const json_t *result) {
        const char *hint = args_text(result, "hint",
                                     args_text(json_object_get(result, "error"), "hint", NULL));

        if (hint)
                (void) json_put(object, "hint", json_string(hint));
}

/* Why the job went back at all, where an undo's failure came on top of it. */
static json_t *cause_view(const Job *job) {
        json_t *fact = json_object_get(job->facts, "cause"), *cause, *result;
        int idx = fact ? job_def_find(job->def, args_text(fact, "step", "")) : -1;

        if (idx < 0)
                return NULL;
        result = result_of(job, fact, idx);
        cause = json_pack("{s:O, s:s, s:O*}", "step", json_object_get(fact, "step"), "message",
                          failure_message(result), "tail", json_object_get(result, "tail"));
        put_hint(cause, result);
        return cause;
}

/* How far a list of the plan came of which one entry failed. */
static json_t *list_view(const json_t *result) {
        json_t *op = json_object_get(result, "op"), *ops = json_object_get(result, "ops");

        if (json_integer_value(ops) < 2)
                return NULL;
        return json_pack("{s:O, s:O, s:O*}", "done", op, "of", ops, "failed",
                         json_object_get(result, "op_id"));
}

static void put_known(json_t *object, const char *key, json_t *value) {
        if (value)
                (void) json_object_set_new(object, key, value);
}

json_t *job_failure(const Job *job) {
        json_t *fact = json_object_get(job->facts, "failure"), *failure, *result, *choices;
        int idx = fact ? job_def_find(job->def, args_text(fact, "step", "")) : -1;
        json_auto_t *back = job_back(job);

        if (idx < 0)
                return NULL;
        result = result_of(job, fact, idx);
        failure = json_pack(
                "{s:O, s:s, s:s, s:s, s:O*, s:O*}", "step", json_object_get(fact, "step"),
                "direction", args_text(fact, "direction", "do"), "phase",
                args_text(result, "phase", "do"), "message", failure_message(result), "tail",
                json_object_get(result, "tail"), "services", json_object_get(result, "services"));
        if (!failure)
                return NULL;
        put_hint(failure, result);
        put_known(failure, "list", list_view(result));
        if (streq0(args_text(result, "state", NULL), "interrupted"))
                (void) json_put(failure, "interrupted", json_true());
        put_known(failure, "cause", cause_view(job));
        (void) json_put(failure, "running", running_now(job));
        (void) json_put(failure, "undone", ids_of(json_object_get(back, "undone")));
        put_known(failure, "left",
                  back ? json_incref(json_object_get(back, "left")) : json_array());
        (void) json_put(failure, "pending_undo", ids_of(json_object_get(back, "pending")));
        choices = job_choices(job);
        (void) json_put(failure, "next", commands_of(choices));
        (void) json_put(failure, "choices", choices);
        return failure;
}
