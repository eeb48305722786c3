/* SPDX-License-Identifier: MIT */
/*
 * How much a copy of something takes, and how much room a file system has. Counted is what copying
 * and packing write here: every name by itself (hard links come apart), holes filled, a whole block
 * for each file and folder.
 */
#pragma once

#include "daemon/step/step.h"

typedef struct Size {
        int64_t bytes;
        int64_t entries; /* files and folders: inodes */
} Size;

/* A file, or a folder with all in it; what is not there is nothing, and what goes away meanwhile
 * does not count. */
_must_check_ int size_of(Step *s, const char *path, Size *ret, Error *reterr);
void size_add(Size *sum, const Size *more);
/* The same with some reserve, for what grows until it is copied. */
Size size_with_margin(const Size *size);

typedef struct Room {
        uint64_t dev;
        int64_t free;         /* bytes that an ordinary program may still write */
        int64_t free_entries; /* -1: the file system knows no limit */
} Room;

/* The file system of `path`, or of the nearest folder above that is there. `ret_top`: its topmost
 * folder, `ret_near`: that nearest folder; both are the caller's to free. */
_must_check_ int room_of(const char *path, Room *ret, char **ret_top, char **ret_near,
                         Error *reterr);
