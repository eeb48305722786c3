/* SPDX-License-Identifier: MIT */
/* The compose project behind a service: see project.h. */
#include "daemon/step/project.h"

#include <ctype.h>
#include <fcntl.h>
#include <fnmatch.h>

#include "daemon/step/compose.h"
#include "daemon/step/match.h"
#include "daemon/step/setting.h"
#include "daemon/step/worker.h"

#define LABEL "com.docker.compose."
#define OUTPUT_MAX (8U * 1024 * 1024)

void project_free(Project *p) {
        if (!p)
                return;
        docker_done(&p->docker);
        json_decref(p->wanted);
        free(p->label);
        free(p->dir);
        free(p);
}

static bool fits(const json_t *patterns, const char *name) {
        json_t *item;
        size_t i;

        if (json_is_string(patterns))
                return fnmatch(json_string_value(patterns), name, 0) == 0;
        json_array_foreach ((json_t *) patterns, i, item) {
                if (fnmatch(json_string_value(item), name, 0) == 0)
                        return true;
        }
        return false;
}

bool project_counts(const Project *p, const char *service) {
        return p->service ? streq(p->service, service) : !fits(p->except, service);
}

/* ---- compose ---- */

static int compose_exec(Project *p, const json_t *def, const char *const *args,
                        const json_t *services, bool quiet, ExecResult *ret, Error *reterr) {
        json_auto_t *argv = NULL, *env = NULL;
        _cleanup_free_ char *cwd = NULL;
        int r;

        r = compose_argv(p->step, def, args, &argv, &env, &cwd, reterr);
        if (r < 0)
                return r;
        if (services && json_array_extend(argv, (json_t *) services) < 0)
                return error_oom(reterr);
        return step_exec(p->step,
                         &(Exec){.argv = argv,
                                 .env = env,
                                 .cwd = cwd,
                                 .quiet = quiet,
                                 .max_out = OUTPUT_MAX},
                         ret, reterr);
}

static int compose_failed(const Project *p, const char *what, const ExecResult *result,
                          Error *reterr) {
        const char *text = result->err;
        size_t end = strlen(text), from;

        while (end > 0 && strchr("\r\n \t", text[end - 1]))
                end--;
        for (from = end; from > 0 && text[from - 1] != '\n';)
                from--;
        return error_set(reterr, EREMOTEIO, "compose", "compose %s of %s ended with code %d%s%.*s",
                         what, p->name, result->exit, end > from ? ": " : "",
                         (int) MIN(end - from, (size_t) 300), text + from);
}

static int compose_ask(Project *p, const char *const *args, char **ret, Error *reterr) {
        _cleanup_exec_ ExecResult result = {0};
        int r = compose_exec(p, p->def, args, NULL, true, &result, reterr);

        if (r < 0)
                return r;
        if (result.exit != 0)
                return compose_failed(p, args[0], &result, reterr);
        *ret = TAKE(result.out);
        return 0;
}

int project_run(Project *p, const json_t *def, const char *const *args, const json_t *services,
                Error *reterr) {
        _cleanup_exec_ ExecResult result = {0};
        const char *verb = args[0];
        int r = compose_exec(p, def, args, services, false, &result, reterr);

        if (r < 0)
                return r;
        for (const char *const *a = args; *a; a++) /* past --project-directory DIR */
                if (isalpha((unsigned char) **a)) {
                        verb = *a;
                        break;
                }
        return result.exit == 0 ? 0 : compose_failed(p, verb, &result, reterr);
}

int project_render(Project *p, char **ret, Error *reterr) {
        return compose_ask(p, (const char *[]){"config", NULL}, ret, reterr);
}

/* ---- the name ---- */

/* COMPOSE_PROJECT_NAME out of an env file of compose's. NULL when it has none. */
static char *name_in_file(Project *p, Error *reterr) {
        const char *file = args_text(p->def, "env_file", ".env");
        _cleanup_free_ char *path = path_join(p->dir, file), *text = NULL, *name = NULL;
        size_t size;

        if (!path || file_read(AT_FDCWD, path, 1024 * 1024, &text, &size) < 0)
                return NULL;
        if (match_text("^[ \\t]*(?:export )?COMPOSE_PROJECT_NAME=[\"']?([^\"'\\r\\n]+)", text, size,
                       &name, reterr) <= 0)
                return NULL;
        return TAKE(name);
}

/* As compose makes it out of the folder's name. */
static char *name_of_dir(const char *dir) {
        _cleanup_free_ char *path = realpath(dir, NULL);
        const char *slash = path ? strrchr(path, '/') : NULL, *from = slash ? slash + 1 : dir;
        char *name = strdup(from), *to = name;

        for (const char *c = from; name && *c; c++)
                if (isalnum((unsigned char) *c) || *c == '-' || *c == '_')
                        *to++ = (char) tolower((unsigned char) *c);
        if (name)
                *to = '\0';
        return name;
}

