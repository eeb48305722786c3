/* SPDX-License-Identifier: MIT */
/*
 * Files and folders, moved, copied and put into place whole. Copies carry bytes, mode, owner, time
 * of change and extended attributes; symlinks are copied as symlinks and never followed. What is
 * put into place appears at once (a temporary name beside, fsync, rename, fsync of the folder): a
 * crash leaves the old or the new, and the temporary name is the same each time, so that nothing
 * piles up. An owner that only root could give is skipped for other users.
 */
#pragma once

#include "api/error.h"

#include <sys/stat.h>

/* What `path` is to be made of. */
typedef struct FileContent {
        int fd;           /* >= 0: its bytes from the beginning */
        const void *data; /* otherwise these */
        size_t size;
        const struct stat *like; /* owner and mode; with `times` its time of change too */
        bool times;
        const char *xattrs_of; /* a file whose extended attributes are taken, or NULL */
} FileContent;

/* Puts a regular file into place. A folder that stands there is -EISDIR. */
_must_check_ int file_install(const char *path, const FileContent *content, Error *reterr);
/* Makes a regular file at a name of no importance, in place of what stands there. 0 or -errno. */
_must_check_ int file_make(const char *path, const FileContent *content, bool durable);
/* The same as file_install() for a symlink. `like` may be NULL. */
_must_check_ int link_install(const char *path, const char *target, const struct stat *like,
                              Error *reterr);

/* Copies anything to a name where nothing stands yet (a broken copy that stands there goes first).
 * The copy is durable on return. */
_must_check_ int tree_copy(const char *from, const char *to, Error *reterr);
/* rename(2), or a copy and a removal between file systems. Nothing may stand at `to`. */
_must_check_ int tree_move(const char *from, const char *to, Error *reterr);

/* Bytes from the one's beginning to the other's offset (shared where the file system can). */
int bytes_copy(int from, int to);
/* Have both regular files the same bytes? 1, 0 or -errno. */
int bytes_equal(const char *a, const char *b);

/* Have both the same extended attributes, as far as they can be read? */
bool xattrs_equal(const char *a, const char *b);

/* fsync of the folder that `path` stands in. */
int parent_sync(const char *path);
/* The temporary name beside `path`. Caller frees. */
char *beside(const char *path, const char *suffix);
/* Takes double slashes, "/./" and slashes at the end out of an absolute path, in place. ".." stays:
 * what it means depends on symlinks. */
void path_tidy(char *path);
/* The text of a symlink. -EINVAL when it is none. Caller frees. */
_must_check_ int link_read(const char *path, char **ret);

/* "user", "user:group", ":group", numbers too, into uid and gid ((uid_t) -1: not said). */
_must_check_ int owner_parse(const char *text, uid_t *ret_uid, gid_t *ret_gid, Error *reterr);
/* "0644", "644", "u" forms are refused. */
_must_check_ int mode_parse(const char *text, mode_t *ret, Error *reterr);
