/* SPDX-License-Identifier: MIT */
/*
 * Secrets of a job: where each comes from, read anew for each attempt; the first source that exists
 * is the one that counts. A value that came with a
 * request, and one that a step saved, stands in a 0600 file of the job's secrets folder until the
 * job leaves memory. Values are never in the database and never in task.json.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "api/args.h"
#include "daemon/engine/turn.h"
#include "daemon/plan/expand.h"

#define SECRET_MAX (64U * 1024)

/* Files only: what stands in an application's folder is its user's, and a pipe there must not hold
 * the daemon up. */
static int source_text(const char *path, size_t max, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        _cleanup_free_ char *opened = NULL;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -ENODEV;
        opened = strf("/proc/self/fd/%d", fd);
        return opened ? file_read(AT_FDCWD, opened, max, ret, ret_size) : -ENOMEM;
}

/* One trailing newline is how editors end files, not part of the secret. */
static int secret_read(const char *path, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t n = 0;
        int r;

        r = source_text(path, SECRET_MAX, &text, &n);
        if (r < 0)
                return r;
        if (n > 0 && text[n - 1] == '\n')
                text[--n] = '\0';
        if (n > 0 && text[n - 1] == '\r')
                text[n - 1] = '\0';
        *ret = TAKE(text);
        return 0;
}

/* Only a source that is not there is passed over for the next: one that is, and does not tell its
 * value, must not be stood in for by another. -ENOENT and no error; anything else with one. */
static int source_failed(const char *path, int r, Error *reterr) {
        if (r == -ENOENT)
                return r;
        if (r == -ENOMEM)
                return error_oom(reterr);
        (void) error_set(reterr, -r, "secret-unreadable", "%s cannot be read: %s", path,
                         r == -ENODEV ? "It is not a file" : strerror(-r));
        if (r == -EACCES || r == -EPERM)
                error_hint(reterr, "updd reads it, not the step: let updd's user read it, or hand "
                                   "it to updd.service by LoadCredential=, see updd(8)");
        return r;
}

static int source_read(const char *path, char **ret, Error *reterr) {
        int r = path ? secret_read(path, ret) : -ENOMEM;

        return r < 0 ? source_failed(path, r, reterr) : r;
}

static int from_kept(const Turn *t, const Job *job, const char *name, char **ret, Error *reterr) {
        _cleanup_free_ char *path =
                strf("%s/jobs/%lld/secrets/%s", t->state_dir, (long long) job->id, name);

        return source_read(path, ret, reterr);
}

/* A source's path with its inputs put in, below the plan's cwd when it is relative. */
static int source_path(const Job *job, const json_t *source, const json_t *scope, char **ret,
                       Error *reterr) {
        _cleanup_free_ char *path = NULL, *cwd = NULL;
        const char *plan_cwd = args_text(job->def->plan->norm, "cwd", "/");
        int r;

        if (!json_is_string(source))
                return -ENOENT;
        r = plan_expand_text(json_string_value(source), scope, &path, reterr);
        if (r >= 0)
                r = plan_expand_text(plan_cwd, scope, &cwd, reterr);
        if (r < 0)
                return r;
        *ret = path_join(cwd, path);
        return *ret ? 0 : error_oom(reterr);
}

/* LoadCredential= and SetCredentialEncrypted= of updd.service, as they were when it started. */
static int from_credential(const json_t *secret, const json_t *scope, char **ret, Error *reterr) {
        const char *text = args_text(secret, "credential", NULL);
        const char *dir = getenv("CREDENTIALS_DIRECTORY");
        _cleanup_free_ char *name = NULL, *path = NULL;
        int r;

        if (!text || !dir)
                return -ENOENT;
        r = plan_expand_text(text, scope, &name, reterr);
        if (r < 0)
                return r;
        if (strchr(name, '/'))
                return -ENOENT;
        path = path_join(dir, name);
        return source_read(path, ret, reterr);
}

/* The value of KEY=value in an env file; quotes around it are taken off. */
static int env_value(char *text, const char *key, char **ret) {
        size_t n = strlen(key);
        char *save = NULL;

        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                char *value;
                size_t m;

                line += strspn(line, " \t");
                if (startswith(line, "export "))
                        line += strlen("export ");
                if (strncmp(line, key, n) != 0 || line[n] != '=')
                        continue;
                value = line + n + 1;
                m = strcspn(value, "\r");
                if (m >= 2 && (value[0] == '"' || value[0] == '\'') && value[m - 1] == value[0]) {
                        value++;
                        m -= 2;
                }
                *ret = strndup(value, m);
                return *ret ? 0 : -ENOMEM;
        }
        return -ENOENT;
}

static int from_env_file(const Job *job, const json_t *secret, const json_t *scope, char **ret,
                         Error *reterr) {
        _cleanup_free_ char *path = NULL, *text = NULL;
        const char *key = args_text(secret, "key", args_text(secret, "env", NULL));
        int r;

        r = source_path(job, json_object_get(secret, "env_file"), scope, &path, reterr);
        if (r < 0 || !key)
                return r < 0 ? r : -ENOENT;
        r = source_text(path, SECRET_MAX * 16, &text, NULL);
        if (r >= 0)
                r = env_value(text, key, ret);
        return r < 0 ? source_failed(path, r, reterr) : r;
}

static int from_file(const Job *job, const json_t *secret, const json_t *scope, char **ret,
                     Error *reterr) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = source_path(job, json_object_get(secret, "file"), scope, &path, reterr);
        return r < 0 ? r : source_read(path, ret, reterr);
}

