/* SPDX-License-Identifier: MIT */
/* Lists and maps of values. A list that may be written as one value is a list in the normal form.
 */
#include "daemon/plan/decode.h"

/* One item of a list, decoded as `type`. */
static void decode_item(Decoder *d, Scope sc, const FieldInfo *f, FieldType type, const Node *n,
                        Pair *ret) {
        FieldInfo item = *f;

        item.type = type;
        decode_field(d, sc, &item, n, ret);
}

void decode_list(Decoder *d, Scope sc, const FieldInfo *f, FieldType type, const Node *n,
                 Pair *ret) {
        Pair made = {0};

        if (!expect_kind(d, f, n, NODE_LIST))
                return;
        made = pair_new(d, json_array(), json_array());
        for (size_t i = 0; made.source && i < n->n_items; i++) {
                _cleanup_pair_ Pair p = {0};

                decode_item(d, sc, f, type, n->items[i], &p);
                pair_append(d, &made, &p);
        }
        *ret = made;
}

/* A scalar stands for a list of one; the source keeps it as it was written. */
static void decode_one_or_list(Decoder *d, Scope sc, const FieldInfo *f, FieldType type,
                               const Node *n, Pair *ret) {
        _cleanup_pair_ Pair one = {0};

        if (n->kind != NODE_SCALAR) {
                decode_list(d, sc, f, type, n, ret);
                return;
        }
        decode_item(d, sc, f, type, n, &one);
        if (!one.source)
                return;
        *ret = pair_new(d, json_incref(one.source), json_array());
        if (ret->norm && json_array_append(ret->norm, one.norm) < 0)
                d->faults->oom = true;
}

void decode_texts(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        decode_one_or_list(d, sc, f, TYPE_TEXT, n, ret);
}

void decode_paths(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        decode_one_or_list(d, sc, f, TYPE_PATH, n, ret);
}

void decode_regexes(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        decode_one_or_list(d, sc, f, TYPE_REGEX, n, ret);
}

static bool is_shell(const Node *program) {
        static const char *const shells[] = {"sh", "bash", "dash", "ash", "zsh", "ksh"};
        const char *name = strrchr(program->text, '/');

        name = name ? name + 1 : program->text;
        for (size_t i = 0; i < ELEMENTSOF(shells); i++)
                if (streq(name, shells[i]))
                        return true;
        return false;
}

/* The index of the script in [sh, -c, script, …], or 0. */
static size_t find_script(const Node *argv) {
        size_t shell = 0;

        /* [env, A=b, sh, -c, …], [sudo, sh, -c, …]: look for the shell wherever it stands. */
        while (shell < argv->n_items &&
               (argv->items[shell]->kind != NODE_SCALAR || !is_shell(argv->items[shell])))
                shell++;
        for (size_t i = shell + 1; i + 1 < argv->n_items; i++) {
                const Node *n = argv->items[i];

                if (n->kind != NODE_SCALAR || (*n->text != '-' && *n->text != '+'))
                        return 0;
                if (*n->text == '-' && n->text[1] != '-' && strchr(n->text, 'c'))
                        return i + 1;
        }
        return 0;
}

void decode_argv(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        static const FieldInfo word = {"argv", TYPE_TEXT, 0, NULL, NULL, NULL, NULL};
        Pair made = {0};
        size_t script;

        if (n->kind == NODE_SCALAR) {
                fault(d->faults, n, "argv-text", "write [sh, -c, …] when a shell shall read it",
                      "'%s' is text, expected %s", f->name, field_types[TYPE_ARGV].expected);
                return;
        }
        if (!expect_kind(d, f, n, NODE_LIST))
                return;
        if (n->n_items == 0)
                fault(d->faults, n, "empty", NULL, "'%s' is an empty list, expected %s", f->name,
                      field_types[TYPE_ARGV].expected);
        script = find_script(n);
        sc.field = "argv";
        made = pair_new(d, json_array(), json_array());
        for (size_t i = 0; made.source && i < n->n_items; i++) {
                _cleanup_pair_ Pair p = {0};
                const Node *item = n->items[i];

                if (item->kind != NODE_SCALAR) {
                        fault(d->faults, item, "wrong-type", "write \"\" for an empty argument",
                              "an argument of '%s' is %s, expected text", f->name,
                              node_kind_text(item));
                        continue;
                }
                (void) scan_names(d, sc, &word, item, script > 0 && i == script);
                p = pair_new(d, json_string(item->text), json_string(item->text));
                pair_append(d, &made, &p);
        }
        *ret = made;
}

static bool check_name(Decoder *d, const FieldInfo *f, const Node *n) {
        if (*n->key && !strstr(n->key, "${"))
                return true;
        fault_key(d->faults, n, *n->key ? "no-template" : "empty-key", NULL,
                  "a name in '%s' is '%s', expected plain text: ${…} stands in values only",
                  f->name, n->key);
        return false;
}

static void decode_map(Decoder *d, Scope sc, const FieldInfo *f, FieldType type, const Node *n,
                       Pair *ret) {
        Pair made = {0};

        if (!expect_kind(d, f, n, NODE_MAP))
                return;
        made = pair_new(d, json_object(), json_object());
        for (size_t i = 0; made.source && i < n->n_items; i++) {
                _cleanup_pair_ Pair p = {0};
                const Node *value = n->items[i];
                FieldInfo item = *f;

                if (!check_name(d, f, value))
                        continue;
                item.name = value->key;
                item.type = type;
                decode_field(d, sc, &item, value, &p);
                pair_put(d, &made, value->key, &p);
        }
        *ret = made;
}

void decode_text_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        decode_map(d, sc, f, TYPE_TEXT, n, ret);
}

void decode_texts_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        decode_map(d, sc, f, TYPE_TEXTS, n, ret);
}

