/* SPDX-License-Identifier: MIT */
/* What an attempt tells while it runs: its questions, and that it goes on. */
#include <fcntl.h>
#include <sys/inotify.h>

#include "api/args.h"
#include "daemon/engine/internal.h"

#define PROGRESS_MAX (1024 * 1024)

static void progress_line(Watch *w, const char *line, size_t size) {
        json_auto_t *entry = json_loadb(line, size, 0, NULL);
        json_t *question = json_object_get(entry, "question");
        json_t *answered = json_object_get(entry, "answered");
        unsigned k = (unsigned) json_integer_value(json_object_get(question, "k"));

        if (question && k > w->question) {
                w->question = k;
                fact_add(w->engine, FACT_QUESTION, w->job, w->step, w->n, json_incref(question));
        }
        if (answered)
                fact_add(w->engine, FACT_GOES_ON, w->job, w->step, w->n,
                         json_pack("{s:O}", "k", answered));
}

static void progress_read(Watch *w) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0, at = (size_t) w->progress_at;

        if (file_read(w->dirfd, "progress", PROGRESS_MAX, &text, &size) < 0)
                return;
        while (at < size) {
                const char *end = memchr(text + at, '\n', size - at);

                if (!end)
                        break;
                progress_line(w, text + at, (size_t) (end - text) - at);
                at = (size_t) (end - text) + 1;
        }
        w->progress_at = (long) at;
}

static int on_progress(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        progress_read(userdata);
        return 0;
}

void watch_progress(Watch *w) {
        _cleanup_free_ char *path = path_join(w->dir, "progress");
        int fd;

        if (w->dirfd < 0 || w->progress_source)
                return;
        fd = openat(w->dirfd, "progress", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
                (void) close(fd);
        if (path)
                (void) sd_event_add_inotify(w->engine->event, &w->progress_source, path, IN_MODIFY,
                                            on_progress, w);
        progress_read(w);
}