/* -ENOENT and no error: no source has it. */
static int secret_resolve(const Turn *t, const Job *job, const char *name, const json_t *scope,
                          char **ret, Error *reterr) {
        const json_t *secret =
                json_object_get(json_object_get(job->def->plan->norm, "secrets"), name);
        int r;

        r = from_kept(t, job, name, ret, reterr);
        if (r == -ENOENT && secret)
                r = from_credential(secret, scope, ret, reterr);
        if (r == -ENOENT && secret)
                r = from_env_file(job, secret, scope, ret, reterr);
        if (r == -ENOENT && secret)
                r = from_file(job, secret, scope, ret, reterr);
        return r;
}

/* A name without a value, and of the first that has a source why it has none. */
static int missing_add(json_t *missing, const char *name, Error *error, Error *why) {
        if (!why->message && error->message)
                error_move(why, error);
        return json_array_append_new(missing, json_string(name));
}

/* Collects the names in every {"$secret": […]} of the task. */
static int names_needed(const json_t *value, json_t *names) {
        const json_t *parts, *item;
        const char *key;
        size_t i;
        int r = 0;

        parts = json_object_get(value, "$secret");
        json_array_foreach ((json_t *) parts, i, item) {
                const char *name = args_text(item, "name", NULL);

                if (name && json_object_set_new(names, name, json_true()) < 0)
                        return -ENOMEM;
        }
        if (parts)
                return 0;
        json_array_foreach ((json_t *) value, i, item) {
                if (r >= 0)
                        r = names_needed(item, names);
        }
        json_object_foreach ((json_t *) value, key, item) {
                if (r >= 0)
                        r = names_needed(item, names);
        }
        return r;
}

int secrets_resolve(const Turn *t, const Job *job, const json_t *task, json_t **ret_values,
                    json_t **ret_missing, Error *reterr) {
        json_auto_t *names = json_object(), *values = json_object(), *missing = json_array();
        _cleanup_error_ Error why = ERROR_INIT;
        json_auto_t *scope = NULL;
        const char *name;
        json_t *needed;
        int r;

        if (!names || !values || !missing)
                return error_oom(reterr);
        r = names_needed(task, names);
        /* Secrets that the task does not use go along to be masked, should a command print them. */
        json_object_foreach (json_object_get(job->def->plan->norm, "secrets"), name, needed) {
                if (r >= 0 && !json_object_get(names, name) &&
                    json_object_set_new(names, name, json_false()) < 0)
                        r = -ENOMEM;
        }
        if (r >= 0 && json_object_size(names) > 0)
                r = job_scope(t, job, &scope);
        if (r < 0)
                return error_oom(reterr);

        json_object_foreach (names, name, needed) {
                _cleanup_error_ Error error = ERROR_INIT;
                _cleanup_free_ char *value = NULL;

                r = secret_resolve(t, job, name, scope, &value, &error);
                if (r == -ENOMEM)
                        return error_oom(reterr);
                if (r >= 0 && json_put(values, name, json_string(value)) < 0)
                        return error_set(reterr, EINVAL, "bad-secret",
                                         "The secret '%s' is not valid UTF-8 text", name);
                if (r < 0 && json_is_true(needed) && missing_add(missing, name, &error, &why) < 0)
                        return error_oom(reterr);
        }
        if (json_array_size(missing) > 0) {
                *ret_missing = TAKE(missing);
                error_move(reterr, &why);
                return -ENOENT;
        }
        *ret_values = json_object_size(values) > 0 ? TAKE(values) : NULL;
        return 0;
}

int secrets_missing(const Turn *t, const Job *job, json_t **ret_missing, Error *why) {
        json_auto_t *missing = json_array(), *scope = NULL;
        json_t *secrets = json_object_get(job->def->plan->norm, "secrets"), *secret;
        const char *name;

        if (!missing || job_scope(t, job, &scope) < 0)
                return -ENOMEM;
        json_object_foreach (secrets, name, secret) {
                _cleanup_error_ Error error = ERROR_INIT;
                _cleanup_free_ char *value = NULL;
                int r = secret_resolve(t, job, name, scope, &value, &error);

                if (r == -ENOMEM || (r < 0 && missing_add(missing, name, &error, why) < 0))
                        return -ENOMEM;
        }
        *ret_missing = TAKE(missing);
        return 0;
}

char *secrets_why(const Error *why, const char *plain) {
        if (!why->message)
                return strdup(plain);
        return strf("%s: %s%s%s", plain, why->message, why->hint ? "; " : "",
                    why->hint ? why->hint : "");
}

int secrets_known(const Plan *plan, const json_t *given, Error *reterr) {
        const json_t *known = json_object_get(plan->norm, "secrets");
        const char *name;
        json_t *value;

        json_object_foreach ((json_t *) given, name, value) {
                if (!json_object_get(known, name))
                        return error_set(reterr, EINVAL, "bad-request",
                                         "The plan has no secret '%s'", name);
        }
        return 0;
}

int secrets_keep(const char *state_dir, int64_t job, const json_t *values, Error *reterr) {
        _cleanup_free_ char *dir = strf("%s/jobs/%lld/secrets", state_dir, (long long) job);
        const char *name;
        json_t *value;
        int r;

        if (!dir)
                return error_oom(reterr);
        if (json_object_size(values) == 0)
                return 0;
        r = mkdir_durable(dir, 0700);
        json_object_foreach ((json_t *) values, name, value) {
                _cleanup_free_ char *path = strf("%s/%s", dir, name);

                if (!path)
                        return error_oom(reterr);
                if (r >= 0)
                        r = file_write_atomic(AT_FDCWD, path, json_string_value(value),
                                              json_string_length(value), 0600);
        }
        if (r < 0)
                return error_set(reterr, -r, r == -ENOSPC ? "disk-full" : "store-failed",
                                 "Cannot keep the job's secrets: %s", strerror(-r));
        return 0;
}
