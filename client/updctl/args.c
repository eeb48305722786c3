/* SPDX-License-Identifier: MIT */
/*
 * Reads the command line with getopt_long: options may stand anywhere, the first word that is none
 * is the command. What a command does not take is refused with the nearest option it has.
 */
#include <getopt.h>
#include <stdarg.h>

#include "api/text.h"
#include "client/updctl/updctl.h"

/* The option of this name that the command (or any command) takes, NULL when it takes none. */
static const Option *option_of(const Command *command, const char *name) {
        for (size_t i = 0; i < n_options; i++)
                if (streq(options[i].name, name) && options[i].id >= _OPT_FIRST_GLOBAL)
                        return &options[i];
        for (size_t i = 0; command && i < ELEMENTSOF(command->options); i++)
                if (command->options[i] != OPT_NONE &&
                    streq(option_row(command->options[i])->name, name))
                        return option_row(command->options[i]);
        return NULL;
}

static const char *option_nearest(const Command *command, const char *name) {
        const char *names[_OPT_MAX];
        size_t n = 0;

        for (size_t i = 0; i < n_options; i++)
                if (option_of(command, options[i].name))
                        names[n++] = options[i].name;
        return guess(name, names, n);
}

_printf_(4, 5) static int refuse(Screen *err, const Command *command, const char *nearest,
                                 const char *format, ...) {
        _cleanup_free_ char *message = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&message, format, ap);
        va_end(ap);
        put(err, PLAIN, "updctl: %s\n", n < 0 ? "wrong command line" : message);
        if (nearest)
                put(err, PLAIN, "hint: did you mean --%s?\n", nearest);
        else
                put(err, PLAIN, "hint: see updctl help%s%s\n", command ? " " : "",
                    command ? command->name : "");
        return EXIT_USAGE;
}

static int keep(Args *args, OptionId id, const char *value) {
        const char **more =
                reallocarray(args->values[id], args->n_values[id] + 1, sizeof(const char *));

        if (!more)
                return -ENOMEM;
        more[args->n_values[id]++] = value ? value : "";
        args->values[id] = more;
        return 0;
}

/* What getopt_long has found, before the command is known: row of `options` and value. */
typedef struct Found {
        size_t row;
        const char *value;
} Found;

typedef struct Getopt {
        struct option longs[_OPT_MAX + 1];
        char letters[2 * _OPT_MAX + 2];
} Getopt;

static bool name_seen(size_t row) {
        for (size_t i = 0; i < row; i++)
                if (streq(options[i].name, options[row].name))
                        return true;
        return false;
}

/* Both tables of getopt, of all options: names that serve several commands stand in it once. */
static void getopt_tables(Getopt *g) {
        size_t n = 0;
        char *letter = g->letters;

        *letter++ = ':';
        for (size_t i = 0; i < n_options; i++) {
                if (name_seen(i))
                        continue;
                g->longs[n++] = (struct option){
                        options[i].name, options[i].metavar ? required_argument : no_argument, NULL,
                        (int) (1000 + i)};
                if (options[i].letter)
                        *letter++ = options[i].letter;
                if (options[i].letter && options[i].metavar)
                        *letter++ = ':';
        }
        g->longs[n] = (struct option){0};
        *letter = '\0';
}

static int row_of(int c) {
        for (size_t i = 0; i < n_options; i++)
                if (c == (int) (1000 + i) || (options[i].letter && c == options[i].letter))
                        return (int) i;
        return -1;
}

static int refuse_unknown(Screen *err, const Command *command, char **argv, int c) {
        const char *given = optind > 0 ? argv[optind - 1] : "";
        char name[64], letter[3] = {'-', (char) optopt, 0};
        bool is_long = startswith(given, "--");

        (void) snprintf(name, sizeof(name), "%.*s", (int) strcspn(given + 2 * is_long, "="),
                        given + 2 * is_long);
        if (c == ':')
                return refuse(err, command, NULL, "option %s needs a value",
                              is_long ? given : letter);
        if (!is_long && optopt > 0)
                return refuse(err, command, NULL, "there is no option %s", letter);
        return refuse(err, command, option_nearest(command, name), "there is no option --%s%s%s",
                      name, command ? " for " : "", command ? command->name : "");
}

