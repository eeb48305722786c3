/* SPDX-License-Identifier: MIT */
/* Inputs whose defaults use each other: in any order, but never in a circle. */
#include "daemon/plan/decode.h"

static void note_edges(Decoder *d, const Node *inputs) {
        size_t n = inputs->n_items;

        for (size_t i = 0; i < d->n_uses; i++) {
                const Use *u = &d->uses[i];
                const Node *to = NULL;

                if (u->kind == USE_NAME && u->scope.input >= 0 && startswith(u->name, "in."))
                        to = node_find(inputs, u->name + 3);
                if (to)
                        d->reach[(size_t) u->scope.input * n + to->index] = true;
        }
}

/* Whether the defaults lead from input `from` to input `to`. */
static bool leads_to(Decoder *d, const Node *inputs, size_t from, size_t to) {
        size_t n = inputs->n_items;

        if (n > INPUTS_MAX)
                return false; /* that is a fault by itself */
        if (d->reach)
                return d->reach[from * n + to];
        d->reach = calloc(n * n, sizeof(*d->reach));
        if (!d->reach) {
                d->faults->oom = true;
                return false;
        }
        note_edges(d, inputs);
        for (size_t k = 0; k < n; k++)
                for (size_t i = 0; i < n; i++)
                        for (size_t j = 0; j < n; j++)
                                if (d->reach[i * n + k] && d->reach[k * n + j])
                                        d->reach[i * n + j] = true;
        return d->reach[from * n + to];
}

void resolve_input(Decoder *d, const Use *u, const char *key) {
        const Node *inputs = node_find(d->root, "inputs"), *n = node_find(inputs, key);

        if (!n)
                return;
        if ((ssize_t) n->index == u->scope.input ||
            leads_to(d, inputs, n->index, (size_t) u->scope.input))
                use_fault(d, u, "input-cycle", NULL,
                          "the default of input '%s' uses '%s', which leads back to '%s'",
                          inputs->items[u->scope.input]->key, key,
                          inputs->items[u->scope.input]->key);
}
