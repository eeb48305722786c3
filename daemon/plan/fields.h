/* SPDX-License-Identifier: MIT */
/* Rows that several tables share: the same fields mean the same thing wherever they stand. */
#pragma once

#include "daemon/plan/table.h"

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define RULES(...) ((const FieldRule[]){__VA_ARGS__, {RULE_END, {NULL}}})
#define FIELDS(...) ((const FieldInfo[]){__VA_ARGS__, {.name = NULL}})

extern const Spec answer_spec, save_spec;

#define HAS_LACKS                                                                                  \
        {"has", TYPE_REGEXES, 0, NULL, "Must match the output"}, {                                 \
                "lacks", TYPE_REGEXES, 0, NULL, "Must not match the output"                        \
        }

#define EXPECTATIONS                                                                               \
        {"equals", TYPE_EXPECTATION, 0, NULL, "The value must be this"},                           \
                {"min", TYPE_EXPECTATION, FIELD_NUMBER, NULL, "The value must be at least this"},  \
        {                                                                                          \
                "max", TYPE_EXPECTATION, FIELD_NUMBER, NULL, "The value must be at most this"      \
        }

/* What `run` and `compose` share. */
#define RUN_FIELDS                                                                                 \
        {"stdin", TYPE_TEXT, FIELD_SECRET, NULL, "Text for its standard input"},                   \
                {"answers",                                                                        \
                 TYPE_OBJECTS,                                                                     \
                 0,                                                                                \
                 NULL,                                                                             \
                 "Answers to its prompts: present, even empty, it runs on a terminal and an "      \
                 "unmet prompt becomes a question",                                                \
                 NULL,                                                                             \
                 &answer_spec},                                                                    \
                {"exit", TYPE_EXITS, 0, "0", "The exit codes that mean success"}, HAS_LACKS,       \
                {"save", TYPE_OBJECT_MAP, 0, NULL, "Outputs to take out of what it prints",        \
                 NULL,   &save_spec},                                                              \
        {                                                                                          \
                "log", TYPE_BOOL, 0, "yes", "Whether its output goes into the log"                 \
        }

/* What the check `http` and the action `http` share. */
#define HTTP_FIELDS                                                                                \
        {"url", TYPE_TEXT, FIELD_REQUIRED | FIELD_ALONE, NULL, "What to ask"},                     \
                {"method", TYPE_TEXT, 0, "GET", "The request's method"},                           \
                {"headers", TYPE_TEXT_MAP, FIELD_SECRET, NULL, "Request headers"},                 \
                {"body", TYPE_TEXT, FIELD_SECRET, NULL, "The request's body"},                     \
                {"body_json", TYPE_JSON, FIELD_SECRET, NULL, "The request's body, sent as JSON"},  \
                {"status", TYPE_STATUS, 0, "2xx", "The statuses that mean success"},               \
                {"json", TYPE_JSON, 0, NULL, "The answer must contain this JSON (a subset)"},      \
                {"has", TYPE_REGEXES, 0, NULL, "Must match the answer's body"},                    \
                {"lacks", TYPE_REGEXES, 0, NULL, "Must not match the answer's body"}, {            \
                "ca", TYPE_PATH, 0, "the system's", "File with the certificates to trust"          \
        }
