/* SPDX-License-Identifier: MIT */
/*
 * The undo of a stop by compose: containers that were kept are started again, those that are gone
 * are made again from what was recorded, with the images that they had. What did not run stays
 * down. See services_compose_stop.c for the entry.
 */
#include "daemon/step/services_compose.h"

#include <fcntl.h>

#include "daemon/step/held.h"

/* The container is there: policy and life as they were. 1 done, 0 it is gone. */
static int revive(Step *s, Project *p, const json_t *recorded, Error *reterr) {
        const char *id = args_text(recorded, "id", "");
        const json_t *policy = json_object_get(recorded, "restart");
        _cleanup_error_ Error error = ERROR_INIT;
        json_auto_t *now = NULL;
        int r = docker_inspect(&p->docker, id, &now, &error);

        if (r == -ENOENT)
                return 0;
        if (r >= 0 && !isempty(args_text(policy, "Name", "")))
                r = docker_restart_policy(&p->docker, id, policy, &error);
        if (r >= 0)
                r = held_drop(s, HELD_CONTAINER, id, &error);
        if (r >= 0 && !compose_runs(now)) {
                step_log(s, "starting container %s", args_text(recorded, "name", ""));
                r = docker_start(&p->docker, id, &error);
        }
        if (r >= 0)
                return 1;
        error_move(reterr, &error);
        return r;
}

/* ---- making them again ---- */

/* -ENOENT when the engine does not know the name. */
static int image_id(Project *p, const char *image, char **ret, Error *reterr) {
        _cleanup_free_ char *path = strf("/images/%s/json", image);
        json_auto_t *found = NULL;
        int r = path ? docker_call(&p->docker, "GET", path, NULL, &found, reterr)
                     : error_oom(reterr);

        if (r < 0)
                return r;
        *ret = strdup(args_text(found, "Id", ""));
        return *ret ? 0 : error_oom(reterr);
}

/* A tag may have moved since: then the id that was recorded goes into a file of its own over the
 * rendering. JSON is YAML. */
static int pin_images(Step *s, Project *p, const json_t *missing, json_t *files, Error *reterr) {
        json_auto_t *pinned = json_object(), *override = NULL;
        _cleanup_free_ char *path = NULL, *text = NULL;
        const char *first = json_string_value(json_array_get(files, 0));
        json_t *recorded;
        size_t i;

        json_array_foreach ((json_t *) missing, i, recorded) {
                const char *image = args_text(recorded, "image", "");
                const char *id = args_text(recorded, "image_id", "");
                _cleanup_error_ Error error = ERROR_INIT;
                _cleanup_free_ char *now = NULL;
                int r = image_id(p, image, &now, &error);

                if (r < 0 && r != -ENOENT) {
                        error_move(reterr, &error);
                        return r;
                }
                if (r >= 0 && streq(now, id))
                        continue;
                step_log(s, "%s: %s is another image now; taking %s",
                         args_text(recorded, "name", ""), image, id);
                if (json_put(pinned, args_text(recorded, "service", ""),
                             json_pack("{s:s}", "image", id)) < 0)
                        return error_oom(reterr);
        }
        if (json_object_size(pinned) == 0)
                return 0;
        override = json_pack("{s:s, s:O}", "version", "3", "services", pinned);
        text = override ? json_dumps(override, JSON_INDENT(2)) : NULL;
        path = strf("%s.images.yml", first);
        if (!text || !path || json_array_append_new(files, json_string(path)) < 0)
                return error_oom(reterr);
        return file_write_atomic(AT_FDCWD, path, text, strlen(text), 0600) < 0
                       ? error_set(reterr, EIO, "write-failed", "Cannot write %s", path)
                       : 0;
}

static json_t *services_of(const json_t *missing) {
        json_auto_t *counts = json_object(), *list = json_array();
        const char *name;
        json_t *item;
        size_t i;

        json_array_foreach ((json_t *) missing, i, item) {
                if (json_put(counts, args_text(item, "service", ""), json_true()) < 0)
                        return NULL;
        }
        json_object_foreach (counts, name, item) {
                if (json_array_append_new(list, json_string(name)) < 0)
                        return NULL;
        }
        return TAKE(list);
}

/* "--scale", "web=3" for services of which several ran; compose makes up to that number. */
static int add_scales(const json_t *entry, const json_t *services, json_t *args) {
        json_t *service, *container;
        size_t i, j;

        json_array_foreach ((json_t *) services, i, service) {
                const char *name = json_string_value(service);
                unsigned n = 0;

                json_array_foreach (json_object_get(entry, "containers"), j, container) {
                        n += json_is_true(json_object_get(container, "runs")) &&
                             streq(args_text(container, "service", ""), name);
                }
                if (n > 1 && (json_array_append_new(args, json_string("--scale")) < 0 ||
                              json_array_append_new(args, json_sprintf("%s=%u", name, n)) < 0))
                        return -ENOMEM;
        }
        return 0;
}

/* The project's own files are used when they say the same again (an earlier undo has brought them
 * back): its containers then carry the labels that they had. Else the rendering stands in. */
