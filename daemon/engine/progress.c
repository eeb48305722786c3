/* SPDX-License-Identifier: MIT */
/* What an attempt tells while it runs: its questions, and that it goes on; and the answers to it. */
#include <fcntl.h>
#include <sys/inotify.h>

#include "api/args.h"
#include "api/memory.h"
#include "daemon/attempt/attempt.h"
#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define PROGRESS_MAX (1024 * 1024)

/* -ENOMEM: the line is to be read again. */
static int progress_line(Watch *w, const char *line, size_t size) {
        uint64_t before = memory_failures();
        json_auto_t *entry = json_loadb(line, size, 0, NULL);
        json_t *question = json_object_get(entry, "question");
        json_t *answered = json_object_get(entry, "answered");
        unsigned k = (unsigned) json_integer_value(json_object_get(question, "k"));
        int r = 0;

        if (memory_failures() != before)
                return -ENOMEM;
        if (question && k > w->question) {
                r = fact_add(w->engine, FACT_QUESTION, w->job, w->step, w->n,
                             json_incref(question));
                if (r >= 0)
                        w->question = k;
        }
        if (r >= 0 && answered)
                r = fact_add(w->engine, FACT_GOES_ON, w->job, w->step, w->n,
                             json_pack("{s:O}", "k", answered));
        return r;
}

void watch_progress_read(Watch *w) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0, at = (size_t) w->progress_at;

        if (file_read(w->dirfd, "progress", PROGRESS_MAX, &text, &size) == -ENOMEM)
                w->engine->unwatched = true;
        while (at < size) {
                const char *end = memchr(text + at, '\n', size - at);

                if (!end)
                        break;
                if (progress_line(w, text + at, (size_t) (end - text) - at) < 0) {
                        w->engine->unwatched = true;
                        break;
                }
                at = (size_t) (end - text) + 1;
        }
        w->progress_at = (long) at;
}

static int on_progress(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        watch_progress_read(userdata);
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
        watch_progress_read(w);
}

void watch_deliver(Engine *e, int64_t job, unsigned step, unsigned k) {
        for (unsigned i = 0; i < e->n_watches; i++) {
                Watch *w = e->watches[i];
                int r;

                if (w->job != job || w->step != step || w->dirfd < 0)
                        continue;
                r = attempt_answer_deliver(w->dirfd, k);
                if (r < 0)
                        log_job_warning(job, NULL, "cannot deliver an answer: %s", strerror(-r));
        }
}
