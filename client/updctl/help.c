/* SPDX-License-Identifier: MIT */
/* Help, out of the two tables. */
#include "client/updctl/updctl.h"

static void put_option(Screen *out, const Option *o) {
        _cleanup_free_ char *left = NULL;

        left = strf("%s%c%s--%s%s%s", o->letter ? "-" : " ", o->letter ? o->letter : ' ',
                    o->letter ? ", " : "  ", o->name, o->metavar ? " " : "",
                    o->metavar ? o->metavar : "");
        put_cells(out, 2, {NOTE, 24, left}, {PLAIN, 0, o->summary});
}

static void put_global_options(Screen *out) {
        put(out, BOLD, "\nwith any command\n");
        for (size_t i = 0; i < n_options; i++)
                if (options[i].id >= _OPT_FIRST_GLOBAL)
                        put_option(out, &options[i]);
}

int help_all(Screen *out) {
        put(out, PLAIN,
            "updctl VERB ... tells updd what to do and shows what it does.\n"
            "updctl alone shows each unfinished job and whom it waits for.\n\n");
        for (size_t i = 0; i < n_commands; i++) {
                _cleanup_free_ char *left = strf("%s %s", commands[i].name, commands[i].usage);

                if (left && strlen(left) > 20)
                        left[strlen(commands[i].name)] = '\0';
                put_cells(out, 2, {NOTE, 20, left}, {PLAIN, 0, commands[i].summary});
        }
        put_global_options(out);
        put(out, BOLD, "\nexit codes\n");
        put(out, PLAIN,
            "  0 as asked            1 refused, or an error   2 wrong command line\n"
            "  3 the job failed      4 it was rolled back     5 it waits for a person\n"
            "  6 it is stuck         7 updd cannot be reached\n\n"
            "JOB is a number, or the name of a plan or target; with one unfinished job "
            "it may\nbe left out. updctl help VERB tells more, updctl(1) tells all.\n");
        return EXIT_AS_ASKED;
}

int help_command(Screen *out, const Command *command) {
        put(out, BOLD, "updctl %s %s\n", command->name, command->usage);
        put(out, PLAIN, "  %s\n", command->summary);
        if (command->options[0] != OPT_NONE)
                put(out, PLAIN, "\n");
        for (size_t i = 0; i < ELEMENTSOF(command->options); i++)
                if (command->options[i] != OPT_NONE)
                        put_option(out, option_row(command->options[i]));
        put_global_options(out);
        return EXIT_AS_ASKED;
}

int cmd_help(Ctl *ctl) {
        const char *word = args_word(ctl->args, 0);
        const Command *command = word ? command_find(word) : NULL;

        if (!word)
                return help_all(ctl->out);
        if (command)
                return help_command(ctl->out, command);
        return refuse_command(ctl->err, word);
}
