/* SPDX-License-Identifier: MIT */
/* start: the card, the question, the job, the following. */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "client/updctl/card.h"

#define PLAN_SIZE_MAX (8u << 20)

/* A plan that is no installed one but a file of the caller's. */
static bool is_file(const char *word) {
        struct stat st;

        return (strchr(word, '/') || endswith(word, ".yaml") || endswith(word, ".yml") ||
                endswith(word, ".json")) &&
               stat(word, &st) == 0 && S_ISREG(st.st_mode);
}

/* The plan as the card shows it: an installed one with all it needs, a file with its faults. */
static int get_plan(Ctl *ctl, const char *word, json_t *body, Response *ret) {
        _cleanup_free_ char *name = url_escape(word), *text = NULL, *path = NULL;
        size_t size;
        int r;

        if (!is_file(word)) {
                if (json_put(body, "plan", json_string(word)) < 0)
                        return tell(ctl, EXIT_REFUSED, "the plan's name is not UTF-8");
                return ctl_get(ctl, ret, "/v1/plans/%s", name ? name : "");
        }
        r = file_read(AT_FDCWD, word, PLAN_SIZE_MAX, &text, &size);
        if (r < 0)
                return tell(ctl, EXIT_REFUSED, "cannot read %s: %s", word, strerror(-r));
        if (json_put(body, "document", json_stringn(text, size)) < 0)
                return tell(ctl, EXIT_REFUSED, "%s is not UTF-8", word);
        path = strf("/v1/plans:check?file=%s", name ? name : "");
        r = ctl_call(ctl,
                     &(Request){.method = "POST", .path = path, .text = text, .text_size = size},
                     ret);
        if (r == 0 && !get_bool(ret->json, "ok")) {
                put_faults(ctl->err, json_object_get(ret->json, "faults"));
                return tell(ctl, EXIT_REFUSED, "%s has faults", word);
        }
        return r;
}

/* Secrets that the plan takes from its caller's environment, unless given otherwise. */
static void add_env_secrets(const json_t *plan, json_t *secrets) {
        json_t *secret;
        const char *name;

        json_object_foreach (json_object_get(plan, "secrets"), name, secret) {
                const char *variable = get_text(secret, "env");
                const char *value = variable ? getenv(variable) : NULL;

                if (!isempty(value) && !json_object_get(secrets, name))
                        (void) json_put(secrets, name, json_string(value));
        }
}

static int add_inputs(Ctl *ctl, json_t *body) {
        int r = put_given(ctl, body);

        if (r == 0)
                r = put_given_text(ctl, body, "reason", OPT_REASON);
        if (args_has(ctl->args, OPT_DRY_RUN))
                (void) json_put(body, "dry_run", json_true());
        return r;
}

/* The window as the API takes it; the daemon judges what stands in it. */
static int add_window(Ctl *ctl, json_t *body) {
        const char *length = args_value(ctl->args, OPT_WINDOW);
        const char *begins = args_value(ctl->args, OPT_WINDOW_BEGINS);
        json_t *window;

        if (!length && begins)
                return tell(ctl, EXIT_USAGE, "--window-begins needs --window LENGTH");
        if (!length)
                return 0;
        window = json_pack("{s:s, s:s*}", "length", length, "begins", begins);
        if (!window)
                return tell(ctl, EXIT_USAGE, "the window is not UTF-8");
        return json_put(body, "window", window) < 0 ? tell(ctl, EXIT_REFUSED, "out of memory") : 0;
}

/* Before a person is asked: what the daemon would refuse anyway. */
static int check_startable(Ctl *ctl, const json_t *plan, const json_t *inputs) {
        json_t *input;
        const char *name;
        int r = 0;

        if (json_array_size(json_object_get(plan, "unsupported")) > 0)
                return tell(ctl, EXIT_REFUSED, "this version of updd cannot carry the plan out");
        json_object_foreach (json_object_get(plan, "inputs"), name, input) {
                _cleanup_free_ char *value = input_value(plan, inputs, name);
                const char *type = get_text(input, "type");

                if (!value)
                        r = tell(ctl, EXIT_REFUSED, "the input %s (%s) is needed: -i %s=VALUE",
                                 name, type ? type : "string", name);
        }
        return r;
}

static int ask_to_start(Ctl *ctl, const json_t *plan, const json_t *body) {
        const json_t *inputs = json_object_get(body, "inputs");
        bool dry = args_has(ctl->args, OPT_DRY_RUN);
        int r;

        if (!ctl->out->tty || ctl->json)
                return 0;
        put_card(ctl->out, plan, inputs, dry);
        if (!ctl->ask || args_has(ctl->args, OPT_YES))
                return 0;
        r = check_startable(ctl, plan, inputs);
        if (r > 0)
                return r;
        put(ctl->out, PLAIN, "\n");
        if (!ask_yes(ctl->out, dry ? "Start this dry run?" : "Start this job?"))
                return tell(ctl, EXIT_REFUSED, "nothing was started");
        return 0;
}

static int started(Ctl *ctl, const Response *job) {
        int64_t id = get_int(job->json, "id");

        if (args_has(ctl->args, OPT_DETACH)) {
                if (ctl->json)
                        return put_json(ctl, job);
                put(ctl->out, PLAIN, "%" PRId64 "\n", id);
                return EXIT_AS_ASKED;
        }
        if (!ctl->json && !ctl->out->moves)
                put(ctl->out, PLAIN, "job %" PRId64 ": %s\n", id, get_text(job->json, "title"));
        return follow_job(ctl, id, 0);
}

int cmd_start(Ctl *ctl) {
        json_auto_t *body = json_object(), *secrets = json_object();
        _cleanup_response_ Response plan = RESPONSE_INIT, job = RESPONSE_INIT;
        int r;

        r = add_inputs(ctl, body);
        if (r == 0)
                r = add_window(ctl, body);
        if (r == 0)
                r = read_secrets(ctl, secrets);
        if (r == 0)
                r = get_plan(ctl, args_word(ctl->args, 0), body, &plan);
        if (r > 0)
                return r;
        add_env_secrets(plan.json, secrets);
        if (json_object_set(body, "secrets", secrets) < 0)
                return tell(ctl, EXIT_REFUSED, "out of memory");
        r = ask_to_start(ctl, plan.json, body);
        if (r > 0)
                return r;
        r = ctl_post(ctl, "/v1/jobs", body, &job);
        return r > 0 ? r : started(ctl, &job);
}
