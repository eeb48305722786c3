/* SPDX-License-Identifier: MIT */
/*
 * The attempt protocol's files: what updd and updd-step both know, and all they share.
 *
 *   STATE/jobs/<job>/                    the job's folder                               0700
 *   STATE/jobs/<job>/secrets/<name>      a secret that came with a request              0600
 *   STATE/jobs/<job>/reserve/            space that is kept free for the way back (step/reserve.h)
 *   STATE/jobs/<job>/reserve.json        where else such space is
 *   STATE/jobs/<job>/<step>/undo         undo record, JSON lines, appended and fsynced by updd-step
 *   STATE/jobs/<job>/<step>/kept/        what the undo record points at (copies of files, …)
 *   STATE/jobs/<job>/<step>/<n>/         one attempt:
 *     task.json     daemon   what to do (below)
 *     lock          step     flock(2)ed for life by updd-step: free means dead
 *     claim         step     linked whole: {"id","pid","boot","started","version"}; "by":"daemon"
 *                            withdraws
 *     log           step     output, bounded, secrets masked
 *     log.tail      step     its newest part while it is too long for one: see logtail.h
 *     progress      step     JSON lines: {"t": wall ms, "message"|"percent"|"question": …}
 *     answer.<k>    daemon   the answer to question k, created exclusively
 *     stop          daemon   a wanted stop: {"why"}; written durably before TERM
 *     result.json   step     how it ended
 *
 * task.json (no secret is in it; texts that use one are {"$secret": […]}, see
 * daemon/plan/expand.h):
 *   {"format": 1, "id": HEX32, "job": 42, "plan", "target", "step", "n": 1,
 *    "direction": "do" | "undo" | "probe",
 *    "dir": attempt folder, "record": the step's folder (undo, kept/), "job_dir",
 *    "timeout_ms", "grace_ms", "log_bytes",
 *    "ops": [{"verb", "direction": "do"|"undo", "args": {…}, "record": folder,
 *             "cwd"?, "env": {…}, "env_file"?, "user"?, "retry"?, "verify"?: [CHECK], "id"}],
 *             carried out in order; the first that fails ends the attempt. One op for a do; an undo
 *             that the plan writes may have several. cwd, env, user have the group's and plan's
 *             merged in.
 *    "from"?: N,               the first N ops were done by an earlier attempt: not again
 *    "verify": [CHECK],        after the ops, direction do only
 *    "probe": [CHECK],         direction probe: instead of ops
 *    "overrides": [NAME],      checks with that `override` name may fail; the failure is recorded
 *    "secrets": [NAME],        what to expect on stdin, a memfd holding {"NAME": "value", …}
 *    "context": {"services": {…}, "databases": {…}, "compose": {…}, "hints": {…},
 *                "scope": {"in","steps","job","db"}},
 *    "event": {…}}             for hooks: the event that they tell of; "webhooks" send its seq
 *
 * result.json:
 *   {"format": 1, "id", "n", "state": "done"|"failed"|"interrupted",
 *    "phase": "do"|"verify"|"undo"|"probe",
 *    "reason"?: "exit"|"signal"|"timeout"|"check"|"stopped"|"error"|"spawn",
 *    "error"?: {"type","message","hint"?,"details"?}, "exit"?, "signal"?,
 *    "op"?: index of the failed op, "ops"?: how many there are, "op_id"?: its id,
 *    "started", "ended": wall ms,
 *    "rusage": {"user_us","system_us","maxrss_kib"}, "outputs": {…},
 *    "checks"?: [{"name","check","ok","message"?,"hint"?,"warn"?,"overridden"?}],
 *    "tail": [last 20 lines of the log], "log_bytes", "log_dropped",
 *    "services"?: {NAME: [last lines]} logs of services found unhealthy,
 *    "hint"?: the matching hint}
 *   A secret output is {"$secret": "steps.ID.KEY"}; its value is in the job's secrets folder.
 */
#pragma once

#include "api/error.h"
#include "api/text.h"

/* In a job's folder: what is reserved on its file system, and of it what the daemon itself may need
 * on a full disk. */
#define RESERVE_FOLDER "reserve"
#define RESERVE_SPARE "@updd.spare"

#define ATTEMPT_FORMAT 1 /* of task.json and result.json */
#define ATTEMPT_UNCLAIMED_MS (30 * 1000)
#define ATTEMPT_FILE_MAX (8U * 1024 * 1024) /* no task, claim or result is larger */

/* An error that may pass by itself, and so says nothing about the attempt: no room, no descriptors,
 * no memory, a disk that fails or can only be read. */
bool attempt_error_passes(int r);

/* Opens (and with `create` makes) an attempt's folder. */
_must_check_ int attempt_open(const char *dir, bool create, int *ret_fd);

/* Daemon: writes task.json whole. The caller owns `task`. */
_must_check_ int attempt_task_write(int dirfd, const json_t *task);
/* Step: reads it and checks format and id (-ESTALE for a foreign id). */
_must_check_ int attempt_task_read(int dirfd, const char *id, json_t **ret, Error *reterr);

/* Step: takes the lock for life. 0 and the descriptor; -EBUSY when another lives. */
_must_check_ int attempt_lock(int dirfd, int *ret_fd);
/* Daemon: is somebody alive there? 1 yes, 0 no (a lock file that is missing: no). */
int attempt_is_alive(int dirfd);

/* Makes the claim (write, fsync, link(2), fsync of the folder). 0 made; -EEXIST somebody has.
 * Daemon: `withdrawn` says why nobody may; a step has none. */
_must_check_ int attempt_claim(int dirfd, const char *id, const char *withdrawn);
/* -ENOENT: none. -ESTALE: it carries another id. */
_must_check_ int attempt_claim_read(int dirfd, const char *id, json_t **ret);

/* The name under which a result grows until it is whole, and what of it is reserved at the claim:
 * a result of up to that size can be written on a disk that is full by then. */
#define ATTEMPT_RESULT_TMP "result.tmp"
#define ATTEMPT_RESULT_RESERVED (64 * 1024)
_must_check_ int attempt_result_reserve(int dirfd);
/* result.json, whole and durable. -ENOSPC or -EDQUOT: try again with a shorter one. */
_must_check_ int attempt_result_write(int dirfd, const json_t *result);
/* -EPROTO: it is of a format that this program does not know. */
_must_check_ int attempt_result_read(int dirfd, const char *id, json_t **ret);

/* Daemon: asks for a stop durably; an existing request is left as it is. */
_must_check_ int attempt_stop_write(int dirfd, const char *why);
bool attempt_stop_wanted(int dirfd);

/* Answers: staged (0600) before the commit, delivered (linked to answer.<k>) after it. Delivering
 * what is delivered already, or was never staged, is 0. Reading gives -ENOENT until it is there. */
_must_check_ int attempt_answer_stage(int dirfd, unsigned k, const char *text);
_must_check_ int attempt_answer_deliver(int dirfd, unsigned k);
_must_check_ int attempt_answer_read(int dirfd, unsigned k, char **ret);
/* Empties an answer that has been used, so that a secret one does not stay on the disk; the name
 * stays, so that it is not delivered again. One that is not there is 0. */
_must_check_ int attempt_answer_forget(int dirfd, unsigned k);
