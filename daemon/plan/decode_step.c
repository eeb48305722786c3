/* SPDX-License-Identifier: MIT */
/* Steps and the sections that hold them. See decode.h. */
#include "daemon/plan/decode.h"

static void unknown_in_step(Decoder *d, const Node *n) {
        const char *known[64];
        size_t count = 0;

        for (const VerbInfo *v = plan_verbs; v->spec.name && count < 64; v++)
                known[count++] = v->spec.name;
        for (const FieldInfo *f = step_spec.fields; f->name && count < 64; f++)
                known[count++] = f->name;
        unknown_key(d, n, "a step", known, count);
}

static const Node *find_verb(Decoder *d, const Node *n) {
        const Node *found = NULL;

        for (size_t i = 0; i < n->n_items; i++) {
                const Node *item = n->items[i];

                if (!verb_find(item->key)) {
                        if (!field_find(&step_spec, item->key))
                                unknown_in_step(d, item);
                        continue;
                }
                if (found) {
                        fault_key(d->faults, item, "two-verbs", "make two steps of it",
                                  "one step holds both '%s' and '%s'", found->key, item->key);
                        continue;
                }
                found = item;
        }
        return found;
}

/* -1 when memory is out. */
static ssize_t note_step(Decoder *d, Scope sc, const Node *n, const Node *verb) {
        StepInfo *s;

        if (d->n_steps == d->n_steps_allocated) {
                size_t size = d->n_steps_allocated ? d->n_steps_allocated * 2 : 32;
                StepInfo *steps = reallocarray(d->steps, size, sizeof(*steps));

                if (!steps) {
                        d->faults->oom = true;
                        return -1;
                }
                d->steps = steps;
                d->n_steps_allocated = size;
        }
        s = &d->steps[d->n_steps];
        *s = (StepInfo){
                .node = n,
                .verb = verb ? verb_find(verb->key) : NULL,
                .phase = sc.phase,
                .parent = sc.parent,
                .norm = json_object(),
                .given_id = node_find_text(n, "id") != NULL,
        };
        if (!s->norm) {
                d->faults->oom = true;
                return -1;
        }
        return (ssize_t) d->n_steps++;
}

/* What the members of a step (and its undo, its checks) see. */
static Scope step_scope(Scope outer, const Node *n, const Node *verb, ssize_t index) {
        Scope sc = scope_enter(outer, n);

        if (sc.phase == PHASE_MAIN || sc.phase == PHASE_FINALISE) {
                sc.own = false;
                sc.step = index;
                sc.parent = index;
                sc.names |= NS_STEPS;
        }
        if (verb && streq(verb->key, "parallel"))
                sc.parallel = true;
        return sc;
}

static const char *place_words(Scope sc) {
        switch (sc.phase) {
        case PHASE_UNDO: return "an undo";
        case PHASE_DRY_RUN: return "dry_run";
        case PHASE_HOOK: return "a hook";
        case PHASE_MAIN:
        case PHASE_FINALISE: return "a parallel group";
        default: return "a rollback";
        }
}

/* Which words are allowed where: the shape of the tree, judged while it is walked. */
static void check_place(Decoder *d, Scope sc, const Node *n, const Node *verb) {
        bool aside = sc.phase != PHASE_MAIN && sc.phase != PHASE_FINALISE;
        bool hook = sc.phase == PHASE_HOOK;
        const VerbInfo *v = verb ? verb_find(verb->key) : NULL;

        if (v && v->class == VERB_GATE && (aside || sc.parallel))
                fault_key(d->faults, verb, "gate-place", NULL,
                          "a gate ('confirm') stands inside %s, where nobody can be asked",
                          place_words(sc));
        if (v && streq(v->spec.name, "reboot") && (aside || sc.parallel))
                fault_key(d->faults, verb, "reboot-place", NULL,
                          "'reboot' stands inside %s, which it would interrupt", place_words(sc));
        if (aside && node_find(n, "undo"))
                fault_key(d->faults, node_find(n, "undo"), "undo-place", NULL,
                          "'undo' stands inside %s: what is done there is not undone",
                          place_words(sc));
        if (hook && v && v->class != VERB_HOOK && !streq(v->spec.name, "run") &&
            !streq(v->spec.name, "collect"))
                fault_key(d->faults, verb, "hook-verb", NULL,
                          "'%s' is not a hook, expected webhook, mail, run or collect", verb->key);
        if (!hook && v && v->class == VERB_HOOK)
                fault_key(d->faults, verb, "hook-verb", NULL, "'%s' stands in hooks only",
                          verb->key);
        if (aside && v && v->class == VERB_REVERT)
                fault_key(d->faults, verb, "revert-place", NULL,
                          "'revert' stands on the way forward only");
}

