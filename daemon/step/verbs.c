/* SPDX-License-Identifier: MIT */
/* The verbs of updd-step: one line for each, in its file's alphabetical order. */
#include "daemon/step/step.h"

extern const Verb verb_append;
extern const Verb verb_backup;
extern const Verb verb_check;
extern const Verb verb_collect;
extern const Verb verb_compose;
extern const Verb verb_copy;
extern const Verb verb_fetch;
extern const Verb verb_git;
extern const Verb verb_http;
extern const Verb verb_observe;
extern const Verb verb_reboot;
extern const Verb verb_release;
extern const Verb verb_remove;
extern const Verb verb_reserve;
extern const Verb verb_restore;
extern const Verb verb_run;
extern const Verb verb_snapshot;
extern const Verb verb_sql;
extern const Verb verb_start;
extern const Verb verb_stop;
extern const Verb verb_switch;
extern const Verb verb_timer;
extern const Verb verb_wait;
extern const Verb verb_webhook;
extern const Verb verb_write;

const Verb *const step_verbs[] = {
        &verb_append, &verb_backup,  &verb_check,   &verb_collect, &verb_compose,  &verb_copy,
        &verb_fetch,  &verb_git,     &verb_http,    &verb_observe, &verb_reboot,   &verb_release,
        &verb_remove, &verb_reserve, &verb_restore, &verb_run,     &verb_snapshot, &verb_sql,
        &verb_start,  &verb_stop,    &verb_switch,  &verb_timer,   &verb_wait,     &verb_webhook,
        &verb_write,  NULL,
};
