/* SPDX-License-Identifier: MIT */
/*
 * What a job waits for: gates, questions, retry-or-skip, missing secrets, its window. A wait has an
 * id that is never used again within its job; whoever answers names it.
 */
#include "api/args.h"
#include "daemon/engine/turn.h"
#include "daemon/plan/expand.h"

json_t *wait_open(Job *job, const char *kind, int step, int64_t within_ms, json_t *more) {
        json_t *wait = more ? more : json_object();
        char time[TIME_TEXT_MAX];

        if (!wait || json_putf(wait, "id", "w%u", ++job->next_wait) < 0 ||
            json_put(wait, "kind", json_string(kind)) < 0 ||
            json_put(wait, "since", json_string(time_format(job_now(job), time))) < 0) {
                json_decref(wait);
                return NULL;
        }
        if (step >= 0)
                (void) json_put(wait, "step", json_string(job->def->steps[step].id));
        if (within_ms > 0) {
                Deadline d = deadline_in(within_ms);

                (void) json_put(wait, "until", deadline_to_json(&d));
                (void) json_put(wait, "deadline", json_string(time_format(d.wall, time)));
                (void) json_put(wait, "lead", json_integer(remind_lead(within_ms)));
        }
        if (json_array_append_new(job->waits, wait) < 0)
                return NULL;
        job_tell(job, "wait_opened", step, NULL,
                 json_pack("{s:O, s:s}", "wait", json_object_get(wait, "id"), "kind", kind));
        return wait;
}

json_t *wait_find(const Job *job, const char *id) {
        json_t *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                if (streq0(args_text(wait, "id", NULL), id))
                        return wait;
        }
        return NULL;
}

json_t *wait_find_step(const Job *job, const char *kind, const char *step) {
        json_t *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                if (streq0(args_text(wait, "kind", NULL), kind) &&
                    streq0(args_text(wait, "step", NULL), step))
                        return wait;
        }
        return NULL;
}

/* Who comes too late is told who was first; this many are remembered. */
#define CLOSED_MAX 16

static void closed_note(Job *job, const json_t *wait, const char *who, const json_t *told) {
        json_t *closed = json_copy(json_object_get(job->facts, "closed"));
        const char *answer = args_text(told, "answer", args_text(told, "because", NULL));
        char time[TIME_TEXT_MAX];

        if (!closed)
                closed = json_object();
        while (json_object_size(closed) >= CLOSED_MAX) /* in the order in which they came */
                (void) json_object_del(closed, json_object_iter_key(json_object_iter(closed)));
        (void) json_put(closed, args_text(wait, "id", "?"),
                        json_pack("{s:s*, s:s, s:s*}", "by", who, "at",
                                  time_format(now_wall_ms(), time), "how", answer));
        job_fact(job, "closed", closed);
}

void wait_close(Job *job, const char *id, const char *who, json_t *data) {
        json_t *wait, *told = data ? data : json_object();
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                int step;

                if (!streq0(args_text(wait, "id", NULL), id))
                        continue;
                (void) json_object_set(told, "wait", json_object_get(wait, "id"));
                step = job_def_find(job->def, args_text(wait, "step", ""));
                closed_note(job, wait, who, told);
                job_tell(job, "wait_closed", step, who, told);
                (void) json_array_remove(job->waits, i);
                return;
        }
        json_decref(told);
}

void waits_close_all(Job *job, const char *why) {
        while (json_array_size(job->waits) > 0) {
                _cleanup_free_ char *id =
                        strdup(args_text(json_array_get(job->waits, 0), "id", ""));

                if (!id)
                        return;
                wait_close(job, id, NULL, json_pack("{s:s}", "because", why));
        }
}

/* The last lines of the steps that the gate shows. */
static json_t *gate_shows(const Job *job, const json_t *ids) {
        json_t *list = json_array();
        const json_t *id;
        size_t i;

        json_array_foreach ((json_t *) ids, i, id) {
                int idx = json_is_string(id) ? job_def_find(job->def, json_string_value(id)) : -1;
                json_t *tail;

                if (idx < 0)
                        continue;
                tail = json_object_get(job->steps[idx].result, "tail");
                (void) json_array_append_new(list,
                                             json_pack("{s:O, s:O*}", "step", id, "tail", tail));
        }
        return list;
}

static json_t *gate_items(const json_t *texts) {
        json_t *items = json_array();
        const json_t *text;
        size_t i;

        json_array_foreach ((json_t *) texts, i, text) {
                (void) json_array_append_new(items, json_pack("{s:O}", "text", text));
        }
        return items;
}