static int choose_files(Step *s, Project *p, const json_t *entry, const json_t *missing,
                        json_t **ret_def, Error *reterr) {
        const char *rendering = args_text(entry, "rendering", NULL);
        _cleanup_free_ char *kept = NULL, *now = NULL;
        json_auto_t *files = NULL, *def = NULL;
        int r;

        if (!rendering)
                return error_set(reterr, ENOENT, "no-rendering",
                                 "Containers are gone, and how they were made was not recorded");
        r = file_read(AT_FDCWD, rendering, 16U * 1024 * 1024, &kept, NULL);
        if (r < 0)
                return error_set(reterr, -r, "read-failed", "Cannot read %s: %s", rendering,
                                 strerror(-r));
        files = json_pack("[s]", rendering);
        r = pin_images(s, p, missing, files, reterr);
        if (r < 0)
                return r;
        r = project_render(p, &now, NULL);
        if (r == -ECANCELED)
                return error_set(reterr, ECANCELED, "stopped", "Stopped");
        if (r >= 0 && streq(now, kept) && json_array_size(files) == 1) {
                *ret_def = json_incref((json_t *) p->def);
                return 0;
        }
        step_log(s, "%s: its files have changed; using what was recorded", p->name);
        def = json_copy((json_t *) p->def);
        if (json_put(def, "files", TAKE(files)) < 0 ||
            json_put(def, "name", json_string(args_text(entry, "project", p->label))) < 0)
                return error_oom(reterr);
        (void) json_object_del(def, "env_file"); /* its values stand in the rendering */
        *ret_def = TAKE(def);
        return 0;
}

static int make_again(Step *s, Project *p, const json_t *entry, const json_t *missing,
                      Error *reterr) {
        const char *const up[] = {"--project-directory",
                                  args_text(entry, "dir", p->dir),
                                  "up",
                                  "-d",
                                  "--no-deps",
                                  "--no-build",
                                  NULL};
        json_auto_t *def = NULL, *services = services_of(missing), *args = json_array();
        int r;

        if (!services || !args || add_scales(entry, services, args) < 0 ||
            json_array_extend(args, services) < 0)
                return error_oom(reterr);
        r = choose_files(s, p, entry, missing, &def, reterr);
        if (r < 0)
                return r;
        return project_run(p, def, def == p->def ? up + 2 : up, args, reterr);
}

int compose_restore(Step *s, Service *v, const json_t *entry, Error *reterr) {
        json_auto_t *missing = json_array();
        json_t *recorded;
        Project *p;
        size_t i;
        int r = compose_project(s, v, &p, reterr);

        if (r < 0)
                return r;
        json_array_foreach (json_object_get(entry, "containers"), i, recorded) {
                if (!json_is_true(json_object_get(recorded, "runs")))
                        continue;
                r = revive(s, p, recorded, reterr);
                if (r < 0)
                        return r;
                if (r == 0 && json_array_append(missing, recorded) < 0)
                        return error_oom(reterr);
        }
        return json_array_size(missing) > 0 ? make_again(s, p, entry, missing, reterr) : 0;
}

/* ---- is it as it was? ---- */

/* The best of the service's containers that run now. They are told apart by service only: what was
 * made again has another id, and may have another number. */
static bool as_it_was(const json_t *recorded, const json_t *now, char **ret_why) {
        Condition c = docker_condition(now, ret_why);
        const char *then = args_text(recorded, "condition", "");

        if (streq(then, "healthy"))
                return c == CONDITION_HEALTHY;
        if (streq(then, "running"))
                return c == CONDITION_RUNNING || c == CONDITION_HEALTHY;
        return compose_runs(now);
}

static int look_at_recorded(const json_t *recorded, json_t *containers, ServiceLook *look) {
        _cleanup_free_ char *why = NULL;
        json_t *now;
        size_t i;

        json_array_foreach (containers, i, now) {
                if (!streq(project_service_of(now), args_text(recorded, "service", "")))
                        continue;
                free(why);
                why = NULL;
                if (!as_it_was(recorded, now, &why))
                        continue;
                (void) json_array_remove(containers, i); /* the next one needs another */
                return 0;
        }
        look->state = SERVICE_COMING;
        free(look->why);
        look->why =
                strf("%s: %s", args_text(recorded, "name", ""), why ? why : "it is not there yet");
        return look->why ? 0 : -ENOMEM;
}

int compose_restored(Step *s, Service *v, const json_t *entry, ServiceLook *ret, Error *reterr) {
        _cleanup_look_ ServiceLook look = {.state = SERVICE_UP, .runs = true, .alive = true};
        json_auto_t *containers = NULL;
        json_t *recorded;
        Project *p;
        size_t i;
        int r = compose_containers(s, v, &p, &containers, reterr);

        if (r < 0)
                return r;
        json_array_foreach (json_object_get(entry, "containers"), i, recorded) {
                if (json_is_true(json_object_get(recorded, "runs")) &&
                    look_at_recorded(recorded, containers, &look) < 0)
                        return error_oom(reterr);
        }
        *ret = look;
        look = (ServiceLook){0};
        return 0;
}
