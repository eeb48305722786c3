/* SPDX-License-Identifier: MIT */
/*
 * The commands and their options: two const tables. Help, the check of the command line, the shell
 * completion and the test of the man page read them; a new command is one row here, its function,
 * and its paragraph in updctl.1.
 */
#include <assert.h>

#include "api/text.h"
#include "client/updctl/updctl.h"

const Option options[] = {
        {OPT_INPUT, "input", 'i', "KEY=VALUE", "give the plan's input KEY a value"},
        {OPT_SECRET, "secret", 0, "NAME=@FILE", "read the secret from FILE, or from stdin: @-"},
        {OPT_OVERRIDE, "override", 0, "NAME", "go on although this check fails; it is recorded"},
        {OPT_LABEL, "label", 0, "KEY=VALUE", "attach a label to the job"},
        {OPT_REASON, "reason", 0, "TEXT", "say why; it is recorded"},
        {OPT_DRY_RUN, "dry-run", 0, NULL, "run the checks, show each action, change nothing"},
        {OPT_DETACH, "detach", 0, NULL, "print the job's number and do not follow it"},
        {OPT_WINDOW, "window", 0, "LENGTH", "the maintenance window: no step begins outside of it"},
        {OPT_WINDOW_BEGINS, "window-begins", 0, "TIME", "when the window opens, instead of now"},
        {OPT_YES, "yes", 'y', NULL, "do not ask"},
        {OPT_STATE, "state", 0, "STATE", "only jobs in this state, or 'unfinished'"},
        {OPT_PLAN_NAME, "plan", 0, "NAME", "only jobs of this plan"},
        {OPT_PLAN_FILE, "plan", 0, "FILE", "go on with this plan; what has begun must stay"},
        {OPT_TARGET, "target", 0, "NAME", "only jobs on this target"},
        {OPT_LIMIT, "limit", 0, "N", "at most N jobs (20)"},
        {OPT_ALL_JOBS, "all", 0, NULL, "all pages, however long the history"},
        {OPT_ALL_ITEMS, "all", 0, NULL, "tick every item"},
        {OPT_FOLLOW, "follow", 'f', NULL, "go on as more comes"},
        {OPT_FOLLOW_JOB, "follow", 'f', NULL,
         "follow the job afterwards; its end is the exit code"},
        {OPT_ATTEMPT, "attempt", 0, "N", "the step's N-th attempt instead of its newest"},
        {OPT_TICK, "tick", 0, "ITEM", "tick this item, by its text, beginning or number"},
        {OPT_TYPE, "type", 0, "TEXT", "the text that must be typed to go on"},
        {OPT_WAIT, "wait", 0, "ID", "which wait is meant, when the job has several"},
        {OPT_STRATEGY, "strategy", 0, "NAME", "which way back"},
        {OPT_ROLE, "role", 0, "ROLE", "view, operate or admin"},
        {OPT_FORMAT, "format", 0, "FORMAT", "markdown (default), html or json"},
        {OPT_OUTPUT, "output", 'o', "FILE", "write it to FILE, readable for its owner only"},
        {OPT_PLAN_START, "plan", 0, "NAME", "the plan that is started"},
        {OPT_ON, "on", 0, "CALENDAR", "when: a calendar event of systemd.time(7)"},
        {OPT_MISSED, "missed", 0, "run|skip", "what a machine that was off then does (skip)"},
        {OPT_SOCKET, "socket", 0, "PATH", "the daemon's Unix socket (UPDD_SOCKET)"},
        {OPT_URL, "url", 0, "URL", "the daemon's URL instead (UPDD_URL, UPDD_TOKEN)"},
        {OPT_HOST, "host", 'H', "USER@HOST", "the daemon of another machine, through ssh"},
        {OPT_TOKEN_FILE, "token-file", 0, "FILE", "read the bearer token from FILE"},
        {OPT_JSON, "json", 0, NULL, "print the API's JSON"},
        {OPT_NO_COLOR, "no-color", 0, NULL, "no colours"},
        {OPT_VERSION, "version", 0, NULL, "print the version"},
        {OPT_HELP, "help", 'h', NULL, "print help, of a command when one is given"},
};
const size_t n_options = ELEMENTSOF(options);
static_assert(ELEMENTSOF(options) == _OPT_MAX - 1, "each option has its row");

