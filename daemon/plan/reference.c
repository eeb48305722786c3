/* SPDX-License-Identifier: MIT */
/* The field tables as a page for people, in Markdown. */
#include "daemon/plan/table.h"

static void print_escaped(FILE *out, const char *text) {
        for (; *text; text++) {
                if (*text == '|')
                        fputc('\\', out);
                fputc(*text, out);
        }
}

static void print_words(FILE *out, const char *const *words) {
        fputs(" (", out);
        for (size_t i = 0; words[i]; i++)
                fprintf(out, "%s`%s`", i > 0 ? ", " : "", words[i]);
        fputc(')', out);
}

static void print_field(FILE *out, const FieldInfo *f) {
        fprintf(out, "| %s`%s`%s | %s", f->flags & FIELD_ALONE ? "•" : "", f->name,
                f->flags & FIELD_REQUIRED ? " *" : "", field_types[f->type].name);
        if (f->values)
                print_words(out, f->values);
        if (f->spec)
                fprintf(out, " of [%s](#%s)", f->spec->name, f->spec->name);
        fputs(" | ", out);
        print_escaped(out, f->def ? f->def : "");
        fputs(" | ", out);
        print_escaped(out, f->doc);
        fputs(f->flags & FIELD_SECRET ? "; may hold secrets |\n" : " |\n", out);
}

static void print_rule(FILE *out, const FieldRule *r) {
        static const char *const words[] = {[RULE_ONE_OF] = "Exactly one of",
                                            [RULE_ANY_OF] = "At least one of",
                                            [RULE_AT_MOST] = "At most one of",
                                            [RULE_TOGETHER] = NULL};

        if (r->kind == RULE_TOGETHER)
                fprintf(out, "- `%s` only with", r->names[0]);
        else
                fprintf(out, "- %s", words[r->kind]);
        for (size_t i = r->kind == RULE_TOGETHER; i < ELEMENTSOF(r->names) && r->names[i]; i++)
                fprintf(out, "%s `%s`",
                        i <= (r->kind == RULE_TOGETHER) ? ""
                        : r->kind == RULE_TOGETHER      ? " or"
                                                        : ",",
                        r->names[i]);
        fputs("\n", out);
}

static void print_spec(FILE *out, const Spec *spec) {
        fprintf(out, "%s.\n\n", spec->doc);
        fputs("| key | type | default | meaning |\n|---|---|---|---|\n", out);
        for (const FieldInfo *f = spec->fields; f->name; f++)
                print_field(out, f);
        if (spec->rules)
                fputc('\n', out);
        for (const FieldRule *r = spec->rules; r && r->kind != RULE_END; r++)
                print_rule(out, r);
        fputc('\n', out);
}

/* The specs below one, each once: `done` ends in NULL and has room. */
static void print_nested(FILE *out, const Spec *spec, const Spec **done, size_t max) {
        for (const FieldInfo *f = spec->fields; f->name; f++) {
                size_t i = 0;

                while (done[i] && done[i] != f->spec)
                        i++;
                if (!f->spec || done[i] || i + 1 >= max)
                        continue;
                done[i] = f->spec;
                fprintf(out, "### %s\n\n", f->spec->name);
                print_spec(out, f->spec);
                print_nested(out, f->spec, done, max);
        }
}

static void print_verb(FILE *out, const VerbInfo *v) {
        static const char *const undo[] = {[UNDO_NOTHING] = "nothing to undo",
                                           [UNDO_KNOWN] = "known",
                                           [UNDO_SAY] = "the plan must say",
                                           [UNDO_MEMBERS] = "its members'"};

        fprintf(out, "### %s\n\n", v->spec.name);
        print_spec(out, &v->spec);
        fprintf(out, "Undo: %s. On a crash: %s.", v->undo_doc ? v->undo_doc : undo[v->undo],
                on_crash_to_text(v->on_crash));
        if (v->outputs) {
                fputs(" Outputs:", out);
                for (const char *const *o = v->outputs; *o; o++)
                        fprintf(out, "%s `%s`", o == v->outputs ? "" : ",", *o);
                fputc('.', out);
        }
        if (v->later)
                fprintf(out, " Not in this version: %s.", v->later);
        fputs("\n\n", out);
}

