/* SPDX-License-Identifier: MIT */
/*
 * updd-step-worker: the worker with every verb and check. Only updd-step becomes it (see full.h):
 *   updd-step-worker ID FOLDER-FD CONTROL-FD SECRETS-FD
 */
#include <linux/close_range.h>
#include <sys/prctl.h>

#include "api/exits.h"
#include "daemon/attempt/attempt.h"
#include "daemon/step/worker.h"

int main(int argc, char **argv) {
        json_auto_t *task = NULL, *secrets = NULL;
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        if (argc != 5) {
                fputs("updd-step-worker is started by updd-step only\n", stderr);
                return EXIT_USAGE;
        }
        /* Its file was executed by its descriptor, whose number would be its name. */
        (void) prctl(PR_SET_NAME, "updd-step-worker");
        /* What was taken along (the lock among it) is this program's and not its children's. */
        (void) close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        r = attempt_task_read(atoi(argv[2]), argv[1], &task, &error);
        if (r >= 0)
                r = secrets_read(atoi(argv[4]), &secrets, &error);
        if (r < 0) {
                fprintf(stderr, "updd-step-worker: %s\n",
                        error.message ? error.message : strerror(-r));
                return EXIT_REFUSED;
        }
        (void) close(atoi(argv[4]));
        worker_run(atoi(argv[2]), atoi(argv[3]), TAKE(task), TAKE(secrets));
}
