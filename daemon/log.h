/* SPDX-License-Identifier: MIT */
/*
 * The daemon's log, the one place that writes it. A line goes to stderr; when stderr is the
 * journal's stream the line carries its priority, and one about a job, or of a kind that the
 * catalogue explains, is an entry with fields: UPDD_JOB=, UPDD_STEP=, MESSAGE_ID=. A failure is
 * logged once, where it is handled; a function logs or returns, never both.
 */
#pragma once

#include "api/error.h"
#include "api/messages.h"

typedef enum LogLevel { /* the numbers are syslog's priorities */
                        LOG_LEVEL_ERROR = 3,
                        LOG_LEVEL_WARNING = 4,
                        LOG_LEVEL_NOTICE = 5,
                        LOG_LEVEL_INFO = 6,
                        LOG_LEVEL_DEBUG = 7,
} LogLevel;

/* One line, without a newline at its end. `job` 0 and `step` NULL: it is not about one. errno is
 * kept. */
_printf_(4, 5) void log_line(LogLevel level, int64_t job, const char *step, const char *format,
                             ...);
/* The same about the daemon itself, of a kind of api/messages.h. */
_printf_(3, 4) void log_message(LogLevel level, const char *id, const char *format, ...);

#define log_debug(...) log_line(LOG_LEVEL_DEBUG, 0, NULL, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, 0, NULL, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, 0, NULL, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, 0, NULL, __VA_ARGS__)

/* The same about a job and, unless NULL, one of its steps. */
#define log_job_info(job, step, ...) log_line(LOG_LEVEL_INFO, job, step, __VA_ARGS__)
#define log_job_warning(job, step, ...) log_line(LOG_LEVEL_WARNING, job, step, __VA_ARGS__)
#define log_job_error(job, step, ...) log_line(LOG_LEVEL_ERROR, job, step, __VA_ARGS__)

/* ---- log-journal.c ---- */
/* Whether stderr is the journal's stream: nothing is told there otherwise. */
bool log_has_journal(void);
/* One entry of the journal, of `n` texts "NAME=value"; one that is NULL is left out. -EAGAIN when
 * the journal takes nothing until then (now_mono_us()); 0: at once. */
_must_check_ int log_journal(const char *const fields[], size_t n, int64_t until_us);

/* An Error's message and hint as one text for a log line: "message (hint)", or the errno's text
 * when it has no message. Caller frees; NULL when memory is out. */
_must_check_ char *log_error_text(const Error *error, int r);