int gate_open(Turn *t, Job *job, unsigned idx, Error *reterr) {
        json_auto_t *scope = NULL, *args = NULL;
        json_t *more;
        int64_t within;
        bool other;
        int r;

        if (job_scope(t, job, &scope) < 0)
                return error_oom(reterr);
        r = plan_expand(json_object_get(job->def->steps[idx].norm, "args"), scope, &args, reterr);
        if (r >= 0)
                r = args_ms(args, "within", 0, &within, reterr);
        if (r >= 0)
                r = args_bool(args, "other_person", false, &other, reterr);
        if (r < 0)
                return r;
        more = json_pack("{s:s, s:o, s:s, s:O*}", "ask", args_text(args, "ask", "Go on?"), "items",
                         gate_items(json_object_get(args, "items")), "on_timeout",
                         args_text(args, "on_timeout", "hold"), "type",
                         json_object_get(args, "type"));
        if (!more)
                return error_oom(reterr);
        if (other)
                (void) json_put(more, "other_person", json_true());
        if (json_object_get(args, "show"))
                (void) json_put(more, "show", gate_shows(job, json_object_get(args, "show")));
        r = job_step_move(job, idx, STEP_EVENT_ASK);
        if (r < 0) {
                json_decref(more);
                return r;
        }
        job->steps[idx].started = job_now(job);
        job->steps[idx].begun = true;
        return wait_open(job, "gate", (int) idx, within, more) ? 0 : error_oom(reterr);
}

const char *missed_leads_to(const Turn *t, const Job *job, unsigned idx, const char *on_timeout,
                            const char **ret_why) {
        const json_t *found = NULL;
        Choice choice = strategy_for(job, idx);
        const char *strategy = streq(on_timeout, "rollback") ? choice.strategy : on_timeout;

        *ret_why = "on_failure says hold for this stretch";
        if (!strategy)
                return NULL;
        if (strategy_loses_data(job, strategy) &&
            !(choice.named && streq0(choice.strategy, strategy))) {
                *ret_why = "the way back would lose data and on_failure does not name it";
                return NULL;
        }
        if (strategy_find(job, strategy, &found) >= 0 &&
            strategy_allowed(t, job, found, NULL) < 0) {
                *ret_why = "the way back's `when` does not hold now";
                return NULL;
        }
        return strategy;
}

static int gate_missed(Turn *t, Job *job, json_t *wait) {
        const char *on_timeout = args_text(wait, "on_timeout", "hold"), *why = NULL, *strategy;
        int idx = job_def_find(job->def, args_text(wait, "step", ""));
        _cleanup_free_ char *id = strdup(args_text(wait, "id", ""));
        _cleanup_free_ char *decided = NULL;

        if (idx < 0 || !id)
                return -ENOMEM;
        job_tell(job, "deadline_missed", idx, NULL, json_pack("{s:s}", "wait", id));
        (void) json_object_del(wait, "until");
        (void) json_put(wait, "overdue", json_true());
        if (streq(on_timeout, "continue")) {
                step_succeed(job, (unsigned) idx, json_pack("{s:s}", "by", "deadline"));
                wait_close(job, id, NULL, json_pack("{s:s}", "because", "deadline"));
                return job_enter(t, job, JOB_EVENT_RESUME);
        }
        if (streq(on_timeout, "hold")) {
                static const char held[] =
                        "the deadline has passed; the gate stays open as the plan "
                        "says (on_timeout: hold)";

                job_decide(job, idx, NULL, held);
                hooks_queue(job, "waiting");
                return 0;
        }
        strategy = missed_leads_to(t, job, (unsigned) idx, on_timeout, &why);
        if (!strategy) {
                decided = strf("the deadline has passed; holding, because %s", why);
                job_decide(job, idx, NULL, decided);
                hooks_queue(job, "waiting");
                return 0;
        }
        decided = strf("rolling back with strategy %s because the deadline of %s passed", strategy,
                       job->def->steps[idx].id);
        return back_begin(t, job, JOB_EVENT_DEADLINE, strategy, decided, NULL);
}

int waits_check(Turn *t, Job *job, Error *reterr) {
        json_t *wait;
        size_t i;
        int r;

        r = window_check(t, job);
        if (r < 0)
                return r == -ENOMEM ? error_oom(reterr) : r;
        json_array_foreach (job->waits, i, wait) {
                Deadline d = deadline_from_json(json_object_get(wait, "until"));

                /* One at a time: what follows may change the list. */
                if (deadline_left(&d, t->boot_now) <= 0 && job->state == JOB_WAITING)
                        return gate_missed(t, job, wait) < 0 ? error_oom(reterr) : 1;
        }
        return 0;
}

int64_t job_wakes_at(const Job *job) {
        int64_t at = MIN(window_wakes_at(job), remind_wakes_at(job));
        json_t *wait;
        size_t i;

        json_array_foreach (job->waits, i, wait) {
                Deadline d = deadline_from_json(json_object_get(wait, "until"));

                if (deadline_is_set(&d))
                        at = MIN(at, d.boot);
        }
        if (job->way_back_open && deadline_is_set(&job->way_back))
                at = MIN(at, job->way_back.boot);
        for (unsigned k = 0; k < job->def->n_steps; k++)
                if (deadline_is_set(&job->steps[k].again))
                        at = MIN(at, job->steps[k].again.boot);
        return at;
}
