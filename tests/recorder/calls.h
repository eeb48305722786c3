/* SPDX-License-Identifier: MIT */
/*
 * The system calls that change a disk or say that it was changed, and what is told of each: one
 * line of JSON, after a write followed by its bytes.
 *   {"op": "create"|"write"|"truncate"|"allocate"|"mkdir"|"remove"|"rename"|"link"|"symlink"|
 *          "mode"|"sync"|"sync-all"|"answer", "by": program, "pid",
 *    "path", "to"?: the other name, or a symlink's target, "ino"?: of the file or folder,
 *    "at"?, "size"?: bytes of data that follow this line, "length"?, "mode"?, "flags"?, "status"?}
 * What lies outside of the root folder is told of nowhere.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/util.h"

typedef struct CallRow CallRow;

/* One call of one process, between its entry and its exit. */
typedef struct Call {
        const CallRow *row;
        const char *root;
        pid_t pid;
        uint64_t args[6];
        char *path, *to; /* absolute and canonical, below root; NULL: none */
        bool was_there;
        uint64_t size_before;
} Call;

void call_done(Call *c);
DEFINE_CLEANUP(Call *, call_done)

/* The numbers of all of them, for a filter. */
size_t calls_count(void);
int calls_number(size_t i);

/* True when the call is of interest, to be finished at its exit. */
bool call_begin(Call *c, const char *root, pid_t pid, uint64_t number, const uint64_t args[6]);
/* Appends what it did to the log. Ends the program when it cannot: a gap would be a lie. */
void call_finish(Call *c, int64_t result, int log_fd);
