/* SPDX-License-Identifier: MIT */
/* Bounded output: see capture.h. */
#include "daemon/step/capture.h"

#define DEFAULT_MAX (64 * 1024)

void capture_init(Capture *c, size_t max) {
        *c = (Capture){.max = max ? max : DEFAULT_MAX};
}

void capture_done(Capture *c) {
        free(c->data);
        *c = (Capture){0};
}

static int make_room(Capture *c, size_t size) {
        size_t want = MAX(c->size + size + 1, c->room * 2);
        char *grown;

        if (c->size + size + 1 <= c->room)
                return 0;
        grown = realloc(c->data, want);
        if (!grown)
                return -ENOMEM;
        c->data = grown;
        c->room = want;
        return 0;
}

/* The first half of the limit stays; of what follows, twice the other half is let grow and then cut
 * to its newest part, so that each byte is moved about once. */
int capture_add(Capture *c, const char *data, size_t size) {
        size_t head = c->max / 2, tail = c->max - head;

        while (size > 0) {
                size_t n = MIN(size, head + 2 * tail - c->size);

                if (make_room(c, n) < 0)
                        return -ENOMEM;
                memcpy(c->data + c->size, data, n);
                c->size += n;
                c->total += n;
                data += n;
                size -= n;
                if (c->size == head + 2 * tail) {
                        memmove(c->data + head, c->data + head + tail, tail);
                        c->size = head + tail;
                }
        }
        return 0;
}

bool capture_is_cut(const Capture *c) {
        return c->total > c->max;
}

/* Takes the middle out and says so in its place. */
static int cut_middle(Capture *c, const Masks *masks) {
        size_t head = c->max / 2, tail = c->max - head, note_size, whole, rest;
        _cleanup_free_ char *note = NULL;
        char *end = c->data + c->size - tail;

        whole = masks ? masks_whole_end(masks, c->data, head) : head;
        rest = masks ? tail - masks_whole_begin(masks, end, tail) : tail;
        note = strf("\n[… %llu bytes …]\n", (unsigned long long) (c->total - whole - rest));
        if (!note)
                return -ENOMEM;
        note_size = strlen(note);
        if (make_room(c, note_size) < 0)
                return -ENOMEM;
        memmove(c->data + whole + note_size, c->data + c->size - rest, rest);
        memcpy(c->data + whole, note, note_size);
        c->size = whole + note_size + rest;
        return 0;
}

char *capture_take(Capture *c, const Masks *masks, size_t *ret_size) {
        char *out;

        if (make_room(c, 0) < 0 || (capture_is_cut(c) && cut_middle(c, masks) < 0))
                return NULL;
        c->data[c->size] = '\0';
        if (ret_size)
                *ret_size = c->size;
        out = TAKE(c->data);
        capture_init(c, c->max);
        return out;
}
