/* SPDX-License-Identifier: MIT */
/* updctl alone, status, list, watch, health: how things are. */
#include <inttypes.h>

#include "api/text.h"
#include "client/updctl/ctl.h"

#define PAGE 200
#define OVERVIEW_MAX 50

/* The step that was cut off, and since when it all stands so. */
static void put_interrupted(const Screen *s, const json_t *job) {
        json_t *step;
        size_t i;

        json_array_foreach (json_object_get(job, "steps"), i, step) {
                const char *state = get_text(step, "state");
                int64_t at = get_time(step, "ended");
                _cleanup_free_ char *when = NULL;

                if (at == 0)
                        at = get_time(step, "started");
                when = at > 0 ? when_text(at) : NULL;
                if (streq0(state, "interrupted") || streq0(state, "failed") ||
                    streq0(state, "undo_failed"))
                        put(s, PLAIN, "  %s %s%s%s\n", step_of(step),
                            streq0(state, "undo_failed") ? "could not be undone"
                            : streq0(state, "failed")    ? "failed"
                                                         : "was interrupted",
                            when ? " at " : "", when ? when : "");
        }
}

static void put_running(const Screen *s, const json_t *job) {
        json_t *step;
        size_t i;

        json_array_foreach (json_object_get(job, "steps"), i, step) {
                const char *state = get_text(step, "state");
                int64_t from = get_time(step, "started");
                _cleanup_free_ char *span = from > 0 ? span_text(now_wall_ms() - from) : NULL;

                if (streq0(state, "running") || streq0(state, "undoing"))
                        put(s, PLAIN, "  %s is %s%s%s\n", step_of(step),
                            streq(state, "running") ? "running" : "being undone",
                            span ? " for " : "", span ? span : "");
        }
}

static void put_overview(const Screen *s, const json_t *job) {
        const char *decided = get_text(job, "decided"), *title = get_text(job, "title");
        const StateLook *look = state_look(get_text(job, "state"));
        int64_t since = get_time(job, "started");
        _cleanup_free_ char *when = when_text(since > 0 ? since : get_time(job, "created"));

        put(s, BOLD, "job %" PRId64 "  %s  ", get_int(job, "id"),
            title ? title : get_text(job, "plan"));
        put(s, look->style, "%s", look->words);
        put(s, DIM, "  since %s, by %s\n", when, get_text(job, "by"));
        put_running(s, job);
        put_interrupted(s, job);
        if (decided)
                put_text(s, 2, "decided: ", PLAIN, decided);
        put_waits(s, job);
        put_next(s, job);
}

int cmd_overview(Ctl *ctl) {
        _cleanup_response_ Response page = RESPONSE_INIT;
        json_t *entry;
        size_t i;
        int r;

        r = ctl_get(ctl, &page, "/v1/jobs?state=unfinished&limit=%d", OVERVIEW_MAX);
        if (r > 0)
                return r;
        if (ctl->json)
                return put_json(ctl, &page);
        json_array_foreach (json_object_get(page.json, "jobs"), i, entry) {
                _cleanup_response_ Response job = RESPONSE_INIT;

                if (i > 0)
                        put(ctl->out, PLAIN, "\n");
                r = ctl_get(ctl, &job, "/v1/jobs/%" PRId64, get_int(entry, "id"));
                if (r > 0)
                        return r;
                put_overview(ctl->out, job.json);
        }
        if (i == 0)
                put(ctl->out, PLAIN,
                    "No unfinished job. updctl plans shows what can be started, "
                    "updctl list what was.\n");
        return EXIT_AS_ASKED;
}

int cmd_status(Ctl *ctl) {
        _cleanup_response_ Response job = RESPONSE_INIT;
        int r;

        r = pick_job(ctl, args_word(ctl->args, 0), &job);
        if (r > 0)
                return r;
        if (ctl->json)
                (void) put_json(ctl, &job);
        else
                put_job(ctl, ctl->out, job.json);
        return state_look(get_text(job.json, "state"))->exit;
}

int cmd_watch(Ctl *ctl) {
        _cleanup_response_ Response job = RESPONSE_INIT;
        int r;

        r = pick_job(ctl, args_word(ctl->args, 0), &job);
        if (r > 0)
                return r;
        if (!ctl->json && !ctl->out->moves)
                put_job_line(ctl->out, job.json);
        return follow_job(ctl, get_int(job.json, "id"),
                          job_ended(job.json) ? INT64_MAX : get_int(job.json, "version"));
}

