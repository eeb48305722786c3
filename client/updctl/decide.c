/* SPDX-License-Identifier: MIT */
/* What the commands that decide something about a job have in common: see decide.h. */
#include "client/updctl/decide.h"

#include <inttypes.h>

#include "api/text.h"

int decide(Ctl *ctl, int64_t id, const char *verb, const json_t *body, Response *ret) {
        _cleanup_free_ char *path = strf("/v1/jobs/%" PRId64 "/%s", id, verb);

        return ctl_post(ctl, path ? path : "/", body, ret);
}

int decided(Ctl *ctl, const Response *job, const char *what) {
        const StateLook *look = state_look(get_text(job->json, "state"));
        int64_t id = get_int(job->json, "id");
        bool follow = args_has(ctl->args, OPT_FOLLOW_JOB);

        if (ctl->json)
                return follow ? follow_job(ctl, id, get_int(job->json, "version"))
                              : put_json(ctl, job);
        put(ctl->out, PLAIN, "%s; job %" PRId64 ": ", what, id);
        put(ctl->out, look->style, "%s\n", look->words);
        if (follow)
                return follow_job(ctl, id, get_int(job->json, "version"));
        if (!job_ended(job->json))
                put(ctl->out, DIM, "follow it with: updctl watch %" PRId64 "\n", id);
        return EXIT_AS_ASKED;
}

int add_reason(Ctl *ctl, json_t *body) {
        const char *reason = args_value(ctl->args, OPT_REASON);

        if (reason && json_put(body, "reason", json_string(reason)) < 0)
                return tell(ctl, EXIT_USAGE, "the reason is not UTF-8");
        return 0;
}

int need_reason(Ctl *ctl, json_t *body) {
        _cleanup_free_ char *typed = NULL;

        if (args_has(ctl->args, OPT_REASON))
                return add_reason(ctl, body);
        if (ctl->ask)
                typed = ask_line(ctl->out, true, "Why? (it is recorded) ");
        if (isempty(typed)) {
                (void) tell(ctl, EXIT_USAGE, "%s needs a reason: --reason TEXT",
                            ctl->args->command->name);
                return EXIT_USAGE;
        }
        return json_put(body, "reason", json_string(typed)) < 0
                       ? tell(ctl, EXIT_USAGE, "the reason is not UTF-8")
                       : 0;
}

int add_typed(Ctl *ctl, const char *wanted, json_t *body) {
        const char *given = args_value(ctl->args, OPT_TYPE);
        _cleanup_free_ char *asked = NULL, *prompt = NULL;

        if (!given && wanted && ctl->ask) {
                prompt = strf("Type '%s' to go on: ", wanted);
                given = asked = ask_line(ctl->out, true, prompt ? prompt : "");
        }
        if (!given && wanted)
                return tell(ctl, EXIT_USAGE, "it asks for a text to be typed: --type '%s'", wanted);
        if (given && json_put(body, "typed", json_string(given)) < 0)
                return tell(ctl, EXIT_USAGE, "the text is not UTF-8");
        return 0;
}
