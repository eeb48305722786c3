/* SPDX-License-Identifier: MIT */
/*
 * Lists that the plan writes for the way back, an undo of several steps or the `then` of a
 * strategy, are one attempt. When one entry fails, those before it are done; a retry of the same
 * list goes on where it failed and does nothing twice. Of an attempt that was interrupted nobody
 * knows how far it came.
 */
#include "api/args.h"
#include "daemon/engine/turn.h"

/* The list whose entries are the attempt's ops, or NULL. */
static const json_t *list_of(const Job *job, unsigned idx, Direction direction) {
        const StepDef *def = &job->def->steps[idx];
        const json_t *list = direction == DIRECTION_UNDO
                                     ? undo_of(job, idx)
                                     : json_object_get(json_object_get(def->norm, "args"), "list");

        return json_is_array(list) && (direction == DIRECTION_UNDO || def->phase == PHASE_THEN)
                       ? list
                       : NULL;
}

static int list_hash(const json_t *list, char ret[static SHA256_TEXT_MAX]) {
        json_auto_t *plain = norm_plain(list);
        _cleanup_free_ char *text = json_canonical(plain);

        if (!text)
                return -ENOMEM;
        sha256_text(text, strlen(text), ret);
        return 0;
}

void list_done_note(Job *job, unsigned idx, const json_t *result) {
        const json_t *list = list_of(job, idx, (Direction) job->steps[idx].direction);
        json_t *op = json_object_get(result, "op");
        char hash[SHA256_TEXT_MAX];

        if (!list || json_integer_value(op) == 0 || list_hash(list, hash) < 0)
                return;
        job_step_note(job, idx, "list_done", json_pack("{s:O, s:s}", "n", op, "list", hash));
}

int list_from(const Job *job, unsigned idx, Direction direction, json_t *task, Error *reterr) {
        const json_t *done = json_object_get(job->steps[idx].more, "list_done");
        size_t n_ops = json_array_size(json_object_get(task, "ops"));
        const json_t *list = list_of(job, idx, direction);
        json_t *n = json_object_get(done, "n");
        char hash[SHA256_TEXT_MAX];

        if (!list || json_integer_value(n) == 0)
                return 0;
        if (list_hash(list, hash) < 0)
                return error_oom(reterr);
        if (!streq0(args_text(done, "list", NULL), hash) ||
            json_integer_value(n) >= (json_int_t) n_ops)
                return 0;
        return json_object_set(task, "from", n) < 0 ? error_oom(reterr) : 0;
}

void lists_forget(Job *job) {
        for (unsigned i = 0; i < job->def->n_steps; i++)
                if (json_object_get(job->steps[i].more, "list_done"))
                        job_step_note(job, i, "list_done", NULL);
}
