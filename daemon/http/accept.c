/* SPDX-License-Identifier: MIT */
/*
 * The Accept header (RFC 9110, 12.5.1): whether a type is welcome, and which of several most. Of
 * the media ranges that take a type in, the most specific one decides.
 */
#include "daemon/http/server.h"

#include <strings.h>

typedef enum Fit { FIT_NONE, FIT_ANY, FIT_MAJOR, FIT_EXACT } Fit;

/* How one entry (a media range with its parameters) takes in `type`. */
static Fit entry_fit(const char *entry, size_t n, const char *type) {
        size_t major = strcspn(type, "/") + 1;

        while (n > 0 && (entry[n - 1] == ' ' || entry[n - 1] == '\t'))
                n--;
        if (n == strlen(type) && strncasecmp(entry, type, n) == 0)
                return FIT_EXACT;
        if (n == major + 1 && entry[major] == '*' && strncasecmp(entry, type, major) == 0)
                return FIT_MAJOR;
        return n == 3 && strncmp(entry, "*/*", 3) == 0 ? FIT_ANY : FIT_NONE;
}

/* "q=0.85" as 850; 1000 without one. What is no number is 0. */
static unsigned entry_weight(const char *p, const char *end) {
        for (; p + 2 < end; p++) {
                unsigned weight, unit = 100;

                if ((*p != ';' && *p != ' ' && *p != '\t') || strncasecmp(p + 1, "q=", 2) != 0)
                        continue;
                p += 3;
                if (p >= end || *p < '0' || *p > '1')
                        return 0;
                weight = (unsigned) (*p++ - '0') * 1000;
                if (p < end && *p == '.')
                        for (p++; p < end && *p >= '0' && *p <= '9'; p++, unit /= 10)
                                weight += (unsigned) (*p - '0') * unit;
                return MIN(weight, 1000U);
        }
        return 1000;
}

unsigned accept_weight(const char *accept, const char *type, bool explicitly) {
        Fit best = FIT_NONE;
        unsigned weight = 0;

        while (accept && *accept) {
                const char *entry = accept + strspn(accept, ", \t");
                const char *end = entry + strcspn(entry, ",");
                const char *semicolon = memchr(entry, ';', (size_t) (end - entry));
                Fit fit = entry_fit(entry, (size_t) ((semicolon ? semicolon : end) - entry), type);

                if (fit > best && (!explicitly || fit == FIT_EXACT)) {
                        best = fit;
                        weight = semicolon ? entry_weight(semicolon, end) : 1000;
                }
                accept = end;
        }
        return weight;
}

bool request_accepts(const Request *q, const char *type, bool explicitly) {
        const char *accept = request_header(q, MHD_HTTP_HEADER_ACCEPT);

        if (!accept)
                return !explicitly;
        return accept_weight(accept, type, explicitly) > 0;
}

int request_preferred(const Request *q, const char *const *types, size_t n) {
        const char *accept = request_header(q, MHD_HTTP_HEADER_ACCEPT);
        unsigned most = 0;
        int best = -ENOENT;

        for (size_t i = 0; i < n; i++) {
                unsigned weight = accept ? accept_weight(accept, types[i], false) : 1000;

                if (weight > most) {
                        most = weight;
                        best = (int) i;
                }
        }
        return best;
}
