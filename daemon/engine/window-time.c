/* SPDX-License-Identifier: MIT */
/*
 * A job's maintenance window in time: ahead -> open -> closed, or lifted by a person.
 *
 *   ahead     the job waits; the notice goes out in time; its checks run once the window opens
 *   open      steps begin, as long as what is left of it would do for a way back (`reserve`)
 *   closed    no step of the way forward begins: the job has gone back, or waits for a person, as
 *             the plan's `at_end` says; one that was made ahead of its schedule's elapse, and could
 *             not begin, is withdrawn
 *   lifted    a person let the job go on outside of it: it holds nothing any more
 *
 * When the wall clock is set back to before an open window that names a time of day, the window is
 * ahead again: no step begins until it opens once more. The time that it was given runs on
 * meanwhile: which of the two clocks was wrong is not known, and it is not opened for longer.
 *
 * A job that is past its last gate was accepted and goes on to its end. The way back, finalise steps
 * and hooks are never held. Which clock decides: an absolute window opens and closes by the wall
 * clock, and is never open for longer than it was given (CLOCK_BOOTTIME, see deadline.c); one that
 * is a length only closes like any other deadline.
 */
#include "api/args.h"
#include "daemon/engine/turn.h"

static const json_t *fact_of(const Job *job) {
        return json_object_get(job->facts, "window");
}

/* Facts are shared between copies of a job, so they are replaced whole. */
static void fact_put(Job *job, const char *key, json_t *value) {
        json_t *fact = json_copy((json_t *) fact_of(job));

        (void) json_put(fact, key, value);
        job_fact(job, "window", fact);
}

static bool is_absolute(const Job *job) {
        return json_is_true(json_object_get(fact_of(job), "absolute"));
}

/* Of the way forward, with its end still to come. */
static bool is_under_way(const Job *job) {
        return job->state == JOB_QUEUED || job->state == JOB_RUNNING || job->state == JOB_WAITING;
}

/* By a person: a gate that its deadline passed, or that did not come about, was accepted by nobody. */
static bool is_accepted(const StepState *gate) {
        return gate->status == STEP_DONE && !streq(args_text(gate->outputs, "by", ""), "deadline");
}

static bool past_last_gate(const Job *job) {
        for (int i = (int) job->def->n_steps - 1; i >= 0; i--)
                if (job->def->steps[i].phase == PHASE_MAIN && job->def->steps[i].class == VERB_GATE)
                        return is_accepted(&job->steps[i]);
        return false;
}

/* It is open, or ahead again: the time it was given runs. */
static bool was_opened(const Job *job) {
        return json_object_get(fact_of(job), "until");
}

static bool is_ahead_again(const Job *job, int64_t wall_now) {
        return window_is(job, "open") && is_absolute(job) && !past_last_gate(job) &&
               window_ms(job, "begins") - wall_now > CLOCK_SLACK_MS;
}

/* Milliseconds until an open window closes for steps, its reserve taken off. */
static int64_t left(const Job *job, int64_t wall_now, int64_t boot_now) {
        Deadline until = deadline_from_json(json_object_get(fact_of(job), "until"));
        int64_t ms = deadline_left(&until, boot_now);

        if (is_absolute(job))
                ms = MIN(ms, window_ms(job, "ends") - wall_now);
        return ms - window_ms(job, "reserve");
}

int64_t window_closes_in(const Job *job, int64_t wall_now, int64_t boot_now) {
        bool counts = window_is(job, "open") || (window_is(job, "ahead") && was_opened(job));

        if (!is_under_way(job) || !counts || past_last_gate(job))
                return INT64_MAX;
        return left(job, wall_now, boot_now);
}

/* ---- before it opens ---- */

static bool tells_ahead(const Job *job) {
        const json_t *hooks = json_object_get(job->def->plan->norm, "hooks");

        return json_array_size(json_object_get(hooks, "notice")) > 0;
}

static bool has_notice(const Job *job) {
        return tells_ahead(job) && !json_is_true(json_object_get(fact_of(job), "noticed"));
}

int64_t window_notice(const Job *job) {
        return tells_ahead(job) ? MAX(window_ms(job, "notify"), INT64_C(0)) : 0;
}

