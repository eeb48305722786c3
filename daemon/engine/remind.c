/* SPDX-License-Identifier: MIT */
/*
 * Reminders: while a job waits for a person or is stuck, the hooks of that event run again: after an
 * hour, then after twice as long each time, at most a day; and once before each deadline, when a
 * tenth of its time is left, five minutes at least. When the next one is due is kept with the job,
 * as the fact "remind": "of" (the event), "n" (how many went out), "every" (ms, the pause), "until"
 * (the deadline). Those that came while nobody could send them are one.
 */
#include "api/args.h"
#include "daemon/engine/turn.h"

#define FIRST_MS (INT64_C(3600) * 1000)
#define LONGEST_MS (INT64_C(24) * 3600 * 1000)
#define LEAD_MIN_MS (INT64_C(5) * 60 * 1000)

/* The event whose hooks remind of what the job is in now; NULL: nobody is to be reminded. */
static const char *event_of(const Job *job) {
        const json_t *hooks = json_object_get(job->def->plan->norm, "hooks");
        const char *event = job->state == JOB_STUCK                                  ? "stuck"
                            : job->state == JOB_WAITING && job_waits_for_person(job) ? "waiting"
                                                                                     : NULL;

        return event && !job->dry_run && json_array_size(json_object_get(hooks, event)) > 0 ? event
                                                                                            : NULL;
}

int64_t remind_lead(int64_t ms) {
        int64_t lead = MAX(ms / 10, LEAD_MIN_MS);

        return lead < ms ? lead : 0;
}

static int64_t window_lead(const Job *job) {
        if (json_is_true(json_object_get(json_object_get(job->facts, "window"), "reminded")))
                return 0;
        return remind_lead(window_ms(job, "length") - window_ms(job, "reserve"));
}

/* What comes next of all the job waits for, in ms; what has been reminded of counts no more. */
static int64_t lead_in(const Job *job, int64_t boot_now) {
        int64_t in = INT64_MAX, closes = window_closes_in(job, now_wall_ms(), boot_now);
        json_t *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                int64_t lead = json_integer_value(json_object_get(wait, "lead"));
                Deadline d = deadline_from_json(json_object_get(wait, "until"));

                if (lead > 0 && deadline_is_set(&d))
                        in = MIN(in, deadline_left(&d, boot_now) - lead);
        }
        if (closes != INT64_MAX && window_lead(job) > 0)
                in = MIN(in, closes - window_lead(job));
        return in;
}

/* Each deadline that is near has been told of. */
static void leads_done(Job *job, int64_t boot_now) {
        int64_t closes = window_closes_in(job, now_wall_ms(), boot_now);
        json_t *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                int64_t lead = json_integer_value(json_object_get(wait, "lead"));
                Deadline d = deadline_from_json(json_object_get(wait, "until"));

                if (lead > 0 && deadline_left(&d, boot_now) <= lead)
                        (void) json_object_del(wait, "lead");
        }
        if (closes != INT64_MAX && closes <= window_lead(job)) {
                json_t *fact = json_copy(json_object_get(job->facts, "window"));

                (void) json_put(fact, "reminded", json_true());
                job_fact(job, "window", fact);
        }
}

static Deadline next_of(const Job *job) {
        return deadline_from_json(json_object_get(json_object_get(job->facts, "remind"), "until"));
}

static void plan_next(Job *job, const char *event, int64_t n, int64_t every, Deadline next) {
        job_fact(job, "remind",
                 json_pack("{s:s, s:I, s:I, s:o}", "of", event, "n", (json_int_t) n, "every",
                           (json_int_t) every, "until", deadline_to_json(&next)));
}

void remind_settle(Turn *t, Job *job) {
        const char *event = event_of(job);
        const json_t *fact = json_object_get(job->facts, "remind");
        int64_t n = json_integer_value(json_object_get(fact, "n"));
        int64_t every = json_integer_value(json_object_get(fact, "every"));
        Deadline next = next_of(job);
        bool due, near;

        if (!event || !streq0(args_text(fact, "of", NULL), event)) {
                job_fact(job, "remind", NULL);
                if (event) {
                        plan_next(job, event, 0, FIRST_MS, deadline_in(FIRST_MS));
                        job->rewrite = true;
                }
                return;
        }
        due = deadline_left(&next, t->boot_now) <= 0;
        near = lead_in(job, t->boot_now) <= 0;
        if (!due && !near)
                return;
        leads_done(job, t->boot_now);
        if (due) {
                every = MIN(2 * every, LONGEST_MS);
                next = deadline_in(every);
        }
        plan_next(job, event, n + 1, every, next);
        job_tell(job, "reminded", -1, NULL,
                 json_pack("{s:s, s:I, s:s}", "of", event, "n", (json_int_t) (n + 1), "because",
                           near ? "a deadline is near" : "nobody has come"));
        hooks_queue(job, event);
}

int64_t remind_wakes_at(const Job *job) {
        int64_t boot_now = now_boot_ms(), in;
        Deadline next = next_of(job);

        if (!event_of(job))
                return INT64_MAX;
        /* It waits since an updd that did not remind: the next is still to be planned. */
        if (!deadline_is_set(&next))
                return boot_now;
        in = lead_in(job, boot_now);
        return in == INT64_MAX ? next.boot : MIN(next.boot, boot_now + in);
}
