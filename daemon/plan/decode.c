/* SPDX-License-Identifier: MIT */
/* Maps by their spec: the part of the decoder that every other part uses. See decode.h. */
#include "daemon/plan/decode.h"

void pair_done(Pair *p) {
        json_decref(p->source);
        json_decref(p->norm);
        *p = (Pair){0};
}

/* Takes over both. */
Pair pair_new(Decoder *d, json_t *source, json_t *norm) {
        Pair p = {source, norm};

        if (!source || !norm) {
                d->faults->oom = true;
                pair_done(&p);
        }
        return p;
}

void pair_put(Decoder *d, const Pair *into, const char *key, Pair *value) {
        if (!value->source || !value->norm)
                return;
        if (json_object_set(into->source, key, value->source) < 0 ||
            json_object_set(into->norm, key, value->norm) < 0)
                d->faults->oom = true;
}

void pair_append(Decoder *d, const Pair *into, Pair *value) {
        if (!value->source || !value->norm)
                return;
        if (json_array_append(into->source, value->source) < 0 ||
            json_array_append(into->norm, value->norm) < 0)
                d->faults->oom = true;
}

void note_use(Decoder *d, Scope sc, UseKind kind, const Node *n, const char *name, unsigned flags) {
        if (d->n_uses == d->n_uses_allocated) {
                size_t size = d->n_uses_allocated ? d->n_uses_allocated * 2 : 64;
                Use *uses = reallocarray(d->uses, size, sizeof(*uses));

                if (!uses) {
                        d->faults->oom = true;
                        return;
                }
                d->uses = uses;
                d->n_uses_allocated = size;
        }
        d->uses[d->n_uses] = (Use){
                .kind = kind,
                .node = n,
                .at_key = flags & USE_AT_KEY,
                .secret_ok = flags & USE_SECRET_OK,
                .script = flags & USE_IN_SCRIPT,
                .name = strdup(name),
                .scope = sc,
        };
        if (!d->uses[d->n_uses].name)
                d->faults->oom = true;
        else
                d->n_uses++;
}

void decoder_done(Decoder *d) {
        for (size_t i = 0; i < d->n_uses; i++)
                free(d->uses[i].name);
        free(d->uses);
        for (size_t i = 0; i < d->n_steps; i++)
                json_decref(d->steps[i].norm);
        free(d->steps);
        json_decref(d->index);
        free(d->reach);
}

void wrong_type(Decoder *d, const FieldInfo *f, const Node *n) {
        const char *expected = field_types[f->type].expected;

        if (n->kind == NODE_SCALAR)
                fault(d->faults, n, "wrong-type", NULL, "'%s' is '%s', expected %s", f->name,
                      n->text, expected);
        else
                fault(d->faults, n, "wrong-type", NULL, "'%s' is %s, expected %s", f->name,
                      node_kind_text(n), expected);
}

bool expect_kind(Decoder *d, const FieldInfo *f, const Node *n, NodeKind kind) {
        if (n->kind == kind)
                return true;
        wrong_type(d, f, n);
        return false;
}

void unknown_key(Decoder *d, const Node *n, const char *what, const char *const *known,
                 size_t n_known) {
        _cleanup_free_ char *hint = NULL;

        if (n->refused)
                return;
        /* Beyond the last fault that is shown, nothing is worth the search for near names. */
        if (d->faults->n_errors < FAULTS_MAX)
                hint = did_you_mean(n->key, known, n_known);
        fault_key(d->faults, n, "unknown-key", hint, "'%s' is not a key of %s", n->key, what);
}

Scope scope_enter(Scope outer, const Node *map) {
        Scope sc = outer;

        sc.outer_cwd = outer.cwd;
        if (node_find(map, "cwd"))
                sc.cwd = true;
        return sc;
}

void decode_field(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        *ret = (Pair){0};
        sc.field = f->name;
        if (f->flags & FIELD_OWN)
                sc.own = true;
        if (n->kind == NODE_NULL && f->type != TYPE_JSON) {
                _cleanup_free_ char *hint = n->plain ? strf("give it %s, or leave the key out",
                                                            field_types[f->type].expected)
                                                     : NULL;

                fault_key(d->faults, n, "empty", hint, "'%s' has no value", f->name);
                return;
        }
        decode_funcs[f->type](d, sc, f, n, ret);
}

static void check_required(Decoder *d, const Spec *spec, const Node *n) {
        for (const FieldInfo *f = spec->fields; f->name; f++)
                if ((f->flags & FIELD_REQUIRED) && !node_find(n, f->name))
                        fault(d->faults, n, "missing-key", NULL, "'%s' is missing in %s: %s",
                              f->name, spec->name, f->doc);
}

/* "'a', 'b' or 'c'" */
static char *join_names(const char *const *names) {
        _cleanup_free_ char *text = strdup("");

        for (size_t i = 0; text && i < 6 && names[i]; i++) {
                bool last = i == 5 || !names[i + 1];
                char *more = strf("%s%s'%s'", text, i == 0 ? "" : (last ? " or " : ", "), names[i]);

                free(text);
                text = more;
        }
        return TAKE(text);
}

static size_t count_given(const Node *n, const char *const *names) {
        size_t count = 0;

        for (size_t i = 0; i < 6 && names[i]; i++)
                count += node_find(n, names[i]) != NULL;
        return count;
}

