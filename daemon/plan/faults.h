/* SPDX-License-Identifier: MIT */
/*
 * What is wrong with a document, collected: every fault has a stable code, a place, a message that
 * says what was found and what was expected, and often a hint. Above FAULTS_MAX the rest is counted
 * only.
 */
#pragma once

#include "daemon/plan/node.h"

#define FAULTS_MAX 500U

typedef struct Faults {
        const char *file; /* borrowed */
        json_t *list;
        size_t n_errors;
        size_t n_dropped;
        bool oom;
} Faults;

_must_check_ int faults_init(Faults *f, const char *file);
void faults_done(Faults *f);

/* At a place; `node` (may be NULL) gives the pointer. */
_printf_(7, 8) void fault_at(Faults *f, const Node *node, unsigned line, unsigned column,
                             const char *code, const char *hint, const char *format, ...);
/* At a value. */
_printf_(5, 6) void fault(Faults *f, const Node *node, const char *code, const char *hint,
                          const char *format, ...);
/* At a value's key. */
_printf_(5, 6) void fault_key(Faults *f, const Node *node, const char *code, const char *hint,
                              const char *format, ...);
_printf_(5, 6) void warning(Faults *f, const Node *node, const char *code, const char *hint,
                            const char *format, ...);

/* Sorted by place. Leaves `f` empty. NULL when memory was out at any time. */
_must_check_ json_t *faults_take(Faults *f);

/* "did you mean 'x'?", or NULL when nothing is near. Caller frees. */
char *did_you_mean(const char *word, const char *const *candidates, size_t n);
