/* SPDX-License-Identifier: MIT */
/* Calls whose failure is told, and choosing the job and the wait that are meant. */
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>

#include "client/updctl/ctl.h"

#define EVENTS_PAGE 200
#define POLL_S 30

int ctl_call(Ctl *ctl, const Request *q, Response *ret) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        r = client_call(ctl->client, q, ret, &error);
        if (r < 0)
                return tell_error(
                        ctl, streq0(error.type, "unreachable") ? EXIT_UNREACHABLE : EXIT_REFUSED,
                        &error);
        return ret->status >= 400 ? tell_problem(ctl, ret) : 0;
}

int ctl_get(Ctl *ctl, Response *ret, const char *format, ...) {
        _cleanup_free_ char *path = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&path, format, ap);
        va_end(ap);
        if (n < 0) {
                path = NULL;
                return tell(ctl, EXIT_REFUSED, "out of memory");
        }
        return ctl_call(ctl, &(Request){.method = "GET", .path = path}, ret);
}

int ctl_post(Ctl *ctl, const char *path, const json_t *body, Response *ret) {
        return ctl_call(ctl, &(Request){.method = "POST", .path = path, .body = body}, ret);
}

int events_each(Ctl *ctl, int64_t job, int64_t *after, EventSeen seen, void *userdata) {
        for (;;) {
                _cleanup_response_ Response page = RESPONSE_INIT;
                json_t *event;
                size_t i;
                int r;

                r = ctl_get(ctl, &page, "/v1/jobs/%" PRId64 "/events?after=%" PRId64 "&limit=%d",
                            job, *after, EVENTS_PAGE);
                if (r > 0)
                        return r;
                json_array_foreach (json_object_get(page.json, "events"), i, event) {
                        r = seen(ctl, event, userdata);
                        if (r > 0)
                                return r;
                        *after = MAX(*after, get_int(event, "seq"));
                }
                if (i < EVENTS_PAGE)
                        return 0;
        }
}

static bool is_number(const char *word) {
        size_t n = strspn(word, "0123456789");

        return n > 0 && word[n] == '\0';
}

/* A target's name with a slash in it cannot stand in a path. */
static int pick_by_target(Ctl *ctl, const char *word, Response *ret) {
        _cleanup_response_ Response page = RESPONSE_INIT;
        _cleanup_free_ char *name = url_escape(word);
        const json_t *first;
        int r;

        r = ctl_get(ctl, &page, "/v1/jobs?limit=1&state=unfinished&target=%s", name ? name : "");
        first = json_array_get(json_object_get(page.json, "jobs"), 0);
        if (r == 0 && !first) {
                response_done(&page);
                r = ctl_get(ctl, &page, "/v1/jobs?limit=1&target=%s", name ? name : "");
                first = json_array_get(json_object_get(page.json, "jobs"), 0);
        }
        if (r > 0)
                return r;
        if (!first)
                return tell(ctl, EXIT_REFUSED, "no job has '%s' as its target", word);
        return ctl_get(ctl, ret, "/v1/jobs/%" PRId64, get_int(first, "id"));
}

static int pick_only(Ctl *ctl, Response *ret) {
        _cleanup_response_ Response page = RESPONSE_INIT;
        json_t *jobs, *job;
        size_t i;
        int r;

        r = ctl_get(ctl, &page, "/v1/jobs?state=unfinished&limit=50");
        if (r > 0)
                return r;
        jobs = json_object_get(page.json, "jobs");
        if (json_array_size(jobs) == 1)
                return ctl_get(ctl, ret, "/v1/jobs/%" PRId64,
                               get_int(json_array_get(jobs, 0), "id"));
        if (json_array_size(jobs) == 0) {
                (void) tell(ctl, EXIT_REFUSED, "there is no unfinished job");
                tell_hint(ctl, "updctl list shows those that have ended; name one of them");
                return EXIT_REFUSED;
        }
        (void) tell(ctl, EXIT_USAGE, "there are several unfinished jobs: which one?");
        json_array_foreach (jobs, i, job)
                put_job_line(ctl->err, job);
        return EXIT_USAGE;
}

int pick_job(Ctl *ctl, const char *word, Response *ret) {
        _cleanup_free_ char *name = NULL;

        if (!word)
                return pick_only(ctl, ret);
        if (is_number(word))
                return ctl_get(ctl, ret, "/v1/jobs/%s", word);
        if (strchr(word, '/'))
                return pick_by_target(ctl, word, ret);
        name = url_escape(word);
        return ctl_get(ctl, ret, "/v1/jobs/by-name/%s", name ? name : "");
}

int next_change(Ctl *ctl, Response *job) {
        _cleanup_free_ char *path = strf("/v1/jobs/%" PRId64, get_int(job->json, "id"));
        _cleanup_response_ Response next = RESPONSE_INIT;
        int r;

        r = ctl_call(ctl,
                     &(Request){.method = "GET", .path = path, .etag = job->etag, .wait_s = POLL_S},
                     &next);
        if (r > 0 || next.status == 304)
                return r;
        response_done(job);
        *job = next;
        next = RESPONSE_INIT;
        return 0;
}

bool wait_is_gate(const json_t *wait) {
        return streq0(get_text(wait, "kind"), "gate");
}

bool wait_is_question(const json_t *wait) {
        return streq0(get_text(wait, "kind"), "question");
}

bool wait_can_retry(const json_t *wait) {
        const char *kind = get_text(wait, "kind");

        return streq0(kind, "retry-or-skip") || streq0(kind, "missing-secret") ||
               json_has_text(json_object_get(wait, "can"), "retry");
}

bool wait_can_skip(const json_t *wait) {
        const json_t *can = json_object_get(wait, "can");

        return can ? json_has_text(can, "skip") : streq0(get_text(wait, "kind"), "retry-or-skip");
}

const char *step_of(const json_t *object) {
        const char *step = get_text(object, "step"), *id = get_text(object, "id");
        const char *name = step ? step : id ? id : "";

        return name + (*name == '@');
}

static int tell_several(Ctl *ctl, const json_t *waits, WaitFits fits) {
        json_t *wait;
        size_t i;

        (void) tell(ctl, EXIT_USAGE, "the job has several such waits: name one with --wait");
        json_array_foreach ((json_t *) waits, i, wait)
                if (fits(wait))
                        put(ctl->err, PLAIN, "  --wait %-4s %s: %s\n", get_text(wait, "id"),
                            step_of(wait), get_text(wait, "kind"));
        return EXIT_USAGE;
}

int pick_wait(Ctl *ctl, const json_t *job, WaitFits fits, const json_t **ret) {
        const json_t *waits = json_object_get(job, "waits"), *found = NULL;
        const char *wanted = args_value(ctl->args, OPT_WAIT);
        unsigned n = 0;
        json_t *wait;
        size_t i;

        json_array_foreach ((json_t *) waits, i, wait) {
                if (wanted ? !streq0(get_text(wait, "id"), wanted) : !fits(wait))
                        continue;
                found = wait;
                n++;
        }
        if (wanted && !found)
                return tell(ctl, EXIT_REFUSED, "job %" PRId64 " has no open wait '%s'",
                            get_int(job, "id"), wanted);
        if (n > 1)
                return tell_several(ctl, waits, fits);
        *ret = found;
        return 0;
}