static void decode_verb(Decoder *d, Scope sc, const Node *verb, const Pair *made) {
        _cleanup_pair_ Pair call = {0};

        if (!verb) {
                if (json_object_set_new(made->norm, "verb", json_string("mark")) < 0 ||
                    json_object_set_new(made->norm, "args", json_object()) < 0)
                        d->faults->oom = true;
                return;
        }
        decode_call(d, sc, &verb_find(verb->key)->spec, verb, &call);
        if (!call.source)
                return;
        if (json_object_set(made->source, verb->key, call.source) < 0 ||
            json_object_set_new(made->norm, "verb", json_string(verb->key)) < 0 ||
            json_object_set(made->norm, "args", call.norm) < 0)
                d->faults->oom = true;
}

static void decode_common(Decoder *d, Scope sc, const Node *n, const Pair *made) {
        for (size_t i = 0; i < n->n_items; i++) {
                const FieldInfo *f = field_find(&step_spec, n->items[i]->key);
                Scope inner = sc;
                _cleanup_pair_ Pair p = {0};

                if (!f)
                        continue;
                /* The step decides `when` and `title` before it has done anything, its verify and
                 * undo afterwards: FIELD_OWN says which. */
                if (f->type == TYPE_UNDO)
                        inner.phase = PHASE_UNDO;
                else if (f->type == TYPE_STEPS)
                        inner.phase = PHASE_DRY_RUN;
                decode_field(d, inner, f, n->items[i], &p);
                pair_put(d, made, f->name, &p);
        }
}

static void decode_step(Decoder *d, Scope outer, const Node *n, Pair *ret) {
        const Node *verb;
        Pair made = {0};
        ssize_t index;
        Scope sc;

        if (n->kind != NODE_MAP) {
                fault(d->faults, n, "wrong-type", "write {id: stop, stop: [web]}",
                      "a step is %s, expected a map", node_kind_text(n));
                return;
        }
        verb = find_verb(d, n);
        check_place(d, outer, n, verb);
        index = note_step(d, outer, n, verb);
        if (index < 0)
                return;
        sc = step_scope(outer, n, verb, index);
        made = pair_new(d, json_object(), json_incref(d->steps[index].norm));
        if (!made.source)
                return;
        decode_common(d, sc, n, &made);
        decode_verb(d, sc, verb, &made);
        if (!verb && !node_find(n, "undo"))
                fault(d->faults, n, "no-verb", "such as 'run', or only 'undo'",
                      "this step says nothing to do");
        *ret = made;
}

void decode_steps(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        Pair made = {0};

        if (n->kind != NODE_LIST && n->kind != NODE_MAP) {
                wrong_type(d, f, n);
                return;
        }
        if (n->kind == NODE_LIST && n->n_items == 0 && (f->flags & FIELD_REQUIRED))
                fault(d->faults, n, "empty", NULL, "'%s' is an empty list", f->name);
        if (sc.phase == PHASE_PLAN) {
                sc.phase = streq(f->name, "finalise") ? PHASE_FINALISE : PHASE_MAIN;
                sc.names |= NS_STEPS;
        }
        made = pair_new(d, json_array(), json_array());
        for (size_t i = 0; made.source && i < (n->kind == NODE_LIST ? n->n_items : 1); i++) {
                _cleanup_pair_ Pair p = {0};

                decode_step(d, sc, n->kind == NODE_LIST ? n->items[i] : n, &p);
                pair_append(d, &made, &p);
        }
        *ret = made;
}

