/* SPDX-License-Identifier: MIT */
/*
 * A job that is being followed: what both ways of showing it share. live.c redraws in place on a
 * terminal, plain.c appends a line for each event elsewhere.
 */
#pragma once

#include "client/updctl/ctl.h"

typedef struct Follow {
        Ctl *ctl;
        int64_t id;
        Response last; /* the newest answer; `last.json` is the job */
        int64_t told;  /* the last event that plain.c has told */
        json_t *begun; /* plain.c: step id -> wall ms at which its attempt began */
        json_t *seen;  /* ids of the waits that were shown (plain.c) or asked (follow.c) */
        char *running; /* plain.c: the step that was told to be running */
        char *drawn;   /* live.c: what stands on the screen */
        int rows;      /* live.c: how many rows of it */
} Follow;

/* Shows the job as it is now. Called on every change and every half second. */
void live_draw(Follow *f);
/* What is drawn stays, the next drawing begins below it. */
void live_keep(Follow *f);
/* Takes what is drawn off the screen. */
void live_erase(Follow *f);

/* Tells the events since the last call. 0 or an exit code. */
_must_check_ int plain_tell(Follow *f);
/* Names a step that has been running for a while. */
void plain_tick(Follow *f);
