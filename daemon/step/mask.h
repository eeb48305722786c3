/* SPDX-License-Identifier: MIT */
/*
 * Secrets, and how they are kept out of everything that is written. A secret is known in several
 * spellings: as it is, each longer line of it, as it stands in JSON, in a URL and in base64. What
 * matches one of them becomes "********". Secrets of fewer than MASK_MIN bytes are not masked: that
 * would only make the log unreadable.
 */
#pragma once

#include "api/error.h"

#define MASK_MIN 3
#define MASK_TEXT "********"

typedef struct Masks {
        char **patterns;
        size_t n;
        bool first[256]; /* bytes that some pattern begins with */
} Masks;

void masks_done(Masks *m);
/* Adds a secret in all its spellings; one that is known already is fine. 0 or -ENOMEM. */
int masks_add(Masks *m, const char *secret);

/* A masked copy of a text. Caller frees; NULL when memory is out. */
_must_check_ char *masks_text(const Masks *m, const char *text, size_t size, size_t *ret_size);
/* A masked deep copy, keys included; NUL characters become U+FFFD, for readers that refuse them. */
_must_check_ json_t *masks_json(const Masks *m, const json_t *value);
/* Is a secret of `min` bytes or more in this text? */
bool masks_found(const Masks *m, const char *text, size_t min);

/* Where a text is cut a part of a secret may be left that nobody would know as one. How much of its
 * end (of its beginning) does not belong to any secret, torn or whole? */
size_t masks_whole_end(const Masks *m, const char *text, size_t size);
size_t masks_whole_begin(const Masks *m, const char *text, size_t size);

/* A stream: bytes go in as they come, masked bytes come out. What could be the beginning of a
 * secret is held back until more comes, and only that. */
typedef struct MaskStream {
        char *held;
        size_t n_held;
        size_t covered; /* so many bytes of `held` belong to a secret that is already masked */
} MaskStream;

void mask_stream_done(MaskStream *s);
/* Appends to *out (realloc'ed, *out_size bytes). `final`: nothing more comes; a held beginning that
 * is at least half of a secret is masked. 0 or -ENOMEM. */
int mask_stream_feed(MaskStream *s, const Masks *m, const char *data, size_t size, bool final,
                     char **out, size_t *out_size);
