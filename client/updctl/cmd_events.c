/* SPDX-License-Identifier: MIT */
/* events: a job's journal, all of it, one line each. */
#include <inttypes.h>

#include "client/updctl/ctl.h"

static void put_event(const Screen *s, const json_t *event) {
        _cleanup_free_ char *seq = strf("%" PRId64, get_int(event, "seq"));
        _cleanup_free_ char *clock = clock_text(get_time(event, "time")), *data = NULL;
        const json_t *details = json_object_get(event, "data");
        int64_t attempt = get_int(event, "attempt");
        _cleanup_free_ char *step = NULL;

        if (json_object_size(details) > 0)
                data = json_dumps(details, JSON_COMPACT);
        step = strf("%s%s", get_text(event, "step") ? step_of(event) : "",
                    attempt > 1 ? " (again)" : "");
        put_cells(s, 0, {DIM, -4, seq}, {DIM, 8, clock}, {BOLD, 16, get_text(event, "type")},
                  {PLAIN, 14, step}, {NOTE, 0, get_text(event, "by")}, {DIM, 0, data});
}

static int show_event(Ctl *ctl, const json_t *event, void *userdata) {
        json_t *all = userdata;

        if (all)
                return json_array_append(all, (json_t *) event) < 0 ? EXIT_REFUSED : 0;
        if (ctl->json)
                return put_json_value(ctl, event);
        put_event(ctl->out, event);
        return 0;
}

int cmd_events(Ctl *ctl) {
        bool follow = args_has(ctl->args, OPT_FOLLOW);
        _cleanup_response_ Response job = RESPONSE_INIT;
        json_auto_t *all = ctl->json && !follow ? json_array() : NULL, *document = NULL;
        int64_t after = 0;
        int r;

        r = pick_job(ctl, args_word(ctl->args, 0), &job);
        while (r == 0) {
                r = events_each(ctl, get_int(job.json, "id"), &after, show_event, all);
                (void) fflush(ctl->out->f);
                if (r > 0 || !follow || job_ended(job.json))
                        break;
                r = next_change(ctl, &job);
        }
        if (r > 0 || !all)
                return r;
        document = json_pack("{s:O, s:I}", "events", all, "next", after);
        return put_json_value(ctl, document);
}
