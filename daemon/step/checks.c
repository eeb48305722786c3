/* SPDX-License-Identifier: MIT */
/* The checks of updd-step: one line for each, in its file's alphabetical order. */
#include "daemon/step/step.h"

extern const Check check_backup;
extern const Check check_container;
extern const Check check_disk;
extern const Check check_healthy;
extern const Check check_http;
extern const Check check_logs;
extern const Check check_path;
extern const Check check_process;
extern const Check check_run;
extern const Check check_sql;
extern const Check check_stopped;
extern const Check check_tcp;
extern const Check check_that;
extern const Check check_tool;
extern const Check check_value;
extern const Check check_way_back;

const Check *const step_checks[] = {
        &check_backup, &check_container, &check_disk,  &check_healthy,  &check_http,    &check_logs,
        &check_path,   &check_process,   &check_run,   &check_sql,      &check_stopped, &check_tcp,
        &check_that,   &check_tool,      &check_value, &check_way_back, NULL,
};
