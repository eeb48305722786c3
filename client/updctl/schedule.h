/* SPDX-License-Identifier: MIT */
/* What the files of `schedule` share. */
#pragma once

#include "client/updctl/ctl.h"

/* "/v1/schedules/NAME" and what follows. Caller frees. */
char *schedule_path(const char *name, const char *rest);
/* What the timer's service does: starts the job of this elapse, once. */
int schedule_fire(Ctl *ctl, const char *name);

/* ---- show_schedule.c ---- */
void put_schedule(const Screen *s, const json_t *schedule);
void put_schedule_line(const Screen *s, const json_t *schedule);
/* "next" or "last" as people read it. Caller frees. */
char *schedule_time(const json_t *schedule, const char *key);
