/* SPDX-License-Identifier: MIT */
/*
 * schedule: plans that systemd starts by the calendar. A change is a job of updd's own, which is
 * waited for: what systemd has against the calendar event is told here.
 */
#include <inttypes.h>

#include "api/text.h"
#include "client/updctl/schedule.h"

char *schedule_path(const char *name, const char *rest) {
        _cleanup_free_ char *escaped = url_escape(name);

        return escaped ? strf("/v1/schedules/%s%s", escaped, rest) : NULL;
}

static int get_schedule(Ctl *ctl, const char *name, Response *ret) {
        _cleanup_free_ char *path = schedule_path(name, "");

        return ctl_get(ctl, ret, "%s", path ? path : "");
}

/* ---- shown ---- */

static int schedule_show(Ctl *ctl, const char *name) {
        _cleanup_response_ Response schedule = RESPONSE_INIT;
        int r = get_schedule(ctl, name, &schedule);

        if (r > 0)
                return r;
        if (ctl->json)
                return put_json(ctl, &schedule);
        put_schedule(ctl->out, schedule.json);
        return EXIT_AS_ASKED;
}

static int schedule_list(Ctl *ctl, const char *name) {
        _cleanup_response_ Response page = RESPONSE_INIT;
        json_t *schedule, *schedules;
        size_t i;
        int r = ctl_get(ctl, &page, "/v1/schedules");

        if (r > 0)
                return r;
        if (ctl->json)
                return put_json(ctl, &page);
        schedules = json_object_get(page.json, "schedules");
        if (json_array_size(schedules) == 0)
                put(ctl->out, PLAIN, "No schedule.\n");
        else
                put_cells(ctl->out, 0, {DIM, 16, "NAME"}, {DIM, 18, "PLAN"}, {DIM, 18, "NEXT"},
                          {DIM, 18, "LAST"}, {DIM, 8, "STATE"}, {DIM, 0, "ON"});
        json_array_foreach (schedules, i, schedule)
                put_schedule_line(ctl->out, schedule);
        return EXIT_AS_ASKED;
}

/* ---- changed ---- */

/* Why the change did not happen: a check's words, where one refused. */
static int tell_failed(Ctl *ctl, const json_t *job) {
        const json_t *failure = json_object_get(job, "failure");
        const char *message = get_text(failure, "message"), *hint = get_text(failure, "hint");
        int r = tell(ctl, EXIT_REFUSED, "%s", message ? message : "the change failed");

        if (hint)
                tell_hint(ctl, "%s", hint);
        tell_hint(ctl, "nothing was changed; the whole story: updctl report %" PRId64,
                  get_int(job, "id"));
        return r;
}

static bool job_waits(const json_t *job) {
        const char *state = get_text(job, "state");

        return streq0(state, "stuck") || streq0(state, "waiting");
}

/* Waits for the job that brings the change about. */
static int wait_changed(Ctl *ctl, const Response *schedule) {
        int64_t id = get_int(json_object_get(schedule->json, "change"), "job");
        _cleanup_response_ Response job = RESPONSE_INIT;
        int r = ctl_get(ctl, &job, "/v1/jobs/%" PRId64, id);

        while (r == 0 && !job_ended(job.json) && !job_waits(job.json))
                r = next_change(ctl, &job);
        if (r > 0 || streq0(get_text(job.json, "state"), "succeeded"))
                return r;
        if (job_waits(job.json))
                return tell(ctl, EXIT_STUCK,
                            "job %" PRId64 " could not put back what was there: updctl status "
                            "%" PRId64,
                            id, id);
        return tell_failed(ctl, job.json);
}

static int schedule_body(Ctl *ctl, json_t *body) {
        int r = put_given_text(ctl, body, "plan", OPT_PLAN_START);

        if (r == 0)
                r = put_given_text(ctl, body, "on", OPT_ON);
        if (r == 0)
                r = put_given_text(ctl, body, "window", OPT_WINDOW);
        if (r == 0)
                r = put_given_text(ctl, body, "missed", OPT_MISSED);
        return r > 0 ? r : put_given(ctl, body);
}

static int schedule_add(Ctl *ctl, const char *name) {
        _cleanup_response_ Response answer = RESPONSE_INIT, schedule = RESPONSE_INIT;
        _cleanup_free_ char *path = schedule_path(name, ""), *next = NULL;
        json_auto_t *body = json_object();
        int r;

        if (!args_has(ctl->args, OPT_PLAN_START) || !args_has(ctl->args, OPT_ON))
                return tell(ctl, EXIT_USAGE,
                            "schedule add needs --plan NAME and --on 'Sun *-*-* 03:00'");
        r = schedule_body(ctl, body);
        if (r == 0)
                r = ctl_call(ctl,
                             &(Request){.method = "PUT", .path = path ? path : "", .body = body},
                             &answer);
        if (r == 0)
                r = wait_changed(ctl, &answer);
        if (r == 0)
                r = get_schedule(ctl, name, &schedule);
        if (r > 0)
                return r;
        if (ctl->json)
                return put_json(ctl, &schedule);
        next = schedule_time(schedule.json, "next");
        put(ctl->out, PLAIN, "schedule %s is set; next: %s\n", name, next ? next : "");
        return EXIT_AS_ASKED;
}

