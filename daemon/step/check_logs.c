/* SPDX-License-Identifier: MIT */
/* logs {services | step, lines, has, lacks}: what the last lines say. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>

#include "daemon/step/match.h"
#include "daemon/step/services.h"

#define LINES 200
#define LOG_MAX (64U * 1024 * 1024)

typedef struct Look {
        const json_t *args;
        unsigned lines;
} Look;

static char *join(const json_t *lines) {
        size_t size = 1, i;
        json_t *line;
        char *text, *to;

        json_array_foreach ((json_t *) lines, i, line)
                size += json_string_length(line) + 1;
        text = to = malloc(size);
        json_array_foreach ((json_t *) lines, i, line) {
                if (!text)
                        return NULL;
                memcpy(to, json_string_value(line), json_string_length(line));
                to += json_string_length(line);
                *to++ = '\n';
        }
        if (text)
                *to = '\0';
        return text;
}

static int look_at_service(Step *s, Service *v, void *userdata, Error *reterr) {
        const Look *look = userdata;
        _cleanup_free_ char *what = strf("The log of %s", v->name), *text = NULL;
        json_auto_t *lines = NULL;
        int r = v->kind->tail(s, v, look->lines, &lines, reterr);

        if (r < 0)
                return r;
        text = join(lines);
        if (!text || !what)
                return error_oom(reterr);
        return match_expect(look->args, text, strlen(text), what, reterr);
}

/* The newest attempt that has a log. */
static int newest_log(const char *dir, char **ret) {
        _cleanup_(closedirp) DIR *d = opendir(dir);
        struct dirent *entry;
        long newest = 0;

        while (d && (entry = readdir(d))) {
                long n = strtol(entry->d_name, NULL, 10);
                _cleanup_free_ char *path = NULL;

                if (!isdigit((unsigned char) entry->d_name[0]) || n <= newest)
                        continue;
                path = strf("%s/%s/log", dir, entry->d_name);
                if (path && access(path, R_OK) >= 0)
                        newest = n;
        }
        if (newest == 0)
                return -ENOENT;
        *ret = strf("%s/%ld/log", dir, newest);
        return *ret ? 0 : -ENOMEM;
}

static const char *last_lines(const char *text, size_t size, unsigned n) {
        const char *p = text + size;

        if (p > text && p[-1] == '\n')
                p--;
        while (p > text)
                if (*--p == '\n' && --n == 0)
                        return p + 1;
        return text;
}

static int look_at_step(Step *s, const char *step, const Look *look, Error *reterr) {
        _cleanup_free_ char *dir = path_join(step_job_dir(s), step), *path = NULL, *text = NULL;
        _cleanup_free_ char *what = strf("The log of the step %s", step);
        const char *from;
        size_t size = 0;
        int r = dir && what ? newest_log(dir, &path) : -ENOMEM;

        if (r >= 0)
                r = file_read(AT_FDCWD, path, LOG_MAX, &text, &size);
        if (r == -ENOENT)
                return error_set(reterr, EBADE, "check-failed", "The step %s has no log", step);
        if (r < 0)
                return error_set(reterr, -r, "read-failed", "The log of %s cannot be read: %s",
                                 step, strerror(-r));
        from = last_lines(text, size, look->lines);
        return match_expect(look->args, from, size - (size_t) (from - text), what, reterr);
}

static int logs_look(Step *s, const json_t *args, Error *reterr) {
        const json_t *services = json_object_get(args, "services");
        Look look = {.args = args};
        int64_t lines;
        int r = args_int(args, "lines", LINES, &lines, reterr);

        if (r < 0)
                return r;
        look.lines = (unsigned) MIN(MAX(lines, 1), 1000000);
        if (services)
                return services_each(s, services, look_at_service, &look, reterr);
        return look_at_step(s, args_text(args, "step", ""), &look, reterr);
}

const Check check_logs = {"logs", logs_look};
