/* SPDX-License-Identifier: MIT */
/*
 * collect {services, files, to}: logs and files in one text file, each under a heading, secrets
 * masked. It is for the hour in which things are broken, so a source that is missing is noted in
 * the file and nothing more.
 */
#include "daemon/step/files.h"
#include "daemon/step/keep.h"
#include "daemon/step/services.h"
#include "daemon/step/worker.h"

#include <fcntl.h>

#define SOURCE_MAX (8U * 1024 * 1024) /* the last bytes of each file */
#define SERVICE_LINES 2000

typedef struct Collection {
        Step *step;
        FILE *out;
} Collection;

static void heading(Collection *c, const char *kind, const char *name) {
        fprintf(c->out, "\n==== %s %s ====\n", kind, name);
}

static void body(Collection *c, const char *text, size_t size) {
        size_t n = 0;
        _cleanup_free_ char *masked = masks_text(&c->step->masks, text, size, &n);

        if (!masked)
                return;
        (void) fwrite(masked, 1, n, c->out);
        if (n > 0 && masked[n - 1] != '\n')
                fputc('\n', c->out);
}

static int read_end(int fd, char **ret, size_t *ret_size, bool *ret_cut) {
        off_t end = lseek(fd, 0, SEEK_END);
        _cleanup_free_ char *text = malloc(SOURCE_MAX);
        size_t n = 0;

        if (!text)
                return -ENOMEM;
        *ret_cut = end > (off_t) SOURCE_MAX;
        (void) lseek(fd, *ret_cut ? end - (off_t) SOURCE_MAX : 0, SEEK_SET);
        while (n < SOURCE_MAX) {
                ssize_t got = read(fd, text + n, SOURCE_MAX - n);

                if (got < 0 && errno != EINTR)
                        return -errno;
                if (got == 0)
                        break;
                n += got > 0 ? (size_t) got : 0;
        }
        *ret = TAKE(text);
        *ret_size = n;
        return 0;
}

static void add_file(Collection *c, const char *path) {
        /* A fifo or a device must not hang what is meant to help. */
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        _cleanup_free_ char *text = NULL;
        bool cut = false;
        struct stat st;
        size_t size = 0;
        int r = 0;

        heading(c, "file", path);
        if (fd < 0 || fstat(fd, &st) < 0)
                r = -errno;
        else if (!S_ISREG(st.st_mode))
                r = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
        if (r >= 0)
                r = read_end(fd, &text, &size, &cut);
        if (r < 0) {
                fprintf(c->out, "(cannot be read: %s)\n", strerror(-r));
                return;
        }
        if (cut)
                fprintf(c->out, "(only its last %u bytes)\n", SOURCE_MAX);
        body(c, text, size);
}

static void add_word(Collection *c, const char *word) {
        json_auto_t *words = json_pack("[s]", word), *found = NULL;
        _cleanup_error_ Error e = ERROR_INIT;
        const json_t *one;
        size_t i;

        if (!words || keep_paths(c->step, words, true, NULL, &found, &e) < 0) {
                heading(c, "file", word);
                fprintf(c->out, "(not found: %s)\n", e.message ? e.message : "");
                return;
        }
        json_array_foreach (found, i, one)
                add_file(c, args_text(one, "path", ""));
}

static void add_service(Collection *c, const char *service) {
        _cleanup_error_ Error e = ERROR_INIT;
        json_auto_t *lines = NULL;
        const json_t *line;
        size_t i;

        heading(c, "service", service);
        if (services_tail(c->step, service, SERVICE_LINES, &lines, &e) < 0) {
                fprintf(c->out, "(no log: %s)\n", e.message ? e.message : "unknown reason");
                return;
        }
        json_array_foreach (lines, i, line)
                body(c, json_string_value(line), json_string_length(line));
}

static void add_services(Collection *c, const json_t *services) {
        const json_t *all = json_object_get(step_context(c->step), "services"), *one;
        const char *name;
        size_t i;

        if (json_is_string(services) && !streq(json_string_value(services), "all"))
                add_service(c, json_string_value(services));
        json_array_foreach (services, i, one)
                if (!streq(json_string_value(one), "all"))
                        add_service(c, json_string_value(one));
        if ((json_is_string(services) && streq(json_string_value(services), "all")) ||
            streq0(json_string_value(json_array_get(services, 0)), "all"))
                json_object_foreach ((json_t *) all, name, one)
                        add_service(c, name);
}

static void gather(Collection *c, const json_t *args) {
        const json_t *files = json_object_get(args, "files"), *word;
        const json_t *task = step_task(c->step);
        char now[TIME_TEXT_MAX];
        size_t i;

        fprintf(c->out, "Collected by updd %s, plan %s, job %" JSON_INTEGER_FORMAT "\n",
                time_format(now_wall_ms(), now), args_text(task, "plan", "?"),
                json_integer_value(json_object_get(task, "job")));
        add_services(c, json_object_get(args, "services"));
        if (json_is_string(files))
                add_word(c, json_string_value(files));
        json_array_foreach (files, i, word)
                add_word(c, json_string_value(word));
}

static int collect_run(Step *s, const json_t *args, Error *reterr) {
        _cleanup_free_ char *path = NULL, *part = NULL;
        _cleanup_fclose_ FILE *out = NULL;
        int r = step_path(s, args_text(args, "to", ""), &path, reterr);

        if (r < 0)
                return r;
        part = beside(path, ".part");
        r = part ? keep_parents(s, path, reterr) : error_oom(reterr);
        if (r < 0)
                return r;
        (void) unlink(part);
        out = fopen(part, "wxe");
        if (!out || fchmod(fileno(out), 0640) < 0)
                return error_set(reterr, errno, "write-failed", "Cannot write %s: %s", path,
                                 strerror(errno));
        gather(&(Collection){.step = s, .out = out}, args);
        if (fflush(out) != 0 || ferror(out) || fsync(fileno(out)) < 0 || rename(part, path) < 0) {
                r = error_set(reterr, errno, "write-failed", "Cannot write %s: %s", path,
                              strerror(errno));
                (void) unlink(part);
                return r;
        }
        r = parent_sync(path);
        return r < 0 ? r : step_output(s, "path", json_string(path));
}

const Verb verb_collect = {"collect", collect_run, NULL};
