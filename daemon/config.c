/* SPDX-License-Identifier: MIT */
/* The table of options, the command line, --help. See config.h. */
#include "daemon/config.h"

#include <stddef.h>

#include "api/text.h"

#define AT(member) offsetof(Config, member)

const Option config_options[] = {
        {"config", "FILE", OPTION_PATH, AT(config), false, false,
         "read options from this file; default /etc/updd/updd.yaml"},
        {"state-dir", "DIR", OPTION_PATH, AT(state_dir), true, false,
         "keep jobs and history here; default /var/lib/updd"},
        {"plan-dir", "DIR", OPTION_PATHS, AT(plan_dirs), true, true,
         "look for plans here; may be repeated, the first wins"},
        {"socket", "PATH", OPTION_PATH, AT(socket), true, false,
         "serve the API on this Unix socket; default /run/updd/updd.sock"},
        {"listen", "HOST:PORT", OPTION_TEXT, AT(listen), true, false,
         "serve the API on this loopback address too; port 0 takes any"},
        {"origins", "ORIGIN", OPTION_TEXTS, AT(origins), true, true,
         "let pages of this origin use the API; may be repeated"},
        {"others", "none|view", OPTION_TEXT, AT(others), true, true,
         "what other local users may do; default none"},
        {"max-jobs", "N", OPTION_TEXT, AT(max_jobs), true, true,
         "jobs that run at once; default 64"},
        {"steps-in", "plain|systemd", OPTION_TEXT, AT(steps_in), true, false,
         "how steps are started; default systemd where it runs and updd is root's"},
        {"step-program", "FILE", OPTION_PATH, AT(step_program), true, false,
         "the step program; default UPDD_STEP, or updd-step of this installation"},
        {"check-state", NULL, OPTION_SWITCH, AT(check_state), false, false,
         "look whether the state folder is whole, say so, and end"},
        {"help", NULL, OPTION_SWITCH, AT(help), false, false, "print this and end"},
        {"version", NULL, OPTION_SWITCH, AT(version), false, false, "print the version and end"},
};

const size_t n_config_options = ELEMENTSOF(config_options);

static void *member_of(const Config *config, const Option *option) {
        return (char *) config + option->offset;
}

static bool is_list(const Option *option) {
        return option->kind == OPTION_PATHS || option->kind == OPTION_TEXTS;
}

static void free_list(char **list) {
        for (char **p = list; p && *p; p++)
                free(*p);
        free(list);
}

void config_done(Config *config) {
        for (size_t i = 0; i < n_config_options; i++) {
                const Option *o = &config_options[i];

                if (is_list(o))
                        free_list(*(char ***) member_of(config, o));
                else if (o->kind != OPTION_SWITCH)
                        free(*(char **) member_of(config, o));
        }
        *config = (Config){0};
}

const Option *config_option_find(const char *name, bool file_only, Error *reterr) {
        const char *names[ELEMENTSOF(config_options)], *nearest;
        size_t n = 0;

        for (size_t i = 0; i < n_config_options; i++) {
                if (file_only && !config_options[i].in_file)
                        continue;
                if (streq(config_options[i].name, name))
                        return &config_options[i];
                names[n++] = config_options[i].name;
        }
        (void) error_set(reterr, EINVAL, "bad-config", "there is no option '%s'", name);
        nearest = nearest_word(name, names, n);
        if (nearest)
                error_hint(reterr, "did you mean '%s'?", nearest);
        return NULL;
}

bool config_option_is_set(const Config *config, const Option *option) {
        if (option->kind == OPTION_SWITCH)
                return *(bool *) member_of(config, option);
        return *(void **) member_of(config, option) != NULL;
}

static bool lists_equal(char **a, char **b) {
        size_t n = 0;

        while (a && b && a[n] && b[n] && streq(a[n], b[n]))
                n++;
        return (!a || !a[n]) && (!b || !b[n]);
}

bool config_option_equal(const Config *a, const Config *b, const Option *option) {
        const void *of_a = member_of(a, option), *of_b = member_of(b, option);

        if (option->kind == OPTION_SWITCH)
                return *(const bool *) of_a == *(const bool *) of_b;
        if (is_list(option))
                return lists_equal(*(char **const *) of_a, *(char **const *) of_b);
        return streq0(*(char *const *) of_a, *(char *const *) of_b) ||
               (!*(char *const *) of_a && !*(char *const *) of_b);
}

void config_option_swap(Config *a, Config *b, const Option *option) {
        void **of_a = member_of(a, option), **of_b = member_of(b, option);
        void *kept = *of_a;

        *of_a = *of_b;
        *of_b = kept;
}

static int append(char ***list, const char *value) {
        size_t n = 0;
        char **longer;

        while (*list && (*list)[n])
                n++;
        longer = realloc(*list, (n + 2) * sizeof(char *));
        if (!longer)
                return -ENOMEM;
        *list = longer;
        longer[n + 1] = NULL;
        longer[n] = strdup(value);
        return longer[n] ? 0 : -ENOMEM;
}

int config_option_set(Config *config, const Option *option, const char *value) {
        char **text;

        if (is_list(option))
                return append(member_of(config, option), value);
        if (option->kind == OPTION_SWITCH) {
                *(bool *) member_of(config, option) = true;
                return 0;
        }
        text = member_of(config, option);
        if (*text)
                return -EEXIST;
        *text = strdup(value);
        return *text ? 0 : -ENOMEM;
}

/* One argument; *i is moved on when its value is the next one. */
static int parse_arg(int argc, char *argv[], int *i, Config *config, Error *reterr) {
        const char *arg = argv[*i], *value = strchr(arg, '=');
        _cleanup_free_ char *name = NULL;
        const Option *option;
        int r;

        if (!startswith(arg, "--") || streq(arg, "--"))
                return error_set(reterr, EINVAL, "usage", "'%s' is not an option", arg);
        name = value ? strndup(arg + 2, (size_t) (value - arg - 2)) : strdup(arg + 2);
        if (!name)
                return error_oom(reterr);
        option = config_option_find(name, false, reterr);
        if (!option)
                return -EINVAL;
        if (option->kind == OPTION_SWITCH && value)
                return error_set(reterr, EINVAL, "usage", "--%s takes no value", name);
        if (option->kind != OPTION_SWITCH && !value && ++*i >= argc)
                return error_set(reterr, EINVAL, "usage", "--%s takes a value: %s", name,
                                 option->value);
        if (option->kind != OPTION_SWITCH)
                value = value ? value + 1 : argv[*i];
        r = config_option_set(config, option, value ? value : "");
        if (r == -EEXIST)
                return error_set(reterr, EINVAL, "usage", "--%s is given twice", name);
        return r < 0 ? error_oom(reterr) : 0;
}

int config_parse_args(int argc, char *argv[], Config *config, Error *reterr) {
        int r;

        for (int i = 1; i < argc; i++) {
                r = parse_arg(argc, argv, &i, config, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

void config_print_help(FILE *f) {
        (void) fprintf(f, "updd [OPTION]…\n\n"
                          "Carries out upgrade plans durably, with a way back. Talk to it with "
                          "updctl.\n\n");
        for (size_t i = 0; i < n_config_options; i++) {
                const Option *o = &config_options[i];
                char left[64];

                (void) snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "",
                                o->value ? o->value : "");
                (void) fprintf(f, "  %-28s %s\n", left, o->help);
        }
        (void) fprintf(f, "\nThe config file holds the same names without the dashes. An ordinary "
                          "user's files are\nin the XDG folders. See updd(8).\n");
}
