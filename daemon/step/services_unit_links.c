/* SPDX-License-Identifier: MIT */
/* Links that enable units, read and made as they were. See services_unit_links.h. */
#include "daemon/step/services_unit_links.h"
#include "daemon/step/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>

static const char *const roots[] = {"/etc/systemd/system", "/run/systemd/system"};

typedef struct Search {
        json_t *names; /* {unit: true} */
        json_t *links;
} Search;

static const char *last_part(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* ---- finding them ---- */

static int names_of(const json_t *p, json_t **ret) {
        json_auto_t *names = json_object();
        json_t *name;
        size_t i;

        json_array_foreach (json_object_get(p, "Names"), i, name) {
                if (json_put(names, json_string_value(name), json_true()) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE(names);
        return *ret ? 0 : -ENOMEM;
}

static int look_at(Search *x, const char *folder, int dir, const char *name) {
        _cleanup_free_ char *path = NULL;
        char target[PATH_MAX];
        ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

        if (n < 0) /* no link, or gone meanwhile */
                return errno == EINVAL || errno == ENOENT ? 0 : -errno;
        target[n] = '\0';
        if (streq(target, "/dev/null") ||
            (!json_object_get(x->names, name) && !json_object_get(x->names, last_part(target))))
                return 0;
        path = path_join(folder, name);
        if (!path || json_array_append_new(x->links, json_pack("[ss]", path, target)) < 0)
                return -ENOMEM;
        return 0;
}

static bool is_folder_of_links(const char *name) {
        return endswith(name, ".wants") || endswith(name, ".requires") ||
               endswith(name, ".upholds");
}

static int look_through(Search *x, const char *folder, bool deeper) {
        _cleanup_(closedirp) DIR *dir = opendir(folder);
        const struct dirent *entry;
        int r = 0;

        if (!dir)
                return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
        while (r >= 0 && (errno = 0, entry = readdir(dir))) {
                _cleanup_free_ char *below = NULL;

                r = look_at(x, folder, dirfd(dir), entry->d_name);
                if (r < 0 || !deeper || !is_folder_of_links(entry->d_name))
                        continue;
                below = path_join(folder, entry->d_name);
                r = below ? look_through(x, below, false) : -ENOMEM;
        }
        return r < 0 ? r : -errno;
}

int unit_links_list(const json_t *properties, json_t **ret, Error *reterr) {
        json_auto_t *names = NULL, *links = json_array();
        Search x = {.links = links};
        int r = links ? names_of(properties, &names) : -ENOMEM;

        x.names = names;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(roots); i++) {
                r = look_through(&x, roots[i], true);
                if (r < 0 && r != -ENOMEM)
                        return error_set(reterr, -r, "read-failed",
                                         "Cannot read which links in %s enable %s: %s", roots[i],
                                         args_text(properties, "Id", "the unit"), strerror(-r));
        }
        if (r < 0)
                return error_oom(reterr);
        *ret = TAKE(links);
        return 0;
}

/* ---- making them ---- */

/* 1: made. 0: something stands there. */
static int make(Step *s, const char *path, const char *target) {
        _cleanup_free_ char *folder = strdup(path);
        char there[PATH_MAX];
        ssize_t n;
        int r;

        if (!folder)
                return -ENOMEM;
        r = mkdir_durable(dirname(folder), 0755);
        if (r < 0)
                return r;
        if (symlink(target, path) == 0) {
                step_log(s, "linked %s to %s", path, target);
                r = parent_sync(path);
                return r < 0 ? r : 1;
        }
        if (errno != EEXIST)
                return -errno;
        n = readlink(path, there, sizeof(there) - 1);
        if (n < 0 || (size_t) n != strlen(target) || memcmp(there, target, (size_t) n) != 0)
                step_log(s, "%s is something else by now, and is left so", path);
        return 0;
}

int unit_links_make(Step *s, const json_t *links, Error *reterr) {
        json_t *link;
        int made = 0;
        size_t i;

        json_array_foreach ((json_t *) links, i, link) {
                const char *path, *target;
                int r = json_unpack(link, "[ss]", &path, &target) < 0 ? -EBADMSG
                                                                      : make(s, path, target);

                if (r < 0)
                        return error_set(reterr, -r, "write-failed", "Cannot make the link %s: %s",
                                         r == -EBADMSG ? "?" : path, strerror(-r));
                made += r;
        }
        return made;
}

/* ---- removing them ---- */

/* It does not start the unit, it is the unit: "/etc/systemd/system/a.service". */
static bool is_file_of(const char *path, const char *unit) {
        for (size_t i = 0; i < ELEMENTSOF(roots); i++) {
                size_t n = strlen(roots[i]);

                if (startswith(path, roots[i]) && path[n] == '/' && streq(path + n + 1, unit))
                        return true;
        }
        return false;
}

int unit_links_remove(Step *s, const json_t *links, const char *unit, Error *reterr) {
        json_t *link;
        int removed = 0;
        size_t i;

        json_array_foreach ((json_t *) links, i, link) {
                const char *path = json_string_value(json_array_get(link, 0));
                _cleanup_free_ char *target = NULL;
                int r;

                if (!path || is_file_of(path, unit))
                        continue;
                r = link_read(path, &target);
                if (r == -ENOENT || r == -ENOTDIR || r == -EINVAL) /* gone, or no link by now */
                        continue;
                if (r >= 0)
                        r = unlink(path) < 0 ? -errno : 0;
                if (r < 0)
                        return error_set(reterr, -r, "write-failed",
                                         "Cannot remove the link %s: %s", path, strerror(-r));
                step_log(s, "unlinked %s from %s", path, target);
                removed++;
        }
        return removed;
}

static bool has_link(const json_t *links, const json_t *link) {
        json_t *other;
        size_t i;

        json_array_foreach ((json_t *) links, i, other) {
                if (json_equal(json_array_get(other, 0), json_array_get(link, 0)))
                        return true;
        }
        return false;
}

int unit_links_prune(Step *s, const json_t *properties, const json_t *links, const char *unit,
                     Error *reterr) {
        json_auto_t *more = NULL;
        int r = unit_links_list(properties, &more, reterr);

        if (r < 0)
                return r;
        for (size_t i = json_array_size(more); i-- > 0;)
                if (has_link(links, json_array_get(more, i)))
                        (void) json_array_remove(more, i);
        return unit_links_remove(s, more, unit, reterr);
}

/* ---- on the disk ---- */

static int sync_folder(const char *folder) {
        _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        return fsync(fd) < 0 ? -errno : 0;
}

static int sync_below(const char *folder) {
        _cleanup_(closedirp) DIR *dir = opendir(folder);
        const struct dirent *entry;
        int r = 0;

        if (!dir)
                return errno == ENOENT ? 0 : -errno;
        while (r >= 0 && (errno = 0, entry = readdir(dir))) {
                _cleanup_free_ char *below = NULL;

                if (!is_folder_of_links(entry->d_name))
                        continue;
                below = path_join(folder, entry->d_name);
                r = below ? sync_folder(below) : -ENOMEM;
        }
        return r < 0 ? r : -errno;
}

int unit_links_sync(Error *reterr) {
        int r = sync_below(roots[0]); /* what is in /run ends with the machine */

        if (r >= 0)
                r = sync_folder(roots[0]);
        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot sync %s: %s", roots[0],
                                 strerror(-r))
                     : 0;
}
