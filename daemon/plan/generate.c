/* SPDX-License-Identifier: MIT */
/*
 * Prints what is generated from the field tables (`schema`, `reference`), or what is wrong with a
 * plan (`check FILE`), or what it means (`norm FILE`). For the build and the tests; not installed.
 */
#include <fcntl.h>

#include "api/args.h"
#include "daemon/plan/plan.h"

enum { FILE_MAX = 64 * 1024 * 1024 };

static void print_fault(const json_t *fault) {
        const char *hint = args_text(fault, "hint", NULL);
        bool warning = streq(args_text(fault, "severity", ""), "warning");

        printf("%lld:%lld %s%s: %s\n", json_integer_value(json_object_get(fault, "line")),
               json_integer_value(json_object_get(fault, "column")), warning ? "warning " : "",
               args_text(fault, "code", ""), args_text(fault, "message", ""));
        if (hint)
                printf("  hint: %s\n", hint);
}

static int print_plan(const char *file, bool norm) {
        _cleanup_plan_ Plan *plan = NULL;
        _cleanup_free_ char *text = NULL;
        json_auto_t *faults = NULL;
        size_t size, i;
        json_t *f;
        int r;

        r = file_read(AT_FDCWD, file, FILE_MAX, &text, &size);
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", file, strerror(-r));
                return EXIT_FAILURE;
        }
        r = plan_parse(file, text, size, &plan, &faults);
        json_array_foreach (faults, i, f)
                print_fault(f);
        if (plan && norm) {
                (void) json_dumpf(plan->norm, stdout, JSON_INDENT(2));
                putchar('\n');
        }
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int print_schema(void) {
        json_auto_t *schema = NULL;

        if (plan_schema(&schema) < 0)
                return EXIT_FAILURE;
        (void) json_dumpf(schema, stdout, JSON_INDENT(2));
        putchar('\n');
        return EXIT_SUCCESS;
}

static int print_reference(void) {
        _cleanup_free_ char *text = NULL;

        if (plan_reference(&text) < 0)
                return EXIT_FAILURE;
        fputs(text, stdout);
        return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
        if (argc == 2 && streq(argv[1], "schema"))
                return print_schema();
        if (argc == 2 && streq(argv[1], "reference"))
                return print_reference();
        if (argc == 3 && streq(argv[1], "check"))
                return print_plan(argv[2], false);
        if (argc == 3 && streq(argv[1], "norm"))
                return print_plan(argv[2], true);
        fprintf(stderr, "usage: %s schema | reference | check FILE | norm FILE\n", argv[0]);
        return 2;
}
