/* SPDX-License-Identifier: MIT */
/*
 * Questions to a person. The supervisor writes the question into `progress` and lets the time limit
 * rest; the daemon puts the answer into the attempt's folder as answer.<k>.
 */
#include "daemon/attempt/attempt.h"
#include "daemon/step/worker.h"

#define LOOK_EVERY_MS 100

unsigned ask_begin(Step *s, const char *prompt, bool echo) {
        unsigned k = ++s->questions;

        worker_tell(s, "question",
                    json_pack("{s:i, s:s, s:b}", "k", (int) k, "prompt", prompt, "echo", echo));
        return k;
}

int ask_poll(Step *s, unsigned k, bool echo, char **ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = attempt_answer_read(s->dirfd, k, &text);
        if (r == -ENOENT)
                return 0;
        if (r >= 0 && !echo) {
                r = worker_mask(s, text);
                if (r >= 0)
                        r = attempt_answer_forget(s->dirfd, k);
        }
        /* A disk that fails for a while is no answer. */
        if (r < 0)
                return attempt_error_passes(r) ? 0 : r;
        *ret = TAKE(text);
        return 1;
}

void ask_end(Step *s, unsigned k) {
        worker_tell(s, "answered", json_integer(k));
}

int step_ask(Step *s, const char *prompt, bool echo, char **ret, Error *reterr) {
        unsigned k = ask_begin(s, prompt, echo);

        for (;;) {
                int r = ask_poll(s, k, echo, ret);

                if (r != 0) {
                        ask_end(s, k);
                        if (r > 0)
                                return 0;
                        return error_set(reterr, -r, "answer", "The answer cannot be read: %s",
                                         strerror(-r));
                }
                if (step_sleep(s, LOOK_EVERY_MS) < 0)
                        return error_set(reterr, ECANCELED, "stopped",
                                         "Stopped while waiting for an answer");
        }
}
