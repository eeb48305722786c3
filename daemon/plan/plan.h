/* SPDX-License-Identifier: MIT */
/*
 * A plan, read, checked and brought into one normal form. This room does no I/O: text comes in,
 * trees and faults go out.
 *
 * The normal form (`plan->norm`) is what every other room reads. It has every shorthand spelled
 * out: STEP   {"id", "verb", "args": {…}, and where given: "title" "when" "cwd" "env" "env_file"
 * "user" "timeout" "retry": {"tries","first","factor","max"} "verify": [CHECK] "undo": "none" |
 * [STEP] "probe": [CHECK] "on_crash" "limits" "dry_run": [STEP]} A step that has only `undo:` has
 * the verb "mark". Steps inside `undo`, `instead`, `then`, `dry_run` and hooks look the same; an id
 * that the plan does not give is "<verb>-<n>". CHECK  {"check": NAME, "args": {…}, and where given:
 * "name" "when" "hint" "within" "every" "timeout" "warn" "override" "cwd" "env" "user"} A field
 * that may stand alone stands under its own name in "args" (`stop: [a]` is
 *   {"services": ["a"]}); a STEPS or check list is always a list. Durations, sizes and templates
 * stay text as written (api/args.h reads them); ints and bools given as constants are JSON ints and
 * bools. Top-level sections keep their names; "steps", "checks", "finalise" are always there, as
 * are "inputs", "secrets", "databases", "stores", "compose", "services", "rollbacks", "on_failure",
 * "hooks", "hints", "env" (empty objects where the plan has none).
 */
#pragma once

#include "api/error.h"
#include "api/text.h"

typedef struct Plan {
        unsigned n_ref;
        json_t *source;  /* the document, scalars typed by the schema; what `canonical` spells */
        json_t *norm;    /* the normal form */
        char *canonical; /* canonical JSON of `source`: reading it again gives the same plan */
        char sha256[SHA256_TEXT_MAX]; /* of `canonical` */
} Plan;

/* Reads YAML or JSON (JSON when the first byte that is not white space is '{'). `file` serves in
 * messages only. Faults are a JSON array of
 *   {"severity": "error"|"warning", "code", "message", "file", "line", "column", "path", "hint"?}
 * sorted by place; `path` is an RFC 6901 pointer. `*ret_faults` is always set (maybe empty) unless
 * memory is out. Returns 0 and a plan when there is no error among them, -EBADMSG and no plan
 * otherwise. Text above 4 MiB or nested deeper than 64 is a fault like any other. */
_must_check_ int plan_parse(const char *file, const char *text, size_t size, Plan **ret,
                            json_t **ret_faults);

Plan *plan_ref(Plan *plan);
void plan_unref(Plan *plan);
DEFINE_CLEANUP(Plan *, plan_unref)
#define _cleanup_plan_ _cleanup_(plan_unrefp)

/* internal.c: updd's own plan that sets a schedule's timer; `on` NULL: that removes it. -ENOMEM. */
#define PLAN_SCHEDULE "updd-schedule"
#define SCHEDULE_TARGET "schedule:"
#define TIMER_UNIT "updctl-start@%s.timer" /* of the schedule's name */
_must_check_ int plan_schedule(const char *name, const char *on, const char *missed, Plan **ret);
bool plan_is_internal(const Plan *plan);
/* Reads `canonical` again, of a person's plan or of updd's own. */
_must_check_ int plan_thaw(const char *text, Plan **ret, json_t **ret_faults);

/* The job's inputs: types what was given (text or JSON values), fills in defaults (which may use
 * earlier inputs), checks values, match, min, max. All faults are told together: type
 * "bad-inputs", details.faults = [{"input","message","hint"?}]. *ret is a fresh object: int and
 * bool inputs as JSON ints and bools, all others as text. */
_must_check_ int plan_inputs(const Plan *plan, const json_t *given, json_t **ret, Error *reterr);

/* What cannot be carried out, by this build or, without `units` (steps are units of systemd), here:
 * array of {"path","what","message"}. Empty: all of it can be started. */
_must_check_ int plan_unsupported(const Plan *plan, bool units, json_t **ret);

typedef enum VerbClass {
        VERB_ACTION,
        VERB_LOOK,  /* check, wait, observe: changes nothing */
        VERB_GATE,  /* confirm */
        VERB_GROUP, /* group, parallel */
        VERB_REVERT,
        VERB_MARK,
        VERB_HOOK, /* webhook, mail: only in hooks */
        _VERB_CLASS_MAX,
} VerbClass;

typedef enum UndoKind {
        UNDO_NOTHING, /* nothing to undo */
        UNDO_KNOWN,   /* the verb knows: a task with direction "undo" */
        UNDO_SAY,     /* the plan must say */
        UNDO_MEMBERS,
        _UNDO_KIND_MAX,
} UndoKind;

typedef enum OnCrash {
        ON_CRASH_UNDO,
        ON_CRASH_RERUN,
        ON_CRASH_ASK,
        ON_CRASH_PROBE,
        _ON_CRASH_MAX,
} OnCrash;

const char *on_crash_to_text(OnCrash c);
/* -EINVAL on an unknown word. */
int on_crash_from_text(const char *text);

/* What the verb's row says about a normal-form step, arguments considered (`http` GET has nothing
 * to undo, `http` POST must say). An unknown verb is VERB_ACTION, UNDO_SAY, ON_CRASH_UNDO. */
VerbClass verb_class(const json_t *step);
UndoKind verb_undo(const json_t *step);
OnCrash verb_on_crash(const json_t *step); /* the step's own on_crash, or its verb's default */

/* The documents that are generated from the field tables. */
_must_check_ int plan_schema(json_t **ret);  /* JSON Schema 2020-12: api/plan.schema.json */
_must_check_ int plan_reference(char **ret); /* Markdown: api/plan-reference.md */