/* The command is the first word, wherever options stand. getopt_long puts argv into another order
 * while it looks, so it gets a copy. */
static const Command *command_in(int argc, char **argv, const Getopt *g) {
        _cleanup_free_ char **copy = calloc((size_t) argc + 1, sizeof(char *));

        if (!copy)
                return NULL;
        memcpy(copy, argv, (size_t) argc * sizeof(char *));
        opterr = 0;
        optind = 0;
        while (getopt_long(argc, copy, g->letters, g->longs, NULL) != -1)
                ;
        return optind < argc ? command_find(copy[optind]) : NULL;
}

int refuse_command(Screen *err, const char *word) {
        const char *nearest = command_nearest(word);

        put(err, PLAIN, "updctl: there is no command '%s'\n", word);
        if (nearest)
                put(err, PLAIN, "hint: did you mean '%s'?\n", nearest);
        else
                put(err, PLAIN, "hint: see updctl help\n");
        return EXIT_USAGE;
}

static int check_words(Args *args, const char *verb, Screen *err) {
        if (verb && !args->command)
                return refuse_command(err, verb);
        if (!verb || args_has(args, OPT_HELP) || args_has(args, OPT_VERSION) ||
            (args->n_words >= args->command->min && args->n_words <= args->command->max))
                return 0;
        put(err, PLAIN, "updctl: %s takes %s, %u %s given\nhint: updctl %s %s\n",
            args->command->name, args->command->max == 0 ? "no words" : args->command->usage,
            args->n_words, args->n_words == 1 ? "word was" : "words were", args->command->name,
            args->command->usage);
        return EXIT_USAGE;
}

int args_parse(Args *args, int argc, char **argv, Screen *err) {
        const char *verb = NULL;
        Getopt g;
        int c;

        getopt_tables(&g);
        args->command = command_in(argc, argv, &g);
        opterr = 0;
        optind = 0;
        while ((c = getopt_long(argc, argv, g.letters, g.longs, NULL)) != -1) {
                int row = row_of(c);
                const Option *option =
                        row >= 0 ? option_of(args->command, options[row].name) : NULL;

                if (row < 0)
                        return refuse_unknown(err, args->command, argv, c);
                if (!option)
                        return refuse(err, args->command,
                                      option_nearest(args->command, options[row].name),
                                      "there is no option --%s%s%s", options[row].name,
                                      args->command ? " for " : "",
                                      args->command ? args->command->name : "");
                if (keep(args, option->id, optarg) < 0)
                        return EXIT_REFUSED;
        }
        if (optind < argc)
                verb = argv[optind++];
        for (; optind < argc && args->n_words < WORDS_MAX; optind++)
                args->words[args->n_words++] = argv[optind];
        return check_words(args, verb, err);
}

void args_done(Args *args) {
        for (size_t i = 0; i < _OPT_MAX; i++)
                free(args->values[i]);
}

const char *args_value(const Args *args, OptionId id) {
        return args->n_values[id] > 0 ? args->values[id][args->n_values[id] - 1] : NULL;
}

bool args_has(const Args *args, OptionId id) {
        return args->n_values[id] > 0;
}

const char *args_word(const Args *args, unsigned i) {
        return i < args->n_words ? args->words[i] : NULL;
}

int args_pairs(const Args *args, OptionId id, Screen *err, json_t *into) {
        for (unsigned i = 0; i < args->n_values[id]; i++) {
                const char *pair = args->values[id][i], *equals = strchr(pair, '=');
                _cleanup_free_ char *key = equals ? strndup(pair, (size_t) (equals - pair)) : NULL;

                if (!equals || equals == pair) {
                        put(err, PLAIN, "updctl: '%s' is not of the form %s\n", pair,
                            option_row(id)->metavar);
                        return EXIT_USAGE;
                }
                if (!key || json_put(into, key, json_string(equals + 1)) < 0) {
                        put(err, PLAIN, "updctl: the value of '%s' is not UTF-8\n", key ? key : "");
                        return EXIT_USAGE;
                }
        }
        return 0;
}
