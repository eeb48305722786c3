/* SPDX-License-Identifier: MIT */
/*
 * What the files of updctl share: the command line as it was read, and the context that every
 * command gets. A command returns its exit code (api/exits.h) and has told on stderr whatever was
 * wrong before it returns; nobody tells it again. Positive results are exit codes everywhere in
 * this program, 0 is success.
 */
#pragma once

#include "api/args.h"
#include "api/exits.h"
#include "client/updctl/client.h"
#include "client/updctl/term.h"

typedef enum OptionId {
        OPT_NONE,
        OPT_INPUT,
        OPT_SECRET,
        OPT_OVERRIDE,
        OPT_LABEL,
        OPT_REASON,
        OPT_DRY_RUN,
        OPT_DETACH,
        OPT_WINDOW,
        OPT_WINDOW_BEGINS,
        OPT_YES,
        OPT_STATE,
        OPT_PLAN_NAME,
        OPT_PLAN_FILE,
        OPT_TARGET,
        OPT_LIMIT,
        OPT_ALL_JOBS,
        OPT_ALL_ITEMS,
        OPT_FOLLOW,
        OPT_FOLLOW_JOB,
        OPT_ATTEMPT,
        OPT_TICK,
        OPT_TYPE,
        OPT_WAIT,
        OPT_STRATEGY,
        OPT_ROLE,
        OPT_FORMAT,
        OPT_OUTPUT,
        OPT_PLAN_START,
        OPT_ON,
        OPT_MISSED,
        /* these may stand with any command */
        OPT_SOCKET,
        OPT_URL,
        OPT_HOST,
        OPT_TOKEN_FILE,
        OPT_JSON,
        OPT_NO_COLOR,
        OPT_VERSION,
        OPT_HELP,
        _OPT_MAX,
        _OPT_FIRST_GLOBAL = OPT_SOCKET,
} OptionId;

typedef struct Option {
        OptionId id;
        const char *name;
        char letter;         /* or 0 */
        const char *metavar; /* NULL: takes no value */
        const char *summary;
} Option;

typedef struct Ctl Ctl;

typedef struct Command {
        const char *name;
        const char *usage; /* its words, as the man page shows them */
        const char *summary;
        int (*func)(Ctl *ctl);
        unsigned min, max; /* how many words */
        OptionId options[10];
} Command;

#define WORDS_MAX 256

/* `words` and values are borrowed from argv. */
typedef struct Args {
        const Command *command; /* NULL: bare updctl */
        const char *words[WORDS_MAX];
        unsigned n_words;
        const char **values[_OPT_MAX];
        unsigned n_values[_OPT_MAX];
} Args;

struct Ctl {
        Args *args;
        Client *client;
        Screen *out;
        Screen *err;
        bool json;
        bool ask; /* a person sits there: stdin and stdout are terminals, and no --json */
};

/* ---- the tables (table.c) ---- */
extern const Command commands[];
extern const size_t n_commands;
extern const Option options[];
extern const size_t n_options;
const Command *command_find(const char *name);
const Option *option_row(OptionId id);
/* What a person may have meant who typed `word`, or NULL. */
const char *guess(const char *word, const char *const *candidates, size_t n);
/* The nearest command to a word that is none, or NULL. */
const char *command_nearest(const char *word);

/* ---- args.c ---- */
/* Reads argv, options anywhere. 0, or EXIT_USAGE after telling on `err`. `args` starts zeroed. */
_must_check_ int args_parse(Args *args, int argc, char **argv, Screen *err);
void args_done(Args *args);
/* The option's last value, or NULL; "" for one that takes none. */
const char *args_value(const Args *args, OptionId id);
bool args_has(const Args *args, OptionId id);
const char *args_word(const Args *args, unsigned i);
/* KEY=VALUE values as an object of texts in `into`. 0 or EXIT_USAGE, told. */
_must_check_ int args_pairs(const Args *args, OptionId id, Screen *err, json_t *into);

/* Tells that `word` is no command, and the nearest one. EXIT_USAGE. */
int refuse_command(Screen *err, const char *word);

/* ---- help.c ---- */
int help_all(Screen *out);
int help_command(Screen *out, const Command *command);

/* ---- the commands ---- */
int cmd_overview(Ctl *ctl);
int cmd_plans(Ctl *ctl);
int cmd_show(Ctl *ctl);
int cmd_lint(Ctl *ctl);
int cmd_start(Ctl *ctl);
int cmd_status(Ctl *ctl);
int cmd_list(Ctl *ctl);
int cmd_watch(Ctl *ctl);
int cmd_log(Ctl *ctl);
int cmd_confirm(Ctl *ctl);
int cmd_answer(Ctl *ctl);
int cmd_rollback(Ctl *ctl);
int cmd_cancel(Ctl *ctl);
int cmd_retry(Ctl *ctl);
int cmd_skip(Ctl *ctl);
int cmd_abandon(Ctl *ctl);
int cmd_finalise(Ctl *ctl);
int cmd_events(Ctl *ctl);
int cmd_report(Ctl *ctl);
int cmd_token(Ctl *ctl);
int cmd_schedule(Ctl *ctl);
int cmd_health(Ctl *ctl);
int cmd_help(Ctl *ctl);
