/* SPDX-License-Identifier: MIT */
/*
 * The inside of a job's report: the document's parts, each in a file of its own. What has no end, a
 * job's attempts and events, is read page by page and kept within bounds: the first and the last of
 * each, and how many were left out. For the engine room only.
 */
#pragma once

#include "daemon/engine/internal.h"

/* Of each step's attempts. */
#define REPORT_ATTEMPTS_FIRST 3
#define REPORT_ATTEMPTS_LAST 17
/* Of the decisions, and of the rest of the history. */
#define REPORT_EVENTS_FIRST 50
#define REPORT_EVENTS_LAST 450

struct Report {
        Engine *engine;
        Job *job; /* as it was when the report was begun; what came later is not in it */
        json_t *document;
        json_t *steps; /* the document's entries by their steps' ids */
        bool attempts_read;
        char *at_step; /* the attempt that was read last */
        unsigned at_n;
        int64_t at_seq;
};

/* ---- report-steps.c ---- */
/* One step as the report tells it, without its attempts. */
json_t *report_step(const Job *job, unsigned idx);
/* What an attempt's row says. */
json_t *report_attempt(const AttemptRow *row);
/* The backups that the job's steps have made. */
json_t *report_backups(const Job *job);
/* A copy in which secret outputs are named as such. */
json_t *report_masked(const json_t *value);
void report_put_time(json_t *object, const char *key, int64_t wall_ms);

/* ---- report-events.c ---- */
/* What an event says, NULL when it says no more than its type does. Caller frees. */
_must_check_ char *event_sentence(const char *type, const json_t *data);
/* Adds the event to the decisions or to the history, with a sentence, or passes it over. */
void report_event(json_t *document, const json_t *event);

/* Appends to document[list]; beyond first + last the oldest of the last ones goes, and
 * document[left_out] counts it. Steals `entry`. */
void report_keep(json_t *document, const char *list, const char *left_out, json_t *entry,
                 size_t first, size_t last);
