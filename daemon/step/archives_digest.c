/* SPDX-License-Identifier: MIT */
/* See daemon/step/archives_digest.h. */
#include "daemon/step/archives_digest.h"

#include <sys/stat.h>

void digest_init(Digest *d) {
        *d = (Digest){0};
        sha256_init(&d->all);
}

/* With its length first, so that no two lists of entries look alike. */
static void add_text(struct sha256_ctx *c, const char *text, size_t size) {
        char head[24];
        int n = snprintf(head, sizeof(head), "%zu:", size);

        sha256_update(c, (size_t) n, (const uint8_t *) head);
        sha256_update(c, size, (const uint8_t *) text);
}

void digest_begin(Digest *d, mode_t type, const char *name, const char *target) {
        const char *kind = type == S_IFDIR ? "d" : type == S_IFLNK ? "l" : "f";
        size_t n = strlen(name);

        while (n > 1 && name[n - 1] == '/')
                n--;
        d->is_file = type == S_IFREG;
        d->at = 0;
        sha256_init(&d->file);
        add_text(&d->all, kind, 1);
        add_text(&d->all, name, n);
        if (target)
                add_text(&d->all, target, strlen(target));
}

static void add_zeros(Digest *d, uint64_t until) {
        static const uint8_t zeros[4096];

        while (d->at < until) {
                size_t n = (size_t) MIN(until - d->at, (uint64_t) sizeof(zeros));

                sha256_update(&d->file, n, zeros);
                d->at += n;
        }
}

void digest_data(Digest *d, const void *data, size_t size, uint64_t at) {
        add_zeros(d, at);
        sha256_update(&d->file, size, data);
        d->at += size;
}

void digest_end(Digest *d, uint64_t size) {
        uint8_t sum[SHA256_DIGEST_SIZE];

        if (!d->is_file)
                return;
        add_zeros(d, size);
        d->bytes += d->at;
        sha256_digest(&d->file, sizeof(sum), sum);
        add_text(&d->all, (const char *) sum, sizeof(sum));
}

void digest_finish(Digest *d, char ret[static SHA256_TEXT_MAX]) {
        uint8_t sum[SHA256_DIGEST_SIZE];

        sha256_digest(&d->all, sizeof(sum), sum);
        for (size_t i = 0; i < sizeof(sum); i++)
                (void) snprintf(ret + 2 * i, 3, "%02x", sum[i]);
}
