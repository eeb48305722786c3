/* SPDX-License-Identifier: MIT */
/*
 * Backup sets. A set is a folder `<to>/<plan>-<step>-<stamp>/` (`-2` and so on where that name is
 * taken) with its parts and the manifest `backup.json`, which is written last:
 *   {"format": 1, "id", "plan", "target", "step", "job", "created": RFC 3339, "size",
 *    "parts": [{"name", "kind", "path": file in the set, "size", "sha256", …}]}
 * Kinds of parts:
 *   sqlite  + "source": the database's file, "mode", "uid", "gid", "counts": {TABLE: rows}
 *   files   + "paths": what was asked for, "entries", "bytes", "digest" (daemon/step/archives.h)
 *   dir     the same, of the folder that a program filled; "source": that folder, "restore"?: argv
 *   stdout  what a program printed; "restore"?: argv
 *   both    "cwd": where the program ran
 * A set is made under a hidden name, proven and renamed: what has a set's name is whole.
 */
#pragma once

#include "daemon/step/step.h"

#define BACKUP_MANIFEST "backup.json"

/* Reads a set's manifest. -ENOENT when the folder has none, -EBADMSG for one that makes no sense.
 * With `ret_sha256` also its hash, which is the set's. */
_must_check_ int backup_manifest_read(const char *dir, json_t **ret,
                                      char ret_sha256[SHA256_TEXT_MAX], Error *reterr);

/* Reads every part through: size, hash, and that it is whole in its own format. */
_must_check_ int backup_set_verify(Step *s, const char *dir, const json_t *manifest, Error *reterr);
_must_check_ int backup_part_verify(Step *s, const char *dir, const json_t *part, Error *reterr);

/* Any backup, read through: a set's folder, or a file that is gzip, bzip2, xz, zstd, tar, zip,
 * SQLite, or a dump of pg_dump (custom format) or mongodump, these two by their first bytes only.
 * -EBADMSG when it is damaged or nothing that is known. *ret is {"format", "size", "created"}:
 * bytes and, in wall milliseconds, when it was made (a file: when it was last written). */
_must_check_ int backup_verify(Step *s, const char *path, json_t **ret, Error *reterr);

/* Opens a copied database of a set, checks it and compares its counts. */
_must_check_ int backup_sqlite_check(Step *s, const char *file, const json_t *counts,
                                     Error *reterr);
