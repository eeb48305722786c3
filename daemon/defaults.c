/* SPDX-License-Identifier: MIT */
/*
 * What is so unless it is said otherwise: root's places in the system, an ordinary user's in the
 * XDG folders, and the step program found from where updd itself stands, so that a build tree and
 * an unpacked package run as they are.
 */
#include <pwd.h>
#include <sys/stat.h>

#include "daemon/config.h"

static char *xdg_path(const char *variable, const char *fallback, const char *name) {
        const char *base = getenv(variable), *home = getenv("HOME");

        if (base && base[0] == '/')
                return strf("%s/updd%s", base, name);
        return home ? strf("%s/%s/updd%s", home, fallback, name) : NULL;
}

static char *default_config(void) {
        return geteuid() == 0 ? strdup("/etc/updd/updd.yaml")
                              : xdg_path("XDG_CONFIG_HOME", ".config", "/updd.yaml");
}

static char *default_state_dir(void) {
        return geteuid() == 0 ? strdup("/var/lib/updd")
                              : xdg_path("XDG_STATE_HOME", ".local/state", "");
}

/* A folder in /tmp is anybody's to make first: it serves only when it is ours and closed to others.
 */
static int check_private(const char *dir, Error *reterr) {
        struct stat st;

        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return error_set(reterr, errno, "bad-config", "cannot make %s: %m", dir);
        if (lstat(dir, &st) < 0)
                return error_set(reterr, errno, "bad-config", "cannot look at %s: %m", dir);
        if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
                return error_set(reterr, EPERM, "bad-config",
                                 "%s is not a folder that is yours alone; use --socket", dir);
        return 0;
}

static int default_socket(char **ret, Error *reterr) {
        const char *runtime = getenv("XDG_RUNTIME_DIR");
        _cleanup_free_ char *dir = NULL;
        int r = 0;

        if (geteuid() == 0)
                dir = strdup("/run/updd");
        else if (runtime && runtime[0] == '/')
                dir = strf("%s/updd", runtime);
        else {
                dir = strf("/tmp/updd-%ld", (long) geteuid());
                r = dir ? check_private(dir, reterr) : 0;
        }
        if (r < 0)
                return r;
        *ret = dir ? path_join(dir, "updd.sock") : NULL;
        return *ret ? 0 : error_oom(reterr);
}

static char *executable_dir(const char *executable) {
        const char *slash = strrchr(executable, '/');

        return slash ? strndup(executable, (size_t) (slash - executable)) : strdup(".");
}

static int default_plan_dirs(Config *config, const char *executable, Error *reterr) {
        _cleanup_free_ char *own = NULL, *dir = NULL, *shipped = NULL;
        const Option *option = config_option_find("plan-dir", true, NULL);
        int r;

        own = geteuid() == 0 ? strdup("/etc/updd/plans")
                             : xdg_path("XDG_CONFIG_HOME", ".config", "/plans");
        dir = executable_dir(executable);
        shipped = dir ? strf("%s/../share/updd/plans", dir) : NULL;
        if (!shipped)
                return error_oom(reterr);
        r = own ? config_option_set(config, option, own) : 0;
        if (r >= 0)
                r = config_option_set(config, option,
                                      access(shipped, R_OK) == 0 ? shipped : UPDD_PLAN_DIR);
        return r < 0 ? error_oom(reterr) : 0;
}

static int default_step_program(char **ret, const char *executable, Error *reterr) {
        static const char *const places[] = {"%s/step/updd-step", "%s/../libexec/updd/updd-step",
                                             "%s/../lib/updd/updd-step"};
        _cleanup_free_ char *dir = executable_dir(executable);
        const char *given = getenv("UPDD_STEP");

        if (!isempty(given)) {
                *ret = strdup(given);
                return *ret ? 0 : error_oom(reterr);
        }
        for (size_t i = 0; dir && i < ELEMENTSOF(places); i++) {
                const char *tail = places[i] + strlen("%s");
                _cleanup_free_ char *path = strf("%s%s", dir, tail);

                if (path && access(path, X_OK) == 0) {
                        *ret = TAKE(path);
                        return 0;
                }
        }
        (void) error_set(reterr, ENOENT, "bad-config", "updd-step is not found from %s",
                         executable);
        error_hint(reterr, "use --step-program, or the environment's UPDD_STEP");
        return -ENOENT;
}

