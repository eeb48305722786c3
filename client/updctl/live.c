/* SPDX-License-Identifier: MIT */
/*
 * The live view: the job's steps, redrawn in place. Nothing is written while nothing has changed
 * but a running step's time, and never more rows than the window has: the cursor could not come
 * back to them.
 */
#include <inttypes.h>

#include "api/text.h"
#include "client/updctl/follow.h"

static void put_head(const Screen *s, const json_t *job) {
        const StateLook *look = state_look(get_text(job, "state"));
        const char *title = get_text(job, "title");
        const json_t *progress = json_object_get(job, "progress");
        _cleanup_free_ char *left = strf("job %" PRId64 "  %s", get_int(job, "id"),
                                         title ? title : get_text(job, "plan"));
        _cleanup_free_ char *right =
                strf("%s%s %" PRId64 "/%" PRId64, get_bool(job, "dry_run") ? "dry run, " : "",
                     look->words, get_int(progress, "done"), get_int(progress, "total"));
        int width = text_width(right ? right : "");

        put_cells(s, 0, {BOLD, MAX(s->width - width - 2, 10), left}, {look->style, -width, right});
}

/* The rows that one line takes: a long one wraps. */
static int line_rows(const char *line, size_t size, int width) {
        _cleanup_free_ char *clean = text_clean(line, size, false);
        int columns = clean ? text_width(clean) : 0;

        return MAX(1, (columns + width - 1) / width);
}

static int count_rows(const char *text, int width) {
        int n = 0;

        while (*text) {
                size_t size = strcspn(text, "\n");

                n += line_rows(text, size, width);
                text += size + (text[size] == '\n');
        }
        return n;
}

/* Drops the lines that do not fit into `rows` rows. */
static void cut_rows(char *text, int rows, int width) {
        while (*text) {
                size_t size = strcspn(text, "\n");

                rows -= line_rows(text, size, width);
                if (rows < 0) {
                        *text = '\0';
                        return;
                }
                text += size + (text[size] == '\n');
        }
}

static char *draw_waits(const Screen *s, const json_t *job) {
        _cleanup_free_ char *text = NULL;
        Screen memory = *s;
        size_t size;

        memory.f = open_memstream(&text, &size);
        if (!memory.f)
                return NULL;
        put_waits(&memory, job);
        if (fclose(memory.f) != 0)
                return NULL;
        return TAKE(text);
}

/* The whole picture as text. Caller frees; NULL when memory is out. */
static char *picture(const Screen *screen, const json_t *job) {
        _cleanup_free_ char *text = NULL, *waits = NULL;
        Screen s = *screen;
        size_t size;

        /* One column stays free: a row that fills the window may wrap. */
        s.width--;
        waits = draw_waits(&s, job);
        s.f = open_memstream(&text, &size);
        if (!waits || !s.f)
                return NULL;
        put_head(&s, job);
        put_steps_within(&s, job, s.height - 3 - count_rows(waits, screen->width));
        if (*waits)
                (void) fprintf(s.f, "\n%s", waits);
        if (fclose(s.f) != 0)
                return NULL;
        cut_rows(text, screen->height - 1, screen->width);
        return TAKE(text);
}

void live_draw(Follow *f) {
        Screen *s = f->ctl->out;
        _cleanup_free_ char *text = NULL;

        screen_measure(s);
        text = picture(s, f->last.json);
        if (!text || streq0(text, f->drawn))
                return;
        live_erase(f);
        (void) fputs(text, s->f);
        (void) fflush(s->f);
        f->rows = count_rows(text, s->width);
        f->drawn = TAKE(text);
}

void live_keep(Follow *f) {
        free(f->drawn);
        f->drawn = NULL;
        f->rows = 0;
}

void live_erase(Follow *f) {
        if (f->rows > 0)
                (void) fprintf(f->ctl->out->f, "\033[%dA", f->rows);
        if (f->drawn)
                (void) fputs("\r\033[J", f->ctl->out->f);
        live_keep(f);
}
