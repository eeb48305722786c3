/* SPDX-License-Identifier: MIT */
/* Durations, sizes, times, ids and hashes: see api/text.h. */
#include "api/text.h"

#include <ctype.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <sys/random.h>
#include <time.h>

typedef struct Unit {
        const char *name;
        int64_t factor;
} Unit;

/* Largest first: duration_format takes them in this order. */
static const Unit duration_units[] = {
        {"d", INT64_C(86400000)}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

static const Unit size_units[] = {
        {"T", INT64_C(1) << 40},
        {"G", INT64_C(1) << 30},
        {"M", INT64_C(1) << 20},
        {"K", INT64_C(1) << 10},
};

/* Reads a run of digits as a non-negative number. Returns its end, NULL when there is none. */
static const char *read_digits(const char *p, int64_t *ret) {
        int64_t n = 0;

        if (!isdigit((unsigned char) *p))
                return NULL;
        for (; isdigit((unsigned char) *p); p++)
                if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
                        return NULL;
        *ret = n;
        return p;
}

static const Unit *find_unit(const Unit *units, size_t n_units, const char *text, size_t size) {
        for (size_t i = 0; i < n_units; i++)
                if (strlen(units[i].name) == size && memcmp(units[i].name, text, size) == 0)
                        return &units[i];
        return NULL;
}

int duration_parse(const char *text, int64_t *ret_ms) {
        int64_t total = 0, last = INT64_MAX;
        const char *p = text;

        if (!*p)
                return -EINVAL;
        while (*p) {
                const Unit *unit;
                size_t size = 0;
                int64_t n;

                p = read_digits(p, &n);
                if (!p)
                        return -EINVAL;
                while (isalpha((unsigned char) p[size]))
                        size++;
                unit = find_unit(duration_units, ELEMENTSOF(duration_units), p, size);
                /* Larger units first, each once: "1h30m", never "30m1h". */
                if (!unit || unit->factor >= last)
                        return -EINVAL;
                last = unit->factor;
                if (__builtin_mul_overflow(n, unit->factor, &n) ||
                    __builtin_add_overflow(total, n, &total))
                        return -ERANGE;
                p += size;
        }
        *ret_ms = total;
        return 0;
}

char *duration_format(int64_t ms) {
        char buf[96];
        size_t used = 0;

        if (ms <= 0)
                return strdup("0s");
        buf[0] = '\0';
        for (size_t i = 0; i < ELEMENTSOF(duration_units); i++) {
                int64_t n = ms / duration_units[i].factor;

                if (n == 0)
                        continue;
                ms -= n * duration_units[i].factor;
                used += (size_t) snprintf(buf + used, sizeof(buf) - used, "%lld%s", (long long) n,
                                          duration_units[i].name);
        }
        return strdup(buf);
}

int size_parse(const char *text, int64_t *ret_bytes) {
        const Unit *unit;
        const char *p;
        int64_t n;

        p = read_digits(text, &n);
        if (!p)
                return -EINVAL;
        if (!*p) {
                /* Only zero needs no unit. */
                if (n != 0)
                        return -EINVAL;
                *ret_bytes = 0;
                return 0;
        }
        unit = find_unit(size_units, ELEMENTSOF(size_units), p, strlen(p));
        if (!unit)
                return -EINVAL;
        if (__builtin_mul_overflow(n, unit->factor, &n))
                return -ERANGE;
        *ret_bytes = n;
        return 0;
}

int share_parse(const char *text, int64_t *ret_us) {
        const char *p;
        int64_t n;

        p = read_digits(text, &n);
        if (!p || !streq(p, "%") || n == 0)
                return -EINVAL;
        return __builtin_mul_overflow(n, 10 * 1000, ret_us) ? -ERANGE : 0;
}

char *size_format(int64_t bytes) {
        for (size_t i = 0; i < ELEMENTSOF(size_units); i++)
                if (bytes >= size_units[i].factor)
                        return strf("%.1f%s", (double) bytes / (double) size_units[i].factor,
                                    size_units[i].name);
        return strf("%lld bytes", (long long) bytes);
}

static int64_t clock_ns(clockid_t clock) {
        struct timespec ts = {0};

        (void) clock_gettime(clock, &ts);
        return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t now_wall_ms(void) {
        return clock_ns(CLOCK_REALTIME) / 1000000;
}

int64_t now_boot_ms(void) {
        return clock_ns(CLOCK_BOOTTIME) / 1000000;
}

int64_t now_mono_us(void) {
        return clock_ns(CLOCK_MONOTONIC) / 1000;
}

const char *time_format(int64_t wall_ms, char buf[static TIME_TEXT_MAX]) {
        time_t seconds = (time_t) (wall_ms / 1000);
        struct tm tm;
        size_t n;

        if (!gmtime_r(&seconds, &tm) || tm.tm_year > 8099 || tm.tm_year < -1899) {
                buf[0] = '\0';
                return buf;
        }
        n = strftime(buf, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
        (void) snprintf(buf + n, TIME_TEXT_MAX - n, ".%03uZ", (unsigned) (wall_ms % 1000) % 1000U);
        return buf;
}

/* "Z", "+01:00": seconds that the place is ahead of UTC. */
static int offset_parse(const char *text, int64_t *ret) {
        int hours, minutes, n = 0;

        if (streq(text, "Z")) {
                *ret = 0;
                return 0;
        }
        if ((*text != '+' && *text != '-') || !isdigit((unsigned char) text[1]) ||
            sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &n) != 2 || n != 5 || text[6] ||
            !isdigit((unsigned char) text[4]) || hours > 23 || minutes > 59)
                return -EINVAL;
        *ret = (*text == '-' ? -60 : 60) * (hours * 60 + minutes);
        return 0;
}

int time_parse(const char *text, int64_t *ret_wall_ms) {
        struct tm tm = {0};
        int64_t fraction = 0, scale = 100, offset;
        const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

        if (!p)
                return -EINVAL;
        if (*p == '.')
                for (p++; isdigit((unsigned char) *p); p++, scale /= 10)
                        fraction += (*p - '0') * scale;
        if (offset_parse(p, &offset) < 0)
                return -EINVAL;
        *ret_wall_ms = ((int64_t) timegm(&tm) - offset) * 1000 + fraction;
        return 0;
}

static void hex_format(const uint8_t *bytes, size_t n, char *ret) {
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < n; i++) {
                ret[2 * i] = digits[bytes[i] >> 4];
                ret[2 * i + 1] = digits[bytes[i] & 15];
        }
        ret[2 * n] = '\0';
}

int id128_random(char ret[static ID128_TEXT_MAX]) {
        uint8_t bytes[16];

        if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
                return -EIO;
        hex_format(bytes, sizeof(bytes), ret);
        return 0;
}

bool id128_is_valid(const char *text) {
        size_t n = strspn(text, "0123456789abcdef");

        return n == ID128_TEXT_MAX - 1 && !text[n];
}

void sha256_text(const void *data, size_t size, char ret[static SHA256_TEXT_MAX]) {
        uint8_t digest[SHA256_DIGEST_SIZE];
        struct sha256_ctx ctx;

        sha256_init(&ctx);
        sha256_update(&ctx, size, data);
        sha256_digest(&ctx, sizeof(digest), digest);
        hex_format(digest, sizeof(digest), ret);
}

int sha256_fd(int fd, char ret[static SHA256_TEXT_MAX], uint64_t *ret_size) {
        enum { CHUNK = 64 * 1024 };
        _cleanup_free_ uint8_t *chunk = malloc(CHUNK);
        uint8_t digest[SHA256_DIGEST_SIZE];
        struct sha256_ctx ctx;
        uint64_t size = 0;

        if (!chunk)
                return -ENOMEM;
        sha256_init(&ctx);
        for (;;) {
                ssize_t n = read(fd, chunk, CHUNK);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                sha256_update(&ctx, (size_t) n, chunk);
                size += (uint64_t) n;
        }
        sha256_digest(&ctx, sizeof(digest), digest);
        hex_format(digest, sizeof(digest), ret);
        if (ret_size)
                *ret_size = size;
        return 0;
}

/* Levenshtein distance, one row at a time; words longer than the row are "far". */
static size_t edit_distance(const char *a, const char *b) {
        enum { LONGEST = 64 };
        size_t row[LONGEST + 1], n = strlen(a), m = strlen(b);

        if (n > LONGEST || m > LONGEST)
                return SIZE_MAX;
        for (size_t j = 0; j <= m; j++)
                row[j] = j;
        for (size_t i = 1; i <= n; i++) {
                size_t diagonal = row[0];

                row[0] = i;
                for (size_t j = 1; j <= m; j++) {
                        size_t up = row[j];
                        size_t best = MIN(row[j], row[j - 1]) + 1;

                        row[j] = MIN(best, diagonal + (a[i - 1] != b[j - 1]));
                        diagonal = up;
                }
        }
        return row[m];
}

const char *nearest_word(const char *word, const char *const *candidates, size_t n) {
        size_t limit = MAX(strlen(word) / 3, (size_t) 1), best_distance = limit + 1;
        const char *best = NULL;

        for (size_t i = 0; i < n; i++) {
                size_t d = edit_distance(word, candidates[i]);

                if (d < best_distance) {
                        best = candidates[i];
                        best_distance = d;
                }
        }
        return best;
}

int boot_id_read(char ret[static ID128_TEXT_MAX]) {
        _cleanup_free_ char *text = NULL;
        size_t n = 0;
        int r;

        r = file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, NULL);
        if (r < 0)
                return r;
        for (const char *p = text; *p && n < ID128_TEXT_MAX - 1; p++)
                if (isxdigit((unsigned char) *p))
                        ret[n++] = *p;
        ret[n] = '\0';
        return n == ID128_TEXT_MAX - 1 ? 0 : -EIO;
}
