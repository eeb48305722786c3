/* SPDX-License-Identifier: MIT */
/* The daemon's options: one table for the command line, --help, the config file and the man page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>

#include "daemon/config.h"

static int parse(Config *config, Error *error, const char *const *args) {
        char *argv[16] = {strdup("updd")};
        int argc = 1, r;

        for (; args[argc - 1]; argc++)
                argv[argc] = strdup(args[argc - 1]);
        r = config_parse_args(argc, argv, config, error);
        for (int i = 0; i < argc; i++)
                free(argv[i]);
        return r;
}

static int read_text(Config *config, Error *error, const char *text) {
        return config_read_text("c.yaml", text, strlen(text), config, error);
}

static void options_are_read_in_both_spellings(void **state) {
        static const char *const args[] = {"--state-dir=/a=b", "--plan-dir",    "/p1",
                                           "--plan-dir=/p2",   "--check-state", NULL};
        _cleanup_config_ Config c = {0};

        assert_int_equal(parse(&c, NULL, args), 0);
        assert_string_equal(c.state_dir, "/a=b");
        assert_string_equal(c.plan_dirs[0], "/p1");
        assert_string_equal(c.plan_dirs[1], "/p2");
        assert_null(c.plan_dirs[2]);
        assert_true(c.check_state);
}

static void a_wrong_command_line_says_what_is_wrong(void **state) {
        static const struct {
                const char *args[3], *message, *hint;
        } cases[] = {
                {{"--statedir", "/a"},
                 "there is no option 'statedir'",
                 "did you mean 'state-dir'?"},
                {{"serve"}, "'serve' is not an option", NULL},
                {{"-x"}, "'-x' is not an option", NULL},
                {{"--socket"}, "--socket takes a value: PATH", NULL},
                {{"--help=yes"}, "--help takes no value", NULL},
                {{"--socket=/a", "--socket=/b"}, "--socket is given twice", NULL},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_config_ Config c = {0};
                _cleanup_error_ Error error = ERROR_INIT;

                assert_int_equal(parse(&c, &error, cases[i].args), -EINVAL);
                assert_string_equal(error.message, cases[i].message);
                assert_true(streq0(error.hint, cases[i].hint));
        }
}

static void the_file_has_the_same_names(void **state) {
        _cleanup_config_ Config c = {0};

        assert_int_equal(
                read_text(&c, NULL,
                          "# comment\nstate-dir: /s\nplan-dir: [/a, /b]\norigins: https://x\n"
                          "others: view\nmax-jobs: 8\n"),
                0);
        assert_string_equal(c.state_dir, "/s");
        assert_string_equal(c.plan_dirs[1], "/b");
        assert_string_equal(c.origins[0], "https://x");
        assert_null(c.origins[1]);
        assert_string_equal(c.max_jobs, "8");
}

static void an_empty_file_says_nothing(void **state) {
        static const char *const texts[] = {"", "\n", "# nothing\n", "---\n"};

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_config_ Config c = {0};

                assert_int_equal(read_text(&c, NULL, texts[i]), 0);
                assert_null(c.state_dir);
        }
}

static void a_wrong_file_says_where_and_what(void **state) {
        static const struct {
                const char *text, *message, *hint;
        } cases[] = {
                {"socket: /a\nlisen: x\n", "c.yaml:2:1: there is no option 'lisen'",
                 "did you mean 'listen'?"},
                {"check-state: yes\n", "c.yaml:1:1: there is no option 'check-state'", NULL},
                {"socket: /a\nsocket: /b\n", "c.yaml:2:1: this option is there twice", NULL},
                {"socket: [/a]\n", "c.yaml:1:9: 'socket' takes a text", NULL},
                {"plan-dir: {a: b}\n", "c.yaml:1:11: 'plan-dir' takes a text, or a list of them",
                 NULL},
                {"plan-dir: [[a]]\n", "c.yaml:1:12: 'plan-dir' takes a text, or a list of them",
                 NULL},
                {"- a\n", "c.yaml:1:1: one mapping of option names to values is expected", NULL},
                {"just words\n", "c.yaml:1:1: one mapping of option names to values is expected",
                 NULL},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_config_ Config c = {0};
                _cleanup_error_ Error error = ERROR_INIT;

                assert_int_equal(read_text(&c, &error, cases[i].text), -EBADMSG);
                assert_string_equal(error.message, cases[i].message);
                assert_true(streq0(error.hint, cases[i].hint));
        }
}

static void broken_yaml_is_told_with_its_place(void **state) {
        _cleanup_config_ Config c = {0};
        _cleanup_error_ Error error = ERROR_INIT;

        assert_int_equal(read_text(&c, &error, "socket: /a\n\tlisten: x\n"), -EBADMSG);
        assert_true(startswith(error.message, "c.yaml:2:"));
}

static void write_file(const char *path, const char *text) {
        assert_int_equal(file_write_atomic(AT_FDCWD, path, text, strlen(text), 0600), 0);
}

static void a_flag_beats_the_file_and_the_file_the_default(void **state) {
        char dir[] = "/tmp/test-config-XXXXXX";
        _cleanup_free_ char *path = NULL, *flag = NULL;
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_config_ Config c = {0};

        assert_non_null(mkdtemp(dir));
        path = strf("%s/updd.yaml", dir);
        flag = strf("--config=%s", path);
        write_file(path, "state-dir: /from-file\nsocket: /from-file.sock\nplan-dir: [/a, /b]\n"
                         "step-program: relative/step\n");
        assert_int_equal(
                parse(&c, &error,
                      (const char *const[]){flag, "--state-dir=/from-flag", "--plan-dir=/c", NULL}),
                0);
        assert_int_equal(config_complete(&c, "/usr/sbin/updd", &error), 0);
        assert_string_equal(c.state_dir, "/from-flag");
        assert_string_equal(c.socket, "/from-file.sock");
        assert_string_equal(c.plan_dirs[0], "/c");
        assert_null(c.plan_dirs[1]);
        assert_int_equal(c.step_program[0], '/');
        assert_true(endswith(c.step_program, "/relative/step"));
        assert_int_equal(remove_tree(dir), 0);
}

static void values_that_cannot_be_are_refused(void **state) {
        static const char *const args[][2] = {
                {"--others=all"},
                {"--max-jobs=0"},
                {"--max-jobs=many"},
                {"--steps-in=docker"},
                {"--config=/nonexistent/updd.yaml"},
        };

        for (size_t i = 0; i < ELEMENTSOF(args); i++) {
                _cleanup_error_ Error error = ERROR_INIT;
                _cleanup_config_ Config c = {0};

                assert_int_equal(parse(&c, &error, args[i]), 0);
                if (config_complete(&c, "/usr/sbin/updd", &error) >= 0)
                        fail_msg("%s was accepted", args[i][0]);
                assert_non_null(error.message);
        }
}

/* What config_complete finds for an updd that stands in `dir`/sbin; caller frees. */
static char *find_step(const char *dir, int expected) {
        _cleanup_free_ char *updd = strf("%s/sbin/updd", dir);
        _cleanup_config_ Config c = {
                .config = strf("%s/empty.yaml", dir),
                .state_dir = strdup("/s"),
                .socket = strdup("/s/s"),
        };

        assert_int_equal(config_complete(&c, updd, NULL), expected);
        return TAKE(c.step_program);
}

