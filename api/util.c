/* SPDX-License-Identifier: MIT */
/* Paths and whole-file reads and writes: see api/util.h. */
#include "api/util.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "api/memory.h"

char *strf(const char *format, ...) {
        char *text = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0)
                memory_failed();
        return r < 0 ? NULL : text;
}

char *path_join(const char *dir, const char *name) {
        size_t n = strlen(dir);

        if (name[0] == '/' || n == 0)
                return strdup(name);
        return strf("%s%s%s", dir, dir[n - 1] == '/' ? "" : "/", name);
}

/* Opens the folder that holds `path`, so that a rename in it can be made durable. */
static int open_parent(int dirfd, const char *path) {
        _cleanup_free_ char *dir = strdup(path);
        char *slash;
        int fd;

        if (!dir)
                return -ENOMEM;
        slash = strrchr(dir, '/');
        if (!slash)
                fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        else {
                slash[slash == dir ? 1 : 0] = '\0';
                fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        }
        return fd < 0 ? -errno : fd;
}

/* A parent that may be entered but not read is not ours to sync. */
static int folder_make(const char *path, unsigned mode, bool durable) {
        _cleanup_close_ int parent = -EBADF;

        if (mkdir(path, (mode_t) mode) < 0 && errno != EEXIST)
                return -errno;
        if (!durable)
                return 0;
        parent = open_parent(AT_FDCWD, path);
        if (parent < 0)
                return parent == -EACCES ? 0 : parent;
        return fsync(parent) < 0 && errno != EINVAL ? -errno : 0;
}

static int folders_make(char *path, unsigned mode, bool durable) {
        int r;

        for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
                path[n - 1] = '\0';
        /* Mostly only the last one is missing: the way there is walked when it is not. */
        r = folder_make(path, mode, durable);
        if (r != -ENOENT)
                return r;

        for (char *p = path + 1; *p; p++) {
                if (*p != '/')
                        continue;
                *p = '\0';
                r = folder_make(path, mode, durable && access(path, F_OK) < 0);
                if (r < 0)
                        return r;
                *p = '/';
        }
        return folder_make(path, mode, durable);
}

int mkdir_parents(const char *path, unsigned mode) {
        _cleanup_free_ char *copy = strdup(path);

        if (!copy)
                return -ENOMEM;
        return isempty(copy) ? -EINVAL : folders_make(copy, mode, false);
}

int mkdir_durable(const char *path, unsigned mode) {
        _cleanup_free_ char *copy = strdup(path);

        if (!copy)
                return -ENOMEM;
        return isempty(copy) ? -EINVAL : folders_make(copy, mode, true);
}

int file_read(int dirfd, const char *path, size_t max, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        _cleanup_free_ char *text = NULL;
        size_t size = 0, room = 0;

        if (fd < 0)
                return -errno;

        for (;;) {
                ssize_t n;

                if (room - size < 2) {
                        size_t want = room ? room * 2 : 4096;
                        char *grown = realloc(text, want);

                        if (!grown)
                                return -ENOMEM;
                        text = grown;
                        room = want;
                }
                n = read(fd, text + size, room - size - 1);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (size_t) n;
                if (size > max)
                        return -EFBIG;
        }
        text[size] = '\0';
        if (ret_size)
                *ret_size = size;
        *ret = TAKE(text);
        return 0;
}

int write_all(int fd, const void *data, size_t size) {
        const char *p = data;

        while (size > 0) {
                ssize_t n = write(fd, p, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                p += n;
                size -= (size_t) n;
        }
        return 0;
}

static int write_durably(int dirfd, const char *path, const void *data, size_t size,
                         unsigned mode) {
        _cleanup_close_ int fd =
                openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, (mode_t) mode);
        int r;

        if (fd < 0)
                return -errno;
        r = write_all(fd, data, size);
        if (r < 0)
                return r;
        if (fchmod(fd, (mode_t) mode) < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

int file_write_atomic(int dirfd, const char *path, const void *data, size_t size, unsigned mode) {
        _cleanup_free_ char *temporary = strf("%s.%d.tmp", path, (int) getpid());
        _cleanup_close_ int parent = open_parent(dirfd, path);
        int r;

        if (!temporary)
                return -ENOMEM;
        if (parent < 0)
                return parent;
        r = write_durably(dirfd, temporary, data, size, mode);
        if (r >= 0 && renameat(dirfd, temporary, dirfd, path) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(dirfd, temporary, 0);
                return r;
        }
        return fsync(parent) < 0 ? -errno : 0;
}

static int remove_below(int dirfd, const char *name) {
        _cleanup_(closedirp) DIR *dir = NULL;
        struct dirent *entry;
        int fd;

        if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return -errno;

        fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        dir = fdopendir(fd);
        if (!dir) {
                (void) close(fd);
                return -errno;
        }
        while ((entry = readdir(dir))) {
                int r;

                if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
                        continue;
                r = remove_below(fd, entry->d_name);
                if (r < 0)
                        return r;
        }
        return unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int remove_tree(const char *path) {
        return remove_below(AT_FDCWD, path);
}

bool fd_is_journal(int fd) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(fd, &st) == 0 &&
               st.st_dev == device && st.st_ino == inode;
}