/* What the command line has left open is taken from the file. */
static int merge(Config *config, Config *file) {
        for (size_t i = 0; i < n_config_options; i++) {
                const Option *o = &config_options[i];
                void **to = (void **) ((char *) config + o->offset);
                void **from = (void **) ((char *) file + o->offset);

                if (o->in_file && !*to)
                        *to = TAKE(*from);
        }
        return 0;
}

static int read_file(Config *config, Error *reterr) {
        _cleanup_config_ Config file = {0};
        bool given = config->config;
        int r;

        if (!given)
                config->config = default_config();
        if (!config->config)
                return 0;
        r = config_read_file(config->config, &file, reterr);
        if (r == -ENOENT && !given) {
                if (reterr)
                        error_done(reterr);
                return 0;
        }
        return r < 0 ? r : merge(config, &file);
}

static int make_absolute(char **path) {
        _cleanup_free_ char *cwd = NULL, *absolute = NULL;

        if (!*path || **path == '/')
                return 0;
        cwd = getcwd(NULL, 0);
        absolute = cwd ? path_join(cwd, *path) : NULL;
        if (!absolute)
                return -ENOMEM;
        free(*path);
        *path = TAKE(absolute);
        return 0;
}

static int make_all_absolute(Config *config) {
        for (size_t i = 0; i < n_config_options; i++) {
                void *member = (char *) config + config_options[i].offset;
                int r = 0;

                if (config_options[i].kind == OPTION_PATH)
                        r = make_absolute(member);
                else if (config_options[i].kind == OPTION_PATHS)
                        for (char **p = *(char ***) member; p && *p && r >= 0; p++)
                                r = make_absolute(p);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int check_values(const Config *config, Error *reterr) {
        char *end = NULL;
        unsigned long n;

        if (config->others && !streq(config->others, "none") && !streq(config->others, "view"))
                return error_set(reterr, EINVAL, "bad-config",
                                 "others takes none or view, not '%s'", config->others);
        if (config->steps_in && !streq(config->steps_in, "plain") &&
            !streq(config->steps_in, "systemd"))
                return error_set(reterr, EINVAL, "bad-config",
                                 "steps-in takes plain or systemd, not '%s'", config->steps_in);
        if (config->max_jobs) {
                n = strtoul(config->max_jobs, &end, 10);
                if (end == config->max_jobs || *end || n < 1 || n > 10000)
                        return error_set(reterr, EINVAL, "bad-config",
                                         "max-jobs takes a number from 1 to 10000, not '%s'",
                                         config->max_jobs);
        }
        return 0;
}

int config_complete(Config *config, const char *executable, Error *reterr) {
        int r;

        r = make_all_absolute(config);
        if (r >= 0)
                r = read_file(config, reterr);
        if (r < 0)
                return r;
        if (!config->state_dir)
                config->state_dir = default_state_dir();
        if (!config->state_dir)
                return error_set(reterr, EINVAL, "bad-config",
                                 "HOME is not set; use --state-dir to say where state is kept");
        r = check_values(config, reterr);
        if (r >= 0 && !config->check_state && !config->socket)
                r = default_socket(&config->socket, reterr);
        if (r >= 0 && !config->plan_dirs)
                r = default_plan_dirs(config, executable, reterr);
        if (r >= 0 && !config->check_state && !config->step_program)
                r = default_step_program(&config->step_program, executable, reterr);
        if (r >= 0 && make_all_absolute(config) < 0)
                r = error_oom(reterr);
        return r;
}
