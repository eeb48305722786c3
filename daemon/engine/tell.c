/* SPDX-License-Identifier: MIT */
/*
 * A job's events in the system's journal: each that was committed is one entry, in order, with the
 * fields UPDD_JOB=, UPDD_PLAN=, UPDD_TARGET=, UPDD_EVENT=, UPDD_SEQ=, UPDD_STATE= (of the step when
 * UPDD_STEP= is there, else of the job), UPDD_STEP=, UPDD_TRY= (the attempt's number), UPDD_BY=,
 * and MESSAGE_ID= where the catalogue has a word on it. What the steps print carries the same
 * fields (units.c). The database is what counts: a daemon that dies just after a commit tells
 * nobody of it here. A journal that hangs holds a turn up once, by PATIENCE_MS; from then on it is
 * passed over, and asked every AGAIN_MS whether it takes the note of how many entries it missed.
 */
#include <assert.h>
#include <inttypes.h>

#include "api/args.h"
#include "daemon/engine/report.h"
#include "daemon/log.h"

#define PATIENCE_MS 100
#define AGAIN_MS 1000

typedef struct Kind {
        const char *type; /* of the event; of a "state" event, the state */
        const char *id;   /* or NULL */
        LogLevel level;
        const char *step;  /* the step's state from then on, or NULL */
        const char *words; /* NULL: the report's sentence */
} Kind;

static const Kind states[] = {
        {"queued", MESSAGE_JOB_QUEUED, LOG_LEVEL_INFO},
        {"running", MESSAGE_JOB_RUNNING, LOG_LEVEL_INFO},
        {"waiting", MESSAGE_JOB_WAITING, LOG_LEVEL_NOTICE},
        {"rolling_back", MESSAGE_JOB_ROLLING_BACK, LOG_LEVEL_WARNING},
        {"stuck", MESSAGE_JOB_STUCK, LOG_LEVEL_ERROR},
        {"succeeded", MESSAGE_JOB_SUCCEEDED, LOG_LEVEL_NOTICE},
        {"failed", MESSAGE_JOB_FAILED, LOG_LEVEL_ERROR},
        {"rolled_back", MESSAGE_JOB_ROLLED_BACK, LOG_LEVEL_WARNING},
        {"cancelled", MESSAGE_JOB_CANCELLED, LOG_LEVEL_NOTICE},
        {"abandoned", MESSAGE_JOB_ABANDONED, LOG_LEVEL_ERROR},
};
static_assert(ELEMENTSOF(states) == _JOB_STATE_MAX, "each state of a job");

static const Kind kinds[] = {
        {"created", MESSAGE_JOB_QUEUED, LOG_LEVEL_INFO},
        {"step_started", MESSAGE_STEP_STARTED, LOG_LEVEL_INFO, "running", "has begun"},
        {"step_done", MESSAGE_STEP_DONE, LOG_LEVEL_INFO, "done", "is done"},
        {"step_failed", MESSAGE_STEP_FAILED, LOG_LEVEL_ERROR, "failed"},
        {"step_interrupted", MESSAGE_STEP_INTERRUPTED, LOG_LEVEL_WARNING, "interrupted"},
        {"step_retry", MESSAGE_STEP_RETRY, LOG_LEVEL_WARNING},
        {"step_skipped", MESSAGE_STEP_SKIPPED, LOG_LEVEL_INFO, "skipped"},
        {"step_undoing", MESSAGE_STEP_UNDOING, LOG_LEVEL_INFO, "undoing", "is being undone"},
        {"step_undone", MESSAGE_STEP_UNDONE, LOG_LEVEL_INFO, "undone", "is undone"},
        {"step_undo_failed", MESSAGE_STEP_UNDO_FAILED, LOG_LEVEL_ERROR, "undo_failed"},
        {"step_left", MESSAGE_STEP_LEFT, LOG_LEVEL_WARNING},
        {"wait_opened", MESSAGE_WAIT_OPENED, LOG_LEVEL_NOTICE},
        {"decided", MESSAGE_DECIDED, LOG_LEVEL_NOTICE},
        {"deadline_missed", MESSAGE_DEADLINE_MISSED, LOG_LEVEL_WARNING},
        {"hook_failed", MESSAGE_HOOK_FAILED, LOG_LEVEL_WARNING},
        {"hook_started", NULL, LOG_LEVEL_INFO, NULL, "has begun"},
        {"hook_done", NULL, LOG_LEVEL_INFO, NULL, "is done"},
        {"wait_closed", NULL, LOG_LEVEL_INFO},
        {"window_opened", NULL, LOG_LEVEL_INFO},
        {"window_closed", NULL, LOG_LEVEL_WARNING},
        {"window_ahead", NULL, LOG_LEVEL_WARNING},
        {"notice", NULL, LOG_LEVEL_INFO},
        {"reminded", NULL, LOG_LEVEL_NOTICE},
        {"clock_set", NULL, LOG_LEVEL_INFO, NULL, "the wall clock was set"},
};