const Command commands[] = {
        {"plans", "", "the plans that are installed", cmd_plans, 0, 0, {0}},
        {"show", "PLAN", "what a plan needs and does, and its ways back", cmd_show, 1, 1, {0}},
        {"lint", "FILE...", "check plan files", cmd_lint, 1, WORDS_MAX, {0}},
        {"start",
         "PLAN",
         "start a job, and follow it",
         cmd_start,
         1,
         1,
         {OPT_INPUT, OPT_SECRET, OPT_OVERRIDE, OPT_LABEL, OPT_REASON, OPT_DRY_RUN, OPT_DETACH,
          OPT_WINDOW, OPT_WINDOW_BEGINS, OPT_YES}},
        {"status", "[JOB|PLAN]", "how a job is", cmd_status, 0, 1, {0}},
        {"list",
         "",
         "jobs, newest first",
         cmd_list,
         0,
         0,
         {OPT_STATE, OPT_PLAN_NAME, OPT_TARGET, OPT_LIMIT, OPT_ALL_JOBS}},
        {"watch", "[JOB]", "follow a job", cmd_watch, 0, 1, {0}},
        {"log", "[JOB] [STEP]", "what steps print", cmd_log, 0, 2, {OPT_FOLLOW, OPT_ATTEMPT}},
        {"confirm",
         "[JOB]",
         "confirm at a gate",
         cmd_confirm,
         0,
         1,
         {OPT_TICK, OPT_ALL_ITEMS, OPT_REASON, OPT_TYPE, OPT_WAIT, OPT_FOLLOW_JOB}},
        {"answer",
         "[JOB] [TEXT|-]",
         "answer a step's question",
         cmd_answer,
         0,
         2,
         {OPT_WAIT, OPT_FOLLOW_JOB}},
        {"rollback",
         "[JOB]",
         "go back; without a strategy, show the ways back",
         cmd_rollback,
         0,
         1,
         {OPT_STRATEGY, OPT_REASON, OPT_YES, OPT_TYPE, OPT_FOLLOW_JOB}},
        {"cancel",
         "[JOB]",
         "stop a job, and go back if it has begun",
         cmd_cancel,
         0,
         1,
         {OPT_REASON, OPT_FOLLOW_JOB}},
        {"retry",
         "[JOB]",
         "try again where a job waits or is stuck",
         cmd_retry,
         0,
         1,
         {OPT_INPUT, OPT_PLAN_FILE, OPT_SECRET, OPT_REASON, OPT_YES, OPT_WAIT, OPT_FOLLOW_JOB}},
        {"skip",
         "[JOB]",
         "go on without the step (--reason needed)",
         cmd_skip,
         0,
         1,
         {OPT_REASON, OPT_WAIT, OPT_FOLLOW_JOB}},
        {"abandon",
         "[JOB]",
         "leave a stuck job as it is (--reason needed)",
         cmd_abandon,
         0,
         1,
         {OPT_REASON}},
        {"finalise",
         "[JOB]",
         "close the way back now",
         cmd_finalise,
         0,
         1,
         {OPT_REASON, OPT_FOLLOW_JOB}},
        {"events", "[JOB]", "a job's journal", cmd_events, 0, 1, {OPT_FOLLOW}},
        {"report",
         "[JOB]",
         "what ran, when, by whom, with what result",
         cmd_report,
         0,
         1,
         {OPT_FORMAT, OPT_OUTPUT}},
        {"schedule",
         "add NAME | list | show NAME | remove NAME | run-now NAME",
         "plans that systemd starts by the calendar",
         cmd_schedule,
         1,
         2,
         {OPT_PLAN_START, OPT_ON, OPT_WINDOW, OPT_INPUT, OPT_LABEL, OPT_OVERRIDE, OPT_MISSED,
          OPT_REASON, OPT_FOLLOW_JOB}},
        {"token",
         "add NAME | list | remove NAME",
         "bearer tokens for the TCP port",
         cmd_token,
         1,
         2,
         {OPT_ROLE}},
        {"health", "", "how the daemon is", cmd_health, 0, 0, {0}},
        {"help", "[VERB]", "this list, or one command's options", cmd_help, 0, 1, {0}},
};
const size_t n_commands = ELEMENTSOF(commands);

const Command *command_find(const char *name) {
        for (size_t i = 0; i < n_commands; i++)
                if (streq(commands[i].name, name))
                        return &commands[i];
        return NULL;
}

/* Two neighbours exchanged: the commonest slip of all, and two edits to nearest_word. */
static bool is_swapped(const char *word, const char *candidate) {
        size_t n = strlen(word), i = 0;

        if (n != strlen(candidate))
                return false;
        while (i < n && word[i] == candidate[i])
                i++;
        return i + 1 < n && word[i] == candidate[i + 1] && word[i + 1] == candidate[i] &&
               streq(word + i + 2, candidate + i + 2);
}

const char *guess(const char *word, const char *const *candidates, size_t n) {
        const char *begun = NULL;
        size_t n_begun = 0;

        for (size_t i = 0; i < n; i++) {
                if (is_swapped(word, candidates[i]))
                        return candidates[i];
                if (strlen(word) > 1 && startswith(candidates[i], word)) {
                        begun = candidates[i];
                        n_begun++;
                }
        }
        return n_begun == 1 ? begun : nearest_word(word, candidates, n);
}

const char *command_nearest(const char *word) {
        const char *names[ELEMENTSOF(commands)];

        for (size_t i = 0; i < n_commands; i++)
                names[i] = commands[i].name;
        return guess(word, names, n_commands);
}

const Option *option_row(OptionId id) {
        for (size_t i = 0; i < n_options; i++)
                if (options[i].id == id)
                        return &options[i];
        return NULL;
}
