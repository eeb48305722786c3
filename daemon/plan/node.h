/* SPDX-License-Identifier: MIT */
/*
 * A document as it was written: maps, lists and scalars, each with its place. Both readers (yaml.c,
 * json.c) make this tree, so that all that follows tells faults by line and column whatever the
 * document's language. Depth is at most NODE_DEPTH_MAX: recursion over the tree is safe.
 */
#pragma once

#include "api/util.h"

#define NODE_DEPTH_MAX 64
#define NODE_COUNT_MAX 200000U
#define NODE_KEY_MAX 1024U
#define DOCUMENT_MAX (4U * 1024 * 1024)

typedef enum NodeKind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP } NodeKind;

typedef struct Node Node;
struct Node {
        NodeKind kind;
        bool plain;   /* a scalar without quotes, or a JSON number or word */
        bool refused; /* its key has been told as a fault already */
        unsigned line, column;
        unsigned key_line, key_column; /* of the key, in a map */
        const Node *parent;
        char *key;    /* its key in a map, NULL elsewhere */
        size_t index; /* its number in its parent */
        char *text;   /* scalar */
        Node **items;
        size_t n_items, n_allocated;
};

Node *node_free(Node *n);
DEFINE_CLEANUP(Node *, node_free)
#define _cleanup_node_ _cleanup_(node_freep)

_must_check_ Node *node_new(NodeKind kind, unsigned line, unsigned column);
/* Takes over the child, whatever it returns. */
_must_check_ int node_add(Node *parent, Node *child);
/* The value of a key, or NULL. */
const Node *node_find(const Node *map, const char *key);
/* The value of a key when it is a scalar, or NULL. */
const char *node_find_text(const Node *map, const char *key);
/* RFC 6901. Caller frees; NULL when memory is out. */
_must_check_ char *node_pointer(const Node *n);
/* "a map", "a list", "text", "a number", "nothing": for messages. */
const char *node_kind_text(const Node *n);