/* The query of list, without `after`. Caller frees. */
static char *list_query(const Args *args, int64_t limit) {
        static const struct {
                OptionId id;
                const char *key;
        } filters[] = {{OPT_STATE, "state"}, {OPT_PLAN_NAME, "plan"}, {OPT_TARGET, "target"}};
        char *query = strf("limit=%" PRId64, limit);

        for (size_t i = 0; query && i < ELEMENTSOF(filters); i++) {
                const char *value = args_value(args, filters[i].id);
                _cleanup_free_ char *before = query, *escaped = value ? url_escape(value) : NULL;

                query = escaped ? strf("%s&%s=%s", before, filters[i].key, escaped) : TAKE(before);
        }
        return query;
}

static int read_limit(Ctl *ctl, int64_t *ret) {
        const char *text = args_value(ctl->args, OPT_LIMIT);
        char *end = NULL;

        *ret = args_has(ctl->args, OPT_ALL_JOBS) ? INT64_MAX : 20;
        if (!text)
                return 0;
        errno = 0;
        *ret = strtoll(text, &end, 10);
        if (errno != 0 || *end || end == text || *ret < 1)
                return tell(ctl, EXIT_USAGE, "--limit takes a number from 1 on, not '%s'", text);
        return 0;
}

/* Pages until `limit` jobs are there, into `all`. */
static int list_jobs(Ctl *ctl, int64_t limit, json_t *all, json_t **ret_next) {
        int64_t after = 0;

        do {
                int64_t room = limit - (int64_t) json_array_size(all);
                _cleanup_free_ char *query = list_query(ctl->args, MIN(room, PAGE));
                _cleanup_response_ Response page = RESPONSE_INIT;
                int r;

                r = after > 0 ? ctl_get(ctl, &page, "/v1/jobs?%s&after=%" PRId64, query, after)
                              : ctl_get(ctl, &page, "/v1/jobs?%s", query);
                if (r > 0)
                        return r;
                (void) json_array_extend(all, json_object_get(page.json, "jobs"));
                after = get_int(page.json, "next");
                json_decref(*ret_next);
                *ret_next = json_incref(json_object_get(page.json, "next"));
        } while (after > 0 && (int64_t) json_array_size(all) < limit);
        return 0;
}

int cmd_list(Ctl *ctl) {
        json_auto_t *all = json_array(), *next = NULL, *document = NULL;
        int64_t limit;
        json_t *job;
        size_t i;
        int r;

        r = read_limit(ctl, &limit);
        if (r == 0)
                r = list_jobs(ctl, limit, all, &next);
        if (r > 0)
                return r;
        if (ctl->json) {
                document = json_pack("{s:O, s:O?}", "jobs", all, "next", next);
                return put_json_value(ctl, document);
        }
        json_array_foreach (all, i, job)
                put_job_line(ctl->out, job);
        if (i == 0)
                put(ctl->out, PLAIN, "No such job.\n");
        else if (json_is_integer(next))
                put(ctl->out, DIM, "There are more: --limit N or --all\n");
        return EXIT_AS_ASKED;
}

int cmd_health(Ctl *ctl) {
        _cleanup_response_ Response health = RESPONSE_INIT;
        _cleanup_error_ Error error = ERROR_INIT;
        const char *started, *version;
        _cleanup_free_ char *when = NULL;
        json_t *count;
        bool ok;

        if (client_call(ctl->client, &(Request){.method = "GET", .path = "/v1/health"}, &health,
                        &error) < 0)
                return tell_error(ctl, EXIT_UNREACHABLE, &error);
        if (!json_object_get(health.json, "ok"))
                return tell_problem(ctl, &health);
        ok = get_bool(health.json, "ok");
        if (ctl->json) {
                (void) put_json(ctl, &health);
                return ok ? EXIT_AS_ASKED : EXIT_REFUSED;
        }
        version = get_text(health.json, "version");
        when = get_time(health.json, "started") > 0 ? when_text(get_time(health.json, "started"))
                                                    : NULL;
        put(ctl->out, ok ? GOOD : BAD, ok ? "well" : "not well");
        put(ctl->out, PLAIN, ": updd %s, up since %s, store %s\n", version ? version : "",
            when ? when : "?", get_text(health.json, "store"));
        json_object_foreach (json_object_get(health.json, "jobs"), started, count)
                if (json_integer_value(count) > 0)
                        put(ctl->out, PLAIN, "  %" JSON_INTEGER_FORMAT " %s\n",
                            json_integer_value(count), state_look(started)->words);
        return ok ? EXIT_AS_ASKED : EXIT_REFUSED;
}
