/* SPDX-License-Identifier: MIT */
/* Names for images that the way back may need: see images.h. */
#include "daemon/step/images.h"

#include "daemon/step/held.h"

#define HELD_IMAGE "image"
#define REPOSITORY "updd-kept"
#define ID_SHOWN 12 /* digits: as people see them */

static const char *image_of(const json_t *container) {
        return args_text(container, "Image", "");
}

/* Without the name of its digest's algorithm. */
static const char *digits_of(const char *image) {
        const char *colon = strchr(image, ':');

        return colon ? colon + 1 : image;
}

/* ---- keeping ---- */

static int keep_one(Step *s, Docker *d, const char *image, Error *reterr) {
        _cleanup_free_ char *tag =
                strf("%lld-%.8s-%.*s",
                     (long long) json_integer_value(json_object_get(step_task(s), "job")),
                     args_text(step_task(s), "id", ""), ID_SHOWN, digits_of(image));
        _cleanup_free_ char *path =
                tag ? strf("/images/%s/tag?repo=" REPOSITORY "&tag=%s", image, tag) : NULL;
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        if (!path)
                return error_oom(reterr);
        r = held_note(s, HELD_IMAGE, tag, json_pack("{s:s}", "host", d->host), reterr);
        if (r < 0)
                return r;
        r = docker_call(d, "POST", path, NULL, NULL, &error);
        if (r == -ENOENT) {
                step_log(s, "image %s is gone and cannot be kept, ignoring", image);
                return held_drop(s, HELD_IMAGE, tag, reterr);
        }
        if (r < 0)
                error_move(reterr, &error);
        else
                step_log(s, "image %s is kept as " REPOSITORY ":%s until the way back is closed",
                         image, tag);
        return r;
}

/* Is the image of `list[i]` that of one before it? */
static bool is_repeated(const json_t *list, size_t i) {
        for (size_t k = 0; k < i; k++)
                if (streq(image_of(json_array_get(list, k)), image_of(json_array_get(list, i))))
                        return true;
        return false;
}

int images_keep(Step *s, Docker *d, const json_t *containers, Error *reterr) {
        json_t *container;
        size_t i;
        int r = 0;

        json_array_foreach ((json_t *) containers, i, container)
                if (r >= 0 && !isempty(image_of(container)) && !is_repeated(containers, i))
                        r = keep_one(s, d, image_of(container), reterr);
        return r;
}

/* ---- giving back ---- */

static int release_one(Step *s, const char *tag, const json_t *value, Error *reterr) {
        json_auto_t *env = json_pack("{s:s}", "DOCKER_HOST", args_text(value, "host", ""));
        _cleanup_free_ char *path = strf("/images/" REPOSITORY ":%s", tag);
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_docker_ Docker d = {0};
        int r;

        if (!env || !path)
                return error_oom(reterr);
        r = docker_open(s, env, &d, reterr);
        if (r < 0)
                return r;
        r = docker_call(&d, "DELETE", path, NULL, NULL, &error);
        if (r == -EBUSY) /* a container has it, and it has no other name */
                step_log(s, "image " REPOSITORY ":%s keeps its name: %s", tag,
                         error.message ? error.message : "?");
        else if (r < 0 && r != -ENOENT) {
                error_move(reterr, &error);
                return r;
        }
        return held_drop(s, HELD_IMAGE, tag, reterr);
}

int images_release(Step *s, Error *reterr) {
        json_auto_t *tags = NULL;
        json_t *value;
        const char *tag;
        void *next;
        int first = held_list(s, HELD_IMAGE, &tags, reterr);

        json_object_foreach_safe (tags, next, tag, value) {
                _cleanup_error_ Error error = ERROR_INIT;
                int r = release_one(s, tag, value, &error);

                if (r < 0 && first >= 0) {
                        error_move(reterr, &error);
                        first = r;
                }
        }
        return first;
}

/* ---- measuring ---- */

int images_folder(Docker *d, char **ret, Error *reterr) {
        json_auto_t *info = NULL;
        const char *root;
        int r;

        *ret = NULL;
        if (!d->socket)
                return 0;
        r = docker_call(d, "GET", "/info", NULL, &info, reterr);
        if (r < 0)
                return r;
        root = args_text(info, "DockerRootDir", NULL);
        if (!isempty(root) && !(*ret = strdup(root)))
                return error_oom(reterr);
        return 0;
}

int images_size(Docker *d, const json_t *containers, int64_t *ret, Error *reterr) {
        json_t *container;
        size_t i;

        *ret = 0;
        json_array_foreach ((json_t *) containers, i, container) {
                _cleanup_free_ char *path = strf("/images/%s/json", image_of(container));
                _cleanup_error_ Error error = ERROR_INIT;
                json_auto_t *image = NULL;
                int r;

                if (!path)
                        return error_oom(reterr);
                if (isempty(image_of(container)) || is_repeated(containers, i))
                        continue;
                r = docker_call(d, "GET", path, NULL, &image, &error);
                if (r < 0 && r != -ENOENT) {
                        error_move(reterr, &error);
                        return r;
                }
                *ret += json_integer_value(json_object_get(image, "Size"));
        }
        return 0;
}
