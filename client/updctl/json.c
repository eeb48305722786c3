/* SPDX-License-Identifier: MIT */
/* Small readings of the API's JSON, and times as people read them. */
#include <inttypes.h>
#include <time.h>

#include "api/text.h"
#include "client/updctl/ctl.h"

const char *get_text(const json_t *object, const char *key) {
        return json_string_value(json_object_get(object, key));
}

int64_t get_int(const json_t *object, const char *key) {
        return json_integer_value(json_object_get(object, key));
}

bool get_bool(const json_t *object, const char *key) {
        return json_is_true(json_object_get(object, key));
}

int64_t get_time(const json_t *object, const char *key) {
        const char *text = get_text(object, key);
        int64_t ms;

        return text && time_parse(text, &ms) >= 0 ? ms : 0;
}

char *value_text(const json_t *value) {
        if (json_is_string(value))
                return strdup(json_string_value(value));
        return value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : strdup("");
}

char *join_texts(const json_t *array, const char *between) {
        char *out = NULL;
        json_t *item;
        size_t i;

        json_array_foreach ((json_t *) array, i, item) {
                _cleanup_free_ char *before = out, *text = value_text(item);

                out = strf("%s%s%s", before ? before : "", before ? between : "", text ? text : "");
        }
        return out;
}

typedef enum TimeForm { CLOCK, TODAY, THIS_YEAR, ANY_YEAR } TimeForm;

static char *format_local(const struct tm *tm, TimeForm form) {
        char buf[64] = "?";

        switch (form) {
        case CLOCK: (void) strftime(buf, sizeof(buf), "%H:%M:%S", tm); break;
        case TODAY: (void) strftime(buf, sizeof(buf), "%H:%M", tm); break;
        case THIS_YEAR: (void) strftime(buf, sizeof(buf), "%d %b %H:%M", tm); break;
        case ANY_YEAR: (void) strftime(buf, sizeof(buf), "%Y-%m-%d %H:%M", tm); break;
        }
        return strdup(buf);
}

char *clock_text(int64_t wall_ms) {
        time_t then = (time_t) (wall_ms / 1000);
        struct tm tm = {0};

        (void) localtime_r(&then, &tm);
        return format_local(&tm, CLOCK);
}

char *when_text(int64_t wall_ms) {
        time_t then = (time_t) (wall_ms / 1000), now = (time_t) (now_wall_ms() / 1000);
        struct tm a = {0}, b = {0};

        (void) localtime_r(&then, &a);
        (void) localtime_r(&now, &b);
        if (a.tm_year != b.tm_year)
                return format_local(&a, ANY_YEAR);
        return format_local(&a, a.tm_yday == b.tm_yday ? TODAY : THIS_YEAR);
}

char *span_text(int64_t ms) {
        int64_t s = MAX(ms, 0) / 1000;

        if (ms < 0)
                ms = 0;
        if (s < 10)
                return strf("%" PRId64 ".%" PRId64 "s", s, ms % 1000 / 100);
        if (s < 60)
                return strf("%" PRId64 "s", s);
        if (s < 3600)
                return strf("%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
        if (s < 86400)
                return strf("%" PRId64 "h%02" PRId64 "m", s / 3600, s / 60 % 60);
        return strf("%" PRId64 "d%02" PRId64 "h", s / 86400, s / 3600 % 24);
}

char *long_span_text(int64_t ms) {
        int64_t minutes = (MAX(ms, 0) + 30000) / 60000;

        if (ms < 60000)
                return strf("%" PRId64 " s", MAX(ms, 0) / 1000);
        if (minutes < 120)
                return strf("%" PRId64 " min", minutes);
        if (minutes < 48 * 60)
                return strf("%" PRId64 " h %02" PRId64 " min", minutes / 60, minutes % 60);
        return strf("%" PRId64 " days %" PRId64 " h", minutes / 1440, minutes / 60 % 24);
}

char *deadline_text(int64_t wall_ms) {
        int64_t left = wall_ms - now_wall_ms();
        _cleanup_free_ char *when = when_text(wall_ms), *span = span_text(left);

        if (left <= 0)
                return strf("overdue since %s", when);
        return strf("until %s (%s left)", when, span);
}
