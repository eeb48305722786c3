/* SPDX-License-Identifier: MIT */
/*
 * updd: one thread around one event loop, which holds the engine and the HTTP server. This file
 * reads the options (anew on SIGHUP), brings the two up, and takes them down on SIGTERM or SIGINT.
 * Jobs need nothing of that: their steps go on in updd-step, and the next updd takes them up again.
 */
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <systemd/sd-login.h>

#include "api/memory.h"
#include "daemon/bus/bus.h"
#include "daemon/config.h"
#include "daemon/engine/engine.h"
#include "daemon/http/http.h"
#include "daemon/log.h"
#include "daemon/reload.h"
#include "daemon/watchdog.h"

#define EXIT_USAGE_ERROR 2
#define EXIT_NOT_WHOLE 3

static int fail(const Error *error, int r) {
        _cleanup_free_ char *text = log_error_text(error, r);

        log_error("%s", text ? text : strerror(-r));
        return EXIT_FAILURE;
}

static char *own_executable(void) {
        char path[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

        if (n < 0)
                return strdup("updd");
        path[n] = '\0';
        return strdup(path);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        log_message(LOG_LEVEL_INFO, MESSAGE_DAEMON_ENDING,
                    "ending on %s; jobs go on with the next start", strsignal((int) si->ssi_signo));
        return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        Reload *re = userdata;

        if (re->http)
                reload(re);
        return 0;
}

/* A write to somebody who left is an error like any other, and a terminal that closes is no reason
 * to end: options are read anew. */
static int set_up_signals(sd_event *event, Reload *re) {
        static const int ending[] = {SIGTERM, SIGINT};
        sigset_t set;
        int r;

        if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return -errno;
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGHUP);
        for (size_t i = 0; i < ELEMENTSOF(ending); i++)
                (void) sigaddset(&set, ending[i]);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(ending); i++) {
                r = sd_event_add_signal(event, NULL, ending[i], on_signal, NULL);
                if (r < 0)
                        return r;
        }
        return sd_event_add_signal(event, NULL, SIGHUP, on_reload, re);
}

static int set_up_loop(Reload *re, sd_event **ret, Error *reterr) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        int r;

        r = sd_event_default(&event);
        if (r >= 0)
                r = set_up_signals(event, re);
        if (r < 0)
                return error_set(reterr, -r, "internal", "cannot set up the event loop: %s",
                                 strerror(-r));
        *ret = TAKE(event);
        return 0;
}

static int make_parent(const char *path, unsigned mode, Error *reterr) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *dir = NULL;
        int r;

        if (!slash || slash == path)
                return 0;
        dir = strndup(path, (size_t) (slash - path));
        if (!dir)
                return error_oom(reterr);
        r = mkdir_parents(dir, mode);
        return r < 0 ? error_set(reterr, -r, "bad-config", "cannot make %s: %s", dir, strerror(-r))
                     : 0;
}

/* As a service of systemd a step would end with the service: then plain is no choice. */
static bool is_service(void) {
        _cleanup_free_ char *unit = NULL;

        return sd_pid_get_unit(0, &unit) >= 0 && streq(unit, "updd.service");
}

/* Steps are units of the machine's systemd when it has one and updd is root's; else processes in
 * sessions of their own. */
static int start_bus(sd_event *event, const Config *config, Bus **ret, Error *reterr) {
        bool plain = streq0(config->steps_in, "plain");
        int r;

        if (plain && is_service())
                return error_set(reterr, EINVAL, "bad-config",
                                 "steps-in: plain is refused under updd.service, whose end would "
                                 "be the end of the steps");
        if (plain || (!config->steps_in && (geteuid() != 0 || sd_booted() <= 0)))
                return 0;
        r = bus_new(event, ret, reterr);
        if (r < 0 && !is_service())
                error_hint(reterr, "with --steps-in plain steps need no systemd");
        return r;
}

static int start_engine(sd_event *event, const Config *config, Bus *bus, Engine **ret,
                        Error *reterr) {
        EngineConfig ec = config_for_engine(config, bus);
        int r;

        r = mkdir_durable(config->state_dir, 0700);
        if (r < 0)
                return error_set(reterr, -r, "bad-config", "cannot make %s: %s", config->state_dir,
                                 strerror(-r));
        return engine_new(event, &ec, ret, reterr);
}

