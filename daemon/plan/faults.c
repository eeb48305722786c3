/* SPDX-License-Identifier: MIT */
/* The list of faults: see daemon/plan/faults.h. */
#include "daemon/plan/faults.h"

#include <stdarg.h>

#include "api/args.h"
#include "api/text.h"

int faults_init(Faults *f, const char *file) {
        *f = (Faults){.file = file ? file : "plan"};
        f->list = json_array();
        return f->list ? 0 : -ENOMEM;
}

void faults_done(Faults *f) {
        json_decref(f->list);
        f->list = NULL;
}

/* The document's own words stand in messages: long ones are cut, at a whole character, so that the
 * text stays UTF-8. */
static void cut_text(char *text, size_t max) {
        size_t n = strlen(text);

        if (n <= max)
                return;
        max -= strlen("…"); /* it must fit where the text was */
        while (max > 0 && ((unsigned char) text[max] & 0xc0) == 0x80)
                max--;
        memcpy(text + max, "…", sizeof("…"));
}

typedef struct Place {
        unsigned line, column;
        const char *severity;
} Place;

static int fault_fill(json_t *o, const Faults *f, const Node *node, const Place *at,
                      const char *code, const char *hint, const char *message) {
        _cleanup_free_ char *path = node ? node_pointer(node) : strdup("");
        int r = 0;

        if (!path)
                return -ENOMEM;
        cut_text(path, 1000);
        r = MIN(r, json_put(o, "severity", json_string(at->severity)));
        r = MIN(r, json_put(o, "code", json_string(code)));
        r = MIN(r, json_put(o, "message", json_string(message)));
        r = MIN(r, json_put(o, "file", json_string(f->file)));
        r = MIN(r, json_put(o, "line", json_integer(at->line)));
        r = MIN(r, json_put(o, "column", json_integer(at->column)));
        r = MIN(r, json_put(o, "path", json_string(path)));
        if (hint)
                r = MIN(r, json_put(o, "hint", json_string(hint)));
        return r;
}

_printf_(6, 0) static void fault_va(Faults *f, const Node *node, const Place *at, const char *code,
                                    const char *hint, const char *format, va_list ap) {
        _cleanup_free_ char *message = NULL;
        json_auto_t *o = NULL;

        if (streq(at->severity, "error"))
                f->n_errors++;
        if (json_array_size(f->list) >= FAULTS_MAX) {
                f->n_dropped++;
                return;
        }
        if (vasprintf(&message, format, ap) < 0) {
                message = NULL;
                f->oom = true;
                return;
        }
        cut_text(message, 500);
        o = json_object();
        if (!o || fault_fill(o, f, node, at, code, hint, message) < 0 ||
            json_array_append(f->list, o) < 0)
                f->oom = true;
}

void fault_at(Faults *f, const Node *node, unsigned line, unsigned column, const char *code,
              const char *hint, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        fault_va(f, node, &(Place){line, column, "error"}, code, hint, format, ap);
        va_end(ap);
}

void fault(Faults *f, const Node *node, const char *code, const char *hint, const char *format,
           ...) {
        va_list ap;

        va_start(ap, format);
        fault_va(f, node, &(Place){node->line, node->column, "error"}, code, hint, format, ap);
        va_end(ap);
}

void fault_key(Faults *f, const Node *node, const char *code, const char *hint, const char *format,
               ...) {
        va_list ap;

        va_start(ap, format);
        fault_va(f, node, &(Place){node->key_line, node->key_column, "error"}, code, hint, format,
                 ap);
        va_end(ap);
}

void warning(Faults *f, const Node *node, const char *code, const char *hint, const char *format,
             ...) {
        va_list ap;

        va_start(ap, format);
        fault_va(f, node, &(Place){node->line, node->column, "warning"}, code, hint, format, ap);
        va_end(ap);
}

static int compare_members(const json_t *a, const json_t *b, const char *key) {
        json_int_t x = json_integer_value(json_object_get(a, key)),
                   y = json_integer_value(json_object_get(b, key));

        return (x > y) - (x < y);
}

static int fault_compare(const void *a, const void *b) {
        const json_t *x = *(json_t *const *) a, *y = *(json_t *const *) b;
        int r = compare_members(x, y, "line");

        if (r == 0)
                r = compare_members(x, y, "column");
        return r != 0 ? r
                      : strcmp(json_string_value(json_object_get(x, "message")),
                               json_string_value(json_object_get(y, "message")));
}

/* Says, behind the last fault, that there were more. */
static int append_rest(const Faults *f, json_t *sorted) {
        const json_t *last = json_array_get(sorted, json_array_size(sorted) - 1);
        Place at = {.severity = "error"};
        json_t *o = json_object();
        char message[64];

        at.line = (unsigned) json_integer_value(json_object_get(last, "line"));
        at.column = (unsigned) json_integer_value(json_object_get(last, "column"));
        (void) snprintf(message, sizeof(message), "%zu faults more are not shown", f->n_dropped);
        if (!o || fault_fill(o, f, NULL, &at, "too-many-faults", NULL, message) < 0) {
                json_decref(o);
                return -ENOMEM;
        }
        return json_array_append_new(sorted, o);
}

json_t *faults_take(Faults *f) {
        json_auto_t *list = TAKE(f->list), *sorted = json_array();
        _cleanup_free_ json_t **all = NULL;
        size_t n = json_array_size(list);

        all = calloc(n + 1, sizeof(*all));
        if (!all || !sorted || f->oom)
                return NULL;
        for (size_t i = 0; i < n; i++)
                all[i] = json_array_get(list, i);
        qsort(all, n, sizeof(*all), fault_compare);
        for (size_t i = 0; i < n; i++)
                if (json_array_append(sorted, all[i]) < 0)
                        return NULL;
        if (f->n_dropped > 0 && append_rest(f, sorted) < 0)
                return NULL;
        return TAKE(sorted);
}

/* Two neighbouring letters exchanged, the commonest slip, which edit distance counts as two. */
static bool is_swap(const char *a, const char *b) {
        size_t n = strlen(a), i = 0;

        if (strlen(b) != n)
                return false;
        while (i < n && a[i] == b[i])
                i++;
        return i + 1 < n && a[i] == b[i + 1] && a[i + 1] == b[i] && streq(a + i + 2, b + i + 2);
}

char *did_you_mean(const char *word, const char *const *candidates, size_t n) {
        const char *near = nearest_word(word, candidates, n);

        for (size_t i = 0; i < n; i++)
                if (is_swap(word, candidates[i]))
                        near = candidates[i];
        return near ? strf("did you mean '%s'?", near) : NULL;
}
