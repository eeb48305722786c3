/* SPDX-License-Identifier: MIT */
/* A child's identity, environment and arguments: see exec_env.h. */
#include "daemon/step/exec_env.h"

#include <ctype.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define ENV_FILE_MAX (1024U * 1024)
#define ARGV_SECRET_MIN 6 /* a shorter secret may stand in an argument by accident */

void identity_done(Identity *identity) {
        free(identity->groups);
        free(identity->name);
        free(identity->home);
        *identity = (Identity){0};
}

void strings_free(char **strings) {
        for (char **p = strings; *p; p++)
                free(*p);
        free(strings);
}

static struct passwd *find_user(const char *user) {
        char *end;
        unsigned long uid;

        if (isempty(user))
                return getpwuid(geteuid());
        uid = strtoul(user, &end, 10);
        return *end ? getpwnam(user) : getpwuid((uid_t) uid);
}

static int find_groups(const struct passwd *pw, Identity *identity) {
        int n = 64;

        identity->groups = calloc((size_t) n, sizeof(gid_t));
        if (!identity->groups)
                return -ENOMEM;
        while (getgrouplist(pw->pw_name, pw->pw_gid, identity->groups, &n) < 0) {
                gid_t *grown = reallocarray(identity->groups, (size_t) n, sizeof(gid_t));

                if (!grown)
                        return -ENOMEM;
                identity->groups = grown;
        }
        identity->n_groups = n;
        return 0;
}

int identity_find(const char *user, Identity *ret, Error *reterr) {
        _cleanup_(identity_done) Identity identity = {0};
        const struct passwd *pw = find_user(user);

        if (!pw && !isempty(user))
                return error_set(reterr, ESRCH, "spawn", "There is no user '%s' on this machine",
                                 user);
        identity.uid = pw ? pw->pw_uid : geteuid();
        identity.gid = pw ? pw->pw_gid : getegid();
        identity.name = pw ? strdup(pw->pw_name) : strf("%u", (unsigned) identity.uid);
        identity.home = strdup(pw && !isempty(pw->pw_dir) ? pw->pw_dir : "/");
        identity.change = identity.uid != geteuid();
        if (!identity.name || !identity.home)
                return error_oom(reterr);
        /* Asking for groups may load and ask network services: only where the answer is used. */
        if (identity.change && find_groups(pw, &identity) < 0)
                return error_oom(reterr);
        if (identity.change && geteuid() != 0)
                return error_set(reterr, EPERM, "spawn", "Only root can run a command as user '%s'",
                                 identity.name);
        *ret = identity;
        identity = (Identity){0};
        return 0;
}

/* ---- environment: an object, so that later ones replace earlier ones ---- */

static int put_scalar(json_t *env, const char *key, const json_t *value) {
        if (json_is_string(value))
                return json_object_set(env, key, (json_t *) value);
        if (json_is_boolean(value))
                return json_put(env, key, json_string(json_is_true(value) ? "true" : "false"));
        if (json_is_integer(value))
                return json_putf(env, key, "%lld", (long long) json_integer_value(value));
        if (json_is_real(value))
                return json_putf(env, key, "%.17g", json_real_value(value));
        return json_object_del(env, key), 0;
}

