/* SPDX-License-Identifier: MIT */
/*
 * libyaml's events -> Node tree. A strict subset of YAML: what would make a plan mean something
 * else than it seems to say (anchors, tags, merge keys, duplicate keys, a second document) is a
 * fault. The parser is fed nothing above DOCUMENT_MAX and is left as soon as a document is nested
 * too deep.
 */
#include <yaml.h>

#include "daemon/plan/read.h"

typedef struct Frame {
        Node *node;   /* borrowed: its parent (or the reader) owns it */
        json_t *seen; /* keys of a map so far: a hash, since maps may be large */
        char *key;    /* read, its value not yet */
        bool refused; /* that key is a fault */
        unsigned key_line, key_column;
} Frame;

typedef struct Reader {
        Faults *faults;
        const char *text;
        size_t size;
        Node *root;
        Frame stack[NODE_DEPTH_MAX];
        size_t depth, n_nodes;
        unsigned documents;
        bool ended; /* a fault after which reading on makes no sense */
} Reader;

static void frame_done(Frame *frame) {
        json_decref(frame->seen);
        free(frame->key);
        *frame = (Frame){0};
}

static void reader_done(Reader *r) {
        for (size_t i = 0; i < r->depth; i++)
                frame_done(&r->stack[i]);
        node_free(r->root);
}

static unsigned mark_line(const yaml_mark_t *m) {
        return (unsigned) m->line + 1;
}

static unsigned mark_column(const yaml_mark_t *m) {
        return (unsigned) m->column + 1;
}

_printf_(5, 6) static void reader_fault(Reader *r, const yaml_mark_t *m, const char *code,
                                        const char *hint, const char *format, ...) {
        _cleanup_free_ char *message = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&message, format, ap);
        va_end(ap);
        if (n < 0) {
                message = NULL;
                r->faults->oom = true;
                return;
        }
        fault_at(r->faults, NULL, mark_line(m), mark_column(m), code, hint, "%s", message);
}

/* The column of a tab in the indentation of a line (both from 0), or -1. */
static long find_tab(const char *text, size_t size, size_t line) {
        const char *p = text, *end = text + size;

        for (; line > 0 && p; line--) {
                p = memchr(p, '\n', (size_t) (end - p));
                p = p ? p + 1 : NULL;
        }
        for (const char *q = p; q && q < end; q++)
                if (*q == '\t')
                        return q - p;
                else if (*q != ' ')
                        break;
        return -1;
}

/* libyaml's words for a tab do not help: look for one on the lines that it complains about. */
static bool report_tab(Reader *r, const yaml_parser_t *parser) {
        size_t first = parser->context ? parser->context_mark.line : parser->problem_mark.line;

        for (size_t line = first; line <= parser->problem_mark.line; line++) {
                long column = find_tab(r->text, r->size, line);

                if (column < 0)
                        continue;
                fault_at(r->faults, NULL, (unsigned) line + 1, (unsigned) column + 1, "tab",
                         "indent with spaces", "a tab is used as indentation, which YAML forbids");
                return true;
        }
        return false;
}

static void report_offset(Reader *r, const yaml_parser_t *parser) {
        unsigned line = 1, column = 1;

        for (size_t i = 0; i < parser->problem_offset && i < r->size; i++)
                if (r->text[i] == '\n') {
                        line++;
                        column = 1;
                } else if (((unsigned char) r->text[i] & 0xc0) != 0x80)
                        column++;
        fault_at(r->faults, NULL, line, column, "bad-text", "save the file as UTF-8",
                 "the text cannot be read: %s", parser->problem);
}

static void report_syntax(Reader *r, const yaml_parser_t *parser) {
        if (parser->error == YAML_MEMORY_ERROR) {
                r->faults->oom = true;
                return;
        }
        if (parser->error == YAML_READER_ERROR) {
                report_offset(r, parser);
                return;
        }
        if (report_tab(r, parser))
                return;
        reader_fault(r, &parser->problem_mark, "bad-yaml", NULL, "this is not YAML: %s%s%s",
                     parser->problem ? parser->problem : "unreadable", parser->context ? ", " : "",
                     parser->context ? parser->context : "");
}

