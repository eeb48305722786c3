/* SPDX-License-Identifier: MIT */
/* The checks of updd-step: one line for each, in its file's alphabetical order. */
#include "daemon/step/step.h"

extern const Check check_backup;
extern const Check check_disk;
extern const Check check_http;
extern const Check check_path;
extern const Check check_process;
extern const Check check_run;
extern const Check check_sql;
extern const Check check_tcp;
extern const Check check_that;
extern const Check check_tool;
extern const Check check_value;

const Check *const step_checks[] = {
        &check_backup, &check_disk, &check_http, &check_path, &check_process, &check_run,
        &check_sql,    &check_tcp,  &check_that, &check_tool, &check_value,   NULL,
};