/* Wall time; without `notify_before` it goes out as soon as the job is there. */
static int64_t notice_at(const Job *job) {
        int64_t before = window_ms(job, "notify");

        return before < 0 ? job->created : window_ms(job, "begins") - before;
}

static void notice_check(Turn *t, Job *job, bool now) {
        char time[TIME_TEXT_MAX];

        if (!has_notice(job) || (!now && t->wall_now < notice_at(job)))
                return;
        fact_put(job, "noticed", json_true());
        job_tell(job, "notice", -1, NULL,
                 json_pack("{s:s}", "begins", time_format(window_ms(job, "begins"), time)));
        hooks_queue(job, "notice");
}

static bool is_for_window(const json_t *wait) {
        return streq0(args_text(wait, "kind", NULL), "window");
}

/* The job's wait for its window: it has one at the most. NULL: none. Borrowed. */
static json_t *wait_of(const Job *job) {
        json_t *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                if (is_for_window(wait))
                        return wait;
        }
        return NULL;
}

static void close_wait(Job *job, const char *because) {
        const json_t *wait = wait_of(job);
        _cleanup_free_ char *id = wait ? strdup(args_text(wait, "id", "")) : NULL;

        if (id)
                wait_close(job, id, NULL, json_pack("{s:s}", "because", because));
}

static void window_open(Turn *t, Job *job) {
        int64_t ends = window_ms(job, "ends");
        Deadline until = {.wall = ends, .boot = t->boot_now + ends - t->wall_now};
        char time[TIME_TEXT_MAX];

        /* It is better late than never: the machine may have been off when it was due. */
        notice_check(t, job, true);
        fact_put(job, "state", json_string("open"));
        if (!was_opened(job))
                fact_put(job, "until", deadline_to_json(&until));
        job_tell(job, "window_opened", -1, NULL,
                 json_pack("{s:s}", "ends", time_format(ends, time)));
        close_wait(job, "the window opened");
}

static void window_recede(Job *job) {
        char time[TIME_TEXT_MAX];

        fact_put(job, "state", json_string("ahead"));
        job_tell(job, "window_ahead", -1, NULL,
                 json_pack("{s:s, s:s}", "begins", time_format(window_ms(job, "begins"), time),
                           "because", "the wall clock was set back"));
}

/* ---- its end ---- */

/* The stretch of the plan that the job is in. */
static unsigned last_begun(const Job *job) {
        unsigned last = 0;

        for (unsigned i = 0; i < job->def->n_steps; i++)
                if (job->def->steps[i].phase == PHASE_MAIN && job->steps[i].begun)
                        last = i;
        return last;
}

static int end_withdraw(Turn *t, Job *job) {
        job_decide(job, -1, NULL, "cancelled: the window closed before its first step");
        waits_close_all(job, "the window closed");
        return job_enter(t, job, JOB_EVENT_WITHDRAW);
}

/* What runs is let run; whoever could answer an open wait is told. Who waits for the window alone is
 * told when that has become a wait for a person. */
static int end_hold(Job *job, const char *why) {
        _cleanup_free_ char *decided = strf("the window has closed; holding, because %s", why);

        if (!decided)
                return -ENOMEM;
        job_decide(job, -1, NULL, decided);
        if (job->state == JOB_WAITING && job_waits_for_person(job))
                hooks_queue(job, "waiting");
        return 0;
}

static int end_back(Turn *t, Job *job) {
        const char *why = NULL, *strategy;
        _cleanup_free_ char *decided = NULL;

        strategy = missed_leads_to(t, job, last_begun(job), "rollback", &why);
        if (!strategy)
                return end_hold(job, why);
        decided = strf("rolling back with strategy %s because the window has closed", strategy);
        return decided ? back_begin(t, job, JOB_EVENT_DEADLINE, strategy, decided, NULL) : -ENOMEM;
}

/* What was made ahead of an elapse is for the window that people were told of. Whether the elapse is
 * made up for in another one is systemd's to say, and that is another job. */
