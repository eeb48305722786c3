/* SPDX-License-Identifier: MIT */
/* The supervisor's ear: see listen.h. */
#include "daemon/step/listen.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "api/args.h"
#include "api/text.h"

#define LOG_DEFAULT_BYTES (64 * 1024 * 1024)

void listener_done(Listener *l) {
        closep(&l->output_fd);
        closep(&l->control_fd);
        closep(&l->progress_fd);
        masks_done(&l->masks);
        mask_stream_done(&l->stream);
        logfile_done(&l->log);
        journal_done(&l->journal);
        result_done(&l->result);
        free(l->line);
        free(l->unwritten);
        *l = LISTENER_INIT;
}

int listener_open(Listener *l, int dirfd, const json_t *task, const json_t *secrets) {
        int64_t limit = json_integer_value(json_object_get(task, "log_bytes"));
        const char *name;
        json_t *value;
        int r;

        json_object_foreach ((json_t *) secrets, name, value) {
                if (masks_add(&l->masks, json_string_value(value)) < 0)
                        return -ENOMEM;
        }
        r = result_init(&l->result, task);
        if (r < 0)
                return r;
        journal_take(&l->journal);
        l->progress_fd = openat(dirfd, "progress", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (l->progress_fd < 0)
                return -errno;
        return logfile_open(&l->log, dirfd, (uint64_t) (limit > 0 ? limit : LOG_DEFAULT_BYTES));
}

/* ---- what the worker tells ---- */

/* A question that is not told is never answered: what has no room stays until it has. What was
 * written of it before stands in the file, so only the rest follows. */
bool listener_catch_up(Listener *l) {
        bool room = logfile_catch_up(&l->log);

        while (l->unwritten_size > 0) {
                ssize_t n = write(l->progress_fd, l->unwritten, l->unwritten_size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return false;
                l->unwritten_size -= (size_t) n;
                memmove(l->unwritten, l->unwritten + n, l->unwritten_size);
        }
        return room;
}

static void add_progress(Listener *l, const char *line) {
        size_t size = strlen(line);
        char *grown = realloc(l->unwritten, l->unwritten_size + size);

        if (!grown)
                return;
        memcpy(grown + l->unwritten_size, line, size);
        l->unwritten = grown;
        l->unwritten_size += size;
        (void) listener_catch_up(l);
}

static void write_progress(Listener *l, const char *key, json_t *value) {
        json_auto_t *line = json_pack("{s:I, s:O}", "t", (json_int_t) now_wall_ms(), key, value);
        json_auto_t *masked = line ? masks_json(&l->masks, line) : NULL;
        _cleanup_free_ char *text = masked ? json_dumps(masked, JSON_COMPACT) : NULL;
        _cleanup_free_ char *whole = text ? strf("%s\n", text) : NULL;

        /* One write a line: a reader sees a line whole or not at all. */
        if (whole)
                add_progress(l, whole);
}

static void set_subreaper(Listener *l, bool on) {
        (void) prctl(PR_SET_CHILD_SUBREAPER, on ? 1 : 0);
        (void) write_all(l->control_fd, "", 1);
}

static void take_message(Listener *l, const json_t *message) {
        json_t *value;

        if (result_take(&l->result, message) != 0)
                return;
        if ((value = json_object_get(message, "mask")))
                (void) masks_add(&l->masks, json_string_value(value));
        else if ((value = json_object_get(message, "progress")))
                write_progress(l, "message", value);
        else if ((value = json_object_get(message, "question"))) {
                l->asking = true;
                write_progress(l, "question", value);
        } else if ((value = json_object_get(message, "answered"))) {
                l->asking = false;
                write_progress(l, "answered", value);
        } else if ((value = json_object_get(message, "subreaper")))
                set_subreaper(l, json_is_true(value));
}

static void take_lines(Listener *l) {
        size_t at = 0;

        for (;;) {
                const char *end = memchr(l->line + at, '\n', l->line_size - at);
                json_auto_t *message = NULL;

                if (!end)
                        break;
                message = json_loadb(l->line + at, (size_t) (end - l->line) - at, JSON_ALLOW_NUL,
                                     NULL);
                if (message)
                        take_message(l, message);
                at = (size_t) (end - l->line) + 1;
        }
        l->line_size -= at;
        memmove(l->line, l->line + at, l->line_size);
}

void listener_read_control(Listener *l) {
        for (;;) {
                char buf[16 * 1024], *grown;
                ssize_t n = recv(l->control_fd, buf, sizeof(buf), MSG_DONTWAIT);

                if (n <= 0)
                        return;
                grown = realloc(l->line, l->line_size + (size_t) n);
                if (!grown)
                        return;
                l->line = grown;
                memcpy(l->line + l->line_size, buf, (size_t) n);
                l->line_size += (size_t) n;
                take_lines(l);
        }
}

/* ---- the log ---- */

static void log_bytes(Listener *l, const char *data, size_t size, bool final) {
        _cleanup_free_ char *out = NULL;
        size_t out_size = 0;

        if (mask_stream_feed(&l->stream, &l->masks, data, size, final, &out, &out_size) >= 0 &&
            out) {
                logfile_write(&l->log, out, out_size);
                journal_write(&l->journal, out, out_size);
        }
}

void listener_log(Listener *l, const char *text) {
        _cleanup_free_ char *line = strf("updd: %s\n", text);

        if (line)
                log_bytes(l, line, strlen(line), false);
}

/* Reads once. False at the end of what there is. */
bool listener_read_output(Listener *l) {
        char buf[64 * 1024];
        ssize_t n = read(l->output_fd, buf, sizeof(buf));

        if (n <= 0)
                return n < 0 && errno == EINTR;
        /* A secret is told before it is written, so by now it is in the socket at the latest. */
        listener_read_control(l);
        log_bytes(l, buf, (size_t) n, false);
        return true;
}

void listener_finish(Listener *l) {
        while (listener_read_output(l))
                ;
        listener_read_control(l);
        (void) listener_catch_up(l);
        log_bytes(l, "", 0, true);
        logfile_finish(&l->log);
}
