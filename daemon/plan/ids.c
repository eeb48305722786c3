/* SPDX-License-Identifier: MIT */
/*
 * Ids for the steps that have none: "<verb>-<n>". A plan is read again from its canonical JSON,
 * whose keys are sorted, and every step must then get the same id: so the numbers follow the tree
 * in an order of its own (the way forward first, then what stands aside, keys sorted), not the
 * text.
 */
#include "api/args.h"
#include "daemon/plan/decode.h"
#include "daemon/plan/scope.h"

typedef struct Ids {
        json_t *taken, *counts;
        bool oom;
} Ids;

static void give_id(Ids *ids, json_t *step) {
        const char *verb = args_text(step, "verb", NULL);
        json_int_t n = json_integer_value(json_object_get(ids->counts, verb));
        _cleanup_free_ char *id = NULL;

        if (!verb || json_object_get(step, "id"))
                return;
        do {
                free(id);
                id = strf("%s-%lld", verb, (long long) ++n);
        } while (id && json_object_get(ids->taken, id));
        if (!id || json_object_set_new(step, "id", json_string(id)) < 0 ||
            json_object_set_new(ids->counts, verb, json_integer(n)) < 0)
                ids->oom = true;
}

static json_t *members(const json_t *step) {
        return json_object_get(json_object_get(step, "args"), "steps");
}

static void ids_forward(Ids *ids, const json_t *steps) {
        json_t *step;
        size_t i;

        json_array_foreach (steps, i, step) {
                give_id(ids, step);
                ids_forward(ids, members(step));
        }
}

/* Steps inside steps that are no members: each list is a way forward of its own. */
static void ids_aside(Ids *ids, const json_t *steps) {
        static const char *const keys[] = {"dry_run", "undo"};
        json_t *step;
        size_t i;

        json_array_foreach (steps, i, step) {
                for (size_t k = 0; k < ELEMENTSOF(keys); k++) {
                        ids_forward(ids, json_object_get(step, keys[k]));
                        ids_aside(ids, json_object_get(step, keys[k]));
                }
                ids_aside(ids, members(step));
        }
}

static void ids_list(Ids *ids, const json_t *steps) {
        ids_forward(ids, steps);
        ids_aside(ids, steps);
}

/* Every value of a map, keys sorted. */
static void ids_map(Ids *ids, const json_t *map, void (*each)(Ids *, const json_t *)) {
        json_auto_t *keys = scope_sorted_keys(map);
        json_t *key;
        size_t i;

        if (!keys)
                ids->oom = true;
        json_array_foreach (keys, i, key)
                each(ids, json_object_get(map, json_string_value(key)));
}

static void ids_rollback(Ids *ids, const json_t *rollback) {
        const json_t *instead = json_object_get(rollback, "instead");

        if (instead)
                ids_map(ids, instead, ids_list);
        ids_list(ids, json_object_get(rollback, "then"));
}

static void index_step(Decoder *d, size_t i) {
        StepInfo *s = &d->steps[i];

        s->id = json_string_value(json_object_get(s->norm, "id"));
        if (s->id && (s->phase == PHASE_MAIN || s->phase == PHASE_FINALISE) &&
            !json_object_get(d->index, s->id) &&
            json_object_set_new(d->index, s->id, json_integer((json_int_t) i)) < 0)
                d->faults->oom = true;
}

void assign_ids(Decoder *d, const json_t *norm) {
        json_auto_t *taken = json_object(), *counts = json_object();
        Ids ids = {.taken = taken, .counts = counts};

        for (size_t i = 0; i < d->n_steps; i++) {
                const char *id = node_find_text(d->steps[i].node, "id");

                if (id && json_object_set_new(taken, id, json_true()) < 0)
                        ids.oom = true;
        }
        ids_list(&ids, json_object_get(norm, "steps"));
        ids_list(&ids, json_object_get(norm, "finalise"));
        ids_map(&ids, json_object_get(norm, "rollbacks"), ids_rollback);
        ids_map(&ids, json_object_get(norm, "hooks"), ids_list);
        d->index = json_object();
        for (size_t i = 0; i < d->n_steps; i++)
                index_step(d, i);
        if (ids.oom || !d->index)
                d->faults->oom = true;
}