static void check_rule(Decoder *d, const Spec *spec, const FieldRule *rule, const Node *n) {
        bool together = rule->kind == RULE_TOGETHER;
        size_t given = count_given(n, together ? rule->names + 1 : rule->names);
        _cleanup_free_ char *names = join_names(together ? rule->names + 1 : rule->names);

        if (!names)
                d->faults->oom = true;
        else if (together && given == 0 && node_find(n, rule->names[0]))
                fault_key(d->faults, node_find(n, rule->names[0]), "missing-key", NULL,
                          "'%s' goes with %s, which is missing in %s", rule->names[0], names,
                          spec->name);
        else if ((rule->kind == RULE_ONE_OF || rule->kind == RULE_ANY_OF) && given == 0)
                fault(d->faults, n, "missing-key", NULL, "%s is missing in %s", names, spec->name);
        else if ((rule->kind == RULE_ONE_OF || rule->kind == RULE_AT_MOST) && given > 1)
                fault(d->faults, n, "conflicting-keys", NULL, "%s takes only one of %s", spec->name,
                      names);
}

static void check_keys(Decoder *d, const Spec *spec, const Node *n) {
        check_required(d, spec, n);
        for (const FieldRule *r = spec->rules; r && r->kind != RULE_END; r++)
                check_rule(d, spec, r, n);
}

static void unknown_field(Decoder *d, const Spec *spec, const Node *n) {
        const char *known[64];
        size_t n_known = 0;

        for (const FieldInfo *f = spec->fields; f->name && n_known < ELEMENTSOF(known); f++)
                known[n_known++] = f->name;
        unknown_key(d, n, spec->name, known, n_known);
}

void decode_object(Decoder *d, Scope sc, const Spec *spec, const Node *n, Pair *ret) {
        Pair made = pair_new(d, json_object(), json_object());

        for (size_t i = 0; made.source && i < n->n_items; i++) {
                const Node *value = n->items[i];
                const FieldInfo *f = field_find(spec, value->key);
                _cleanup_pair_ Pair p = {0};

                if (!f) {
                        if (spec != &plan_spec || !startswith(value->key, "x-"))
                                unknown_field(d, spec, value);
                        continue;
                }
                decode_field(d, sc, f, value, &p);
                pair_put(d, &made, f->name, &p);
        }
        check_keys(d, spec, n);
        *ret = made;
}

/* `check: {http: …}` is the check itself, `check: {checks: […]}` the long form. */
static bool stands_alone(const FieldInfo *alone, const Node *n) {
        if (!alone)
                return false;
        if (n->kind != NODE_MAP)
                return true;
        return (alone->type == TYPE_CHECKS || alone->type == TYPE_STEPS) &&
               !node_find(n, alone->name);
}

void decode_call(Decoder *d, Scope sc, const Spec *spec, const Node *n, Pair *ret) {
        const FieldInfo *alone = field_alone(spec);
        _cleanup_pair_ Pair p = {0};
        FieldInfo named;

        *ret = (Pair){0};
        if (n->kind == NODE_NULL) {
                fault_key(d->faults, n, "empty", NULL, "'%s' has no value: %s", spec->name,
                          spec->doc);
                return;
        }
        if (!stands_alone(alone, n)) {
                if (n->kind == NODE_MAP)
                        decode_object(d, sc, spec, n, ret);
                else
                        fault(d->faults, n, "wrong-type", NULL,
                              "'%s' is %s, expected a map of its fields", spec->name,
                              node_kind_text(n));
                return;
        }
        /* In messages it bears the name that the person wrote. */
        named = *alone;
        named.name = spec->name;
        decode_field(d, sc, &named, n, &p);
        if (!p.source)
                return;
        *ret = pair_new(d, json_incref(p.source), json_object());
        if (ret->norm && json_object_set(ret->norm, alone->name, p.norm) < 0)
                d->faults->oom = true;
}

/* What other rooms may rely on being there. */
static void fill_sections(Decoder *d, json_t *norm) {
        static const char *const objects[] = {"inputs",  "secrets",  "databases", "stores",
                                              "compose", "services", "rollbacks", "on_failure",
                                              "hooks",   "hints",    "env"};
        static const char *const lists[] = {"steps", "checks", "finalise"};
        json_t *name = json_object_get(norm, "plan");

        for (size_t i = 0; i < ELEMENTSOF(objects); i++)
                if (!json_object_get(norm, objects[i]) &&
                    json_object_set_new(norm, objects[i], json_object()) < 0)
                        d->faults->oom = true;
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                if (!json_object_get(norm, lists[i]) &&
                    json_object_set_new(norm, lists[i], json_array()) < 0)
                        d->faults->oom = true;
        if (name && !json_object_get(norm, "target") && json_object_set(norm, "target", name) < 0)
                d->faults->oom = true;
}

void decode_plan(Decoder *d, const Node *root, Pair *ret) {
        Scope sc = {
                .phase = PHASE_PLAN,
                .step = -1,
                .parent = -1,
                .input = -1,
                .names = NS_IN | NS_SECRET | NS_DB | NS_JOB,
        };

        *ret = (Pair){0};
        d->root = root;
        if (root->kind != NODE_MAP) {
                fault(d->faults, root, "wrong-type", "a plan begins with 'format: 1'",
                      "the document is %s, expected a map", node_kind_text(root));
                return;
        }
        decode_object(d, scope_enter(sc, root), &plan_spec, root, ret);
        if (ret->norm)
                fill_sections(d, ret->norm);
}