/* The plugin's own word, which knows of `name:` in the files too. NULL when it gives none. */
static int name_by_plugin(Project *p, char **ret, Error *reterr) {
        json_auto_t *argv = NULL, *env = NULL, *config = NULL;
        _cleanup_free_ char *cwd = NULL, *text = NULL;
        int r;

        r = compose_argv(p->step, p->def, (const char *[]){NULL}, &argv, &env, &cwd, reterr);
        if (r < 0 || p->step->compose != COMPOSE_PLUGIN)
                return r;
        r = compose_ask(p, (const char *[]){"config", "--format", "json", NULL}, &text, reterr);
        if (r < 0)
                return r;
        config = json_loads(text, 0, NULL);
        if (json_object_get(config, "name"))
                *ret = strdup(args_text(config, "name", ""));
        return 0;
}

static int find_label(Project *p, Error *reterr) {
        const json_t *env = json_object_get(p->def, "env");
        const char *given = args_text(p->def, "name", NULL);
        _cleanup_free_ char *name = given ? strdup(given) : NULL;
        int r = 0;

        if (!name)
                r = setting_variable(p->step, env, "COMPOSE_PROJECT_NAME", &name, reterr);
        if (r >= 0 && !name)
                name = name_in_file(p, reterr);
        if (r >= 0 && !name)
                r = name_by_plugin(p, &name, reterr);
        if (r >= 0 && !name)
                name = name_of_dir(p->dir);
        if (r < 0)
                return r;
        p->label = TAKE(name);
        return p->label ? 0 : error_oom(reterr);
}

/* ---- opening ---- */

static int find_def(Step *s, const Service *v, Project *p, Error *reterr) {
        const char *text = args_text(v->def, "compose", ""), *slash = strchr(text, '/');
        json_t *all = json_object_get(step_context(s), "compose"), *def;
        const char *name;

        json_object_foreach (all, name, def) {
                size_t n = slash ? (size_t) (slash - text) : strlen(text);

                if (strlen(name) != n || strncmp(name, text, n) != 0)
                        continue;
                p->name = name;
                p->def = def;
                p->service = slash ? slash + 1 : NULL;
                p->except = json_object_get(v->def, "except");
                return 0;
        }
        return error_set(reterr, ENOENT, "no-project", "The plan has no compose project for '%s'",
                         text);
}

int project_open(Step *s, const Service *v, Project **ret, Error *reterr) {
        _cleanup_(project_freep) Project *p = calloc(1, sizeof(Project));
        int r;

        if (!p)
                return error_oom(reterr);
        p->step = s;
        r = find_def(s, v, p, reterr);
        if (r >= 0)
                r = step_path(s, args_text(p->def, "dir", "."), &p->dir, reterr);
        if (r >= 0)
                r = find_label(p, reterr);
        if (r >= 0)
                r = docker_open(s, json_object_get(p->def, "env"), &p->docker, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(p);
        return 0;
}

/* ---- services and containers ---- */

static int ask_wanted(Project *p, json_t **ret, Error *reterr) {
        json_auto_t *wanted = json_array();
        _cleanup_free_ char *text = NULL;
        char *rest, *line;
        int r = compose_ask(p, (const char *[]){"config", "--services", NULL}, &text, reterr);

        if (r < 0)
                return r;
        for (rest = text; (line = strsep(&rest, "\n"));)
                if (*line && project_counts(p, line) &&
                    json_array_append_new(wanted, json_string(line)) < 0)
                        return error_oom(reterr);
        *ret = TAKE(wanted);
        return 0;
}

int project_wanted(Project *p, const json_t **ret, Error *reterr) {
        int r = 0;

        if (!p->wanted && p->service)
                p->wanted = json_pack("[s]", p->service);
        else if (!p->wanted)
                r = ask_wanted(p, &p->wanted, reterr);
        if (r >= 0 && !p->wanted)
                return error_oom(reterr);
        *ret = p->wanted;
        return r;
}

static const char *label_of(const json_t *container, const char *key) {
        const json_t *config = json_object_get(container, "Config");
        const json_t *labels = json_object_get(config ? config : container, "Labels");

        return args_text(labels, key, "");
}

const char *project_service_of(const json_t *container) {
        return label_of(container, LABEL "service");
}

int project_containers(Project *p, json_t **ret, Error *reterr) {
        _cleanup_free_ char *label = strf("%sproject=%s", LABEL, p->label);
        json_auto_t *found = NULL, *all = json_array();
        json_t *item;
        size_t i;
        int r;

        if (!label || !all)
                return error_oom(reterr);
        r = docker_list(&p->docker, label, &found, reterr);
        if (r < 0)
                return r;
        json_array_foreach (found, i, item) {
                json_t *container = NULL;

                if (!project_counts(p, project_service_of(item)) ||
                    strcasecmp(label_of(item, LABEL "oneoff"), "true") == 0)
                        continue;
                r = docker_inspect(&p->docker, args_text(item, "Id", ""), &container, reterr);
                if (r == -ENOENT) /* it went away between the two questions */
                        continue;
                if (r < 0)
                        return r;
                if (json_array_append_new(all, container) < 0)
                        return error_oom(reterr);
        }
        if (reterr)
                error_done(reterr);
        *ret = TAKE(all);
        return 0;
}
