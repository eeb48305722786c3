/* SPDX-License-Identifier: MIT */
/*
 * What a system call did to the disk, read from the process that makes it: see calls.h. The bytes
 * of a write are read back from the file once they are in it, so all ways to write are one.
 */
#include "tests/recorder/calls.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

typedef enum Op {
        OP_OPEN,
        OP_WRITE,
        OP_TRUNCATE,
        OP_ALLOCATE,
        OP_MKDIR,
        OP_REMOVE,
        OP_RENAME,
        OP_LINK,
        OP_SYMLINK,
        OP_MODE,
        OP_SYNC,
        OP_SYNC_ALL,
        OP_SEND,
} Op;

/* Which argument is what, counted from 1; 0: it has none. A path without a folder's descriptor is
 * seen from the process's own folder. */
struct CallRow {
        int number;
        Op op;
        uint8_t fd, dir, path, to_dir, to, at, size, flags;
};

static const CallRow rows[] = {
        {SYS_openat, OP_OPEN, .dir = 1, .path = 2, .flags = 3},
        {SYS_write, OP_WRITE, .fd = 1},
        {SYS_pwrite64, OP_WRITE, .fd = 1, .at = 4},
        {SYS_writev, OP_WRITE, .fd = 1},
        {SYS_pwritev, OP_WRITE, .fd = 1, .at = 4},
        {SYS_sendfile, OP_WRITE, .fd = 1},
        {SYS_copy_file_range, OP_WRITE, .fd = 3},
        {SYS_splice, OP_WRITE, .fd = 3},
        {SYS_ftruncate, OP_TRUNCATE, .fd = 1, .size = 2},
        {SYS_truncate, OP_TRUNCATE, .path = 1, .size = 2},
        {SYS_fallocate, OP_ALLOCATE, .fd = 1, .flags = 2, .at = 3, .size = 4},
        {SYS_mkdirat, OP_MKDIR, .dir = 1, .path = 2},
        {SYS_unlinkat, OP_REMOVE, .dir = 1, .path = 2},
        {SYS_renameat2, OP_RENAME, .dir = 1, .path = 2, .to_dir = 3, .to = 4, .flags = 5},
        {SYS_linkat, OP_LINK, .dir = 1, .path = 2, .to_dir = 3, .to = 4},
        {SYS_symlinkat, OP_SYMLINK, .dir = 2, .path = 3, .to = 1},
        {SYS_fchmod, OP_MODE, .fd = 1},
        {SYS_fchmodat, OP_MODE, .dir = 1, .path = 2},
        {SYS_fsync, OP_SYNC, .fd = 1},
        {SYS_fdatasync, OP_SYNC, .fd = 1},
        {SYS_syncfs, OP_SYNC_ALL},
        {SYS_sync, OP_SYNC_ALL},
        {SYS_sendto, OP_SEND, .fd = 1},
        {SYS_sendmsg, OP_SEND, .fd = 1},
#ifdef SYS_open /* what only the older machines have */
        {SYS_open, OP_OPEN, .path = 1, .flags = 2},
        {SYS_creat, OP_OPEN, .path = 1},
        {SYS_mkdir, OP_MKDIR, .path = 1},
        {SYS_unlink, OP_REMOVE, .path = 1},
        {SYS_rmdir, OP_REMOVE, .path = 1},
        {SYS_rename, OP_RENAME, .path = 1, .to = 2},
        {SYS_link, OP_LINK, .path = 1, .to = 2},
        {SYS_symlink, OP_SYMLINK, .path = 2, .to = 1},
        {SYS_chmod, OP_MODE, .path = 1},
#endif
#ifdef SYS_renameat
        {SYS_renameat, OP_RENAME, .dir = 1, .path = 2, .to_dir = 3, .to = 4},
#endif
};

size_t calls_count(void) {
        return ELEMENTSOF(rows);
}

int calls_number(size_t i) {
        return rows[i].number;
}

void call_done(Call *c) {
        free(c->path);
        free(c->to);
        *c = (Call){0};
}

_Noreturn static void give_up(const Call *c, const char *what) {
        fprintf(stderr, "recorder: cannot %s of process %d: %s\n", what, (int) c->pid,
                strerror(errno));
        abort();
}

static uint64_t argument(const Call *c, uint8_t i) {
        return i > 0 ? c->args[i - 1] : 0;
}

/* ---- the process's memory and files ---- */

static ssize_t memory_read(const Call *c, uint64_t at, void *to, size_t size) {
        struct iovec here = {to, size}, there = {(void *) (uintptr_t) at, size};

        return process_vm_readv(c->pid, &here, 1, &there, 1, 0);
}

/* A text may end just before what cannot be read: page by page. */
static char *text_read(const Call *c, uint64_t at) {
        char text[PATH_MAX + 1] = "";
        size_t n = 0;

        while (at != 0 && n < PATH_MAX) {
                size_t part = MIN(PATH_MAX - n, 4096 - (size_t) ((at + n) % 4096));
                ssize_t got = memory_read(c, at + n, text + n, part);

                if (got <= 0)
                        break;
                if (memchr(text + n, '\0', (size_t) got))
                        return strdup(text);
                n += (size_t) got;
        }
        return NULL;
}

