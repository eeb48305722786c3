/* SPDX-License-Identifier: MIT */
/*
 * Secrets come on one descriptor and are put in where the task says {"$secret": …}: an array of
 * literals and {"name": N}, or one name. Never on a command line, where every user could read them.
 */
#include <fcntl.h>

#include "daemon/step/worker.h"

#define SECRETS_MAX (4U * 1024 * 1024)

int secrets_read(int fd, json_t **ret, Error *reterr) {
        _cleanup_free_ char *path = strf("/proc/self/fd/%d", fd), *text = NULL;
        json_auto_t *secrets = NULL;
        const char *name;
        json_t *value;
        size_t size = 0;
        int r;

        if (!path)
                return error_oom(reterr);
        /* Opened anew: the writer's offset does not matter. */
        r = file_read(AT_FDCWD, path, SECRETS_MAX, &text, &size);
        if (r < 0)
                return error_set(reterr, -r, "secrets", "The secrets cannot be read: %s",
                                 strerror(-r));
        secrets = size == 0 ? json_object() : json_loadb(text, size, 0, NULL);
        explicit_bzero(text, size);
        if (!json_is_object(secrets))
                return error_set(reterr, EBADMSG, "secrets", "The secrets are no JSON object");
        json_object_foreach (secrets, name, value) {
                if (!json_is_string(value))
                        return error_set(reterr, EBADMSG, "secrets", "Secret '%s' is no text",
                                         name);
        }
        *ret = TAKE(secrets);
        return 0;
}

static int secret_append(const json_t *secrets, const json_t *name, char **text, Error *reterr) {
        const json_t *value = json_object_get(secrets, json_string_value(name));
        char *longer;

        if (!json_is_string(value))
                return error_set(reterr, ENOKEY, "secret-missing", "Secret '%s' was not given",
                                 json_is_string(name) ? json_string_value(name) : "?");
        longer = strf("%s%s", *text, json_string_value(value));
        if (!longer)
                return error_oom(reterr);
        free(*text);
        *text = longer;
        return 0;
}

static int marker_join(const json_t *secrets, const json_t *parts, json_t **ret, Error *reterr) {
        _cleanup_free_ char *text = strdup("");
        json_t *part;
        size_t i;

        if (!text)
                return error_oom(reterr);
        json_array_foreach ((json_t *) parts, i, part) {
                const json_t *name = json_object_get(part, "name");
                int r;

                if (json_is_string(part)) {
                        char *longer = strf("%s%s", text, json_string_value(part));

                        if (!longer)
                                return error_oom(reterr);
                        free(text);
                        text = longer;
                        continue;
                }
                r = secret_append(secrets, name, &text, reterr);
                if (r < 0)
                        return r;
        }
        *ret = json_string(text);
        return *ret ? 0 : error_oom(reterr);
}

static bool is_marker(const json_t *value) {
        return json_is_object(value) && json_object_size(value) == 1 &&
               json_object_get(value, "$secret");
}

static bool holds_marker(const json_t *value) {
        const char *key;
        json_t *item;
        size_t i;

        if (is_marker(value))
                return true;
        json_array_foreach ((json_t *) value, i, item) {
                if (holds_marker(item))
                        return true;
        }
        json_object_foreach ((json_t *) value, key, item) {
                if (holds_marker(item))
                        return true;
        }
        return false;
}

/* Fields that become a command line. */
static bool is_command_line(const char *key) {
        static const char *const keys[] = {"argv", "args"};

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (streq(keys[i], key))
                        return true;
        return false;
}

static int resolve_object(const json_t *secrets, const json_t *value, json_t **ret, Error *reterr) {
        json_auto_t *out = json_object();
        const char *key;
        json_t *item;

        json_object_foreach ((json_t *) value, key, item) {
                json_t *resolved = NULL;
                int r;

                if (is_command_line(key) && json_is_array(item) && holds_marker(item))
                        return error_set(reterr, EPERM, "secret-in-argv",
                                         "A secret stands in '%s', where every user of the machine "
                                         "could read it; pass it by env or stdin",
                                         key);
                r = secrets_resolve(secrets, item, &resolved, reterr);
                if (r < 0)
                        return r;
                if (json_object_set_new(out, key, resolved) < 0)
                        return error_oom(reterr);
        }
        *ret = TAKE(out);
        return 0;
}

int secrets_resolve(const json_t *secrets, const json_t *value, json_t **ret, Error *reterr) {
        json_auto_t *out = NULL;
        json_t *item;
        size_t i;

        if (is_marker(value)) {
                const json_t *what = json_object_get(value, "$secret");
                json_auto_t *one = json_is_array(what)
                                           ? json_incref((json_t *) what)
                                           : json_pack("[{s:O}]", "name", (json_t *) what);

                return marker_join(secrets, one, ret, reterr);
        }
        if (json_is_object(value))
                return resolve_object(secrets, value, ret, reterr);
        if (!json_is_array(value)) {
                *ret = json_deep_copy(value);
                return *ret ? 0 : error_oom(reterr);
        }
        out = json_array();
        json_array_foreach ((json_t *) value, i, item) {
                json_t *resolved = NULL;
                int r;

                r = secrets_resolve(secrets, item, &resolved, reterr);
                if (r < 0)
                        return r;
                if (json_array_append_new(out, resolved) < 0)
                        return error_oom(reterr);
        }
        *ret = TAKE(out);
        return 0;
}