/* Takes over `node`. */
static int attach(Reader *r, Node *node, const yaml_mark_t *m) {
        _cleanup_node_ Node *n = node;
        Frame *top = r->depth > 0 ? &r->stack[r->depth - 1] : NULL;

        if (++r->n_nodes > NODE_COUNT_MAX) {
                reader_fault(r, m, "too-large", NULL, "the document has more than %u values",
                             NODE_COUNT_MAX);
                r->ended = true;
                return 0;
        }
        if (!top) {
                node_free(r->root);
                r->root = TAKE(n);
                return 0;
        }
        if (top->node->kind == NODE_MAP) {
                n->key = TAKE(top->key);
                n->refused = top->refused;
                n->key_line = top->key_line;
                n->key_column = top->key_column;
        }
        return node_add(top->node, TAKE(n));
}

static int take_key(Reader *r, const yaml_event_t *e) {
        Frame *top = &r->stack[r->depth - 1];
        const char *text = (const char *) e->data.scalar.value;
        bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

        top->refused = plain && streq(text, "<<");
        if (top->refused)
                reader_fault(r, &e->start_mark, "merge-key", "write the keys out",
                             "merge keys ('<<') are not part of the plan language");
        else if (e->data.scalar.length > NODE_KEY_MAX)
                reader_fault(r, &e->start_mark, "long-key", NULL, "a key is longer than %u bytes",
                             NODE_KEY_MAX);
        else if (plain && !*text)
                reader_fault(r, &e->start_mark, "empty-key", NULL, "a key is empty");
        if (json_object_get(top->seen, text)) {
                reader_fault(r, &e->start_mark, "duplicate-key", "keep one of the two",
                             "the key '%s' stands here twice (first on line %lld)", text,
                             json_integer_value(json_object_get(top->seen, text)));
        } else if (json_object_set_new(top->seen, text, json_integer(mark_line(&e->start_mark))) <
                   0)
                return -ENOMEM;
        top->key = strdup(text);
        top->key_line = mark_line(&e->start_mark);
        top->key_column = mark_column(&e->start_mark);
        return top->key ? 0 : -ENOMEM;
}

static int take_scalar(Reader *r, const yaml_event_t *e) {
        const char *text = (const char *) e->data.scalar.value;
        bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        Frame *top = r->depth > 0 ? &r->stack[r->depth - 1] : NULL;
        Node *n;

        if (memchr(text, '\0', e->data.scalar.length)) {
                reader_fault(r, &e->start_mark, "bad-text", NULL, "a text holds a NUL character");
                r->ended = true;
                return 0;
        }
        if (top && top->node->kind == NODE_MAP && !top->key)
                return take_key(r, e);
        n = node_new(plain && !*text ? NODE_NULL : NODE_SCALAR, mark_line(&e->start_mark),
                     mark_column(&e->start_mark));
        if (!n)
                return -ENOMEM;
        n->plain = plain;
        n->text = strdup(text);
        if (!n->text) {
                node_free(n);
                return -ENOMEM;
        }
        return attach(r, n, &e->start_mark);
}

