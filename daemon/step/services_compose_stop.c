/* SPDX-License-Identifier: MIT */
/*
 * Services of a compose project: stopping them, and giving back exactly what ran.
 *   entry: "ran", "project": name on the containers, "dir", "remove",
 *          "rendering": file in kept/ with what `compose config` said (missing when it failed),
 *          "containers": [{"id","name","service","number","image","image_id","restart": policy,
 *                          "runs","condition"}]
 * Beside the rendering stand copies of the project's own files, for people. The images stay in the
 * engine until the way back is closed (images.h).
 */
#include "daemon/step/services_compose.h"

#include <fcntl.h>

#include "daemon/step/held.h"
#include "daemon/step/images.h"

#define COPY_MAX (16U * 1024 * 1024)

static const char *const usual_files[] = {
        "compose.yaml",
        "compose.yml",
        "docker-compose.yml",
        "docker-compose.yaml",
        "compose.override.yml",
        "docker-compose.override.yml",
        ".env",
};

/* ---- recording ---- */

static json_t *describe(const json_t *container) {
        const json_t *config = json_object_get(container, "Config");
        const json_t *host = json_object_get(container, "HostConfig");
        const json_t *policy = json_object_get(host, "RestartPolicy");

        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:O?, s:b, s:s}", "id",
                         args_text(container, "Id", ""), "name", docker_name(container), "service",
                         project_service_of(container), "image", args_text(config, "Image", ""),
                         "image_id", args_text(container, "Image", ""), "restart", policy, "runs",
                         compose_runs(container), "condition",
                         condition_name(docker_condition(container, NULL)));
}

static int keep_text(const char *path, const char *text, size_t size, Error *reterr) {
        int r = file_write_atomic(AT_FDCWD, path, text, size, 0600);

        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot write %s: %s", path,
                                 strerror(-r))
                     : 0;
}

static int keep_copy(Project *p, const char *dir, const char *file, Error *reterr) {
        _cleanup_free_ char *from = path_join(p->dir, file), *text = NULL, *to = NULL;
        const char *slash = strrchr(file, '/');
        size_t size;
        int r;

        if (!from)
                return error_oom(reterr);
        r = file_read(AT_FDCWD, from, COPY_MAX, &text, &size);
        if (r == -ENOENT || r == -EISDIR)
                return 0;
        if (r < 0)
                return error_set(reterr, -r, "read-failed", "Cannot read %s: %s", from,
                                 strerror(-r));
        to = path_join(dir, slash ? slash + 1 : file);
        return to ? keep_text(to, text, size, reterr) : error_oom(reterr);
}

static int keep_files(Project *p, const char *dir, Error *reterr) {
        json_t *files = json_object_get(p->def, "files"), *file;
        const char *env_file = args_text(p->def, "env_file", NULL);
        size_t i;
        int r = env_file ? keep_copy(p, dir, env_file, reterr) : 0;

        if (json_is_string(files))
                return r < 0 ? r : keep_copy(p, dir, json_string_value(files), reterr);
        json_array_foreach (files, i, file)
                if (r >= 0)
                        r = keep_copy(p, dir, json_string_value(file), reterr);
        for (i = 0; !files && r >= 0 && i < ELEMENTSOF(usual_files); i++)
                r = keep_copy(p, dir, usual_files[i], reterr);
        return r;
}

/* Containers that are to be removed could not be made again without it, so then it must be had. */
static int keep_rendering(Step *s, Service *v, Project *p, bool needed, json_t *entry,
                          Error *reterr) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_free_ char *text = NULL, *dir = NULL, *path = NULL;
        const char *kept;
        int r = project_render(p, &text, &error);

        if (r < 0 && (needed || r == -ECANCELED)) {
                error_move(reterr, &error);
                return r;
        }
        if (r < 0) {
                step_log(s, "%s: what runs cannot be rendered (%s), ignoring: its containers stay",
                         v->name, error.message ? error.message : "?");
                return 0;
        }
        r = step_kept_dir(s, &kept, reterr);
        if (r < 0)
                return r;
        dir = strf("%s/compose-%s", kept, v->name);
        path = dir ? strf("%s/rendering.yml", dir) : NULL;
        if (!path || json_put(entry, "rendering", json_string(path)) < 0)
                return error_oom(reterr);
        r = mkdir_durable(dir, 0700);
        if (r < 0)
                return error_set(reterr, -r, "write-failed", "Cannot make %s: %s", dir,
                                 strerror(-r));
        r = keep_text(path, text, strlen(text), reterr);
        return r < 0 ? r : keep_files(p, dir, reterr);
}