static void the_step_program_is_found_from_where_updd_stands(void **state) {
        static const char *const folders[] = {"sbin/step", "libexec/updd", "lib/updd"};

        (void) unsetenv("UPDD_STEP");
        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                char dir[] = "/tmp/test-config-XXXXXX";
                _cleanup_free_ char *sbin = NULL, *folder = NULL, *step = NULL, *empty = NULL;
                _cleanup_free_ char *none = NULL, *found = NULL;

                assert_non_null(mkdtemp(dir));
                empty = strf("%s/empty.yaml", dir);
                sbin = strf("%s/sbin", dir);
                folder = strf("%s/%s", dir, folders[i]);
                step = strf("%s/updd-step", folder);
                write_file(empty, "");
                assert_int_equal(mkdir_parents(sbin, 0755), 0);
                assert_int_equal(mkdir_parents(folder, 0755), 0);
                none = find_step(dir, -ENOENT);
                assert_null(none);
                assert_int_equal(file_write_atomic(AT_FDCWD, step, "#!", 2, 0755), 0);
                found = find_step(dir, 0);
                assert_int_equal(access(found, X_OK), 0);
                assert_int_equal(remove_tree(dir), 0);
        }
}

/* The page writes a hyphen of an option as "\-". */
static char *man_item(const Option *o) {
        _cleanup_free_ char *name = calloc(2, strlen(o->name) + 1);
        char *p = name;

        for (const char *from = o->name; *from; from++) {
                if (*from == '-')
                        *p++ = '\\';
                *p++ = *from;
        }
        return strf("\n.It Cm \\-\\-%s%s%s\n", name, o->value ? " Ar " : "",
                    o->value ? o->value : "");
}

static void help_and_man_page_name_every_option(void **state) {
        _cleanup_free_ char *help = NULL, *man = NULL;
        size_t size, in_man = 0;
        FILE *f = open_memstream(&help, &size);

        assert_non_null(f);
        config_print_help(f);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(file_read(AT_FDCWD, MAN_PAGE, 1024 * 1024, &man, &size), 0);
        for (size_t i = 0; i < n_config_options; i++) {
                const Option *o = &config_options[i];
                _cleanup_free_ char *in_help =
                        strf("  --%s%s%s ", o->name, o->value ? " " : "", o->value ? o->value : "");
                _cleanup_free_ char *item = man_item(o);

                if (!strstr(help, in_help) || !strstr(man, item))
                        fail_msg("--%s is missing in --help or updd.8", o->name);
        }
        for (const char *p = man; (p = strstr(p, "\n.It Cm \\-\\-")) != NULL; p++)
                in_man++;
        assert_int_equal(in_man, n_config_options);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(options_are_read_in_both_spellings),
                cmocka_unit_test(a_wrong_command_line_says_what_is_wrong),
                cmocka_unit_test(the_file_has_the_same_names),
                cmocka_unit_test(an_empty_file_says_nothing),
                cmocka_unit_test(a_wrong_file_says_where_and_what),
                cmocka_unit_test(broken_yaml_is_told_with_its_place),
                cmocka_unit_test(a_flag_beats_the_file_and_the_file_the_default),
                cmocka_unit_test(values_that_cannot_be_are_refused),
                cmocka_unit_test(the_step_program_is_found_from_where_updd_stands),
                cmocka_unit_test(help_and_man_page_name_every_option),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