static const char commands_see[] =
        "### What a command sees\n\n"
        "A command of a plan gets an environment of its own and nothing of the daemon's: `PATH`, "
        "`HOME`, `USER`, `LOGNAME`, `LANG`, `UPDD_ATTEMPT`, `UPDD_JOB`, `UPDD_STEP`, `UPDD_PLAN`, "
        "`UPDD_TARGET`, `UPDD_DIRECTION`, `UPDD_RECORD`, then what `env_file` and `env` say. Its "
        "standard input is `stdin` or `/dev/null`; its output goes into the step's log through "
        "pipes, or through a terminal where there are `answers`; no other descriptor is open. It "
        "runs in `cwd` or else in `/`, with the umask 022, all signals at their defaults and none "
        "blocked, in a process group of its own, without core dumps. Priority and limits are those "
        "of updd, but for RLIMIT_RTTIME, which is a mark. Whatever it leaves running ends with it, "
        "however it was forked: what is meant to "
        "live on is a service of `services`.\n\n"
        "Output need not be text. The log has it byte by byte; where it becomes text (outputs, "
        "messages, `has`, `lacks`, `save`), what is no UTF-8 stands as U+FFFD. Of each stream 4 "
        "MiB are looked at, the first and the last half; `lacks` does not hold for more.\n\n";

static const char units_held[] =
        "### How a unit is kept down\n\n"
        "What a `stop` has stopped is not started by a boot, nor by anything else that would, "
        "until "
        "the job's `start` or the undo. The links in /etc/systemd/system and /run/systemd/system "
        "that enable the unit are taken away, and its sockets, timers and paths are stopped with "
        "it; both are recorded one by one, and come back as they were. Where something is left "
        "that might start it (another unit that wants it, a distribution's target, D-Bus), a "
        "drop-in stands against that, `UNIT.d/updd-job-….conf` in /etc/systemd/system: whoever "
        "must have the unit sooner removes that file. Masks are nothing that updd makes, but for "
        "one that it found and lifted for an undo.\n\n";

static void print_page(FILE *out) {
        const Spec *done[64] = {NULL};

        fputs("# The plan, key by key\n\n"
              "Generated from the tables that read plans (`plan-generate reference`). `*` marks a "
              "key that must be there, `•` one that may stand alone as its verb's value. Every "
              "step has the outputs",
              out);
        for (const char *const *o = step_outputs; *o; o++)
                fprintf(out, "%s `%s`", o == step_outputs ? "" : ",", *o);
        fputs("; a job has", out);
        for (const char *const *o = job_names; *o; o++)
                fprintf(out, "%s `${job.%s}`", o == job_names ? "" : ",", *o);
        fputs(".\n\n## Types\n\n| type | what it takes |\n|---|---|\n", out);
        for (size_t i = 0; i < _FIELD_TYPE_MAX; i++) {
                fprintf(out, "| %s | ", field_types[i].name);
                print_escaped(out, field_types[i].expected);
                fputs(" |\n", out);
        }
        fputs("\n## Top level\n\n", out);
        print_spec(out, &plan_spec);
        print_nested(out, &plan_spec, done, ELEMENTSOF(done));
        fputs("## Steps\n\n", out);
        print_spec(out, &step_spec);
        print_nested(out, &step_spec, done, ELEMENTSOF(done));
        fputs(commands_see, out);
        fputs(units_held, out);
        fputs("## Actions\n\n", out);
        for (const VerbInfo *v = plan_verbs; v->spec.name; v++) {
                print_verb(out, v);
                print_nested(out, &v->spec, done, ELEMENTSOF(done));
        }
        fputs("## Checks\n\n", out);
        print_spec(out, &check_spec);
        for (const CheckInfo *c = plan_checks; c->spec.name; c++) {
                fprintf(out, "### check %s\n\n", c->spec.name);
                print_spec(out, &c->spec);
                if (c->later)
                        fprintf(out, "Not in this version: %s.\n\n", c->later);
        }
}

int plan_reference(char **ret) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        if (!out)
                return -ENOMEM;
        print_page(out);
        if (fclose(out) != 0) {
                free(text);
                return -ENOMEM;
        }
        *ret = text;
        return 0;
}