static int start_http(sd_event *event, Engine *engine, const Config *config, HttpServer **ret,
                      Error *reterr) {
        HttpConfig hc = config_for_http(config);
        int r;

        r = make_parent(config->socket, 0755, reterr);
        if (r >= 0)
                r = http_new(event, engine, &hc, ret, reterr);
        if (r >= 0 && http_address(*ret))
                log_info("listening on %s", http_address(*ret));
        return r;
}

/* What an end takes down, and in which order, stands in http.h. */
static int serve(Reload *re, Error *reterr) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(bus_freep) Bus *bus = NULL;
        _cleanup_(http_freep) HttpServer *http = NULL;
        _cleanup_(engine_freep) Engine *engine = NULL;
        _cleanup_(watchdog_freep) Watchdog *watchdog = NULL;
        const Config *config = re->config;
        int r;

        r = set_up_loop(re, &event, reterr);
        if (r >= 0)
                r = start_bus(event, config, &bus, reterr);
        if (r >= 0)
                r = start_engine(event, config, bus, &engine, reterr);
        if (r >= 0)
                r = start_http(event, engine, config, &http, reterr);
        if (r < 0)
                return r;
        re->engine = engine;
        re->http = http;
        r = watchdog_new(event, engine, http, &watchdog);
        if (r < 0)
                return error_set(reterr, -r, "internal", "cannot set up the watchdog: %s",
                                 strerror(-r));
        log_message(LOG_LEVEL_INFO, MESSAGE_DAEMON_STARTED,
                    "updd %s is ready; state in %s, socket %s", UPDD_VERSION, config->state_dir,
                    config->socket);
        (void) sd_notify(0, "READY=1");
        r = engine_loop(engine);
        (void) sd_notify(0, "STOPPING=1");
        http_stop(http);
        return r < 0 ? error_set(reterr, -r, "internal", "the event loop failed: %s", strerror(-r))
                     : 0;
}

static void print_state(const char *dir, const json_t *state) {
        const char *seen = json_string_value(json_object_get(state, "seen"));

        (void) printf("%s: schema %d, %d jobs for the next start to take up\n", dir,
                      (int) json_integer_value(json_object_get(state, "schema")),
                      (int) json_integer_value(json_object_get(state, "jobs")));
        if (seen)
                (void) printf("updd %s %s; its last sign is of %s\n",
                              json_string_value(json_object_get(state, "version")),
                              json_is_true(json_object_get(state, "ended"))
                                      ? "ended by itself"
                                      : "did not end, it died",
                              seen);
}

/* 0 whole, EXIT_NOT_WHOLE it is not, or -errno: nothing could be looked at. */
static int check_state(const Config *config, Error *reterr) {
        json_auto_t *findings = NULL, *state = NULL;
        const json_t *finding;
        size_t i;
        int r;

        r = engine_check_state(config->state_dir, &findings, &state, reterr);
        if (r == -EUCLEAN) {
                (void) fail(reterr, r);
                return EXIT_NOT_WHOLE;
        }
        if (r < 0)
                return r;
        print_state(config->state_dir, state);
        json_array_foreach (findings, i, finding) {
                (void) printf("- %s\n", json_string_value(finding));
        }
        if (i == 0) {
                (void) printf("%s is whole\n", config->state_dir);
                return 0;
        }
        (void) printf(
                "%s is not whole. Nothing was changed. Keep a copy of the folder before anything "
                "else; a damaged file is replaced by a backup of it, and a job that is held is "
                "seen to and then abandoned (updctl abandon).\n",
                config->state_dir);
        return EXIT_NOT_WHOLE;
}

static int run(int argc, char *argv[], Config *config) {
        _cleanup_free_ char *executable = own_executable();
        Reload re = {.argc = argc, .argv = argv, .executable = executable, .config = config};
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        r = executable ? config_complete(config, executable, &error) : error_oom(&error);
        if (r < 0)
                return fail(&error, r);
        r = config->check_state ? check_state(config, &error) : serve(&re, &error);
        return r < 0 ? fail(&error, r) : r;
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

int main(int argc, char *argv[]) {
        _cleanup_config_ Config config = {0};
        _cleanup_error_ Error error = ERROR_INIT;

        refuse_core_dumps();
        memory_watch();
        if (config_parse_args(argc, argv, &config, &error) < 0) {
                _cleanup_free_ char *text = log_error_text(&error, -EINVAL);

                (void) fprintf(stderr, "updd: %s\n", text ? text : "out of memory");
                return EXIT_USAGE_ERROR;
        }
        if (config.help)
                config_print_help(stdout);
        else if (config.version)
                (void) printf("updd %s\n", UPDD_VERSION);
        else
                return run(argc, argv, &config);
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
