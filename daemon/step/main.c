/* SPDX-License-Identifier: MIT */
/*
 * updd-step: carries out one attempt.
 *   updd-step --dir FOLDER --id ID [--secrets-fd FD]
 * It promises: at most one instance acts for a folder, whatever starts it how often; nothing is
 * done before the claim is durable; and once it is, a result follows unless this process is killed.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "api/exits.h"
#include "api/text.h"
#include "daemon/attempt/attempt.h"
#include "daemon/step/full.h"
#include "daemon/step/supervisor.h"
#include "daemon/step/worker.h"

typedef struct Options {
        const char *dir, *id;
        int secrets_fd;
} Options;

static int usage(FILE *to, int code) {
        fputs("Usage: updd-step --dir FOLDER --id ID [--secrets-fd FD]\n"
              "Carries out the attempt whose task.json stands in FOLDER. Started by updd.\n"
              "  --dir FOLDER      the attempt's folder\n"
              "  --id ID           the attempt's id, 32 hex digits; another one is refused\n"
              "  --secrets-fd FD   where the secrets are read from, as a JSON object (default 0)\n"
              "  --help, --version\n",
              to);
        return code;
}

/* 0: go on; else the exit code plus 1. */
static int options_read(Options *o, int argc, char **argv) {
        static const struct option table[] = {
                {"dir", required_argument, NULL, 'd'},        {"id", required_argument, NULL, 'i'},
                {"secrets-fd", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'},
                {"version", no_argument, NULL, 'V'},          {0}};
        int c;

        while ((c = getopt_long(argc, argv, "h", table, NULL)) >= 0)
                switch (c) {
                case 'd': o->dir = optarg; break;
                case 'i': o->id = optarg; break;
                case 's': o->secrets_fd = atoi(optarg); break;
                case 'h': return usage(stdout, EXIT_AS_ASKED) + 1;
                case 'V': puts("updd-step " UPDD_VERSION); return EXIT_AS_ASKED + 1;
                default: return usage(stderr, EXIT_USAGE) + 1;
                }
        if (!o->dir || !o->id || !id128_is_valid(o->id) || optind != argc)
                return usage(stderr, EXIT_USAGE) + 1;
        return 0;
}

/* Descriptors of whoever started it: nothing of the daemon's may live on here. */
static void close_inherited(int keep) {
        if (keep > 3)
                (void) close_range(3, (unsigned) keep - 1, 0);
        (void) close_range(keep >= 3 ? (unsigned) keep + 1 : 3, ~0U, 0);
}

/* Standard input is nothing's from here on; standard error stays for what cannot be told in the
 * folder, and standard output may lead to the journal. */
static int close_input(int secrets_fd) {
        _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        if (null < 0 || dup2(null, STDIN_FILENO) < 0)
                return -errno;
        if (secrets_fd > STDERR_FILENO)
                (void) close(secrets_fd);
        return 0;
}

/* From the first moment a TERM waits for the supervisor instead of killing what has claimed. */
static int block_signals(void) {
        sigset_t set;

        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGHUP, SIG_IGN);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

static bool is_over(int dirfd) {
        return faccessat(dirfd, "claim", F_OK, 0) == 0 ||
               faccessat(dirfd, "result.json", F_OK, 0) == 0;
}

static int read_inputs(const Options *o, int dirfd, json_t **ret_task, json_t **ret_secrets,
                       Error *reterr) {
        json_auto_t *task = NULL, *secrets = NULL;
        int r;

        r = attempt_task_read(dirfd, o->id, &task, reterr);
        if (r < 0)
                return r;
        if (json_array_size(json_object_get(task, "secrets")) > 0) {
                r = secrets_read(o->secrets_fd, &secrets, reterr);
                if (r < 0)
                        return r;
        } else
                secrets = json_object();
        r = close_input(o->secrets_fd);
        if (r < 0)
                return error_set(reterr, -r, "internal", "/dev/null cannot be opened: %s",
                                 strerror(-r));
        *ret_task = TAKE(task);
        *ret_secrets = TAKE(secrets);
        return 0;
}

static int attempt_run(const Options *o, int dirfd, Error *reterr) {
        _cleanup_close_ int lock = -EBADF, program = -EBADF;
        json_auto_t *task = NULL, *secrets = NULL;
        int r;

        if (is_over(dirfd))
                return 0;
        r = read_inputs(o, dirfd, &task, &secrets, reterr);
        if (r < 0)
                return r;
        r = task_is_known(task) ? 0 : full_worker_open(&program);
        if (r < 0)
                return error_set(reterr, -r, "program",
                                 "updd-step-worker " UPDD_VERSION " cannot be opened: %s",
                                 strerror(-r));
        r = attempt_lock(dirfd, &lock);
        if (r == -EBUSY)
                return 0;
        if (r < 0)
                return error_set(reterr, -r, "lock", "The lock cannot be taken: %s", strerror(-r));
        if (is_over(dirfd))
                return 0;
        /* Without room for a result nothing is claimed: it can begin once there is room. */
        r = attempt_result_reserve(dirfd);
        if (r < 0)
                return error_set(reterr, -r, "reserve", "There is no room for a result: %s",
                                 strerror(-r));
        r = attempt_claim(dirfd, o->id, NULL);
        if (r == -EEXIST)
                return 0;
        if (r < 0)
                return error_set(reterr, -r, "claim", "The claim cannot be made: %s", strerror(-r));
        return supervisor_run(dirfd, lock, program, task, secrets, reterr);
}

/* Memory holds secrets, and a core dump would put them on disk. Whoever wants one raises the soft
 * limit. */
static void refuse_core_dumps(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_CORE, &limit) < 0)
                return;
        limit.rlim_cur = 0;
        (void) setrlimit(RLIMIT_CORE, &limit);
}

int main(int argc, char **argv) {
        Options o = {0};
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_close_ int dirfd = -EBADF;
        int r = options_read(&o, argc, argv);

        if (r > 0)
                return r - 1;
        (void) block_signals();
        (void) umask(077);
        refuse_core_dumps();
        close_inherited(o.secrets_fd);
        r = attempt_open(o.dir, false, &dirfd);
        if (r < 0)
                (void) error_set(&error, -r, "folder", "%s: %s", o.dir, strerror(-r));
        else
                r = attempt_run(&o, dirfd, &error);
        if (r >= 0)
                return EXIT_AS_ASKED;
        fprintf(stderr, "updd-step: %s\n", error.message ? error.message : strerror(-r));
        return EXIT_REFUSED;
}
