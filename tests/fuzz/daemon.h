/* SPDX-License-Identifier: MIT */
/*
 * updd's engine for the targets: the real one over a real state folder, without a process. What
 * updd-step would leave behind is played by spawn.c, in place of the engine's own step_spawn(); log
 * lines are spelled and dropped. One thread, no waiting: a daemon is turned until nothing is left to
 * do at once.
 */
#pragma once

#include "daemon/engine/internal.h"
#include "fuzz.h"

typedef struct Daemon {
        char *dir;
        sd_event *event;
        Engine *engine;
} Daemon;

/* Opens the state folder. 0, or what engine_new() says. */
int daemon_open(const char *dir, Daemon *ret, Error *reterr);
void daemon_close(Daemon *d);
/* Turns the loop until there is nothing to do at once, or for a bounded number of times. */
void daemon_turn(Daemon *d);
/* Hands in a call and turns. Steals `body`. */
void daemon_call(Daemon *d, CallKind kind, int64_t job, json_t *body);
/* Reads everything that can be read, and holds it to be JSON. */
void daemon_look(Daemon *d);
/* The sections that are named like a verb ("=== retry"), with their text as the call's body; one that
 * is no JSON stands for a body that says yes to everything. */
void daemon_calls(Daemon *d, int64_t job, const Sections *sections);

/* ---- state.c ---- */

/* Makes a state folder with a job in each state that a job can rest in; once. */
void state_make(void);
/* A fresh copy of it with one of its jobs (0: all), at a path that the next one uses again. */
const char *state_fresh(int64_t job);
/* The folder of a job's attempt in a state folder. Caller frees. */
char *state_attempt(const char *dir, int64_t job, const char *step, unsigned n);

enum { /* jobs of the state folder, by number */
       STATE_SUCCEEDED = 1,
       STATE_GATE,
       STATE_HELD,
       STATE_STUCK,
       STATE_QUESTION,
       STATE_RUNNING,
       STATE_JOBS = STATE_RUNNING,
};

/* ---- spawn.c ---- */

/* The attempt's updd-step "lives": its lock is held until spawn_forget(). */
void spawn_hold(const char *dir);
void spawn_forget(void);
/* What a later attempt leaves instead of what its step's name says: {"file": text} for one attempt
 * after the other. Borrowed until it is set again; NULL: nothing. */
typedef struct SpawnScript {
        const Sections *sections; /* those behind each "spawn" are one attempt's files */
        size_t next;
} SpawnScript;

void spawn_follow(const Sections *sections);
/* Writes sections as files from `first` on until the next one named "spawn"; says where it stopped.
 * `@ID@` in them is the attempt's id. */
size_t spawn_write(const Sections *sections, size_t first, const char *dir, const char *id);
