/* SPDX-License-Identifier: MIT */
/*
 * The files of attempts, as a daemon that starts anew finds them. The sections before the first
 * "=== spawn" stand in the folder of the job's attempt in flight ("=== alive": its lock is held);
 * those behind each "=== spawn" are what the next attempts leave. `@ID@` is the attempt's id. Sections
 * named like verbs are asked of the job once the files have been read.
 */
#include "daemon/attempt/attempt.h"
#include "api/args.h"
#include "daemon.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        state_make();
        return 0;
}

/* The id that stands in the claim of the folder's first owner. */
static void read_id(const char *dir, char ret[static ID128_TEXT_MAX]) {
        _cleanup_free_ char *path = path_join(dir, "claim"), *text = NULL;
        json_auto_t *claim = NULL;

        if (file_read(-1, path, 65536, &text, NULL) < 0)
                abort();
        claim = json_loads(text, 0, NULL);
        (void) snprintf(ret, ID128_TEXT_MAX, "%s", args_text(claim, "id", ""));
}

static void read_as_step(const char *dir, const char *id) {
        json_auto_t *claim = NULL, *result = NULL, *task = NULL;
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (attempt_open(dir, false, &fd) < 0)
                return;
        r = attempt_claim_read(fd, id, &claim);
        PROMISED(r < 0 || streq0(args_text(claim, "id", NULL), id));
        r = attempt_result_read(fd, id, &result);
        PROMISED(r < 0 || streq0(args_text(result, "id", NULL), id));
        r = attempt_task_read(fd, id, &task, &error);
        PROMISED((r < 0) == (error.message != NULL));
        for (unsigned k = 0; k < 3; k++) {
                _cleanup_free_ char *answer = NULL;

                (void) !attempt_answer_read(fd, k, &answer);
                (void) !attempt_answer_deliver(fd, k);
                (void) !attempt_answer_forget(fd, k);
        }
}

static void replace_files(const char *dir, const char *id, const Sections *sections) {
        static const char *const files[] = {"claim", "result.json", "progress"};

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                _cleanup_free_ char *path = path_join(dir, files[i]);

                (void) unlink(path);
        }
        (void) spawn_write(sections, 0, dir, id);
}

static void attempts(int64_t job, const char *step, const Sections *sections) {
        const char *dir = state_fresh(job);
        _cleanup_free_ char *attempt = state_attempt(dir, job, step, 1);
        char id[ID128_TEXT_MAX];
        Daemon d;

        read_id(attempt, id);
        replace_files(attempt, id, sections);
        spawn_follow(sections);
        if (daemon_open(dir, &d, NULL) < 0)
                abort();
        daemon_turn(&d);
        daemon_calls(&d, job, sections);
        daemon_look(&d);
        daemon_close(&d);
        read_as_step(attempt, id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_sections_ Sections sections = sections_read(data, size);

        if (section_find(&sections, "question"))
                attempts(STATE_QUESTION, "asks", &sections);
        else
                attempts(STATE_RUNNING, "hangs", &sections);
        return 0;
}
