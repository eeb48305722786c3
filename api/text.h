/* SPDX-License-Identifier: MIT */
/*
 * The plan's and the API's small values: durations, sizes, times, ids, hashes. Units stand in the
 * names: _ms is milliseconds, wall times are milliseconds since 1970-01-01 UTC.
 */
#pragma once

#include "api/util.h"

#define TIME_TEXT_MAX sizeof("2026-01-31T12:34:56.789Z")
#define ID128_TEXT_MAX 33
#define SHA256_TEXT_MAX 65

/* "500ms", "5s", "10m", "2h", "1d", "1h30m". A bare number is refused. 0 or -EINVAL / -ERANGE. */
_must_check_ int duration_parse(const char *text, int64_t *ret_ms);

/* The shortest exact form that duration_parse reads back ("90000" -> "1m30s"). Caller frees. */
_must_check_ char *duration_format(int64_t ms);

/* "5K", "1G" are read with 1024 as base; a bare number is refused except "0". */
_must_check_ int size_parse(const char *text, int64_t *ret_bytes);

/* "50%" of one processor, "150%" of two: microseconds of it in a second. "0%" is refused. */
_must_check_ int share_parse(const char *text, int64_t *ret_us);
_must_check_ char *size_format(int64_t bytes);

int64_t now_wall_ms(void);
int64_t now_boot_ms(void); /* CLOCK_BOOTTIME */
int64_t now_mono_us(void); /* CLOCK_MONOTONIC */

/* RFC 3339 in UTC with milliseconds; read with any offset. */
const char *time_format(int64_t wall_ms, char buf[static TIME_TEXT_MAX]);
_must_check_ int time_parse(const char *text, int64_t *ret_wall_ms);

/* A random 128-bit id as 32 lower-case hex digits (getrandom(2)). */
int id128_random(char ret[static ID128_TEXT_MAX]);
bool id128_is_valid(const char *text);

void sha256_text(const void *data, size_t size, char ret[static SHA256_TEXT_MAX]);
/* Hashes from the descriptor's offset to its end. */
int sha256_fd(int fd, char ret[static SHA256_TEXT_MAX], uint64_t *ret_size);

/* The candidate nearest to `word` (edit distance at most a third of its length, or 1), or NULL. */
const char *nearest_word(const char *word, const char *const *candidates, size_t n);

/* A text with whatever is no UTF-8 (and NUL) replaced by U+FFFD. Caller frees. */
_must_check_ char *utf8_clean(const char *text, size_t size);
/* Is all of it UTF-8 without NUL? */
bool utf8_is_text(const char *text, size_t size);

/* A file's name may be any bytes. As a text it stands in JSON, and comes back as it was: what is no
 * UTF-8 is written as characters that nobody uses. Callers free. */
_must_check_ char *name_to_text(const char *name);
_must_check_ char *name_from_text(const char *text);

/* The boot id of this boot (random(4), /proc/sys/kernel/random/boot_id) as 32 hex digits. */
int boot_id_read(char ret[static ID128_TEXT_MAX]);
