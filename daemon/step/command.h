/* SPDX-License-Identifier: MIT */
/*
 * What the verbs that run a command share: `run`, `compose` and whatever else takes stdin, answers,
 * exit, has, lacks, save and log. Outputs: exit, stdout (64 KiB), and what is saved.
 */
#pragma once

#include "daemon/step/step.h"

/* `cwd` and `env` may be NULL (the op's). Fails with a message that names the exit code and the
 * last line. */
_must_check_ int command_run(Step *s, const json_t *args, const json_t *argv, const char *cwd,
                             const json_t *env, Error *reterr);

/* Takes outputs out of a text as `save` {NAME: {regex | json, secret}} says. */
_must_check_ int save_outputs(Step *s, const json_t *save, const char *text, size_t size,
                              Error *reterr);
/* Is one of them a secret? Then the text must not be shown before save_outputs(). */
bool save_has_secret(const json_t *save);