void decode_path_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        decode_map(d, sc, f, TYPE_PATH, n, ret);
}

void decode_expectation(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        if (n->kind == NODE_MAP)
                decode_map(d, sc, f, TYPE_SCALAR, n, ret);
        else
                decode_item(d, sc, f, TYPE_SCALAR, n, ret);
}

/* Without quotes, what JSON would read as a number or a word is one; all else is text. */
static json_t *json_scalar(const Node *n) {
        if (n->kind == NODE_NULL)
                return json_null();
        if (n->plain) {
                json_t *v = json_loads(n->text, JSON_DECODE_ANY, NULL);

                if (v && !json_is_string(v) && !json_is_object(v) && !json_is_array(v))
                        return v;
                json_decref(v);
        }
        return json_string(n->text);
}

static json_t *json_tree(Decoder *d, Scope sc, const FieldInfo *f, const Node *n) {
        json_auto_t *made = NULL;

        if (n->kind != NODE_MAP && n->kind != NODE_LIST) {
                if (n->kind == NODE_SCALAR)
                        (void) scan_names(d, sc, f, n, false);
                return json_scalar(n);
        }
        made = n->kind == NODE_MAP ? json_object() : json_array();
        for (size_t i = 0; i < n->n_items; i++) {
                json_t *v = json_tree(d, sc, f, n->items[i]);

                if ((n->kind == NODE_MAP ? json_object_set_new(made, n->items[i]->key, v)
                                         : json_array_append_new(made, v)) < 0)
                        return NULL;
        }
        return TAKE(made);
}

void decode_json(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        json_t *v = json_tree(d, sc, f, n);

        *ret = pair_new(d, v, json_incref(v));
}

void decode_object_field(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        if (expect_kind(d, f, n, NODE_MAP))
                decode_object(d, sc, f->spec, n, ret);
}

void decode_objects(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        decode_list(d, sc, f, TYPE_OBJECT, n, ret);
}

/* What the entries of a section see, beyond what their section does. */
static Scope entry_scope(const Decoder *d, Scope sc, const FieldInfo *f, const Node *entry) {
        if (sc.phase != PHASE_PLAN)
                return sc;
        /* Of a key that stands there twice (a fault by itself) the first is what names refer to. */
        if (streq(f->name, "inputs") && entry->parent == node_find(d->root, "inputs"))
                sc.input = (ssize_t) entry->index;
        if (streq(f->name, "rollbacks")) {
                sc.phase = PHASE_ROLLBACK;
                sc.names |= NS_STEPS;
        }
        if (streq(f->name, "databases"))
                sc.names &= ~(unsigned) NS_DB;
        if (streq(f->name, "compose")) {
                sc.outer_cwd = sc.cwd;
                sc.cwd = sc.cwd || node_find(entry, "dir");
        }
        return sc;
}

void decode_object_map(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        bool save = streq(f->name, "save");
        Pair made = {0};

        if (!expect_kind(d, f, n, NODE_MAP))
                return;
        made = pair_new(d, json_object(), json_object());
        for (size_t i = 0; made.source && i < n->n_items; i++) {
                _cleanup_pair_ Pair p = {0};
                const Node *entry = n->items[i];

                if (save ? !is_output_name(entry->key) : !is_id(entry->key))
                        fault_key(d->faults, entry, "bad-id", NULL,
                                  "a name in '%s' is '%s', expected %s", f->name, entry->key,
                                  save ? "a letter, then letters, digits, '_' and '-'"
                                       : field_types[TYPE_ID].expected);
                decode_item(d, entry_scope(d, sc, f, entry), f, TYPE_OBJECT, entry, &p);
                pair_put(d, &made, entry->key, &p);
        }
        *ret = made;
}

/* `all` is written out, in the source too: the plan's services in their order, which the sorted
 * keys of the canonical JSON would not keep. */
static json_t *all_services(Decoder *d) {
        json_auto_t *names = json_array();
        const Node *services = node_find(d->root, "services");

        for (size_t i = 0; services && i < services->n_items && services->kind == NODE_MAP; i++)
                if (json_array_append_new(names, json_string(services->items[i]->key)) < 0)
                        return NULL;
        return TAKE(names);
}

static void note_services(Decoder *d, Scope sc, const Node *n) {
        if (n->kind == NODE_SCALAR && !strstr(n->text, "${"))
                note_use(d, sc, USE_SERVICE, n, n->text, 0);
        for (size_t i = 0; n->kind == NODE_LIST && i < n->n_items; i++)
                note_services(d, sc, n->items[i]);
}

void decode_services(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        if ((f->flags & FIELD_ALL) && n->kind == NODE_SCALAR && streq(n->text, "all")) {
                json_t *all = all_services(d);

                *ret = pair_new(d, all, json_incref(all));
                return;
        }
        decode_one_or_list(d, sc, f, TYPE_TEXT, n, ret);
        if (ret->source)
                note_services(d, sc, n);
}

static void note_steps(Decoder *d, Scope sc, UseKind kind, const Node *n) {
        if (n->kind == NODE_SCALAR)
                note_use(d, sc, kind, n, n->text, 0);
        for (size_t i = 0; n->kind == NODE_LIST && i < n->n_items; i++)
                note_steps(d, sc, kind, n->items[i]);
}

void decode_step_list(Decoder *d, Scope sc, const FieldInfo *f, const Node *n, Pair *ret) {
        FieldInfo literal = *f;

        literal.flags |= FIELD_LITERAL;
        decode_one_or_list(d, sc, &literal, TYPE_TEXT, n, ret);
        if (ret->source)
                note_steps(d, sc, streq(f->name, "keep") ? USE_ANY_STEP : USE_STEP, n);
}
