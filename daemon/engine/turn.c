/* SPDX-License-Identifier: MIT */
/*
 * The turn of the loop: take a bounded number of facts and calls, decide on copies, one COMMIT for
 * all of it, swap the copies in, let effects and replies out. If COMMIT fails nothing of it
 * happened for anybody: copies and effects are dropped, callers hear why, facts stay in their
 * queue.
 */
#include "api/args.h"
#include "api/memory.h"
#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define BATCH_MAX 256U
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

static Job *batch_find(const Batch *b, int64_t id) {
        for (unsigned i = 0; i < b->n_jobs; i++)
                if (b->jobs[i]->id == id)
                        return b->jobs[i];
        return NULL;
}

Job *batch_job(Batch *b, int64_t id) {
        Job *found = batch_find(b, id);
        _cleanup_job_ Job *copy = NULL;
        Slot *slot;

        if (found)
                return found;
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
        json_decref(b->schedules);
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

/* As this batch has it, else as it is. NULL: nobody knows it. */
static const Job *job_seen(const Batch *b, int64_t id) {
        const Job *found = batch_find(b, id);
        const Slot *slot = found ? NULL : slot_find(b->engine, id);

        return slot ? slot->job : found;
}

/* A job that waits for the end of its target's former job: its finalise steps, or its way back. */
static void clear_after(Batch *b, Job *job) {
        int64_t id = json_integer_value(json_object_get(job->facts, "after"));
        const Job *former;

        if (id == 0)
                return;
        former = job_seen(b, id);
        if (!former || (!former->finalising && !job_state_holds_target(former->state)))
                job_fact(job, "after", NULL);
}

/* Before its first check, and once: while its window is ahead, the former job can still go back. */
static int take_over(Batch *b, Job *job) {
        if (job->started > 0 || job->taken_over || window_holds(job) ||
            (job->state != JOB_QUEUED && job->state != JOB_WAITING))
                return 0;
        job->taken_over = true;
        return former_close(b, job);
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

/* A fact that does not fit its job (its rows were meddled with) must not hold up the others. */
static int take_facts(Batch *b, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                const Fact *fact = &b->engine->facts[i];
                int r = batch_take_fact(b, fact);

                for (unsigned k = 0; r == -EPERM && k < b->n_jobs; k++)
                        if (b->jobs[k]->id == fact->job) {
                                set_aside(b, k);
                                break;
                        }
                if (r < 0 && r != -EPERM)
                        return r;
        }
        return 0;
}

static int decide(Batch *b, Error *reterr) {
        int r;

        /* A job that a call changes may be added while this runs: hence no fixed end. */
        for (unsigned i = 0; i < b->n_jobs; i++) {
                Job *job = b->jobs[i];

                clear_after(b, job);
                job_heed_clock(job);
                r = waits_check(&b->turn, job, reterr);
                if (r >= 0)
                        r = take_over(b, job);
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

bool job_changed(const Job *job) {
        if (!job->stored || job->rewrite || job->n_news > 0 || job->live != true)
                return true;
        for (unsigned i = 0; i < job->def->n_steps; i++)
                if (job->steps[i].dirty)
                        return true;
        return false;
}

static bool write_wanted(const Batch *b) {
        bool wanted = b->tokens_changed || b->wrote;

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
                r = schedule_settle(b, b->jobs[i], reterr);
                if (r >= 0)
                        r = job_store(b->jobs[i], b->engine->store, b->turn.wall_now, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* New jobs take no spare room from those that may have to go back. */
static bool is_about_jobs(const Batch *b) {
        bool any = b->engine->n_facts > 0 || b->n_pending == 0;

        for (unsigned i = 0; i < b->n_pending; i++)
                any |= b->pending[i].call->job > 0;
        return any;
}

static void failed(Batch *b, const Error *error) {
        Engine *e = b->engine;

        store_rollback(e->store);
        unreads_settle(e, false);
        engine_sicken(e, error);
        if ((error->err == ENOSPC || error->err == EDQUOT) && is_about_jobs(b))
                engine_spare(e);
        for (unsigned i = 0; i < b->n_pending; i++) {
                Pending *p = &b->pending[i];

                /* Without memory nobody is refused for a fault of theirs. */
                if (p->reply.err == 0 || error->err == ENOMEM) {
                        json_decref(p->reply.body);
                        error_done(&p->reply.error);
                        p->reply = (Reply){0};
                        (void) error_set(&p->reply.error, error->err,
                                         error->type ? error->type : "store-failed",
                                         "The change could not be written and did not happen: %s",
                                         error->message ? error->message : "");
                        if (error->hint)
                                error_hint(&p->reply.error, "%s", error->hint);
                        reply_refuse(&p->reply, -(error->err > 0 ? error->err : EIO));
                }
                pending_answer(p);
        }
        /* Those behind the one that failed the turn wait for the next. */
        engine_drop_calls(e, b->n_pending);
}

static int write_turn(Batch *b, Error *reterr) {
        Engine *e = b->engine;
        int r = write_jobs(b, reterr);

        /* Whether a store that has failed is well again is known once it has taken a write. */
        if (r >= 0 && e->sick)
                r = engine_run_seen(e, reterr);
        if (r >= 0)
                r = store_commit(e->store, reterr);
        b->written = r >= 0;
        e->checkpoint_at = b->turn.boot_now + CHECKPOINT_MS;
        return r;
}

/* After the commit there is no way to say no. */
static int slots_reserve(Batch *b) {
        Engine *e = b->engine;
        Slot *grown = realloc(e->slots, sizeof(Slot) * (e->n_slots + b->n_jobs + 1));

        if (!grown)
                return -ENOMEM;
        e->slots = grown;
        return 0;
}

static int run_turn(Batch *b, unsigned n_facts, unsigned n_calls, Error *reterr) {
        Engine *e = b->engine;
        uint64_t before = memory_failures();
        int r;

        r = store_begin(e->store, reterr);
        if (r >= 0)
                r = take_facts(b, n_facts);
        if (r >= 0)
                r = batch_take_calls(b, n_calls, reterr);
        if (r >= 0)
                r = take_due(b);
        if (r >= 0)
                r = decide(b, reterr);
        /* What was decided may lack something that memory had no room for. */
        if (r >= 0 && (memory_failures() != before || slots_reserve(b) < 0))
                r = error_oom(reterr);
        if (r >= 0 && (e->sick || write_wanted(b)))
                return write_turn(b, reterr);
        if (r >= 0)
                store_rollback(e->store);
        return r;
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

        if (e->unwatched)
                engine_attach_all(e);
        if (e->sick && !engine_may_try(e))
                return;
        if (e->sick && !engine_recover(e)) {
                engine_refuse_all(e);
                return;
        }
        b.turn = (Turn){
                .state_dir = e->state_dir,
                .boot_now = now_boot_ms(),
                .wall_now = now_wall_ms(),
                .running = count_running(e),
                .max_jobs = e->max_jobs,
        };
        r = run_turn(&b, n_facts, n_calls, &error);
        if (r >= 0) {
                batch_committed(&b, n_facts, n_calls);
                if (b.written && e->sick)
                        engine_is_well(e);
        } else {
                if (!error.message)
                        (void) error_set(&error, -r, "internal", "%s", strerror(-r));
                failed(&b, &error);
        }
}
