/* SPDX-License-Identifier: MIT */
/*
 * Prometheus' text exposition format, one sample a line: see metric.h.
 *   NAME [ "{" LABEL "=" QUOTED ["," …] "}" ] VALUE [ TIMESTAMP ]
 */
#include "daemon/step/metric.h"

#include <ctype.h>

#include "api/args.h"

typedef struct Sample {
        char *name;
        json_t *labels;
        const char *rest; /* what stands behind the labels */
} Sample;

static void sample_done(Sample *s) {
        free(s->name);
        json_decref(s->labels);
        *s = (Sample){0};
}

static const char *skip_space(const char *p) {
        return p + strspn(p, " \t");
}

/* A quoted text with \\, \" and \n in it. NULL when it does not end. */
static const char *read_quoted(const char *p, char **ret) {
        _cleanup_free_ char *out = malloc(strlen(p) + 1);
        char *to = out;

        if (!out || *p != '"')
                return NULL;
        for (p++; *p && *p != '"' && *p != '\n'; p++) {
                if (*p == '\\' && p[1]) {
                        p++;
                        *to++ = *p == 'n' ? '\n' : *p;
                } else
                        *to++ = *p;
        }
        *to = '\0';
        if (*p != '"')
                return NULL;
        *ret = TAKE(out);
        return p + 1;
}

static const char *read_label(const char *p, json_t *labels) {
        _cleanup_free_ char *name = NULL, *value = NULL;
        size_t n = strcspn(p, "= \t\n}");

        name = strndup(p, n);
        p = skip_space(p + n);
        if (!name || n == 0 || *p != '=')
                return NULL;
        p = read_quoted(skip_space(p + 1), &value);
        if (!p || json_put(labels, name, json_string(value)) < 0)
                return NULL;
        p = skip_space(p);
        return *p == ',' ? skip_space(p + 1) : p;
}

/* 1 read, 0 there is none in this line. */
static int sample_read(const char *p, Sample *ret) {
        size_t n;

        p = skip_space(p);
        n = strcspn(p, "{ \t\n");
        if (n == 0 || *p == '#')
                return 0;
        ret->name = strndup(p, n);
        ret->labels = json_object();
        if (!ret->name || !ret->labels)
                return -ENOMEM;
        p = skip_space(p + n);
        if (*p == '{') {
                for (p = skip_space(p + 1); *p != '}';) {
                        p = read_label(p, ret->labels);
                        if (!p)
                                return 0;
                }
                p++;
        }
        ret->rest = skip_space(p);
        return 1;
}

static bool labels_fit(const json_t *wanted, const json_t *have) {
        const char *name;
        json_t *value;

        json_object_foreach ((json_t *) wanted, name, value) {
                if (!json_equal(value, json_object_get(have, name)))
                        return false;
        }
        return true;
}

static int judge_line(const char *line, const Sample *wanted, double *ret) {
        _cleanup_(sample_done) Sample sample = {0};
        char *end;
        int r = sample_read(line, &sample);

        if (r <= 0)
                return r;
        if (!streq(sample.name, wanted->name) || !labels_fit(wanted->labels, sample.labels))
                return 0;
        *ret = strtod(sample.rest, &end); /* reads NaN and +Inf as the format spells them */
        return end != sample.rest;
}

int metric_find(const char *text, const char *metric, double *ret, Error *reterr) {
        _cleanup_(sample_done) Sample wanted = {0};
        double value = 0, found = 0;
        unsigned n = 0;
        int r = sample_read(metric, &wanted);

        if (r < 0)
                return error_oom(reterr);
        if (r == 0 || *wanted.rest)
                return error_set(reterr, EINVAL, "bad-metric", "'%s' is no metric", metric);
        for (const char *line = text; line;
             line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
                r = judge_line(line, &wanted, &value);
                if (r < 0)
                        return error_oom(reterr);
                if (r > 0) {
                        found = value;
                        n++;
                }
        }
        if (n > 1)
                return error_set(reterr, EBADE, "check-failed",
                                 "%u samples fit %s: say which by its labels", n, metric);
        *ret = found;
        return n == 1;
}
