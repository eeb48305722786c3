/* SPDX-License-Identifier: MIT */
/*
 * The daemon's options. One table (config.c) drives the command line, --help and the config file,
 * so each option has one name everywhere; a test holds the man page against it. A flag beats the
 * file, the file beats the default, and a list given as flags replaces the file's.
 */
#pragma once

#include "api/error.h"

typedef struct Config {
        char *config; /* the file to read */
        char *state_dir;
        char **plan_dirs; /* NULL-terminated, first wins */
        char *socket;
        char *listen;   /* or NULL: no TCP */
        char **origins; /* or NULL */
        char *others;   /* "none" or "view" */
        char *max_jobs;
        char *steps_in; /* "plain", "systemd", or NULL: what the machine has */
        char *step_program;
        bool check_state, help, version;
} Config;

void config_done(Config *config);
#define _cleanup_config_ _cleanup_(config_done)

typedef enum OptionKind {
        OPTION_TEXT,
        OPTION_PATH,  /* a text that is made absolute */
        OPTION_PATHS, /* may be repeated; a list in the file */
        OPTION_TEXTS,
        OPTION_SWITCH, /* for the command line only */
} OptionKind;

typedef struct Option {
        const char *name; /* "state-dir": --state-dir on the command line, state-dir: in the file */
        const char *value; /* what --help calls its value; NULL for a switch */
        OptionKind kind;
        size_t offset; /* of its member in Config */
        bool in_file;
        bool live; /* a reload puts it in force; the others need a restart */
        const char *help;
} Option;

extern const Option config_options[];
extern const size_t n_config_options;

/* The option of that name; NULL and an Error with the nearest name when there is none. `file_only`
 * leaves out those that a config file cannot hold. */
const Option *config_option_find(const char *name, bool file_only, Error *reterr);
/* Sets a text, or appends to a list; -EEXIST when a text is set already. */
_must_check_ int config_option_set(Config *config, const Option *option, const char *value);
bool config_option_is_set(const Config *config, const Option *option);
bool config_option_equal(const Config *a, const Config *b, const Option *option);
void config_option_swap(Config *a, Config *b, const Option *option);

/* The command line. */
_must_check_ int config_parse_args(int argc, char *argv[], Config *config, Error *reterr);
/* Reads a config file into `config`; faults carry file, line and column. A missing file is -ENOENT.
 */
_must_check_ int config_read_file(const char *path, Config *config, Error *reterr);
/* The same from a text, `path` serving in messages. */
_must_check_ int config_read_text(const char *path, const char *text, size_t size, Config *config,
                                  Error *reterr);

/* Completes what the command line gave: the file, the defaults, absolute paths, checked values.
 * `executable` is updd's own path, from which the step program and the shipped plans are found. */
_must_check_ int config_complete(Config *config, const char *executable, Error *reterr);

void config_print_help(FILE *f);
