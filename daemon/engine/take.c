/* SPDX-License-Identifier: MIT */
/*
 * What a turn takes in: facts about attempts, and calls with their Idempotency-Keys. See turn.c for
 * the turn itself.
 */
#include "api/args.h"
#include "daemon/engine/internal.h"

static void take_question(Turn *t, Job *job, unsigned idx, const json_t *data) {
        const char *step = job->def->steps[idx].id;
        json_t *answered = json_object_get(job->steps[idx].more, "answered"), *k;
        size_t i;

        json_array_foreach (answered, i, k) {
                if (json_equal(k, json_object_get(data, "k")))
                        return;
        }
        if (wait_find_step(job, "question", step))
                return;
        /* Nobody sits by a hook. */
        if (job->def->steps[idx].phase == PHASE_HOOK) {
                attempt_stop(t, job, idx);
                return;
        }
        (void) wait_open(job, "question", (int) idx, 0,
                         json_pack("{s:O*, s:O*, s:O*}", "k", json_object_get(data, "k"), "prompt",
                                   json_object_get(data, "prompt"), "echo",
                                   json_object_get(data, "echo")));
        job_tell(job, "question", (int) idx, NULL,
                 json_pack("{s:O*}", "prompt", json_object_get(data, "prompt")));
        if (job->steps[idx].status == STEP_RUNNING)
                (void) job_step_move(job, idx, STEP_EVENT_ASK);
        job->advance = true;
}

int batch_take_fact(Batch *b, const Fact *fact) {
        Job *job = batch_job(b, fact->job);
        StepState *s;

        if (!job)
                return slot_find(b->engine, fact->job) ? -ENOMEM : 0;
        if (fact->step >= job->def->n_steps)
                return 0;
        s = &job->steps[fact->step];
        if (!s->in_flight || s->attempts != fact->n)
                return 0;
        switch (fact->kind) {
        case FACT_ENDED:
                job_step_note(job, fact->step, "answered", NULL);
                return attempt_ended(&b->turn, job, fact->step, fact->data);
        case FACT_QUESTION: take_question(&b->turn, job, fact->step, fact->data); return 0;
        case FACT_GOES_ON:
                /* Read again after a restart, an old answer says nothing about the open question.
                 */
                if (s->status == STEP_WAITING &&
                    !wait_find_step(job, "question", job->def->steps[fact->step].id))
                        (void) job_step_move(job, fact->step, STEP_EVENT_GO_ON);
                return 0;
        default: return 0;
        }
}

/* ---- calls ---- */

static char *call_fingerprint(const Call *call) {
        json_auto_t *body = json_copy(call->body);
        _cleanup_free_ char *text = NULL, *whole = NULL;
        char *hash = malloc(SHA256_TEXT_MAX);

        /* What may be a secret leaves no trace in the database, not even a hash. */
        (void) json_object_del(body, "secrets");
        if (call->kind == CALL_ANSWER)
                (void) json_object_del(body, "text");
        text = json_canonical(body);
        whole = text ? strf("%d %lld %s %s", (int) call->kind, (long long) call->job, call->who,
                            text)
                     : NULL;
        if (!whole || !hash) {
                free(hash);
                return NULL;
        }
        sha256_text(whole, strlen(whole), hash);
        return hash;
}

/* 1: the key is known and the reply is filled. */
static int call_replay(Engine *e, const Call *call, const char *fingerprint, Reply *reply) {
        _cleanup_free_ char *known = NULL, *text = NULL;
        json_auto_t *stored = NULL;
        int r;

        r = store_request_get(e->store, call->idempotency_key, &known, &text, &reply->error);
        if (r <= 0)
                return r;
        if (!streq(known, fingerprint))
                return error_set(&reply->error, EINVAL, "idempotency-key-reused",
                                 "This Idempotency-Key came with another request before");
        stored = json_loads(text, 0, NULL);
        reply->job = json_integer_value(json_object_get(stored, "job"));
        reply->created = json_is_true(json_object_get(stored, "created"));
        reply->body = json_incref(json_object_get(stored, "body"));
        reply->replayed = true;
        return 1;
}

static int call_remember(Engine *e, const Call *call, const char *fingerprint, Reply *reply) {
        json_auto_t *body = json_copy(reply->body), *stored = NULL;
        _cleanup_free_ char *text = NULL;

        /* A token is shown once and stored as a hash only. */
        (void) json_object_del(body, "token");
        stored = json_pack("{s:I, s:b, s:O*}", "job", (json_int_t) reply->job, "created",
                           reply->created, "body", body);
        text = json_dumps(stored, JSON_COMPACT);
        if (!text)
                return error_oom(&reply->error);
        return store_request_put(e->store, call->idempotency_key, fingerprint, now_wall_ms(), text,
                                 &reply->error);
}

static int take_call(Batch *b, Call *call, Reply *reply) {
        _cleanup_free_ char *fingerprint = NULL;
        int r;

        if (call->idempotency_key) {
                fingerprint = call_fingerprint(call);
                if (!fingerprint)
                        return error_oom(&reply->error);
                r = call_replay(b->engine, call, fingerprint, reply);
                if (r != 0)
                        return r;
        }
        r = call_handle(b, call, reply);
        if (r < 0 || !call->idempotency_key)
                return r;
        r = call_remember(b->engine, call, fingerprint, reply);
        b->torn |= r < 0;
        return r;
}

void reply_refuse(Reply *reply, int r) {
        if (!reply->error.message)
                (void) error_set(&reply->error, -r, "internal", "%s", strerror(-r));
        reply->err = -r;
}

int batch_take_calls(Batch *b, unsigned n, Error *reterr) {
        b->pending = calloc(n + 1, sizeof(Pending));
        if (!b->pending)
                return -ENOMEM;
        for (unsigned i = 0; i < n; i++) {
                Pending *p = &b->pending[b->n_pending++];
                int r;

                p->call = b->engine->calls[i];
                r = take_call(b, p->call, &p->reply);
                if (r < 0)
                        reply_refuse(&p->reply, r);
                if (b->torn || !store_in_transaction(b->engine->store))
                        return error_set(reterr, p->reply.err > 0 ? p->reply.err : EIO,
                                         p->reply.error.type, "%s",
                                         p->reply.error.message ? p->reply.error.message
                                                                : "the transaction was given up");
        }
        return 0;
}
