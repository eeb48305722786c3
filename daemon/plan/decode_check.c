/* SPDX-License-Identifier: MIT */
/* Checks: one of the check table with the keys that stand beside every check. See decode.h. */
#include "daemon/plan/decode.h"

static void unknown_in_check(Decoder *d, const Node *n) {
        const char *known[64];
        size_t count = 0;

        for (const CheckInfo *c = plan_checks; c->spec.name && count < 64; c++)
                known[count++] = c->spec.name;
        for (const FieldInfo *f = check_spec.fields; f->name && count < 64; f++)
                known[count++] = f->name;
        unknown_key(d, n, "a check", known, count);
}

/* The check's own key; `*ret` is NULL after a fault. */
static const Node *find_check(Decoder *d, const Node *n) {
        const Node *found = NULL;

        for (size_t i = 0; i < n->n_items; i++) {
                const Node *item = n->items[i];

                if (!check_find(item->key)) {
                        if (!field_find(&check_spec, item->key))
                                unknown_in_check(d, item);
                        continue;
                }
                if (found) {
                        fault_key(d->faults, item, "two-checks", "make two entries of it",
                                  "one check holds both '%s' and '%s'", found->key, item->key);
                        continue;
                }
                found = item;
        }
        return found;
}

static void decode_check(Decoder *d, Scope outer, const Node *n, Pair *ret) {
        Scope sc = scope_enter(outer, n);
        _cleanup_pair_ Pair made = {0}, call = {0};
        const Node *check;

        if (n->kind != NODE_MAP) {
                fault(d->faults, n, "wrong-type", "write {tool: git} or {path: /etc/hosts}",
                      "a check is %s, expected a map", node_kind_text(n));
                return;
        }
        check = find_check(d, n);
        made = pair_new(d, json_object(), json_object());
        for (size_t i = 0; made.source && i < n->n_items; i++) {
                const FieldInfo *f = field_find(&check_spec, n->items[i]->key);
                _cleanup_pair_ Pair p = {0};

                if (!f)
                        continue;
                decode_field(d, sc, f, n->items[i], &p);
                pair_put(d, &made, f->name, &p);
        }
        if (!check) {
                fault(d->faults, n, "no-check", NULL, "this entry names no check such as 'tool'");
                return;
        }
        decode_call(d, sc, &check_find(check->key)->spec, check, &call);
        if (!call.source || !made.source)
                return;
        if (json_object_set(made.source, check->key, call.source) < 0 ||
            json_object_set_new(made.norm, "check", json_string(check->key)) < 0 ||
            json_object_set(made.norm, "args", call.norm) < 0)
                d->faults->oom = true;
        *ret = (Pair){TAKE(made.source), TAKE(made.norm)};
}

void decode_checks(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        Pair made = {0};

        if (n->kind != NODE_LIST && n->kind != NODE_MAP) {
                wrong_type(d, f, n);
                return;
        }
        if (sc.phase == PHASE_PLAN)
                sc.phase = PHASE_CHECKS;
        made = pair_new(d, json_array(), json_array());
        for (size_t i = 0; made.source && i < (n->kind == NODE_LIST ? n->n_items : 1); i++) {
                _cleanup_pair_ Pair p = {0};

                decode_check(d, sc, n->kind == NODE_LIST ? n->items[i] : n, &p);
                pair_append(d, &made, &p);
        }
        *ret = made;
}