int compose_record(Step *s, Service *v, json_t *entry, Error *reterr) {
        json_auto_t *containers = NULL, *list = json_array();
        bool remove = false, ran = false;
        json_t *container;
        Project *p;
        size_t i;
        int r;

        r = args_bool(v->def, "remove", false, &remove, reterr);
        if (r >= 0)
                r = compose_containers(s, v, &p, &containers, reterr);
        if (r < 0)
                return r;
        json_array_foreach (containers, i, container) {
                ran = ran || compose_runs(container);
                if (json_array_append_new(list, describe(container)) < 0)
                        return error_oom(reterr);
        }
        if (json_put(entry, "ran", json_boolean(ran)) < 0 ||
            json_put(entry, "project", json_string(p->label)) < 0 ||
            json_put(entry, "dir", json_string(p->dir)) < 0 ||
            json_put(entry, "remove", json_boolean(remove)) < 0 ||
            json_put(entry, "containers", TAKE(list)) < 0)
                return error_oom(reterr);
        if (json_array_size(containers) == 0)
                return 0;
        r = images_keep(s, &p->docker, containers, reterr);
        return r < 0 ? r : keep_rendering(s, v, p, remove, entry, reterr);
}

/* ---- stopping ---- */

/* First the engine is kept from starting it again, then it is stopped. */
static int hold_down(Step *s, Project *p, const json_t *container, Error *reterr) {
        const json_t *host = json_object_get(container, "HostConfig");
        json_t *policy = json_object_get(host, "RestartPolicy");
        const char *id = args_text(container, "Id", ""), *name = args_text(policy, "Name", "");
        json_auto_t *none = json_pack("{s:s}", "Name", "no");
        int r;

        if (isempty(name) || streq(name, "no"))
                return 0;
        r = held_note(s, HELD_CONTAINER, id, json_incref(policy), reterr);
        return r < 0 ? r : docker_restart_policy(&p->docker, id, none, reterr);
}

/* compose knows which service needs which, and stops them in that order. What its files do not
 * name any more, or all of it should compose fail, is stopped by the engine afterwards. */
static int stop_in_order(Step *s, Project *p, const json_t *containers, Error *reterr) {
        json_auto_t *services = json_array();
        _cleanup_error_ Error error = ERROR_INIT;
        const json_t *wanted = NULL;
        json_t *container;
        size_t i;
        int r = project_wanted(p, &wanted, &error);

        json_array_foreach ((json_t *) containers, i, container) {
                const char *name = project_service_of(container);

                if (r >= 0 && compose_runs(container) && json_has_text(wanted, name) &&
                    !json_has_text(services, name) &&
                    json_array_append_new(services, json_string(name)) < 0)
                        return error_oom(reterr);
        }
        if (r >= 0 && json_array_size(services) > 1)
                r = project_run(p, p->def, (const char *[]){"stop", NULL}, services, &error);
        if (r == -ECANCELED) {
                error_move(reterr, &error);
                return r;
        }
        if (r < 0)
                step_log(s, "%s; stopping the containers one by one",
                         error.message ? error.message : "compose failed");
        return 0;
}

static int stop_one(Step *s, Project *p, const json_t *container, bool remove, Error *reterr) {
        const char *id = args_text(container, "Id", "");
        json_auto_t *now = NULL;
        int r = docker_inspect(&p->docker, id, &now, reterr);

        if (r >= 0 && compose_runs(now)) {
                step_log(s, "stopping container %s", docker_name(container));
                r = docker_stop(&p->docker, id, reterr);
        }
        if (r >= 0 && remove) {
                step_log(s, "removing container %s", docker_name(container));
                r = docker_remove(&p->docker, id, reterr);
        }
        if (r >= 0 && remove)
                r = held_drop(s, HELD_CONTAINER, id, reterr);
        if (r != -ENOENT)
                return r;
        if (reterr) /* gone by itself: an AutoRemove container, or somebody else */
                error_done(reterr);
        return 0;
}

static int make_sure(Project *p, const json_t *containers, bool remove, Error *reterr) {
        json_t *container;
        size_t i;

        json_array_foreach ((json_t *) containers, i, container) {
                json_auto_t *now = NULL;
                _cleanup_error_ Error error = ERROR_INIT;
                int r = docker_inspect(&p->docker, args_text(container, "Id", ""), &now, &error);

                if (r == -ENOENT)
                        continue;
                if (r < 0) {
                        error_move(reterr, &error);
                        return r;
                }
                if (remove || compose_runs(now))
                        return error_set(reterr, EBUSY, "still-running", "Container %s %s",
                                         docker_name(now),
                                         remove ? "is still there" : "still runs");
        }
        return 0;
}

int compose_take_down(Step *s, Project *p, const json_t *containers, bool remove, Error *reterr) {
        json_t *container;
        size_t i;
        int r = 0;

        json_array_foreach ((json_t *) containers, i, container) {
                if (compose_runs(container) && !remove)
                        r = hold_down(s, p, container, reterr);
                if (r < 0)
                        return r;
        }
        r = stop_in_order(s, p, containers, reterr);
        json_array_foreach ((json_t *) containers, i, container) {
                if (r >= 0)
                        r = stop_one(s, p, container, remove, reterr);
        }
        return r < 0 ? r : make_sure(p, containers, remove, reterr);
}

int compose_stop(Step *s, Service *v, const json_t *entry, Error *reterr) {
        json_auto_t *containers = NULL;
        Project *p;
        int r = compose_containers(s, v, &p, &containers, reterr);

        if (r < 0 || json_array_size(containers) == 0)
                return r;
        return compose_take_down(s, p, containers, json_is_true(json_object_get(entry, "remove")),
                                 reterr);
}
