/* SPDX-License-Identifier: MIT */
/*
 * Moments to come, and what becomes of them when the clock is set or the machine starts again.
 *
 *   what happens                          a deadline of updd's own (gate, retry pause, way back)
 *   the wall clock is set                 comes when it would have come: CLOCK_BOOTTIME decides; the
 *                                         wall time that people are shown is set with the clock
 *   the machine is suspended              goes on meanwhile
 *   updd restarts                         comes when it would have come
 *   the machine starts again              the wall clock tells what has passed, once, when updd first
 *                                         reads it in that boot; then that boot's clock decides
 *     and its wall clock is behind        what was left at the last writing, and what this boot has
 *                                         run already is taken off: never longer than first given
 *     and its wall clock is ahead         has passed as far as the clock says
 *
 * A maintenance window that names a time of day was agreed in wall time and follows that clock in
 * all of this, but is never open for longer than first given (window-time.c).
 *
 * The wall clock is not asked again later in that boot: the first look at a clock that a time
 * service has not set yet makes a deadline late, a second look could make it early, and what comes
 * early rolls back by itself.
 */
#include <stdlib.h>

#include "api/args.h"
#include "daemon/engine/job.h"

/* The boot id stands beside each deadline, so that a later daemon knows which clock to believe. */
static const char *this_boot(void) {
        static char boot[ID128_TEXT_MAX];

        if (!boot[0] && boot_id_read(boot) < 0)
                boot[0] = '\0';
        return boot;
}

static bool is_of_this_boot(const json_t *value) {
        return streq0(args_text(value, "boot_id", NULL), this_boot());
}

Deadline deadline_in(int64_t ms) {
        return (Deadline){.wall = now_wall_ms() + ms, .boot = now_boot_ms() + ms};
}

bool deadline_is_set(const Deadline *d) {
        return d->wall != 0;
}

int64_t deadline_left(const Deadline *d, int64_t boot_now) {
        return d->wall == 0 ? INT64_MAX : d->boot - boot_now;
}

json_t *deadline_to_json(const Deadline *d) {
        if (!deadline_is_set(d))
                return NULL;
        return json_pack("{s:I, s:I, s:s, s:I}", "wall", (json_int_t) d->wall, "boot",
                         (json_int_t) d->boot, "boot_id", this_boot(), "left",
                         (json_int_t) (d->boot - now_boot_ms()));
}

/* What must have passed between a moment of a former boot and now: all that this boot has run. In a
 * container whose boot id changes the clock may have run on; then it is no more than the difference.
 */
static int64_t surely_passed(int64_t former_boot, int64_t boot_now) {
        return boot_now < former_boot ? boot_now : boot_now - former_boot;
}

static Deadline deadline_carry(const Deadline *former, int64_t left_then) {
        int64_t wall_now = now_wall_ms(), boot_now = now_boot_ms();
        int64_t left = MIN(former->wall - wall_now,
                           left_then - surely_passed(former->boot - left_then, boot_now));

        return (Deadline){.wall = wall_now + left, .boot = boot_now + left};
}

Deadline deadline_from_json(const json_t *value) {
        Deadline d = {.wall = json_integer_value(json_object_get(value, "wall")),
                      .boot = json_integer_value(json_object_get(value, "boot"))};

        if (d.wall == 0)
                return (Deadline){0};
        if (is_of_this_boot(value))
                return d;
        return deadline_carry(&d, json_integer_value(json_object_get(value, "left")));
}

/* ---- a job's ---- */

static int64_t clock_offset(void) {
        return now_wall_ms() - now_boot_ms();
}

int64_t job_now(const Job *job) {
        return MAX(now_wall_ms(), job->told);
}

void job_clock_init(Job *job) {
        job->offset = clock_offset();
}

json_t *job_clock_to_json(const Job *job) {
        return json_pack("{s:I, s:I, s:s}", "told", (json_int_t) job->told, "offset",
                         (json_int_t) job->offset, "boot_id", this_boot());
}

