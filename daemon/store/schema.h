/* SPDX-License-Identifier: MIT */
/* The schema's version and the way to it; results are SQLite's codes. For the store room only. */
#pragma once

#include <sqlite3.h>

#include "api/util.h"

#define SCHEMA_VERSION 3
#define SCHEMA_APPLICATION_ID 0x75706464 /* "updd" */

/* 0: nothing is in it yet. SQLITE_MISMATCH: something is, and it is not updd's. */
int schema_version_read(sqlite3 *db, int *ret);
/* From version `from` to the present one, in one transaction. */
int schema_migrate(sqlite3 *db, int from);
