/* SPDX-License-Identifier: MIT */
/*
 * `${…}` and the expressions of `when` and `that`, over a scope:
 *   {"in": {…}, "db": {N: {"url": …}}, "steps": {ID: {KEY: value, …}}, "job":
 * {"id","dir","stamp","date", "took","target","plan"}} A name that the scope does not have expands
 * to the empty text only under "steps"; elsewhere it is an error (lint has found it before).
 */
#pragma once

#include "api/error.h"

/* A deep copy of `value` with every `${…}` in every text (keys excepted) replaced; text that is one
 * whole `${…}` of an int or bool stays an int or bool. `$${` gives `${`. What is put in is never
 * parsed again. A text that uses a secret, `${secret.N}` or a `${steps.ID.KEY}` whose value in the
 * scope is {"$secret": NAME}, becomes
 *   {"$secret": ["literal", {"name": "token"}, …]}
 * which only updd-step puts together (step outputs have the name "steps.ID.KEY"). */
_must_check_ int plan_expand(const json_t *value, const json_t *scope, json_t **ret, Error *reterr);

/* The same for one text; an error if it uses a secret. Caller frees. */
_must_check_ int plan_expand_text(const char *text, const json_t *scope, char **ret, Error *reterr);

/* Evaluates an expression. Values compare as numbers when one is a number and the other a number or
 * a decimal text (two texts compare as text: "1.10" is not "1.1"), as bools when one is a bool and
 * the other a bool or true, false, yes, no; as text otherwise. A bare value is true unless it is
 * false, 0, "" or "false". `secret`-valued outputs are refused. 1 true, 0 false, -errno. */
_must_check_ int expr_eval(const char *text, const json_t *scope, Error *reterr);

/* Every name that a value uses, as a sorted array of texts without doubles ("in.root",
 * "secret.token", "steps.code.old", …), through all its texts. -EINVAL: a text that plan_expand
 * would refuse. */
_must_check_ int plan_names_used(const json_t *value, json_t **ret);
/* The same for one expression. */
_must_check_ int expr_names_used(const char *text, json_t **ret, Error *reterr);
