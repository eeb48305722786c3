/* SPDX-License-Identifier: MIT */
/* The document's tree: see daemon/plan/node.h. */
#include "daemon/plan/node.h"

Node *node_new(NodeKind kind, unsigned line, unsigned column) {
        Node *n = calloc(1, sizeof(*n));

        if (!n)
                return NULL;
        n->kind = kind;
        n->line = n->key_line = line;
        n->column = n->key_column = column;
        return n;
}

Node *node_free(Node *n) {
        if (!n)
                return NULL;
        for (size_t i = 0; i < n->n_items; i++)
                node_free(n->items[i]);
        free(n->items);
        free(n->key);
        free(n->text);
        free(n);
        return NULL;
}

int node_add(Node *parent, Node *child) {
        _cleanup_node_ Node *c = child;

        if (parent->n_items == parent->n_allocated) {
                size_t n = parent->n_allocated ? parent->n_allocated * 2 : 8;
                Node **items = reallocarray(parent->items, n, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                parent->items = items;
                parent->n_allocated = n;
        }
        c->parent = parent;
        c->index = parent->n_items;
        parent->items[parent->n_items++] = TAKE(c);
        return 0;
}

const Node *node_find(const Node *map, const char *key) {
        if (!map || map->kind != NODE_MAP)
                return NULL;
        for (size_t i = 0; i < map->n_items; i++)
                if (streq(map->items[i]->key, key))
                        return map->items[i];
        return NULL;
}

const char *node_find_text(const Node *map, const char *key) {
        const Node *n = node_find(map, key);

        return n && n->kind == NODE_SCALAR ? n->text : NULL;
}

static int print_segment(FILE *out, const Node *n) {
        if (!n->key)
                return fprintf(out, "/%zu", n->index);
        fputc('/', out);
        for (const char *p = n->key; *p; p++)
                if (*p == '~' || *p == '/')
                        fputs(*p == '~' ? "~0" : "~1", out);
                else
                        fputc(*p, out);
        return 0;
}

static void print_pointer(FILE *out, const Node *n) {
        if (!n->parent)
                return;
        print_pointer(out, n->parent);
        print_segment(out, n);
}

char *node_pointer(const Node *n) {
        _cleanup_free_ char *text = NULL;
        _cleanup_fclose_ FILE *out = NULL;
        size_t size = 0;

        out = open_memstream(&text, &size);
        if (!out)
                return NULL;
        print_pointer(out, n);
        /* Closing is what gives the text its final place. */
        if (fclose(TAKE(out)) != 0)
                return NULL;
        return TAKE(text);
}

const char *node_kind_text(const Node *n) {
        switch (n->kind) {
        case NODE_NULL: return "nothing";
        case NODE_LIST: return "a list";
        case NODE_MAP: return "a map";
        case NODE_SCALAR: return "text";
        }
        return "something else";
}