static bool is_missed(const Job *job) {
        return json_object_get(job->facts, "ahead_of") && window_is(job, "closed") &&
               !was_opened(job) && job_untouched(job);
}

bool window_was_missed(const Job *job) {
        return job->state == JOB_CANCELLED && is_missed(job);
}

static int window_end(Turn *t, Job *job, const char *because) {
        fact_put(job, "state", json_string("closed"));
        job_tell(job, "window_closed", -1, NULL, json_pack("{s:s}", "because", because));
        close_wait(job, "the window closed");
        job->advance = true;
        if (is_missed(job))
                return end_withdraw(t, job);
        if (!streq(window_text(job, "at_end"), "rollback"))
                return end_hold(job, "the plan says at_end: hold");
        return job_untouched(job) ? end_withdraw(t, job) : end_back(t, job);
}

static bool is_to_close(const Turn *t, const Job *job) {
        return window_closes_in(job, t->wall_now, t->boot_now) <= 0;
}

static int close_for_steps(Turn *t, Job *job) {
        return window_end(t, job,
                          window_ms(job, "reserve") > 0
                                  ? "what is left of it is kept for a way back"
                                  : "it is over");
}

int window_check(Turn *t, Job *job) {
        if (!fact_of(job) || !is_under_way(job))
                return 0;
        if (is_ahead_again(job, t->wall_now))
                window_recede(job);
        if (is_to_close(t, job))
                return close_for_steps(t, job);
        if (!window_is(job, "ahead"))
                return 0;
        if (t->wall_now >= window_ms(job, "ends") - window_ms(job, "reserve"))
                return window_end(t, job, "it was over before the job could begin");
        notice_check(t, job, false);
        if (t->wall_now >= window_ms(job, "begins"))
                window_open(t, job);
        return is_to_close(t, job) ? close_for_steps(t, job) : 0;
}

/* ---- holding ---- */

bool window_holds(const Job *job) {
        return fact_of(job) && !window_is(job, "open") && !window_is(job, "lifted") &&
               !past_last_gate(job);
}

bool window_forbids(const Job *job, unsigned idx) {
        Phase phase = job->def->steps[idx].phase;

        return (phase == PHASE_CHECKS || phase == PHASE_MAIN) &&
               (window_holds(job) || is_ahead_again(job, now_wall_ms()) ||
                window_closes_in(job, now_wall_ms(), now_boot_ms()) <= 0);
}

int window_wait(Job *job) {
        bool ahead = window_is(job, "ahead");
        char time[TIME_TEXT_MAX];
        json_t *wait;

        if (wait_of(job))
                return 0;
        wait = wait_open(job, "window", -1, 0,
                         json_pack("{s:s, s:[s]}", "why",
                                   ahead ? "the window is not open yet"
                                         : "the window has closed; no step begins outside of it, "
                                           "unless somebody says why it should",
                                   "can", "retry"));
        if (!wait)
                return -ENOMEM;
        if (!ahead)
                return json_put(wait, "overdue", json_true());
        return json_put(wait, "deadline", json_string(time_format(window_ms(job, "begins"), time)));
}

bool job_waits_for_person(const Job *job) {
        json_t *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                if (!is_for_window(wait) || json_is_true(json_object_get(wait, "overdue")))
                        return true;
        }
        return false;
}

int window_lift(Job *job, const char *who, const char *reason) {
        _cleanup_free_ char *decided = strf("going on outside of the window: %s", reason);

        if (!decided)
                return -ENOMEM;
        fact_put(job, "state", json_string("lifted"));
        job_decide(job, -1, who, decided);
        return 0;
}

int64_t window_wakes_at(const Job *job) {
        int64_t wall_now, boot_now, in;

        if (!fact_of(job) || !is_under_way(job))
                return INT64_MAX;
        wall_now = now_wall_ms();
        boot_now = now_boot_ms();
        in = window_closes_in(job, wall_now, boot_now);
        if (window_is(job, "ahead"))
                in = MIN(in, window_ms(job, "begins") - wall_now);
        if (window_is(job, "ahead") && has_notice(job))
                in = MIN(in, notice_at(job) - wall_now);
        return in == INT64_MAX ? INT64_MAX : boot_now + in;
}
