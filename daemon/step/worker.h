/* SPDX-License-Identifier: MIT */
/*
 * The worker's side of updd-step, private to its core: what stands behind `Step` of step.h. The
 * worker tells the supervisor everything over one socket, one JSON object a line:
 *   {"mask": text}  a secret, before anything that may contain it is written
 *   {"phase": text} {"output": {key: value}} {"check": {…}} {"services": {name: [lines]}}
 *   {"progress": text} {"question": {"k","prompt","echo"}} {"answered": k}
 *   {"subreaper": bool}  answered by one byte when it is done
 *   {"end": {"ok", "error"?, "exit"?, "signal"?, "op"?, "reason"?}}
 * so that what happened before a kill is not lost with the worker.
 */
#pragma once

#include "daemon/step/mask.h"
#include "daemon/step/step.h"

typedef enum Compose { COMPOSE_UNKNOWN, COMPOSE_PLUGIN, COMPOSE_PROGRAM } Compose;

struct Step {
        int dirfd;
        int control;
        int stop_fd;     /* readable once a stop is wanted */
        json_t *task;    /* context with its secrets put in */
        json_t *secrets; /* {NAME: value} */
        json_t *scope;   /* the task's, own outputs added */
        const json_t *op;
        const json_t *overlay; /* a check's cwd, env, user over the op's; borrowed, or NULL */
        Masks masks;
        json_t *undo; /* entries of the record at `undo_of`; cache */
        char *undo_of;
        size_t undo_size; /* bytes of the record's whole lines */
        char *kept;
        bool looking;           /* checks_look(): nothing is recorded or logged */
        int64_t check_until_us; /* a check's own time limit (monotonic), or 0 */
        int64_t began_us;       /* when the worker began (monotonic) */
        unsigned questions;
        const char *phase; /* as last told; NULL: not yet */
        Compose compose;   /* the spelling that works here, once it is known */
        json_t *found;     /* what the newest look tells beyond yes or no: see step_found() */
        int exit, signal;  /* of the child that made the op fail; exit -1: none */
};

/* Runs the whole task and tells its end. Never returns. Takes `task` and `secrets` over. */
_Noreturn void worker_run(int dirfd, int control, json_t *task, json_t *secrets);

/* The task itself, from what stands in `task` and `secrets`. -errno, and which op failed (SIZE_MAX:
 * none of them). */
_must_check_ int worker_work(Step *s, size_t *ret_failed, Error *reterr);

/* One message to the supervisor; steals `value`. A supervisor that is gone ends the worker. */
void worker_tell(Step *s, const char *key, json_t *value);
/* The same and waits for the supervisor's word that it is done. */
void worker_tell_wait(Step *s, const char *key, json_t *value);
/* From now on this is a secret, here and in the supervisor. */
int worker_mask(Step *s, const char *secret);

/* A field of the op: cwd, user, env, env_file; a check's own comes first. NULL when not given. */
const json_t *step_setting(const Step *s, const char *key);

/* secrets.c: what {"$secret": …} stands for is put in. `in_argv` refuses them where they would end
 * on a command line. */
_must_check_ int secrets_resolve(const json_t *secrets, const json_t *value, json_t **ret,
                                 Error *reterr);
_must_check_ int secrets_read(int fd, json_t **ret, Error *reterr);

/* ask.c: a question in two halves, for a caller that watches something else meanwhile. */
unsigned ask_begin(Step *s, const char *prompt, bool echo);
/* 1 and the answer (masked already unless `echo`), 0 not yet, -errno. */
_must_check_ int ask_poll(Step *s, unsigned k, bool echo, char **ret);
/* Closes a question: answered, or moot because the program went on by itself. */
void ask_end(Step *s, unsigned k);
