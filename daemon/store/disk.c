/* SPDX-License-Identifier: MIT */
/*
 * Why a write failed, which SQLite does not hand on: its calls of the system that write are looked at
 * on their way (sqlite.org/c3ref/vfs.html, xSetSystemCall). A quota that is used up is a disk that is
 * full, and SQLite knows only the latter. The reason stands in one variable of this file, since those
 * calls know of no connection; there is one store, and one thread.
 */
#include "daemon/store/internal.h"

static int last_error;

static ssize_t note(ssize_t n) {
        if (n < 0) {
                last_error = errno;
                if (errno == EDQUOT)
                        errno = ENOSPC;
        }
        return n;
}

static ssize_t disk_write(int fd, const void *data, size_t size) {
        return note(write(fd, data, size));
}

static ssize_t disk_pwrite(int fd, const void *data, size_t size, off_t at) {
        return note(pwrite(fd, data, size, at));
}

/* Its offset has 64 bits everywhere, and so have all others here. */
_Static_assert(sizeof(off_t) == 8, "a file's offset has 64 bits");

void disk_watch(void) {
        static const struct {
                const char *name;
                sqlite3_syscall_ptr func;
        } calls[] = {
                {"write", (sqlite3_syscall_ptr) disk_write},
                {"pwrite", (sqlite3_syscall_ptr) disk_pwrite},
                {"pwrite64", (sqlite3_syscall_ptr) disk_pwrite},
        };
        sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

        for (size_t i = 0; vfs && vfs->iVersion >= 3 && i < ELEMENTSOF(calls); i++)
                (void) vfs->xSetSystemCall(vfs, calls[i].name, calls[i].func);
}

int disk_error(void) {
        int err = last_error;

        last_error = 0;
        return err;
}