static void wait_put_deadline(json_t *wait, const Deadline *d) {
        char time[TIME_TEXT_MAX];

        (void) json_put(wait, "until", deadline_to_json(d));
        (void) json_put(wait, "deadline", json_string(time_format(d->wall, time)));
}

static void waits_carry(Job *job) {
        json_t *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                json_t *until = json_object_get(wait, "until");
                Deadline d = deadline_from_json(until);

                if (until && !is_of_this_boot(until))
                        wait_put_deadline(wait, &d);
        }
}

/* The facts that have a deadline as "until". */
static const char *const facts_until[] = {"window", "remind"};

/* Replaces the deadline of a fact, which may be shared. */
static void fact_put_until(Job *job, const char *key, const Deadline *d) {
        json_t *fact = json_copy(json_object_get(job->facts, key));

        (void) json_put(fact, "until", deadline_to_json(d));
        job_fact(job, key, fact);
}

static void facts_carry(Job *job) {
        for (size_t i = 0; i < ELEMENTSOF(facts_until); i++) {
                const json_t *until =
                        json_object_get(json_object_get(job->facts, facts_until[i]), "until");
                Deadline d = deadline_from_json(until);

                if (until && !is_of_this_boot(until))
                        fact_put_until(job, facts_until[i], &d);
        }
}

static void facts_show(Job *job) {
        for (size_t i = 0; i < ELEMENTSOF(facts_until); i++) {
                const json_t *fact = json_object_get(job->facts, facts_until[i]);
                Deadline d = deadline_from_json(json_object_get(fact, "until"));

                if (!deadline_is_set(&d) || json_is_true(json_object_get(fact, "absolute")))
                        continue;
                d.wall = d.boot + job->offset;
                fact_put_until(job, facts_until[i], &d);
        }
}

void job_clock_load(Job *job, const json_t *value) {
        int64_t now = now_wall_ms();

        job->told = json_integer_value(json_object_get(value, "told"));
        if (is_of_this_boot(value)) {
                job->offset = json_integer_value(json_object_get(value, "offset"));
                return;
        }
        /* How far the clock was set while the machine was off cannot be known, unless it now tells
         * of a time before the last event. */
        job->offset = clock_offset() + MAX(job->told - now, INT64_C(0));
        waits_carry(job);
        facts_carry(job);
        job->rewrite = true;
}

/* Deadlines come when they would have come; their wall time is now another one. */
static void deadlines_show(Job *job) {
        json_t *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                Deadline d = deadline_from_json(json_object_get(wait, "until"));

                if (!deadline_is_set(&d))
                        continue;
                d.wall = d.boot + job->offset;
                wait_put_deadline(wait, &d);
        }
        facts_show(job);
        if (deadline_is_set(&job->way_back))
                job->way_back.wall = job->way_back.boot + job->offset;
        for (unsigned k = 0; k < job->def->n_steps; k++)
                if (deadline_is_set(&job->steps[k].again)) {
                        job->steps[k].again.wall = job->steps[k].again.boot + job->offset;
                        job->steps[k].dirty = true;
                }
}

void job_heed_clock(Job *job) {
        int64_t offset = clock_offset(), by = offset - job->offset;
        _cleanup_free_ char *length = NULL;
        char time[TIME_TEXT_MAX];

        if (llabs(by) <= CLOCK_SLACK_MS)
                return;
        job->offset = offset;
        deadlines_show(job);
        length = duration_format(llabs(by) / 1000 * 1000);
        job_tell(job, "clock_set", -1, NULL,
                 json_pack("{s:s, s:I, s:o*}", "to", time_format(now_wall_ms(), time), "by_ms",
                           (json_int_t) by, "message",
                           json_sprintf("the wall clock was set %s by %s",
                                        by > 0 ? "forward" : "back", length ? length : "?")));
}
