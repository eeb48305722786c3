/* SPDX-License-Identifier: MIT */
/* The digest of what is in an archive (daemon/step/archives.h), fed entry by entry. */
#pragma once

#include "api/text.h"

#include <nettle/sha2.h>
#include <sys/types.h>

typedef struct Digest {
        struct sha256_ctx all, file;
        uint64_t at; /* bytes of the present file, holes included */
        uint64_t bytes;
        bool is_file;
} Digest;

void digest_init(Digest *d);
/* `target` of a symlink, else NULL. A slash at the end of `name` does not count. */
void digest_begin(Digest *d, mode_t type, const char *name, const char *target);
/* Bytes at an offset; a hole before them counts as zeros. */
void digest_data(Digest *d, const void *data, size_t size, uint64_t at);
/* `size` of the file: a hole at its end counts too. */
void digest_end(Digest *d, uint64_t size);
void digest_finish(Digest *d, char ret[static SHA256_TEXT_MAX]);
