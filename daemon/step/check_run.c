/* SPDX-License-Identifier: MIT */
/* run {argv, stdin, exit, has, lacks}: a command that looks. */
#include "api/text.h"
#include "daemon/step/said.h"

#define TOLD_MAX 2000 /* of each stream, in the log of a check that fails */

static int judge(const json_t *args, const ExecResult *result, int64_t wanted, Error *reterr) {
        const char *name = json_string_value(json_array_get(json_object_get(args, "argv"), 0));
        _cleanup_free_ char *last = said_last(result);
        _cleanup_free_ char *words = last ? strf("%s%s", *last ? ": " : "", last) : NULL;

        if (!words)
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
        return said_expect(args, result, reterr);
}

static void tell(Step *s, const ExecResult *result) {
        _cleanup_free_ char *out =
                utf8_clean(result->out, MIN(result->out_size, (size_t) TOLD_MAX));
        _cleanup_free_ char *err =
                utf8_clean(result->err, MIN(result->err_size, (size_t) TOLD_MAX));

        if (out && err && (*out || *err))
                step_log(s, "%s%s%s", out, *out ? "\n" : "", err);
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
                              .max_out = SAID_MAX},
                      &result, reterr);
        if (r < 0)
                return r;
        r = judge(args, &result, wanted, reterr);
        if (r < 0)
                tell(s, &result);
        return r;
}

const Check check_run = {"run", run_look};