static char *fd_name(const Call *c, int fd) {
        return fd == AT_FDCWD ? strf("/proc/%d/cwd", (int) c->pid)
                              : strf("/proc/%d/fd/%d", (int) c->pid, fd);
}

/* Where the descriptor's file stands; NULL when it is none, or outside of the root folder. */
static char *fd_path(const Call *c, int fd) {
        _cleanup_free_ char *name = fd_name(c, fd);
        char path[PATH_MAX];
        size_t n = strlen(c->root);
        ssize_t got = name ? readlink(name, path, sizeof(path) - 1) : -1;

        if (got < 0)
                return NULL;
        path[got] = '\0';
        return startswith(path, c->root) && (path[n] == '/' || path[n] == '\0') ? strdup(path)
                                                                                : NULL;
}

/* The absolute name, its folder without symlinks; NULL outside of the root folder. */
static char *full_path(const Call *c, uint8_t dir, uint8_t path) {
        _cleanup_free_ char *text = text_read(c, argument(c, path)), *base = NULL, *whole = NULL;
        char real[PATH_MAX], *slash;

        base = fd_name(c, dir > 0 ? (int) argument(c, dir) : AT_FDCWD);
        whole = text && base ? path_join(base, text) : NULL;
        while (whole && strlen(whole) > 1 && endswith(whole, "/"))
                whole[strlen(whole) - 1] = '\0';
        slash = whole ? strrchr(whole, '/') : NULL;
        if (!slash)
                return NULL;
        *slash = '\0';
        if (!realpath(*whole ? whole : "/", real))
                return NULL;
        if (!startswith(real, c->root) || (real[strlen(c->root)] && real[strlen(c->root)] != '/'))
                return NULL;
        return path_join(real, slash + 1);
}

/* ---- the entry ---- */

static bool open_begin(Call *c) {
        uint64_t flags = c->row->flags ? argument(c, c->row->flags) : O_CREAT | O_TRUNC;
        struct stat st;

        if (!(flags & (O_CREAT | O_TRUNC)) || (flags & __O_TMPFILE) == __O_TMPFILE)
                return false;
        c->path = full_path(c, c->row->dir, c->row->path);
        c->was_there = c->path && stat(c->path, &st) == 0;
        c->size_before = c->was_there ? (uint64_t) st.st_size : 0;
        return c->path != NULL;
}

