/* SPDX-License-Identifier: MIT */
/*
 * rollback: without a strategy every way back is shown with its undo steps and what it loses, and
 * a person at a terminal chooses. Nothing is chosen silently when there is a choice.
 */
#include <inttypes.h>

#include "api/text.h"
#include "client/updctl/decide.h"

static const json_t *find_strategy(const json_t *strategies, const char *name) {
        json_t *strategy;
        size_t i;

        json_array_foreach ((json_t *) strategies, i, strategy)
                if (name && streq0(get_text(strategy, "name"), name))
                        return strategy;
        return NULL;
}

static void put_strategies(const Screen *s, const json_t *strategies) {
        json_t *strategy;
        size_t i;

        json_array_foreach ((json_t *) strategies, i, strategy) {
                if (i > 0)
                        put(s, PLAIN, "\n");
                put_strategy(s, strategy);
        }
}

static int refuse_unnamed(Ctl *ctl, int64_t id, const json_t *strategies) {
        put_strategies(ctl->err, strategies);
        (void) tell(ctl, EXIT_USAGE, "there are several ways back: which one?");
        tell_hint(ctl, "updctl rollback %" PRId64 " --strategy NAME, or --yes for full", id);
        return EXIT_USAGE;
}

static int refuse_unknown(Ctl *ctl, const char *name, const json_t *strategies) {
        _cleanup_free_ char *names = NULL;
        json_auto_t *list = json_array();
        json_t *strategy;
        size_t i;

        json_array_foreach ((json_t *) strategies, i, strategy)
                (void) json_array_append(list, json_object_get(strategy, "name"));
        names = join_texts(list, ", ");
        (void) tell(ctl, EXIT_REFUSED, "there is no way back called '%s'", name);
        tell_hint(ctl, "there is: %s", names ? names : "none");
        return EXIT_REFUSED;
}

/* At a terminal: which one, or none. */
static const json_t *ask_strategy(Ctl *ctl, const json_t *strategies) {
        _cleanup_free_ char *line = NULL;
        const json_t *found;

        put_strategies(ctl->out, strategies);
        put(ctl->out, PLAIN, "\n");
        if (json_array_size(strategies) == 1)
                return ask_yes(ctl->out, "Go back this way?") ? json_array_get(strategies, 0)
                                                              : NULL;
        line = ask_line(ctl->out, true, "Which way back? (its name; nothing: none) ");
        if (isempty(line))
                return NULL;
        found = find_strategy(strategies, line);
        if (!found)
                (void) refuse_unknown(ctl, line, strategies);
        return found;
}

/* The strategy to ask for; *ret NULL lets the daemon take its default, or refuse. */
static int choose(Ctl *ctl, const json_t *job, const json_t **ret) {
        const json_t *strategies = json_object_get(job, "strategies");
        const char *named = args_value(ctl->args, OPT_STRATEGY);
        bool yes = args_has(ctl->args, OPT_YES);

        *ret = find_strategy(strategies, named ? named : "full");
        if (named && !*ret && json_array_size(strategies) > 0)
                return refuse_unknown(ctl, named, strategies);
        if (named || json_array_size(strategies) == 0) {
                if (*ret && ctl->ask && !yes) {
                        put_strategy(ctl->out, *ret);
                        return ask_yes(ctl->out, "\nGo back this way?")
                                       ? 0
                                       : tell(ctl, EXIT_REFUSED, "nothing was changed");
                }
                return 0;
        }
        if (yes)
                return 0;
        if (ctl->ask) {
                *ret = ask_strategy(ctl, strategies);
                return *ret ? 0 : tell(ctl, EXIT_REFUSED, "nothing was changed");
        }
        if (json_array_size(strategies) > 1 || !*ret)
                return refuse_unnamed(ctl, get_int(job, "id"), strategies);
        return 0;
}

static int rollback_body(Ctl *ctl, const json_t *job, json_t *body) {
        const char *named = args_value(ctl->args, OPT_STRATEGY), *name;
        const json_t *strategy = NULL;
        int r;

        r = choose(ctl, job, &strategy);
        if (r > 0)
                return r;
        name = strategy ? get_text(strategy, "name") : named;
        if (name && json_put(body, "strategy", json_string(name)) < 0)
                return tell(ctl, EXIT_USAGE, "the strategy's name is not UTF-8");
        r = add_typed(ctl, get_text(strategy, "type"), body);
        return r > 0 ? r : add_reason(ctl, body);
}

/* A job that cannot go back now is told so by the daemon when a strategy is named; unnamed, nothing
 * is asked of it, for then what it loses could not be shown. */
static int check_allowed(Ctl *ctl, const json_t *job) {
        _cleanup_free_ char *actions = join_texts(json_object_get(job, "actions"), ", ");

        if (args_has(ctl->args, OPT_STRATEGY) ||
            json_has_text(json_object_get(job, "actions"), "rollback"))
                return 0;
        (void) tell(ctl, EXIT_REFUSED, "job %" PRId64 " (%s) cannot be rolled back now",
                    get_int(job, "id"), state_look(get_text(job, "state"))->words);
        if (actions)
                tell_hint(ctl, "allowed now: %s", actions);
        return EXIT_REFUSED;
}

int cmd_rollback(Ctl *ctl) {
        json_auto_t *body = json_object();
        _cleanup_response_ Response job = RESPONSE_INIT, after = RESPONSE_INIT;
        _cleanup_free_ char *words = NULL;
        const char *strategy;
        int r;

        r = pick_job(ctl, args_word(ctl->args, 0), &job);
        if (r == 0)
                r = check_allowed(ctl, job.json);
        if (r == 0)
                r = rollback_body(ctl, job.json, body);
        if (r == 0)
                r = decide(ctl, get_int(job.json, "id"), "rollback", body, &after);
        if (r > 0)
                return r;
        strategy = get_text(body, "strategy");
        words = strf("going back with strategy %s", strategy ? strategy : "full");
        r = decided(ctl, &after, words ? words : "going back");
        /* Going back is what was asked for. */
        return r == EXIT_ROLLED_BACK ? EXIT_AS_ASKED : r;
}
