/* SPDX-License-Identifier: MIT */
/*
 * A process that is known by more than its number: by when it began, so that another one that got
 * the same number is never taken for it.
 */
#pragma once

#include <sys/types.h>

#include "daemon/step/step.h"

typedef struct Process {
        pid_t pid;      /* 0: none */
        uint64_t ticks; /* when it began: clock ticks after the boot, field 22 of /proc/PID/stat */
} Process;

/* 1 and what lives under that number now; 0 when nothing does (a zombie does not live). */
int process_now(pid_t pid, Process *ret);
bool process_lives(const Process *p);
/* How long it has lived. */
int64_t process_age_ms(const Process *p);

/* 1 and the process that a pid file names; 0 when it names none that lives, or one that began
 * after the file was written. */
_must_check_ int process_from_file(const char *path, Process *ret);

/* TERM, `grace_ms`, then KILL; the whole process group if it leads one. 0 once it is gone; -EBUSY
 * when even KILL does not end it; -ECANCELED. */
_must_check_ int process_end(Step *s, const Process *p, int64_t grace_ms, Error *reterr);
/* 1 when it ends within the time, 0 when not. */
_must_check_ int process_wait(Step *s, const Process *p, int64_t ms, Error *reterr);
