/* SPDX-License-Identifier: MIT */
/* See reload.h. */
#include "daemon/reload.h"

#include <inttypes.h>
#include <systemd/sd-daemon.h>

#include "daemon/log.h"

EngineConfig config_for_engine(const Config *config, Bus *bus) {
        return (EngineConfig){
                .state_dir = config->state_dir,
                .plan_dirs = (const char *const *) config->plan_dirs,
                .step_program = config->step_program,
                .max_jobs = config->max_jobs ? (unsigned) strtoul(config->max_jobs, NULL, 10) : 0,
                .bus = bus,
        };
}

HttpConfig config_for_http(const Config *config) {
        return (HttpConfig){
                .socket = config->socket,
                .listen = config->listen,
                .origins = (const char *const *) config->origins,
                .group = "updd",
                .others_view = streq0(config->others, "view"),
        };
}

static int read_anew(const Reload *re, Config *ret, Error *reterr) {
        int r = config_parse_args(re->argc, re->argv, ret, reterr);

        return r < 0 ? r : config_complete(ret, re->executable, reterr);
}

/* All of it or nothing: what could fail is behind when the first of them hears of it. */
static void put_in_force(const Reload *re) {
        EngineConfig ec = config_for_engine(re->config, NULL);
        HttpConfig hc = config_for_http(re->config);

        engine_reconfigure(re->engine, &ec);
        http_reconfigure(re->http, &hc);
}

/* The live options change places; the others stay, and are named. */
static char *take_over(Config *config, Config *fresh) {
        char *names = strdup("");

        for (size_t i = 0; i < n_config_options; i++) {
                const Option *o = &config_options[i];
                char *longer;

                if (!o->in_file || config_option_equal(config, fresh, o))
                        continue;
                if (!o->live) {
                        log_warning("%s has changed, which needs a restart; it stays as it was",
                                    o->name);
                        continue;
                }
                config_option_swap(config, fresh, o);
                longer = names ? strf("%s%s%s", names, *names ? ", " : "", o->name) : NULL;
                free(names);
                names = longer;
        }
        return names;
}

static int try(Reload *re, Error *reterr) {
        _cleanup_config_ Config fresh = {0};
        _cleanup_free_ char *names = NULL;
        int r = read_anew(re, &fresh, reterr);

        if (r < 0)
                return r;
        names = take_over(re->config, &fresh);
        put_in_force(re);
        log_message(LOG_LEVEL_INFO, MESSAGE_DAEMON_RELOADED, "options are read anew; changed: %s",
                    !names   ? "they do not fit into memory"
                    : *names ? names
                             : "none");
        (void) sd_notify(0, "STATUS=");
        return 0;
}

void reload(Reload *re) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_free_ char *text = NULL;
        int r;

        (void) sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIi64, now_mono_us());
        r = try(re, &error);
        if (r < 0) {
                text = log_error_text(&error, r);
                log_message(LOG_LEVEL_ERROR, MESSAGE_RELOAD_REFUSED,
                            "the options stay as they were: %s", text ? text : strerror(-r));
                (void) sd_notifyf(0, "STATUS=Reload refused: %s", text ? text : strerror(-r));
        }
        (void) sd_notify(0, "READY=1");
}
