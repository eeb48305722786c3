/* SPDX-License-Identifier: MIT */
/*
 * The turn of the loop: take a bounded number of facts and calls, decide on copies, one COMMIT for
 * all of it, swap the copies in, let effects and replies out. If COMMIT fails nothing of it
 * happened for anybody: copies and effects are dropped, callers hear why, facts stay in their
 * queue.
 */
#include "api/args.h"
#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define BATCH_MAX 256U
#define PRUNE_EVERY 100    /* jobs */
#define CHECKPOINT_MS 5000 /* after the last commit */

Slot *slot_find(Engine *e, int64_t job) {
        unsigned low = 0, high = e->n_slots;

        while (low < high) {
                unsigned middle = (low + high) / 2;

                if (e->slots[middle].job->id < job)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < e->n_slots && e->slots[low].job->id == job ? &e->slots[low] : NULL;
}

int batch_add(Batch *b, Job *job) {
        Job **grown = realloc(b->jobs, sizeof(Job *) * (b->n_jobs + 1));

        if (!grown)
                return -ENOMEM;
        b->jobs = grown;
        b->jobs[b->n_jobs++] = job;
        return 0;
}

Job *batch_job(Batch *b, int64_t id) {
        _cleanup_job_ Job *copy = NULL;
        Slot *slot;

        for (unsigned i = 0; i < b->n_jobs; i++)
                if (b->jobs[i]->id == id)
                        return b->jobs[i];
        slot = slot_find(b->engine, id);
        if (!slot || job_copy(slot->job, &copy) < 0 || batch_add(b, copy) < 0)
                return NULL;
        return TAKE(copy);
}

static void batch_done(Batch *b) {
        turn_done(&b->turn);
        for (unsigned i = 0; i < b->n_jobs; i++)
                job_free(b->jobs[i]);
        free(b->jobs);
        free(b->pending);
}

/* ---- facts ---- */

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

static int take_fact(Batch *b, const Fact *fact) {
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
        return call_remember(b->engine, call, fingerprint, reply);
}

static void refuse(Reply *reply, int r) {
        if (!reply->error.message)
                (void) error_set(&reply->error, -r, "internal", "%s", strerror(-r));
        reply->err = -r;
}

static int take_calls(Batch *b, unsigned n) {
        b->pending = calloc(n + 1, sizeof(Pending));
        if (!b->pending)
                return -ENOMEM;
        for (unsigned i = 0; i < n; i++) {
                Pending *p = &b->pending[b->n_pending++];
                int r;

                p->call = b->engine->calls[i];
                r = take_call(b, p->call, &p->reply);
                if (r < 0)
                        refuse(&p->reply, r);
        }
        return 0;
}

/* ---- deciding and writing ---- */

static unsigned count_running(const Engine *e) {
        unsigned n = 0;

        for (unsigned i = 0; i < e->n_slots; i++) {
                const Job *job = e->slots[i].job;

                n += job->state == JOB_RUNNING || job->state == JOB_ROLLING_BACK ||
                     (job->state == JOB_QUEUED && job_has_in_flight(job, false));
        }
        return n;
}

/* A job that waits for the finalise steps of its target's former job. */
static void clear_after(Batch *b, Job *job) {
        int64_t id = json_integer_value(json_object_get(job->facts, "after"));
        Slot *slot;

        if (id == 0)
                return;
        slot = slot_find(b->engine, id);
        if (!slot || !slot->job->finalising)
                job_fact(job, "after", NULL);
}

static int take_due(Batch *b) {
        Engine *e = b->engine;

        for (unsigned i = 0; i < e->n_slots && b->n_jobs < BATCH_MAX; i++) {
                Slot *slot = &e->slots[i];

                if (!slot->kick && !slot->job->advance && slot->wakes_at > b->turn.boot_now)
                        continue;
                if (!batch_job(b, slot->job->id))
                        return -ENOMEM;
        }
        return 0;
}

/* A refused pair is a bug of the engine. Its job stays as it was; the others go on. */
static void set_aside(Batch *b, unsigned i) {
        Job *job = b->jobs[i];
        Slot *slot = slot_find(b->engine, job->id);

        log_job_error(job->id, NULL, "a transition is not in the table; the job is left as it is");
        for (unsigned k = 0; k < b->turn.n_effects; k++)
                if (b->turn.effects[k].job == job->id)
                        b->turn.effects[k].job = 0;
        if (slot) {
                slot->kick = slot->job->advance = false;
                slot->wakes_at = INT64_MAX;
        }
        job_free(job);
        b->jobs[i] = b->jobs[--b->n_jobs];
}

static int decide(Batch *b, Error *reterr) {
        int r;

        /* A job that a call changes may be added while this runs: hence no fixed end. */
        for (unsigned i = 0; i < b->n_jobs; i++) {
                Job *job = b->jobs[i];

                clear_after(b, job);
                r = waits_check(&b->turn, job, reterr);
                if (r >= 0)
                        r = job_advance(&b->turn, job, reterr);
                if (r == -EPERM) {
                        set_aside(b, i--);
                        continue;
                }
                if (r < 0)
                        return error_set(reterr, -r, r == -ENOMEM ? "out-of-memory" : "internal",
                                         "Cannot decide on job %lld: %s", (long long) job->id,
                                         strerror(-r));
        }
        return b->turn.oom ? error_oom(reterr) : 0;
}

static bool job_changed(const Job *job) {
        if (!job->stored || job->n_news > 0 || job->live != true)
                return true;
        for (unsigned i = 0; i < job->def->n_steps; i++)
                if (job->steps[i].dirty)
                        return true;
        return false;
}

static bool write_wanted(const Batch *b) {
        bool wanted = b->tokens_changed;

        for (unsigned i = 0; i < b->n_jobs; i++)
                wanted |= job_changed(b->jobs[i]);
        for (unsigned i = 0; i < b->n_pending; i++)
                wanted |= b->pending[i].call->idempotency_key && b->pending[i].reply.err == 0;
        return wanted;
}

static int write_jobs(Batch *b, Error *reterr) {
        for (unsigned i = 0; i < b->n_jobs; i++) {
                int r;

                if (!job_changed(b->jobs[i]))
                        continue;
                r = job_store(b->jobs[i], b->engine->store, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- after the commit ---- */

static int slot_add(Engine *e, Job *job) {
        Slot *grown = realloc(e->slots, sizeof(Slot) * (e->n_slots + 1));

        if (!grown)
                return -ENOMEM;
        e->slots = grown;
        /* Ids grow, so a new job belongs at the end. */
        e->slots[e->n_slots++] = (Slot){.job = job, .wakes_at = job_wakes_at(job)};
        return 0;
}

static void slot_remove(Engine *e, Slot *slot) {
        job_free(slot->job);
        free(slot->json);
        if (slot + 1 < &e->slots[e->n_slots])
                memmove(slot, slot + 1,
                        sizeof(Slot) * (size_t) (&e->slots[e->n_slots] - (slot + 1)));
        e->n_slots--;
}

/* A job that wants to be looked at now, was, and nothing came of it, is not looked at in a circle.
 */
static void slot_swap(Batch *b, Slot *slot, Job *copy) {
        bool changed = job_changed(copy);

        slot->kick = false;
        if (!changed) {
                slot->job->advance = copy->advance;
                slot->wakes_at = MAX(job_wakes_at(copy), b->turn.boot_now + 1000);
                job_free(copy);
                return;
        }
        if (copy->renumbered)
                for (unsigned i = 0; i < b->engine->n_watches; i++)
                        if (b->engine->watches[i]->job == copy->id) {
                                Watch *w = b->engine->watches[i];
                                int now =
                                        job_def_find(copy->def, slot->job->def->steps[w->step].id);

                                w->step = now >= 0 ? (unsigned) now : w->step;
                        }
        job_stored(copy);
        job_free(slot->job);
        slot->job = copy;
        slot->wakes_at = job_wakes_at(copy);
}

static bool swap_in(Batch *b) {
        Engine *e = b->engine;
        bool freed = false;

        for (unsigned i = 0; i < b->n_jobs; i++) {
                Job *copy = TAKE(b->jobs[i]);
                Slot *slot = slot_find(e, copy->id);
                bool moved = copy->state != copy->stored_state;

                freed |= moved || !copy->finalising;
                if (slot)
                        slot_swap(b, slot, copy);
                else {
                        job_stored(copy);
                        if (slot_add(e, copy) < 0) {
                                log_job_error(copy->id, NULL,
                                              "out of memory: the job goes on at the next start");
                                job_free(copy);
                        }
                }
        }
        b->n_jobs = 0;
        return freed;
}

/* A place or a target may have become free. */
static void kick_queued(Engine *e) {
        for (unsigned i = 0; i < e->n_slots; i++)
                if (e->slots[i].job->state == JOB_QUEUED)
                        e->slots[i].kick = true;
}

static void retire(Engine *e, int64_t job) {
        _cleanup_free_ char *secrets = strf("%s/jobs/%lld/secrets", e->state_dir, (long long) job);
        Slot *slot = slot_find(e, job);

        if (secrets)
                (void) remove_tree(secrets);
        if (slot)
                slot_remove(e, slot);
        if (job % PRUNE_EVERY == 0)
                engine_prune(e);
}

static void run_effects(Batch *b) {
        Engine *e = b->engine;

        for (unsigned i = 0; i < b->turn.n_effects; i++) {
                Effect *effect = &b->turn.effects[i];
                Slot *slot = slot_find(e, effect->job);

                switch (effect->kind) {
                case EFFECT_SPAWN:
                        if (slot)
                                watch_spawn(e, slot->job, effect);
                        break;
                case EFFECT_STOP: watch_stop(e, effect->job, effect->step); break;
                case EFFECT_DELIVER: watch_deliver(e, effect->job, effect->step, effect->k); break;
                case EFFECT_RETIRE: retire(e, effect->job); break;
                default: break;
                }
        }
}

static void answer(Pending *p) {
        p->call->reply(p->call->userdata, &p->reply);
        call_free(p->call);
        error_done(&p->reply.error);
        json_decref(p->reply.body);
}

static void drop_facts(Engine *e, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                Fact *fact = &e->facts[i];

                if (fact->kind == FACT_ENDED)
                        watches_end(e, fact->job, fact->step, fact->n);
                json_decref(fact->data);
        }
        if (n > 0)
                if (n > 0)
                        memmove(e->facts, e->facts + n, sizeof(Fact) * (e->n_facts - n));
        e->n_facts -= n;
}

static void drop_calls(Engine *e, unsigned n) {
        if (n > 0)
                if (n > 0)
                        memmove(e->calls, e->calls + n, sizeof(Call *) * (e->n_calls - n));
        e->n_calls -= n;
}

static void tell_changes(Engine *e, const int64_t *jobs, const int64_t *versions, unsigned n) {
        for (unsigned i = 0; e->change && i < n; i++)
                e->change(e->change_userdata, jobs[i], (uint64_t) versions[i]);
}

static void committed(Batch *b, unsigned n_facts, unsigned n_calls) {
        Engine *e = b->engine;
        unsigned n = b->n_jobs, n_changed = 0;
        _cleanup_free_ int64_t *jobs = calloc(n + 1, sizeof(int64_t));
        _cleanup_free_ int64_t *versions = calloc(n + 1, sizeof(int64_t));

        for (unsigned i = 0; jobs && versions && i < n; i++)
                if (job_changed(b->jobs[i])) {
                        jobs[n_changed] = b->jobs[i]->id;
                        versions[n_changed++] = b->jobs[i]->version;
                }
        if (swap_in(b))
                kick_queued(e);
        if (b->tokens_changed) {
                json_t *tokens = NULL;

                if (store_tokens(e->store, &tokens, NULL) >= 0) {
                        json_decref(e->tokens);
                        e->tokens = tokens;
                }
        }
        drop_facts(e, n_facts);
        drop_calls(e, n_calls);
        run_effects(b);
        for (unsigned i = 0; i < b->n_pending; i++)
                answer(&b->pending[i]);
        tell_changes(e, jobs, versions, n_changed);
}

/* Nothing of the turn happened. Callers hear it; facts stay; the store is opened anew before the
 * next turn. */
static void failed(Batch *b, unsigned n_calls, const Error *error) {
        Engine *e = b->engine;

        store_rollback(e->store);
        log_error("a turn failed, nothing of it happened: %s",
                  error->message ? error->message : "unknown");
        e->sick = true;
        free(e->sick_why);
        e->sick_why = error->message ? strdup(error->message) : NULL;
        for (unsigned i = 0; i < b->n_pending; i++) {
                Pending *p = &b->pending[i];

                if (p->reply.err == 0) {
                        json_decref(p->reply.body);
                        p->reply = (Reply){0};
                        (void) error_set(&p->reply.error, error->err,
                                         error->type ? error->type : "store-failed",
                                         "The change could not be written and did not happen: %s",
                                         error->message ? error->message : "");
                        refuse(&p->reply, -(error->err > 0 ? error->err : EIO));
                }
                answer(p);
        }
        drop_calls(e, b->n_pending > 0 ? n_calls : 0);
}

static int run_turn(Batch *b, unsigned n_facts, unsigned n_calls, Error *reterr) {
        Engine *e = b->engine;
        int r;

        r = store_begin(e->store, reterr);
        for (unsigned i = 0; r >= 0 && i < n_facts; i++)
                r = take_fact(b, &e->facts[i]);
        if (r >= 0)
                r = take_calls(b, n_calls);
        if (r >= 0)
                r = take_due(b);
        if (r >= 0)
                r = decide(b, reterr);
        if (r >= 0 && write_wanted(b)) {
                r = write_jobs(b, reterr);
                if (r >= 0)
                        r = store_commit(e->store, reterr);
                e->checkpoint_at = b->turn.boot_now + CHECKPOINT_MS;
        } else if (r >= 0)
                store_rollback(e->store);
        return r;
}

/* While the store is sick nothing is decided: callers are told why, and it is tried again. */
static bool recover(Engine *e) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        r = store_reopen(e->store, &error);
        if (r >= 0)
                r = engine_load(e, &error);
        if (r >= 0) {
                log_info("the store is well again");
                e->sick = false;
                return true;
        }
        free(e->sick_why);
        e->sick_why = error.message ? strdup(error.message) : NULL;
        return false;
}

static void refuse_all(Engine *e) {
        while (e->n_calls > 0) {
                Pending p = {.call = e->calls[0]};

                drop_calls(e, 1);
                (void) error_set(&p.reply.error, EIO, "store-failed", "The store does not work: %s",
                                 e->sick_why ? e->sick_why : "");
                refuse(&p.reply, -EIO);
                answer(&p);
        }
}

bool engine_has_work(const Engine *e) {
        int64_t now;

        if (e->n_facts > 0 || e->n_calls > 0)
                return true;
        now = now_boot_ms();
        for (unsigned i = 0; i < e->n_slots; i++)
                if (e->slots[i].kick || e->slots[i].job->advance || e->slots[i].wakes_at <= now)
                        return true;
        return false;
}

void engine_turn(Engine *e) {
        unsigned n_facts = MIN(e->n_facts, BATCH_MAX);
        unsigned n_calls = MIN(e->n_calls, BATCH_MAX);
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_(batch_done) Batch b = {.engine = e};
        int r;

        if (e->sick && !recover(e)) {
                refuse_all(e);
                return;
        }
        b.turn = (Turn){
                .state_dir = e->state_dir,
                .boot_now = now_boot_ms(),
                .running = count_running(e),
                .max_jobs = e->max_jobs,
        };
        r = run_turn(&b, n_facts, n_calls, &error);
        if (r >= 0)
                committed(&b, n_facts, n_calls);
        else {
                if (!error.message)
                        (void) error_set(&error, -r, "internal", "%s", strerror(-r));
                failed(&b, n_calls, &error);
        }
}
