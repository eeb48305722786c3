/* SPDX-License-Identifier: MIT */
/*
 * What commands are made of: calls whose failure is told, choosing the job and the wait that are
 * meant, and small readings of the API's JSON. Results above 0 are exit codes, already explained
 * on stderr.
 */
#pragma once

#include "client/updctl/updctl.h"

/* ---- reading the API's JSON: borrowed; NULL, 0 or false where the member is missing ---- */
const char *get_text(const json_t *object, const char *key);
int64_t get_int(const json_t *object, const char *key);
bool get_bool(const json_t *object, const char *key);
/* A time member in wall ms, or 0. */
int64_t get_time(const json_t *object, const char *key);
/* The text of a JSON scalar. Caller frees. */
_must_check_ char *value_text(const json_t *value);
/* The texts of an array, joined. Caller frees; NULL when there are none. */
_must_check_ char *join_texts(const json_t *array, const char *between);

/* ---- times as people read them: local, caller frees ---- */
char *clock_text(int64_t wall_ms);    /* "12:03:04" */
char *when_text(int64_t wall_ms);     /* "02:13", or with its day when not today */
char *span_text(int64_t ms);          /* "1.2s" "1m02s" "3h05m" "2d04h" */
char *long_span_text(int64_t ms);     /* "47 min", "3 h 05 min" */
char *deadline_text(int64_t wall_ms); /* "until 14:05 (23h12m left)", "overdue since ..." */

/* ---- telling ---- */
/* "updctl: …" and a hint on stderr. Returns `code`. */
_printf_(3, 4) int tell(Ctl *ctl, int code, const char *format, ...);
_printf_(2, 3) void tell_hint(Ctl *ctl, const char *format, ...);
int tell_error(Ctl *ctl, int code, const Error *e);
/* A problem document, with its faults. With --json also the document itself on stdout. */
int tell_problem(Ctl *ctl, const Response *response);
/* Compiler-style lines: file:line:col: error: message (hint). */
void put_faults(const Screen *s, const json_t *faults);
/* The API's JSON as it came (cleaned for a terminal), and 0. */
int put_json(Ctl *ctl, const Response *response);
int put_json_value(Ctl *ctl, const json_t *value);

/* ---- calls ---- */
/* 0 when the answer is below 400 (or a 304); else told, EXIT_REFUSED or EXIT_UNREACHABLE. */
_must_check_ int ctl_call(Ctl *ctl, const Request *q, Response *ret);
_must_check_ _printf_(3, 4) int ctl_get(Ctl *ctl, Response *ret, const char *format, ...);
_must_check_ int ctl_post(Ctl *ctl, const char *path, const json_t *body, Response *ret);
/* What happened to the job since *after, in order, page by page; *after goes along. `seen` says 0, or
 * above it to end that. */
typedef int (*EventSeen)(Ctl *ctl, const json_t *event, void *userdata);
_must_check_ int events_each(Ctl *ctl, int64_t job, int64_t *after, EventSeen seen, void *userdata);

/* ---- what the command line gives (given.c); told when it cannot be ---- */
/* "inputs", "labels" and "overrides". */
_must_check_ int put_given(Ctl *ctl, json_t *body);
/* The option's value, when it has one. */
_must_check_ int put_given_text(Ctl *ctl, json_t *body, const char *key, OptionId option);

/* ---- choosing ---- */
/* The job that the word (number or name, or NULL for the only unfinished one) means. */
_must_check_ int pick_job(Ctl *ctl, const char *word, Response *ret);
/* Waits for the job to change, or for half a minute. */
_must_check_ int next_change(Ctl *ctl, Response *job);
/* The only wait that fits, or the one that --wait names. 0 and *ret NULL when there is none. */
typedef bool (*WaitFits)(const json_t *wait);
_must_check_ int pick_wait(Ctl *ctl, const json_t *job, WaitFits fits, const json_t **ret);
bool wait_is_gate(const json_t *wait);
bool wait_is_question(const json_t *wait);
bool wait_can_retry(const json_t *wait);
bool wait_can_skip(const json_t *wait);
/* Its step, or its id, as people read it: the daemon's own steps are called "@checks", "@then". */
const char *step_of(const json_t *object);

/* ---- screens (show_*.c) ---- */
void put_job(Ctl *ctl, const Screen *s, const json_t *job);
void put_job_line(const Screen *s, const json_t *job);
void put_steps(const Screen *s, const json_t *job);
/* The visible rows of the step list, at most `rows` of them (0: all). */
void put_steps_within(const Screen *s, const json_t *job, int rows);
void put_waits(const Screen *s, const json_t *job);
void put_failure(const Screen *s, const json_t *job);
void put_back(const Screen *s, const json_t *job);
void put_checks(const Screen *s, const json_t *step, bool only_bad);
void put_next(const Screen *s, const json_t *job);
void put_strategy(const Screen *s, const json_t *strategy);
char *loses_text(const json_t *strategy);
typedef struct StateLook {
        const char *name, *words;
        Style style;
        int exit; /* of status */
} StateLook;
const StateLook *state_look(const char *state);
/* Waits for a person, not for a clock. */
bool job_waits_for_person(const json_t *job);
bool job_ended(const json_t *job);

/* ---- secrets ---- */
/* Those given with --secret, into `secrets`. */
_must_check_ int read_secrets(Ctl *ctl, json_t *secrets);

/* ---- following (follow.c) ---- */
/* Shows the job until it ends, waits for a person (off a terminal) or Ctrl-C. Returns the exit
 * code; `from` is the last event that was already told (0: tell all). */
int follow_job(Ctl *ctl, int64_t job, int64_t from);