static const Kind *kind_find(const Kind *table, size_t n, const char *type) {
        for (size_t i = 0; i < n; i++)
                if (streq(table[i].type, type))
                        return &table[i];
        return NULL;
}

static const Kind *kind_of(const JobNews *news) {
        static const Kind other = {.type = "", .level = LOG_LEVEL_INFO};
        const Kind *kind;

        if (streq(news->type, "state"))
                kind = kind_find(states, ELEMENTSOF(states), args_text(news->data, "to", ""));
        else
                kind = kind_find(kinds, ELEMENTSOF(kinds), news->type);
        return kind ? kind : &other;
}

/* "job 7 step copy: is done (by root)" */
static char *message_of(const Job *job, const JobNews *news, const Kind *kind) {
        _cleanup_free_ char *said =
                kind->words ? strdup(kind->words) : event_sentence(news->type, news->data);

        return strf("MESSAGE=job %" PRId64 "%s%s: %s%s%s%s", job->id, news->step ? " step " : "",
                    news->step ? news->step : "", said ? said : news->type,
                    news->who ? " (by " : "", news->who ? news->who : "", news->who ? ")" : "");
}

static int tell_one(const Job *job, const JobNews *news, int64_t seq, const char *state,
                    int64_t until_us) {
        const Kind *kind = kind_of(news);
        const char *shown = kind->step && news->step ? kind->step : news->step ? NULL : state;
        char *fields[] = {
                message_of(job, news, kind),
                strf("PRIORITY=%d", (int) kind->level),
                strf("UPDD_JOB=%" PRId64, job->id),
                strf("UPDD_PLAN=%s", args_text(job->def->plan->norm, "plan", "")),
                strf("UPDD_TARGET=%s", job->def->target),
                strf("UPDD_EVENT=%s", news->type),
                strf("UPDD_SEQ=%" PRId64, seq),
                shown ? strf("UPDD_STATE=%s", shown) : NULL,
                news->step ? strf("UPDD_STEP=%s", news->step) : NULL,
                news->step && news->attempt > 0 ? strf("UPDD_TRY=%u", news->attempt) : NULL,
                news->who ? strf("UPDD_BY=%s", news->who) : NULL,
                kind->id ? strf("MESSAGE_ID=%s", kind->id) : NULL,
                strdup("SYSLOG_IDENTIFIER=updd"),
        };
        int r = log_journal((const char *const *) fields, ELEMENTSOF(fields), until_us);

        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                free(fields[i]);
        return r;
}

/* How many of the job's entries the journal did not take; after the first the others are not tried,
 * nor with `quiet` any. */
static unsigned tell_job(const Job *job, int64_t until_us, bool quiet) {
        const char *state = job->stored ? job_state_to_text(job->stored_state) : "queued";
        int64_t seq = job->version - job->n_news;
        unsigned missed = 0;

        for (unsigned i = 0; i < job->n_news; i++) {
                const JobNews *news = &job->news[i];

                if (streq(news->type, "state"))
                        state = args_text(news->data, "to", state);
                seq++;
                missed += quiet || missed > 0 || tell_one(job, news, seq, state, until_us) < 0;
        }
        return missed;
}

#define MISSED "the journal missed %u entries about jobs; updctl events has them"

/* The note stands where the entries are missing: before those that come after them. */
static int tell_note(Engine *e) {
        _cleanup_free_ char *message = strf("MESSAGE=" MISSED, e->untold);
        char priority[32];
        int r;

        (void) snprintf(priority, sizeof(priority), "PRIORITY=%d", (int) LOG_LEVEL_WARNING);
        r = message ? log_journal((const char *[]){message, priority, "SYSLOG_IDENTIFIER=updd"}, 3,
                                  0)
                    : -ENOMEM;
        if (r >= 0)
                e->untold = 0;
        return r;
}

void engine_tell_missed(Engine *e) {
        if (e->untold > 0 && now_boot_ms() >= e->tell_at && tell_note(e) < 0)
                e->tell_at = now_boot_ms() + AGAIN_MS;
}

void engine_tell_end(Engine *e) {
        /* The stream keeps it until the journal goes on. */
        if (e->untold > 0 && tell_note(e) < 0)
                log_warning(MISSED, e->untold);
}

void batch_tell(const Batch *b) {
        int64_t until_us = now_mono_us() + INT64_C(1000) * PATIENCE_MS;
        Engine *e = b->engine;
        unsigned missed = 0;

        if (!log_has_journal())
                return;
        engine_tell_missed(e);
        for (unsigned i = 0; i < b->n_jobs; i++)
                missed += tell_job(b->jobs[i], until_us, e->untold > 0 || missed > 0);
        if (missed > 0 && e->untold == 0)
                e->tell_at = now_boot_ms() + AGAIN_MS;
        e->untold += missed;
}