void decode_undo(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        if (n->kind != NODE_SCALAR) {
                decode_steps(d, sc, f, n, ret);
                return;
        }
        if (streq(n->text, "none"))
                *ret = pair_new(d, json_string("none"), json_string("none"));
        else
                wrong_type(d, f, n);
}

static void put_default(Decoder *d, json_t *norm, const char *key, json_t *value) {
        json_auto_t *v = value;

        if (!json_object_get(norm, key) && json_object_set(norm, key, v) < 0)
                d->faults->oom = true;
}

void decode_retry(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        if (n->kind == NODE_MAP)
                decode_object(d, sc, &retry_spec, n, ret);
        else if (n->kind == NODE_SCALAR) {
                const FieldInfo *tries = field_find(&retry_spec, "tries");
                _cleanup_pair_ Pair p = {0};

                decode_funcs[TYPE_INT](d, sc, tries, n, &p);
                if (!p.source)
                        return;
                *ret = pair_new(d, json_incref(p.source), json_object());
                if (ret->norm)
                        put_default(d, ret->norm, "tries", json_incref(p.norm));
        } else
                wrong_type(d, f, n);
        if (!ret->norm)
                return;
        if (json_integer_value(json_object_get(ret->norm, "tries")) < 1 ||
            json_integer_value(json_object_get(ret->norm, "tries")) > 1000)
                fault(d->faults, n, "out-of-range", NULL, "'tries' must be from 1 to 1000");
        put_default(d, ret->norm, "first", json_string("1s"));
        put_default(d, ret->norm, "factor", json_integer(2));
        put_default(d, ret->norm, "max", json_string("1m"));
}

/* ---- sections ---- */

void decode_steps_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        Pair made = {0};

        if (!expect_kind(d, f, n, NODE_MAP))
                return;
        made = pair_new(d, json_object(), json_object());
        for (size_t i = 0; made.source && i < n->n_items; i++) {
                _cleanup_pair_ Pair p = {0};
                FieldInfo steps = *f;

                note_use(d, sc, USE_ANY_STEP, n->items[i], n->items[i]->key, USE_AT_KEY);
                steps.type = TYPE_UNDO;
                steps.name = n->items[i]->key;
                decode_field(d, sc, &steps, n->items[i], &p);
                pair_put(d, &made, n->items[i]->key, &p);
        }
        *ret = made;
}

void decode_on_failure(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        Pair made = {0};

        if (!expect_kind(d, f, n, NODE_MAP))
                return;
        made = pair_new(d, json_object(), json_object());
        for (size_t i = 0; made.source && i < n->n_items; i++) {
                _cleanup_pair_ Pair p = {0};
                const Node *entry = n->items[i];
                FieldInfo strategy = *f;

                if (!streq(entry->key, "default"))
                        note_use(d, sc, USE_ANY_STEP, entry, entry->key, USE_AT_KEY);
                strategy.type = TYPE_STRATEGY;
                strategy.name = "on_failure";
                decode_field(d, sc, &strategy, entry, &p);
                pair_put(d, &made, entry->key, &p);
        }
        *ret = made;
}

void decode_hooks(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        Pair made = {0};
        size_t n_events = 0;

        if (!expect_kind(d, f, n, NODE_MAP))
                return;
        while (f->values[n_events])
                n_events++;
        sc.phase = PHASE_HOOK;
        sc.names |= NS_STEPS;
        made = pair_new(d, json_object(), json_object());
        for (size_t i = 0; made.source && i < n->n_items; i++) {
                _cleanup_pair_ Pair p = {0};
                FieldInfo steps = *f;
                bool known = false;

                for (size_t k = 0; k < n_events; k++)
                        known = known || streq(f->values[k], n->items[i]->key);
                if (!known) {
                        unknown_key(d, n->items[i], "hooks", f->values, n_events);
                        continue;
                }
                steps.type = TYPE_STEPS;
                steps.name = n->items[i]->key;
                decode_field(d, sc, &steps, n->items[i], &p);
                pair_put(d, &made, n->items[i]->key, &p);
        }
        *ret = made;
}
