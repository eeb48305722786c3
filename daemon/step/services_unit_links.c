/* SPDX-License-Identifier: MIT */
/* Links that enable units, read and made as they were. See services_unit_links.h. */
#include "daemon/step/services_unit_links.h"
#include "daemon/step/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>

#define FILE_MAX (256 * 1024)

static const char *const roots[] = {"/etc/systemd/system", "/run/systemd/system"};

DEFINE_CLEANUP(DIR *, closedir)

typedef struct Search {
        json_t *names; /* {unit: true} */
        json_t *links;
        int r;
} Search;

static const char *last_part(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* ---- whose links ---- */

/* "Also=a.socket b.service": they are disabled with it, and enabled. */
static int add_also(json_t *names, char *words) {
        char *word;

        while ((word = strsep(&words, " \t")))
                if (*word && json_put(names, word, json_true()) < 0)
                        return -ENOMEM;
        return 0;
}

static int names_of(const json_t *p, json_t **ret) {
        const char *file = args_text(p, "FragmentPath", "");
        _cleanup_free_ char *text = NULL;
        json_auto_t *names = json_object();
        char *rest, *line;
        json_t *name;
        size_t i;

        json_array_foreach (json_object_get(p, "Names"), i, name) {
                if (json_put(names, json_string_value(name), json_true()) < 0)
                        return -ENOMEM;
        }
        if (*file && file_read(AT_FDCWD, file, FILE_MAX, &text, NULL) < 0)
                text = NULL;
        for (rest = text; (line = strsep(&rest, "\n"));)
                if (startswith(line, "Also=") && add_also(names, line + strlen("Also=")) < 0)
                        return -ENOMEM;
        if (!names)
                return -ENOMEM;
        *ret = TAKE(names);
        return 0;
}

/* ---- finding them ---- */

static void look_at(Search *x, const char *folder, int dir, const char *name) {
        _cleanup_free_ char *path = NULL;
        char target[PATH_MAX];
        ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

        if (n <= 0) /* no link */
                return;
        target[n] = '\0';
        if (streq(target, "/dev/null") ||
            (!json_object_get(x->names, name) && !json_object_get(x->names, last_part(target))))
                return;
        path = path_join(folder, name);
        if (!path || json_array_append_new(x->links, json_pack("[ss]", path, target)) < 0)
                x->r = -ENOMEM;
}

static bool is_folder_of_links(const char *name) {
        return endswith(name, ".wants") || endswith(name, ".requires") ||
               endswith(name, ".upholds");
}

static void look_through(Search *x, const char *folder, bool deeper) {
        _cleanup_(closedirp) DIR *dir = opendir(folder);
        const struct dirent *entry;

        while (dir && x->r >= 0 && (entry = readdir(dir))) {
                look_at(x, folder, dirfd(dir), entry->d_name);
                if (deeper && is_folder_of_links(entry->d_name)) {
                        _cleanup_free_ char *below = path_join(folder, entry->d_name);

                        if (below)
                                look_through(x, below, false);
                        else
                                x->r = -ENOMEM;
                }
        }
}

int unit_links_list(const json_t *properties, json_t **ret) {
        json_auto_t *names = NULL, *links = json_array();
        Search x = {.links = links};
        int r = links ? names_of(properties, &names) : -ENOMEM;

        x.names = names;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(roots); i++) {
                look_through(&x, roots[i], true);
                r = x.r;
        }
        if (r >= 0)
                *ret = TAKE(links);
        return r;
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

        while (dir && r >= 0 && (entry = readdir(dir))) {
                _cleanup_free_ char *below = NULL;

                if (!is_folder_of_links(entry->d_name))
                        continue;
                below = path_join(folder, entry->d_name);
                r = below ? sync_folder(below) : -ENOMEM;
        }
        return r;
}

int unit_links_sync(Error *reterr) {
        int r = sync_below(roots[0]); /* what is in /run ends with the machine */

        if (r >= 0)
                r = sync_folder(roots[0]);
        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot sync %s: %s", roots[0],
                                 strerror(-r))
                     : 0;
}
