/* SPDX-License-Identifier: MIT */
/* Running a plan's command and holding it to what the plan expects: see command.h. */
#include "daemon/step/command.h"

#include "daemon/step/capture.h"
#include "daemon/step/durable.h"
#include "daemon/step/said.h"
#include "daemon/step/worker.h"

#define OUTPUT_MAX (64 * 1024)

static bool exit_is(const json_t *wanted, int code) {
        json_t *item;
        size_t i;

        if (!wanted)
                return code == 0;
        if (json_is_integer(wanted))
                return json_integer_value(wanted) == code;
        if (json_is_string(wanted)) {
                char *end;
                long n = strtol(json_string_value(wanted), &end, 10);

                return *end == '\0' && end != json_string_value(wanted) && n == code;
        }
        json_array_foreach ((json_t *) wanted, i, item) {
                if (exit_is(item, code))
                        return true;
        }
        return false;
}

static int judge_exit(const json_t *args, const char *name, const ExecResult *result,
                      Error *reterr) {
        _cleanup_free_ char *line = NULL;

        if (!result->timed_out && !result->signal &&
            exit_is(json_object_get(args, "exit"), result->exit))
                return 0;
        line = said_last(result);
        if (!line)
                return error_oom(reterr);
        if (result->timed_out)
                return error_set(reterr, ETIMEDOUT, "timeout", "%s did not end in time%s%s", name,
                                 *line ? ": " : "", line);
        if (result->signal)
                return error_set(reterr, EREMOTEIO, "signal", "%s was killed by signal %d (%s)%s%s",
                                 name, result->signal, strsignal(result->signal), *line ? ": " : "",
                                 line);
        return error_set(reterr, EREMOTEIO, "exit", "%s ended with code %d%s%s", name, result->exit,
                         *line ? ": " : "", line);
}

/* stdout as text, of which no more goes into the output than OUTPUT_MAX. Caller frees. */
static char *output_text(const Step *s, const ExecResult *result) {
        _cleanup_(capture_done) Capture c;
        _cleanup_free_ char *kept = NULL;
        size_t size;

        capture_init(&c, OUTPUT_MAX);
        if (result->out_size <= OUTPUT_MAX)
                return utf8_clean(result->out, result->out_size);
        if (capture_add(&c, result->out, result->out_size) < 0)
                return NULL;
        kept = capture_take(&c, &s->masks, &size);
        return kept ? utf8_clean(kept, size) : NULL;
}

static int tell_outputs(Step *s, const ExecResult *result, Error *reterr) {
        _cleanup_free_ char *clean = output_text(s, result);
        size_t n = clean ? strlen(clean) : 0;

        if (!clean)
                return error_oom(reterr);
        /* As in $(…): the newlines at the end belong to the terminal. */
        while (n > 0 && clean[n - 1] == '\n')
                clean[--n] = '\0';
        if (step_output(s, "exit", json_integer(result->exit)) < 0 ||
            step_output(s, "stdout", json_string(clean)) < 0)
                return error_oom(reterr);
        return 0;
}

static int command_judge(Step *s, const json_t *args, const char *name, const ExecResult *result,
                         Error *reterr) {
        int r;

        r = tell_outputs(s, result, reterr);
        if (r >= 0)
                r = judge_exit(args, name, result, reterr);
        if (r >= 0)
                r = said_expect(args, result, reterr);
        return r;
}

static void forget_output(ExecResult *result) {
        explicit_bzero(result->out, result->out_size);
        explicit_bzero(result->err, result->err_size);
        result->out_size = result->err_size = 0;
}

static void log_output(const ExecResult *result) {
        (void) write_all(STDOUT_FILENO, result->out, result->out_size);
        (void) write_all(STDOUT_FILENO, result->err, result->err_size);
}

/* So much of the output is kept as somebody will look at. */
static size_t wanted_output(const json_t *args) {
        static const char *const keys[] = {"has", "lacks", "save"};

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (json_object_get(args, keys[i]))
                        return SAID_MAX;
        return OUTPUT_MAX;
}

/* What is saved as a secret must be known as one before anything of the output is told; when it
 * cannot be found nobody knows where it stands, so nothing is told at all. */
static int command_settle(Step *s, const json_t *args, const char *name, bool log,
                          ExecResult *result, Error *reterr) {
        const json_t *save = json_object_get(args, "save");
        _cleanup_error_ Error unsaved = ERROR_INIT;
        bool hidden = save_has_secret(save);
        int saved, r;

        saved = save_outputs(s, save, result->out, result->out_size, &unsaved);
        if (saved < 0 && hidden) {
                forget_output(result);
                r = judge_exit(args, name, result, reterr);
        } else {
                if (hidden && log)
                        log_output(result);
                r = command_judge(s, args, name, result, reterr);
        }
        if (r < 0 || saved >= 0)
                return r;
        error_move(reterr, &unsaved);
        return saved;
}

int command_run(Step *s, const json_t *args, const json_t *argv, const char *cwd, const json_t *env,
                Error *reterr) {
        /* A hook is told what it is told of as a webhook is; no other task has an event. */
        const json_t *told = json_object_get(step_task(s), "event");
        _cleanup_free_ char *event = told ? json_dumps(told, JSON_COMPACT) : NULL;
        _cleanup_exec_ ExecResult result = {0};
        bool log;
        int r;

        r = args_bool(args, "log", true, &log, reterr);
        if (r < 0)
                return r;
        r = step_exec(s,
                      &(Exec){.argv = argv,
                              .cwd = cwd,
                              .env = env,
                              .input = args_text(args, "stdin", event),
                              .answers = json_object_get(args, "answers"),
                              .quiet = !log || save_has_secret(json_object_get(args, "save")),
                              .max_out = wanted_output(args)},
                      &result, reterr);
        if (r < 0)
                return r;
        r = command_settle(s, args, json_string_value(json_array_get(argv, 0)), log, &result,
                           reterr);
        return r < 0 ? r
                     : disks_sync(cwd ? cwd : json_string_value(step_setting(s, "cwd")), reterr);
}
