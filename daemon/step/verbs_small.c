/* SPDX-License-Identifier: MIT */
/*
 * The rows of updd-step itself: verbs and checks that need no large library (see full.h). All of
 * them stand in verbs.c and checks.c too.
 */
#include "daemon/step/step.h"

extern const Verb verb_append;
extern const Verb verb_check;
extern const Verb verb_compose;
extern const Verb verb_copy;
extern const Verb verb_git;
extern const Verb verb_observe;
extern const Verb verb_remove;
extern const Verb verb_reserve;
extern const Verb verb_run;
extern const Verb verb_snapshot;
extern const Verb verb_switch;
extern const Verb verb_wait;
extern const Verb verb_write;
extern const Check check_disk;
extern const Check check_path;
extern const Check check_process;
extern const Check check_run;
extern const Check check_tcp;
extern const Check check_that;
extern const Check check_tool;

const Verb *const step_verbs[] = {
        &verb_append,  &verb_check,  &verb_compose, &verb_copy, &verb_git,
        &verb_observe, &verb_remove, &verb_reserve, &verb_run,  &verb_snapshot,
        &verb_switch,  &verb_wait,   &verb_write,   NULL,
};

const Check *const step_checks[] = {
        &check_disk, &check_path, &check_process, &check_run,
        &check_tcp,  &check_that, &check_tool,    NULL,
};
