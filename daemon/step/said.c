/* SPDX-License-Identifier: MIT */
/* What a command wrote: see said.h. */
#include "daemon/step/said.h"

#include "api/text.h"
#include "daemon/step/match.h"

#define QUOTE_MAX 300

static bool is_blank(char c) {
        return c == '\0' || strchr("\r\n\t ", c);
}

static char *last_line(const char *text, size_t size) {
        size_t from;

        while (size > 0 && is_blank(text[size - 1]))
                size--;
        for (from = size; from > 0 && text[from - 1] != '\n';)
                from--;
        return utf8_clean(text + from, MIN(size - from, (size_t) QUOTE_MAX));
}

char *said_last(const ExecResult *result) {
        _cleanup_free_ char *line = last_line(result->err, result->err_size);

        if (!line || *line)
                return TAKE(line);
        return last_line(result->out, result->out_size);
}

char *said_both(const ExecResult *result, size_t *ret_size) {
        bool between = result->out_size > 0 && result->err_size > 0;
        char *both = malloc(result->out_size + result->err_size + 2), *p = both;

        if (!both)
                return NULL;
        p = (char *) mempcpy(p, result->out, result->out_size);
        if (between)
                *p++ = '\n';
        p = (char *) mempcpy(p, result->err, result->err_size);
        *p = '\0';
        *ret_size = (size_t) (p - both);
        return both;
}

int said_expect(const json_t *args, const ExecResult *result, Error *reterr) {
        size_t size;
        _cleanup_free_ char *both = said_both(result, &size);
        int r;

        if (!both)
                return error_oom(reterr);
        r = match_expect(args, both, size, "The output", reterr);
        if (r < 0 || !result->cut || !json_object_get(args, "lacks"))
                return r;
        return error_set(reterr, EBADE, "check-failed",
                         "The output is too long to tell what it lacks: only the first and last "
                         "%u KiB were looked at",
                         SAID_MAX / 2048);
}
