/* SPDX-License-Identifier: MIT */
/*
 * Node tree -> the two JSON trees of a Plan, driven by the tables. Decoding never stops at a fault:
 * it notes it and goes on with the rest. What needs the whole plan to be judged (names in `${…}`,
 * references to steps and services) is noted as a Use and judged afterwards, in resolve.c and
 * lint.c. Memory running out is noted in `faults->oom`; the functions of jansson take the NULLs
 * that follow from it.
 */
#pragma once

#include "daemon/plan/faults.h"
#include "daemon/plan/table.h"

typedef enum Phase {
        PHASE_PLAN, /* the top level and its sections */
        PHASE_CHECKS,
        PHASE_MAIN,
        PHASE_FINALISE,
        PHASE_UNDO,
        PHASE_ROLLBACK, /* instead, then */
        PHASE_DRY_RUN,
        PHASE_HOOK,
        _PHASE_MAX,
} Phase;

typedef enum NameSpace {
        NS_IN = 1 << 0,
        NS_SECRET = 1 << 1,
        NS_DB = 1 << 2,
        NS_STEPS = 1 << 3,
        NS_JOB = 1 << 4,
} NameSpace;

/* Where a value stands: handed down by value. */
typedef struct Scope {
        Phase phase;
        ssize_t step;   /* the step around it in steps or finalise, or -1 */
        ssize_t parent; /* the group around the next step, or -1 */
        ssize_t input;  /* the input whose default this is, or -1 */
        bool own;       /* the step's own outputs are there already */
        bool cwd, outer_cwd;
        bool parallel; /* somewhere inside a parallel group */
        unsigned names;
        const char *field; /* the field's name, for messages */
} Scope;

typedef enum UseKind {
        USE_NAME,       /* in.root, steps.code.old, … */
        USE_EXPRESSION, /* the same in an expression */
        USE_SERVICE,
        USE_DATABASE,
        USE_COMPOSE,
        USE_STEP,
        USE_SQL_STEP,
        USE_BACKUP_STEP,
        USE_BACKUP,
        USE_REVERT,
        USE_ANY_STEP, /* of the whole plan, order regardless */
        USE_STRATEGY,
} UseKind;

typedef struct Use {
        UseKind kind;
        const Node *node;
        bool at_key; /* the name is the node's key */
        bool secret_ok, script;
        char *name;
        Scope scope;
} Use;

typedef struct StepInfo {
        const Node *node;
        const VerbInfo *verb; /* NULL: none or unknown; the verb "mark" has none either */
        Phase phase;
        ssize_t parent;
        json_t *norm;   /* owned reference */
        const char *id; /* in norm */
        bool given_id;
} StepInfo;

/* More inputs than any person would fill in: what is done with them may cost their square. */
#define INPUTS_MAX 256

typedef struct Decoder {
        Faults *faults;
        Use *uses;
        size_t n_uses, n_uses_allocated;
        StepInfo *steps; /* all steps of the plan, nested ones too, in order of the text */
        size_t n_steps, n_steps_allocated;
        json_t *index; /* id -> its place in `steps`, of steps and finalise */
        bool *reach;   /* n_inputs squared: whether an input's default leads to another input */
        const Node *root;
} Decoder;

typedef struct Pair {
        json_t *source, *norm; /* owned; both NULL after a fault */
} Pair;

void decoder_done(Decoder *d);

/* The whole document. */
void decode_plan(Decoder *d, const Node *root, Pair *ret);

/* ---- decode.c: shared by the decoders of values ---- */
Scope scope_enter(Scope outer, const Node *map);
void decode_field(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
/* All keys of a map by one spec. `ret` gets two objects. */
void decode_object(Decoder *d, Scope sc, const Spec *spec, const Node *n, Pair *ret);
/* A verb's or check's value: its map, or the field that may stand alone. */
void decode_call(Decoder *d, Scope sc, const Spec *spec, const Node *n, Pair *ret);
bool expect_kind(Decoder *d, const FieldInfo *f, const Node *n, NodeKind kind);
void wrong_type(Decoder *d, const FieldInfo *f, const Node *n);
void note_use(Decoder *d, Scope sc, UseKind kind, const Node *n, const char *name, unsigned flags);
void unknown_key(Decoder *d, const Node *n, const char *what, const char *const *known,
                 size_t n_known);
/* Puts a pair under a key of two objects; a faulty pair puts nothing. */
void pair_put(Decoder *d, const Pair *into, const char *key, Pair *value);
void pair_append(Decoder *d, const Pair *into, Pair *value);
Pair pair_new(Decoder *d, json_t *source, json_t *norm);
void pair_done(Pair *p);
#define _cleanup_pair_ _cleanup_(pair_done)
#define USE_AT_KEY (1U << 0)
#define USE_SECRET_OK (1U << 1)
#define USE_IN_SCRIPT (1U << 2)

/* ---- decode_value.c ---- */
typedef void (*DecodeFunc)(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
extern const DecodeFunc decode_funcs[_FIELD_TYPE_MAX];
/* Notes every `${…}` of a text. True if there is any. */
bool scan_names(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, bool script);
bool is_id(const char *text);
/* What a step saves: as an id, but capitals are allowed. */
bool is_output_name(const char *text);
bool is_number(const char *text); /* digits only */
/* The value must be text; its names are noted: 1 when it holds `${…}`, 0 when it is plain, -1 after
 * a fault. */
int decode_template(Decoder *d, Scope sc, const FieldInfo *f, const Node *n);
void take_text(Decoder *d, const Node *n, Pair *ret);
void decode_int(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);

/* ---- decode_shape.c ---- */
void decode_regex(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_regex_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_pointer(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_exits(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_status(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_mode(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_sha256(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_version(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);

/* ---- decode_list.c ---- */
/* A list whose items are of `type`. */
void decode_list(Decoder *d, Scope sc, const FieldInfo *f, FieldType type, const Node *n,
                 Pair *ret);
void decode_texts(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_paths(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_regexes(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_argv(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_text_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_texts_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_path_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_expectation(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_json(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_object_field(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_objects(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_object_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_services(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_step_list(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);

/* ---- decode_check.c ---- */
void decode_checks(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);

/* ---- decode_step.c ---- */
void decode_steps(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_undo(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_retry(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_steps_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_on_failure(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);
void decode_hooks(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret);

/* ---- after decoding: lint.c, resolve.c, lint_undo.c ---- */
/* Gives every step an id. ids.c */
void assign_ids(Decoder *d, const json_t *norm);
/* Judges all uses. */
void resolve_uses(Decoder *d, const json_t *norm);
/* Judges that the default of the input at `u` uses the input `key`. resolve_input.c */
void resolve_input(Decoder *d, const Use *u, const char *key);
/* A fault at a use: at its value or its key. */
_printf_(5, 6) void use_fault(Decoder *d, const Use *u, const char *code, const char *hint,
                              const char *format, ...);
void lint_plan(Decoder *d, const json_t *norm);
void lint_ways_back(Decoder *d, const json_t *norm);