static int take_start(Reader *r, const yaml_event_t *e, NodeKind kind) {
        Frame *top = r->depth > 0 ? &r->stack[r->depth - 1] : NULL;
        Node *n;
        int q;

        if (r->depth == NODE_DEPTH_MAX) {
                reader_fault(r, &e->start_mark, "too-deep", NULL,
                             "the document is nested deeper than %d", NODE_DEPTH_MAX);
                r->ended = true;
                return 0;
        }
        if (top && top->node->kind == NODE_MAP && !top->key) {
                reader_fault(r, &e->start_mark, "bad-key", NULL, "a key is %s, expected text",
                             kind == NODE_MAP ? "a map" : "a list");
                r->ended = true;
                return 0;
        }
        n = node_new(kind, mark_line(&e->start_mark), mark_column(&e->start_mark));
        if (!n)
                return -ENOMEM;
        q = attach(r, n, &e->start_mark);
        if (q < 0 || r->ended)
                return q;
        r->stack[r->depth] = (Frame){.node = n, .seen = kind == NODE_MAP ? json_object() : NULL};
        r->depth++;
        return kind == NODE_MAP && !r->stack[r->depth - 1].seen ? -ENOMEM : 0;
}

static void refuse_properties(Reader *r, const yaml_event_t *e, const yaml_char_t *anchor,
                              const yaml_char_t *tag) {
        if (anchor)
                reader_fault(r, &e->start_mark, "anchor", "write the value out where it is used",
                             "anchors ('&%s') are not part of the plan language",
                             (const char *) anchor);
        if (tag)
                reader_fault(r, &e->start_mark, "tag",
                             "remove it: the key says what type a value has",
                             "tags ('%s') are not part of the plan language", (const char *) tag);
}

static int take_document(Reader *r, const yaml_event_t *e) {
        if (++r->documents > 1) {
                reader_fault(r, &e->start_mark, "second-document", "put each plan in its own file",
                             "a second document begins here");
                r->ended = true;
        } else if (e->data.document_start.tag_directives.start !=
                   e->data.document_start.tag_directives.end)
                reader_fault(r, &e->start_mark, "tag", "remove it",
                             "%%TAG directives are not part of the plan language");
        return 0;
}

static int take_event(Reader *r, const yaml_event_t *e) {
        switch (e->type) {
        case YAML_DOCUMENT_START_EVENT: return take_document(r, e);
        case YAML_ALIAS_EVENT:
                reader_fault(r, &e->start_mark, "alias", "write the value out",
                             "aliases ('*%s') are not part of the plan language",
                             (const char *) e->data.alias.anchor);
                r->ended = true;
                return 0;
        case YAML_SCALAR_EVENT:
                refuse_properties(r, e, e->data.scalar.anchor, e->data.scalar.tag);
                return take_scalar(r, e);
        case YAML_SEQUENCE_START_EVENT:
                refuse_properties(r, e, e->data.sequence_start.anchor, e->data.sequence_start.tag);
                return take_start(r, e, NODE_LIST);
        case YAML_MAPPING_START_EVENT:
                refuse_properties(r, e, e->data.mapping_start.anchor, e->data.mapping_start.tag);
                return take_start(r, e, NODE_MAP);
        case YAML_SEQUENCE_END_EVENT:
        case YAML_MAPPING_END_EVENT: frame_done(&r->stack[--r->depth]); return 0;
        case YAML_STREAM_END_EVENT: r->ended = true; return 0;
        default: return 0;
        }
}

int yaml_read(Faults *f, const char *text, size_t size, Node **ret) {
        _cleanup_(reader_done) Reader r = {.faults = f, .text = text, .size = size};
        yaml_parser_t parser;
        int q = 0;

        *ret = NULL;
        if (!yaml_parser_initialize(&parser))
                return -ENOMEM;
        yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&parser, (const unsigned char *) text, size);
        while (q >= 0 && !r.ended) {
                yaml_event_t event;

                if (!yaml_parser_parse(&parser, &event)) {
                        report_syntax(&r, &parser);
                        node_free(TAKE(r.root));
                        break;
                }
                q = take_event(&r, &event);
                yaml_event_delete(&event);
        }
        yaml_parser_delete(&parser);
        if (q < 0 || f->oom)
                return -ENOMEM;
        /* Left half-read (r.depth > 0), the tree would only give faults that are not the
         * document's.
         */
        if (r.depth == 0)
                *ret = TAKE(r.root);
        return 0;
}
