/* SPDX-License-Identifier: MIT */
/* run {argv, stdin, exit, has, lacks}: a command that looks. */
#include "daemon/step/match.h"
#include "daemon/step/step.h"

#define QUOTE_MAX 300

/* The last line that says something. Caller frees. */
static char *last_words(const ExecResult *result) {
        const char *text = result->err[strspn(result->err, "\r\n\t ")] ? result->err : result->out;
        size_t end = strlen(text), from;

        while (end > 0 && strchr("\r\n \t", text[end - 1]))
                end--;
        for (from = end; from > 0 && text[from - 1] != '\n';)
                from--;
        return strf("%s%.*s", end > from ? ": " : "", (int) MIN(end - from, (size_t) QUOTE_MAX),
                    text + from);
}

static int judge(const json_t *args, const ExecResult *result, int64_t wanted, Error *reterr) {
        const char *name = json_string_value(json_array_get(json_object_get(args, "argv"), 0));
        _cleanup_free_ char *words = last_words(result);
        _cleanup_free_ char *both =
                strf("%s%s%s", result->out, *result->out && *result->err ? "\n" : "", result->err);

        if (!words || !both)
                return error_oom(reterr);
        if (result->timed_out)
                return error_set(reterr, ETIMEDOUT, "timeout", "%s did not end in time%s", name,
                                 words);
        if (result->signal)
                return error_set(reterr, EBADE, "check-failed", "%s was killed by signal %d%s",
                                 name, result->signal, words);
        if (result->exit != wanted)
                return error_set(reterr, EBADE, "check-failed", "%s ended with code %d%s%s", name,
                                 result->exit, wanted != 0 ? ", not as expected" : "", words);
        return match_expect(args, both, strlen(both), "The output", reterr);
}

static int run_look(Step *s, const json_t *args, Error *reterr) {
        _cleanup_exec_ ExecResult result = {0};
        int64_t wanted;
        int r;

        r = args_int(args, "exit", 0, &wanted, reterr);
        if (r < 0)
                return r;
        r = step_exec(s,
                      &(Exec){.argv = json_object_get(args, "argv"),
                              .input = args_text(args, "stdin", NULL),
                              .quiet = true,
                              .max_out = 1024U * 1024},
                      &result, reterr);
        if (r < 0)
                return r;
        r = judge(args, &result, wanted, reterr);
        if (r < 0 && (*result.out || *result.err))
                step_log(s, "%.2000s%s%.2000s", result.out, *result.out ? "\n" : "", result.err);
        return r;
}

const Check check_run = {"run", run_look};