static bool fd_begin(Call *c) {
        _cleanup_free_ char *name = fd_name(c, (int) argument(c, c->row->fd));
        struct stat st;

        if (!name || stat(name, &st) < 0)
                return false;
        if (S_ISSOCK(st.st_mode))
                return c->row->op == OP_WRITE || c->row->op == OP_SEND;
        if (c->row->op == OP_SEND || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
                return false;
        c->path = fd_path(c, (int) argument(c, c->row->fd));
        return c->path != NULL;
}

bool call_begin(Call *c, const char *root, pid_t pid, uint64_t number, const uint64_t args[6]) {
        *c = (Call){.root = root, .pid = pid};
        memcpy(c->args, args, sizeof(c->args));
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if ((uint64_t) rows[i].number == number)
                        c->row = &rows[i];
        if (!c->row)
                return false;
        if (c->row->op == OP_OPEN)
                return open_begin(c);
        if (c->row->op == OP_SYNC_ALL)
                return true;
        if (c->row->fd)
                return fd_begin(c);
        c->path = full_path(c, c->row->dir, c->row->path);
        if (c->row->op == OP_SYMLINK)
                c->to = text_read(c, argument(c, c->row->to));
        else if (c->row->to)
                c->to = full_path(c, c->row->to_dir, c->row->to);
        return c->path || c->to;
}

/* ---- the exit ---- */

static void tell(const Call *c, int log_fd, json_t *line, const void *data, size_t size) {
        json_auto_t *owned = line;
        _cleanup_free_ char *comm = strf("/proc/%d/comm", (int) c->pid), *text = NULL, *by = NULL;

        if (!comm || file_read(AT_FDCWD, comm, 64, &by, NULL) < 0)
                give_up(c, "read the name");
        by[strcspn(by, "\n")] = '\0';
        if (!owned || json_object_set_new(owned, "by", json_string(by)) < 0 ||
            json_object_set_new(owned, "pid", json_integer(c->pid)) < 0 ||
            (c->path && json_object_set_new(owned, "path", json_string(c->path)) < 0) ||
            (c->to && json_object_set_new(owned, "to", json_string(c->to)) < 0))
                give_up(c, "tell of a call");
        text = json_dumps(owned, JSON_COMPACT);
        if (!text || write_all(log_fd, text, strlen(text)) < 0 || write_all(log_fd, "\n", 1) < 0 ||
            write_all(log_fd, data, size) < 0)
                give_up(c, "write down a call");
}

static int64_t position(const Call *c, int fd) {
        _cleanup_free_ char *info = strf("/proc/%d/fdinfo/%d", (int) c->pid, fd), *text = NULL;
        int64_t at;

        if (!info || file_read(AT_FDCWD, info, 4096, &text, NULL) < 0 ||
            sscanf(text, "pos: %" SCNd64, &at) != 1)
                give_up(c, "find the position");
        return at;
}

static void write_finish(const Call *c, int64_t n, int log_fd) {
        int number = (int) argument(c, c->row->fd);
        int64_t at = c->row->at ? (int64_t) argument(c, c->row->at) : position(c, number) - n;
        _cleanup_free_ char *name = fd_name(c, number), *data = malloc((size_t) n + 1);
        _cleanup_close_ int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -EBADF;
        struct stat st;

        if (fd < 0 || !data || fstat(fd, &st) < 0 || pread(fd, data, (size_t) n, at) != n)
                give_up(c, "read back a write");
        tell(c, log_fd,
             json_pack("{s:s, s:I, s:I, s:I}", "op", "write", "ino", (json_int_t) st.st_ino, "at",
                       (json_int_t) at, "size", (json_int_t) n),
             data, (size_t) n);
}

/* An answer's first bytes, which say how it went. */
static void send_finish(const Call *c, int log_fd) {
        uint64_t at = c->args[1];
        char text[16] = "";
        int status;

        if (c->row->number == SYS_sendmsg) {
                struct msghdr message;

                if (memory_read(c, at, &message, sizeof(message)) < 0)
                        return;
                at = (uint64_t) (uintptr_t) message.msg_iov;
        }
        if (c->row->number == SYS_sendmsg || c->row->number == SYS_writev) {
                struct iovec first;

                if (memory_read(c, at, &first, sizeof(first)) < 0)
                        return;
                at = (uint64_t) (uintptr_t) first.iov_base;
        }
        if (memory_read(c, at, text, sizeof(text) - 1) > 0 &&
            sscanf(text, "HTTP/1.1 %d", &status) == 1)
                tell(c, log_fd, json_pack("{s:s, s:i}", "op", "answer", "status", status), "", 0);
}

static void open_finish(Call *c, int64_t fd, int log_fd) {
        _cleanup_free_ char *name = fd_name(c, (int) fd);
        struct stat st;

        free(c->path);
        c->path = fd_path(c, (int) fd); /* it may have been opened through a symlink */
        if (!c->path || !name || stat(name, &st) < 0 || !S_ISREG(st.st_mode))
                return;
        if (!c->was_there)
                tell(c, log_fd,
                     json_pack("{s:s, s:I, s:i}", "op", "create", "ino", (json_int_t) st.st_ino,
                               "mode", (int) (st.st_mode & 07777)),
                     "", 0);
        else if (c->size_before > 0 && st.st_size == 0)
                tell(c, log_fd,
                     json_pack("{s:s, s:I, s:i}", "op", "truncate", "ino", (json_int_t) st.st_ino,
                               "size", 0),
                     "", 0);
}

static void plain_finish(const Call *c, int log_fd) {
        static const char *const names[] = {
                [OP_TRUNCATE] = "truncate", [OP_ALLOCATE] = "allocate", [OP_MKDIR] = "mkdir",
                [OP_REMOVE] = "remove",     [OP_RENAME] = "rename",     [OP_LINK] = "link",
                [OP_SYMLINK] = "symlink",   [OP_MODE] = "mode",         [OP_SYNC] = "sync",
                [OP_SYNC_ALL] = "sync-all",
        };
        json_t *line = json_pack("{s:s}", "op", names[c->row->op]);
        struct stat st;

        if (c->path && lstat(c->path, &st) == 0 &&
            (json_object_set_new(line, "ino", json_integer((json_int_t) st.st_ino)) < 0 ||
             json_object_set_new(line, "mode", json_integer(st.st_mode & 07777)) < 0))
                give_up(c, "tell of a call");
        if (c->row->size &&
            json_object_set_new(line, "length",
                                json_integer((json_int_t) argument(c, c->row->size))) < 0)
                give_up(c, "tell of a call");
        if (c->row->at &&
            json_object_set_new(line, "at", json_integer((json_int_t) argument(c, c->row->at))) < 0)
                give_up(c, "tell of a call");
        if (c->row->flags &&
            json_object_set_new(line, "flags",
                                json_integer((json_int_t) argument(c, c->row->flags))) < 0)
                give_up(c, "tell of a call");
        tell(c, log_fd, line, "", 0);
}

void call_finish(Call *c, int64_t result, int log_fd) {
        if (c->row->op == OP_OPEN)
                open_finish(c, result, log_fd);
        else if ((c->row->op == OP_WRITE || c->row->op == OP_SEND) && !c->path)
                send_finish(c, log_fd);
        else if (c->row->op == OP_WRITE) {
                if (result > 0)
                        write_finish(c, result, log_fd);
        } else
                plain_finish(c, log_fd);
}
