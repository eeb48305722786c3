/* SPDX-License-Identifier: MIT */
/*
 * What follows a commit: copies take their originals' places, effects and replies are let out, and
 * whoever watches is told. See turn.c for the turn itself.
 */
#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define PRUNE_EVERY 100 /* jobs */

/* There is room for it: run_turn() saw to that. */
static void slot_add(Engine *e, Job *job) {
        /* Ids grow, so a new job belongs at the end. */
        e->slots[e->n_slots++] = (Slot){.job = job, .wakes_at = job_wakes_at(job)};
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
                slot->wakes_at = job_wakes_at(copy);
                if (slot->wakes_at <= b->turn.boot_now)
                        slot->wakes_at = b->turn.boot_now + 1000;
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
                        slot_add(e, copy);
                }
        }
        b->n_jobs = 0;
        return freed;
}

void engine_kick_queued(Engine *e) {
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
                case EFFECT_UNRESERVE: engine_unreserve(e, effect->job); break;
                default: break;
                }
        }
}

void pending_answer(Pending *p) {
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

void engine_drop_calls(Engine *e, unsigned n) {
        if (n > 0)
                if (n > 0)
                        memmove(e->calls, e->calls + n, sizeof(Call *) * (e->n_calls - n));
        e->n_calls -= n;
}

static void tell_changes(Engine *e, const int64_t *jobs, const int64_t *versions, unsigned n) {
        for (unsigned i = 0; e->change && i < n; i++)
                e->change(e->change_userdata, jobs[i], (uint64_t) versions[i]);
}

void batch_committed(Batch *b, unsigned n_facts, unsigned n_calls) {
        Engine *e = b->engine;
        unsigned n = b->n_jobs, n_changed = 0;
        _cleanup_free_ int64_t *jobs = calloc(n + 1, sizeof(int64_t));
        _cleanup_free_ int64_t *versions = calloc(n + 1, sizeof(int64_t));

        for (unsigned i = 0; jobs && versions && i < n; i++)
                if (job_changed(b->jobs[i])) {
                        jobs[n_changed] = b->jobs[i]->id;
                        versions[n_changed++] = b->jobs[i]->version;
                }
        batch_tell(b);
        unreads_settle(e, b->written);
        if (swap_in(b))
                engine_kick_queued(e);
        if (b->tokens_changed) {
                json_t *tokens = NULL;

                if (store_tokens(e->store, &tokens, NULL) >= 0) {
                        json_decref(e->tokens);
                        e->tokens = tokens;
                }
        }
        if (b->schedules) {
                json_decref(e->schedules);
                e->schedules = TAKE(b->schedules);
                e->ahead_at = 0;
        }
        drop_facts(e, n_facts);
        engine_drop_calls(e, n_calls);
        run_effects(b);
        for (unsigned i = 0; i < b->n_pending; i++)
                pending_answer(&b->pending[i]);
        tell_changes(e, jobs, versions, n_changed);
}

/* Nothing of the turn happened. Callers hear it; facts stay; the store is opened anew before the
 * next turn. */