static int put_all(json_t *env, const json_t *more) {
        const char *key;
        json_t *value;

        json_object_foreach ((json_t *) more, key, value) {
                if (put_scalar(env, key, value) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* Takes the quotes off, in place; in double quotes a backslash makes the next one literal. */
static void unquote(char *value) {
        char quote = value[0], *to = value;
        size_t n = strlen(value);

        if (n < 2 || (quote != '"' && quote != '\'') || value[n - 1] != quote)
                return;
        value[n - 1] = '\0';
        for (const char *from = value + 1; *from; from++) {
                if (quote == '"' && *from == '\\' && from[1] && strchr("\\\"$`n", from[1])) {
                        from++;
                        *to++ = *from == 'n' ? '\n' : *from;
                } else
                        *to++ = *from;
        }
        *to = '\0';
}

static char *trim(char *text) {
        size_t n;

        while (isspace((unsigned char) *text))
                text++;
        for (n = strlen(text); n > 0 && isspace((unsigned char) text[n - 1]); n--)
                text[n - 1] = '\0';
        return text;
}

static int put_env_line(json_t *env, char *line, const char *path, unsigned number, Error *reterr) {
        char *key = trim(line), *equals;

        if (!*key || *key == '#')
                return 0;
        if (startswith(key, "export "))
                key = trim(key + strlen("export "));
        equals = strchr(key, '=');
        if (!equals || equals == key)
                return error_set(reterr, EINVAL, "env-file", "%s:%u: expected KEY=value", path,
                                 number);
        *equals = '\0';
        (void) trim(key);
        equals = trim(equals + 1);
        unquote(equals);
        return json_put(env, key, json_string(equals)) < 0 ? error_oom(reterr) : 0;
}

static int put_env_file(Step *s, json_t *env, const char *name, Error *reterr) {
        _cleanup_free_ char *path = NULL, *text = NULL;
        unsigned number = 0;
        char *rest;
        int r;

        r = step_path(s, name, &path, reterr);
        if (r < 0)
                return r;
        r = file_read(AT_FDCWD, path, ENV_FILE_MAX, &text, NULL);
        if (r < 0)
                return error_set(reterr, -r, "env-file",
                                 "The environment file %s cannot be read: %s", path, strerror(-r));
        rest = text;
        while (rest) {
                char *line = strsep(&rest, "\n");

                r = put_env_line(env, line, path, ++number, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int put_env_files(Step *s, json_t *env, const json_t *files, Error *reterr) {
        json_t *file;
        size_t i;

        if (json_is_string(files))
                return put_env_file(s, env, json_string_value(files), reterr);
        json_array_foreach ((json_t *) files, i, file) {
                int r = put_env_file(s, env, json_string_value(file), reterr);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int put_base(json_t *env, const Identity *identity) {
        return json_put(env, "PATH", json_string(DEFAULT_PATH)) < 0 ||
                               json_put(env, "HOME", json_string(identity->home)) < 0 ||
                               json_put(env, "USER", json_string(identity->name)) < 0 ||
                               json_put(env, "LOGNAME", json_string(identity->name)) < 0 ||
                               json_put(env, "LANG", json_string("C.UTF-8")) < 0
                       ? -ENOMEM
                       : 0;
}

static int put_attempt(const Step *s, json_t *env) {
        static const char *const names[][2] = {
                {"UPDD_ATTEMPT", "id"}, {"UPDD_JOB", "job"},       {"UPDD_STEP", "step"},
                {"UPDD_PLAN", "plan"},  {"UPDD_TARGET", "target"}, {"UPDD_DIRECTION", "direction"}};

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (put_scalar(env, names[i][0], json_object_get(s->task, names[i][1])) < 0)
                        return -ENOMEM;
        return json_put(env, "UPDD_RECORD", json_string(step_record_dir(s)));
}

static int to_strings(const json_t *env, char ***ret, Error *reterr) {
        _cleanup_strings_ char **out = calloc(json_object_size(env) + 1, sizeof(char *));
        const char *key;
        json_t *value;
        size_t n = 0;

        if (!out)
                return error_oom(reterr);
        json_object_foreach ((json_t *) env, key, value) {
                out[n] = strf("%s=%s", key, json_string_value(value));
                if (!out[n++])
                        return error_oom(reterr);
        }
        *ret = TAKE(out);
        return 0;
}

int exec_environment(Step *s, const Exec *x, const Identity *identity, bool service, char ***ret,
                     Error *reterr) {
        json_auto_t *env = json_object();
        int r;

        if (!env || put_base(env, identity) < 0 ||
            (x->answers && json_put(env, "TERM", json_string("dumb")) < 0) ||
            (!service && put_attempt(s, env) < 0))
                return error_oom(reterr);
        r = put_env_files(s, env, step_setting(s, "env_file"), reterr);
        if (r < 0)
                return r;
        if (put_all(env, json_object_get(s->op, "env")) < 0 ||
            put_all(env, json_object_get(s->overlay, "env")) < 0 || put_all(env, x->env) < 0)
                return error_oom(reterr);
        /* The marks by which what is left behind is found are not the plan's to change. */
        if (service)
                (void) json_object_del(env, "UPDD_ATTEMPT");
        else if (put_attempt(s, env) < 0)
                return error_oom(reterr);
        return to_strings(env, ret, reterr);
}

int exec_arguments(Step *s, const json_t *argv, char ***ret, Error *reterr) {
        _cleanup_strings_ char **out = calloc(json_array_size(argv) + 1, sizeof(char *));
        json_t *item;
        size_t i;

        if (!out)
                return error_oom(reterr);
        if (json_array_size(argv) == 0)
                return error_set(reterr, EINVAL, "spawn", "There is no command to run");
        json_array_foreach ((json_t *) argv, i, item) {
                out[i] = json_is_string(item) ? strdup(json_string_value(item))
                                              : json_dumps(item, JSON_ENCODE_ANY | JSON_COMPACT);
                if (!out[i])
                        return error_oom(reterr);
                if (masks_found(&s->masks, out[i], ARGV_SECRET_MIN))
                        return error_set(reterr, EPERM, "secret-in-argv",
                                         "Argument %zu of '%s' holds a secret, which every user of "
                                         "the machine could read; pass it by env or stdin",
                                         i, out[0]);
        }
        *ret = TAKE(out);
        return 0;
}
