/* SPDX-License-Identifier: MIT */
/*
 * The grammar as data: which keys stand where, what each may hold, what it defaults to and what it
 * is for. The decoder, its messages, the JSON Schema and the reference page are all driven by these
 * rows, so that they cannot drift apart. A new field is one row; a new verb or check one more.
 */
#pragma once

#include "daemon/plan/plan.h"

typedef enum FieldType {
        TYPE_TEXT,
        TYPE_ID,
        TYPE_PATH,
        TYPE_PATHS, /* globs; one or a list */
        TYPE_DURATION,
        TYPE_SIZE,
        TYPE_SHARE,
        TYPE_INT,
        TYPE_BOOL,
        TYPE_ENUM,
        TYPE_REGEX,
        TYPE_REGEXES, /* one or a list */
        TYPE_ARGV,
        TYPE_TEXTS,     /* one or a list */
        TYPE_TEXT_MAP,  /* name -> text */
        TYPE_TEXTS_MAP, /* name -> texts */
        TYPE_PATH_MAP,  /* name -> path */
        TYPE_SCALAR,
        TYPE_EXPECTATION, /* a scalar, or a map of scalars by column */
        TYPE_JSON,
        TYPE_POINTER,
        TYPE_EXPRESSION,
        TYPE_EXITS,  /* one or a list */
        TYPE_STATUS, /* one or a list */
        TYPE_MODE,
        TYPE_SHA256,
        TYPE_VERSION,
        TYPE_STEPS,
        TYPE_CHECKS,
        TYPE_UNDO,
        TYPE_RETRY,
        TYPE_OBJECT,      /* one `spec` */
        TYPE_OBJECTS,     /* a list of `spec` */
        TYPE_OBJECT_MAP,  /* name -> `spec` */
        TYPE_STEPS_MAP,   /* step id -> steps */
        TYPE_ON_FAILURE,  /* default or step id -> strategy or hold */
        TYPE_HOOKS,       /* event -> list of hook steps */
        TYPE_REGEX_MAP,   /* regex -> text */
        TYPE_SERVICES,    /* one or a list of names of `services` */
        TYPE_STEP,        /* the id of a step */
        TYPE_STEP_LIST,   /* one or a list of ids */
        TYPE_BACKUP_STEP, /* the id of a backup step */
        TYPE_BACKUP,      /* the same, or a backup's id */
        TYPE_DATABASE,
        TYPE_DATABASE_URL,
        TYPE_COMPOSE,         /* a name of `compose` */
        TYPE_COMPOSE_SERVICE, /* PROJECT or PROJECT/SERVICE */
        TYPE_STRATEGY,        /* hold, rollback, continue or a name of `rollbacks` */
        _FIELD_TYPE_MAX,
} FieldType;

typedef enum FieldFlags {
        FIELD_REQUIRED = 1 << 0,
        FIELD_ALONE = 1 << 1,     /* may stand alone as the verb's value */
        FIELD_SECRET = 1 << 2,    /* may hold ${secret.N} */
        FIELD_LITERAL = 1 << 3,   /* no ${…}: decided before values are known */
        FIELD_INPUTS = 1 << 4,    /* only ${in.N} */
        FIELD_NUMBER = 1 << 5,    /* TYPE_EXPECTATION: numbers only */
        FIELD_ALL = 1 << 6,       /* TYPE_SERVICES: `all` stands for every service */
        FIELD_OWN = 1 << 7,       /* sees the step's own outputs */
        FIELD_OUTER_CWD = 1 << 8, /* a path that begins at the outer cwd (cwd itself) */
} FieldFlags;

typedef struct Spec Spec;

typedef struct FieldInfo {
        const char *name;
        FieldType type;
        unsigned flags;
        const char *def;           /* what holds when it is missing, as text for people, or NULL */
        const char *doc;           /* one sentence, without a full stop */
        const char *const *values; /* TYPE_ENUM, TYPE_HOOKS: ends in NULL */
        const Spec *spec;
} FieldInfo;

typedef enum RuleKind {
        RULE_END,
        RULE_ONE_OF,   /* exactly one of `names` */
        RULE_ANY_OF,   /* at least one */
        RULE_AT_MOST,  /* at most one */
        RULE_TOGETHER, /* names[0] only with one of the others */
} RuleKind;

typedef struct FieldRule {
        RuleKind kind;
        const char *names[6];
} FieldRule;

struct Spec {
        const char *name;
        const char *doc;
        const FieldInfo *fields; /* ends in a NULL name */
        const FieldRule *rules;  /* ends in RULE_END; may be NULL */
};

typedef struct VerbInfo {
        Spec spec; /* first: a verb is a spec whose name is the verb */
        VerbClass class;
        UndoKind undo;
        OnCrash on_crash;
        const char *undo_doc;
        const char *const *outputs; /* ends in NULL; may be NULL */
        bool any_output;            /* further outputs have names that only the run knows */
        bool network;               /* needs the network to succeed */
        const char *later;          /* why this build cannot carry it out, or NULL */
} VerbInfo;

typedef struct CheckInfo {
        Spec spec;
        const char *later;
} CheckInfo;

/* Each ends in an entry whose name is NULL. */
extern const VerbInfo plan_verbs[];
extern const CheckInfo plan_checks[];

extern const Spec plan_spec;   /* the top level */
extern const Spec step_spec;   /* keys beside the verb */
extern const Spec check_spec;  /* keys beside the check */
extern const Spec retry_spec;  /* the long form of `retry` */
extern const Spec limits_spec; /* of a step and of the plan */

/* Keys that stand alone as the verb of a step. NULL when there is none of that name. */
const VerbInfo *verb_find(const char *name);
const CheckInfo *check_find(const char *name);
const FieldInfo *field_find(const Spec *spec, const char *name);
/* The field that may stand alone, or NULL. */
const FieldInfo *field_alone(const Spec *spec);

typedef struct TypeInfo {
        const char *name;     /* in the reference */
        const char *expected; /* in messages: "a duration such as 5s" */
} TypeInfo;

extern const TypeInfo field_types[_FIELD_TYPE_MAX];

/* ${job.KEY}: ends in NULL. */
extern const char *const job_names[];
/* Outputs that every step has: ends in NULL. */
extern const char *const step_outputs[];
