/* SPDX-License-Identifier: MIT */
/* Folders for targets that read files: see fuzz.h. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "fuzz.h"

static char folder[64];
static pid_t owner;

static void forget(void) {
        /* A target's children must not take their parent's folder with them. */
        if (getpid() == owner)
                (void) remove_tree(folder);
}

const char *fuzz_folder(void) {
        if (folder[0])
                return folder;
        (void) snprintf(folder, sizeof(folder), "%s/updd-fuzz-XXXXXX",
                        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (!mkdtemp(folder))
                abort();
        owner = getpid();
        (void) atexit(forget);
        return folder;
}

void file_put(const char *dir, const char *name, const void *data, size_t size) {
        _cleanup_free_ char *path = path_join(dir, name);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        if (fd < 0 || write_all(fd, data, size) < 0)
                abort();
}

static void file_copy(const char *from, const char *to_dir, const char *name) {
        _cleanup_free_ char *text = NULL;
        size_t size;

        if (file_read(AT_FDCWD, from, SIZE_MAX / 2, &text, &size) < 0)
                abort();
        file_put(to_dir, name, text, size);
}

static void entry_copy(const char *from, const char *to, const char *name) {
        _cleanup_free_ char *source = path_join(from, name), *target = path_join(to, name);
        struct stat st;

        if (!source || !target || lstat(source, &st) < 0)
                abort();
        if (S_ISDIR(st.st_mode))
                folder_copy(source, target);
        else if (S_ISREG(st.st_mode))
                file_copy(source, to, name);
}

void folder_copy(const char *from, const char *to) {
        DIR *dir = opendir(from);
        struct dirent *entry;

        if (!dir || mkdir(to, 0700) < 0)
                abort();
        while ((entry = readdir(dir)))
                if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
                        entry_copy(from, to, entry->d_name);
        (void) closedir(dir);
}

void folder_remove(const char *path) {
        if (remove_tree(path) < 0)
                abort();
}
