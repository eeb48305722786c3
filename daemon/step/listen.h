/* SPDX-License-Identifier: MIT */
/*
 * The supervisor's ear: all that comes from the worker, over its socket (see worker.h) and its
 * standard output, on the way into `log`, `progress` and the result. Nothing passes unmasked.
 */
#pragma once

#include "daemon/step/journal.h"
#include "daemon/step/logfile.h"
#include "daemon/step/mask.h"
#include "daemon/step/result.h"

typedef struct Listener {
        int output_fd, control_fd, progress_fd; /* owned */
        Masks masks;
        MaskStream stream;
        LogFile log;
        Journal journal;
        Result result;
        char *line; /* what has come of the worker's next message */
        size_t line_size;
        bool asking;     /* a question is open */
        char *unwritten; /* lines of progress that had no room yet */
        size_t unwritten_size;
} Listener;

#define LISTENER_INIT                                                                              \
        ((Listener){.output_fd = -EBADF,                                                           \
                    .control_fd = -EBADF,                                                          \
                    .progress_fd = -EBADF,                                                         \
                    .journal = JOURNAL_INIT,                                                       \
                    .log = LOGFILE_INIT})

void listener_done(Listener *l);
/* Opens the attempt's files. `task` is borrowed for the Listener's life. */
_must_check_ int listener_open(Listener *l, int dirfd, const json_t *task, const json_t *secrets);

/* Writes the progress and the log that had no room yet. False: there is still none. */
bool listener_catch_up(Listener *l);

/* Takes in what there is on the worker's socket. */
void listener_read_control(Listener *l);
/* Reads the worker's output once. False at the end of what there is. */
bool listener_read_output(Listener *l);
/* A line of the supervisor's own. */
void listener_log(Listener *l, const char *text);
/* Nothing more comes: the log is ended. */
void listener_finish(Listener *l);
