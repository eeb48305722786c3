/* SPDX-License-Identifier: MIT */
/* Finding and addressing docker compose: see compose.h. */
#include "daemon/step/compose.h"

#include "daemon/step/worker.h"

static bool answers(Step *s, json_t *argv) {
        json_auto_t *owned = argv;
        _cleanup_exec_ ExecResult result = {0};
        int r;

        r = step_exec(s, &(Exec){.argv = owned, .cwd = "/", .quiet = true}, &result, NULL);
        return r >= 0 && result.exit == 0;
}

/* Asked once per attempt. The plugin first: the old program is not kept up any more. */
static int find_spelling(Step *s, Error *reterr) {
        int saved_exit = s->exit, saved_signal = s->signal;

        if (s->compose == COMPOSE_UNKNOWN &&
            answers(s, json_pack("[sss]", "docker", "compose", "version")))
                s->compose = COMPOSE_PLUGIN;
        if (s->compose == COMPOSE_UNKNOWN &&
            answers(s, json_pack("[ss]", "docker-compose", "version")))
                s->compose = COMPOSE_PROGRAM;
        s->exit = saved_exit;
        s->signal = saved_signal;
        if (s->compose != COMPOSE_UNKNOWN)
                return 0;
        if (step_stopping(s))
                return error_set(reterr, ECANCELED, "stopped", "Stopped");
        (void) error_set(reterr, ENOENT, "no-compose",
                         "Neither 'docker compose' nor 'docker-compose' works here");
        error_hint(reterr, "install the docker-compose-plugin or docker-compose package");
        return -ENOENT;
}

/* A project by name, by object, or the only one there is. Borrowed. */
static int find_project(Step *s, const json_t *project, const json_t **ret, Error *reterr) {
        json_t *all = json_object_get(step_context(s), "compose");
        const char *name = json_string_value(project);

        if (json_is_object(project)) {
                *ret = project;
                return 0;
        }
        if (!name && json_object_size(all) == 1) {
                *ret = json_object_iter_value(json_object_iter(all));
                return 0;
        }
        if (!name)
                return error_set(reterr, EINVAL, "no-project",
                                 "The plan has %zu compose projects: say which with 'project'",
                                 json_object_size(all));
        *ret = json_object_get(all, name);
        if (!*ret)
                return error_set(reterr, ENOENT, "no-project",
                                 "The plan has no compose project '%s'", name);
        return 0;
}

static int add(json_t *argv, const char *text) {
        return json_array_append_new(argv, json_string(text));
}

static int add_option(json_t *argv, const char *option, const json_t *value) {
        if (!json_is_string(value))
                return 0;
        return add(argv, option) < 0 || json_array_append(argv, (json_t *) value) < 0 ? -ENOMEM : 0;
}

static int add_files(json_t *argv, const json_t *files) {
        json_t *file;
        size_t i;

        if (json_is_string(files))
                return add_option(argv, "-f", files);
        json_array_foreach ((json_t *) files, i, file) {
                if (add_option(argv, "-f", file) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static json_t *build_argv(const Step *s, const json_t *project, const char *const *args) {
        json_auto_t *argv = s->compose == COMPOSE_PLUGIN ? json_pack("[ss]", "docker", "compose")
                                                         : json_pack("[s]", "docker-compose");

        if (!argv || add_option(argv, "-p", json_object_get(project, "name")) < 0 ||
            add_files(argv, json_object_get(project, "files")) < 0 ||
            add_option(argv, "--env-file", json_object_get(project, "env_file")) < 0)
                return NULL;
        for (const char *const *p = args; *p; p++)
                if (add(argv, *p) < 0)
                        return NULL;
        return TAKE(argv);
}

int compose_argv(Step *s, const json_t *project, const char *const *args, json_t **ret_argv,
                 json_t **ret_env, char **ret_cwd, Error *reterr) {
        const json_t *found;
        json_auto_t *argv = NULL, *env = NULL;
        _cleanup_free_ char *cwd = NULL;
        const char *dir;
        int r;

        r = find_project(s, project, &found, reterr);
        if (r >= 0)
                r = find_spelling(s, reterr);
        if (r < 0)
                return r;
        dir = args_text(found, "dir", NULL);
        if (dir) {
                r = step_path(s, dir, &cwd, reterr);
                if (r < 0)
                        return r;
        }
        argv = build_argv(s, found, args);
        env = json_object_get(found, "env") ? json_deep_copy(json_object_get(found, "env"))
                                            : json_object();
        if (!argv || !env)
                return error_oom(reterr);
        *ret_argv = TAKE(argv);
        *ret_env = TAKE(env);
        *ret_cwd = TAKE(cwd);
        return 0;
}
