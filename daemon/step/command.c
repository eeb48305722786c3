/* SPDX-License-Identifier: MIT */
/* Running a plan's command and holding it to what the plan expects: see command.h. */
#include "daemon/step/command.h"

#include "daemon/step/logfile.h"
#include "daemon/step/match.h"

#define OUTPUT_MAX (64 * 1024)
#define QUOTE_MAX 300

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

/* The last line with something on it, for the failure's message. Caller frees. */
static char *last_line(const char *text) {
        size_t end = strlen(text), from;

        while (end > 0 && strchr("\r\n \t", text[end - 1]))
                end--;
        for (from = end; from > 0 && text[from - 1] != '\n';)
                from--;
        return utf8_clean(text + from, MIN(end - from, (size_t) QUOTE_MAX));
}

static char *failure_line(const ExecResult *result) {
        _cleanup_free_ char *line = last_line(result->err);

        if (!isempty(line))
                return TAKE(line);
        return last_line(result->out);
}

static int judge_exit(const json_t *args, const char *name, const ExecResult *result,
                      Error *reterr) {
        _cleanup_free_ char *line = NULL;

        if (!result->timed_out && !result->signal &&
            exit_is(json_object_get(args, "exit"), result->exit))
                return 0;
        line = failure_line(result);
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

/* has and lacks see stdout and stderr, whichever a program speaks on. */
static int judge_output(const json_t *args, const ExecResult *result, Error *reterr) {
        _cleanup_free_ char *both =
                strf("%s%s%s", result->out, *result->out && *result->err ? "\n" : "", result->err);

        if (!both)
                return error_oom(reterr);
        return match_expect(args, both, strlen(both), "The output", reterr);
}

static int tell_outputs(Step *s, const ExecResult *result, Error *reterr) {
        _cleanup_free_ char *clean = utf8_clean(result->out, result->out_size);
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
                r = judge_output(args, result, reterr);
        return r;
}

static void forget_output(ExecResult *result) {
        explicit_bzero(result->out, result->out_size);
        explicit_bzero(result->err, strlen(result->err));
        result->out_size = 0;
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
                        step_log(s, "%s%s", result->out, result->err);
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
                              .max_out = OUTPUT_MAX},
                      &result, reterr);
        if (r < 0)
                return r;
        return command_settle(s, args, json_string_value(json_array_get(argv, 0)), log, &result,
                              reterr);
}