static int schedule_remove(Ctl *ctl, const char *name) {
        _cleanup_free_ char *path = schedule_path(name, "");
        _cleanup_response_ Response answer = RESPONSE_INIT;
        int r = ctl_call(ctl, &(Request){.method = "DELETE", .path = path ? path : ""}, &answer);

        if (r == 0)
                r = wait_changed(ctl, &answer);
        if (r > 0)
                return r;
        if (ctl->json)
                return put_json(ctl, &answer);
        put(ctl->out, PLAIN, "schedule %s is removed\n", name);
        return EXIT_AS_ASKED;
}

static int schedule_run_now(Ctl *ctl, const char *name) {
        _cleanup_free_ char *path = schedule_path(name, "/run");
        _cleanup_response_ Response job = RESPONSE_INIT;
        json_auto_t *body = json_object();
        int r = put_given_text(ctl, body, "reason", OPT_REASON);

        if (r == 0)
                r = ctl_post(ctl, path ? path : "", body, &job);
        if (r > 0)
                return r;
        if (args_has(ctl->args, OPT_FOLLOW_JOB))
                return follow_job(ctl, get_int(job.json, "id"), 0);
        if (ctl->json)
                return put_json(ctl, &job);
        put(ctl->out, PLAIN, "%" PRId64 "\n", get_int(job.json, "id"));
        return EXIT_AS_ASKED;
}

/* ---- the verbs ---- */

typedef struct Subverb {
        const char *verb;
        int (*func)(Ctl *ctl, const char *name);
        OptionId options[8];
} Subverb;

static const Subverb subverbs[] = {
        {"add",
         schedule_add,
         {OPT_PLAN_START, OPT_ON, OPT_WINDOW, OPT_INPUT, OPT_LABEL, OPT_OVERRIDE, OPT_MISSED}},
        {"list", schedule_list, {0}},
        {"show", schedule_show, {0}},
        {"remove", schedule_remove, {0}},
        {"run-now", schedule_run_now, {OPT_REASON, OPT_FOLLOW_JOB}},
        {"fire", schedule_fire, {0}},
};

static bool takes(const Subverb *sub, OptionId option) {
        for (size_t i = 0; i < ELEMENTSOF(sub->options); i++)
                if (sub->options[i] == option)
                        return true;
        return false;
}

/* The command takes them all; each belongs to one of the subverbs. */
static int check_options(Ctl *ctl, const Subverb *sub) {
        for (size_t i = 0; i < ELEMENTSOF(ctl->args->command->options); i++) {
                OptionId option = ctl->args->command->options[i];

                if (option == OPT_NONE || !args_has(ctl->args, option) || takes(sub, option))
                        continue;
                (void) tell(ctl, EXIT_USAGE, "schedule %s takes no --%s", sub->verb,
                            option_row(option)->name);
                for (size_t k = 0; k < ELEMENTSOF(subverbs); k++)
                        if (takes(&subverbs[k], option))
                                tell_hint(ctl, "schedule %s does", subverbs[k].verb);
                return EXIT_USAGE;
        }
        return 0;
}

/* All but `list` are about one schedule. */
static const Subverb *subverb_find(const char *verb, const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(subverbs); i++)
                if (streq(subverbs[i].verb, verb) && streq(verb, "list") == !name)
                        return &subverbs[i];
        return NULL;
}

int cmd_schedule(Ctl *ctl) {
        static const char *const verbs[] = {"add", "list", "show", "remove", "run-now"};
        const char *verb = args_word(ctl->args, 0), *name = args_word(ctl->args, 1), *nearest;
        const Subverb *sub = subverb_find(verb, name);
        int r;

        if (sub) {
                r = check_options(ctl, sub);
                return r > 0 ? r : sub->func(ctl, name);
        }
        nearest = guess(verb, verbs, ELEMENTSOF(verbs));
        (void) tell(ctl, EXIT_USAGE,
                    "schedule takes: add NAME --plan NAME --on CALENDAR, list, show NAME, remove "
                    "NAME, run-now NAME");
        if (nearest && !streq(nearest, verb))
                tell_hint(ctl, "did you mean '%s'?", nearest);
        return EXIT_USAGE;
}
