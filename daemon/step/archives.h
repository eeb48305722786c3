/* SPDX-License-Identifier: MIT */
/*
 * Archives: .tar.zst written with owners, modes, times, symlinks, ACLs and extended attributes, and
 * anything that libarchive knows read. The digest of an archive is a hash over what is in it (type,
 * name, size and SHA-256 of each entry in order): it is the same whether it is taken while packing,
 * from the finished archive, or from the files that came out of it.
 */
#pragma once

#include "daemon/step/step.h"

typedef struct ArchiveSum {
        uint64_t entries;
        uint64_t bytes; /* of regular files */
        char digest[SHA256_TEXT_MAX];
        json_t *names; /* {name: true} when asked for; else NULL */
} ArchiveSum;

void archive_sum_done(ArchiveSum *sum);
#define _cleanup_sum_ _cleanup_(archive_sum_done)

/* Packs absolute paths, folders with all below them, into a new file. Names in it are the paths
 * without their first slash; symlinks above the paths are resolved. Sockets are left out. */
_must_check_ int archive_pack(Step *s, const char *file, const json_t *paths, ArchiveSum *ret,
                              Error *reterr);

/* The path with the symlinks above its last part resolved: its name in an archive, with a slash
 * before it. NULL with errno set when there is no way there. Caller frees. */
_must_check_ char *archive_way(const char *path);

/* Reads anything that libarchive knows through to its end: an archive, or one compressed file. */
_must_check_ int archive_read_through(Step *s, const char *file, bool want_names, ArchiveSum *ret,
                                      Error *reterr);

typedef enum ExtractFlags {
        EXTRACT_OWNERS = 1 << 0,  /* owners, ACLs, attributes and times too: a restore */
        EXTRACT_REPLACE = 1 << 1, /* files and symlinks in the way are replaced */
} ExtractFlags;

/* Unpacks below `into`, which exists. Absolute names, "..", and ways through symlinks are refused
 * (-EPERM); each file appears whole. */
_must_check_ int archive_extract(Step *s, const char *file, const char *into, unsigned flags,
                                 Error *reterr);

/* The digest of files that lie below `root`, for the entries of `file`: what came out of it. */
_must_check_ int archive_digest_of(Step *s, const char *file, const char *root,
                                   char ret[static SHA256_TEXT_MAX], Error *reterr);
