/* SPDX-License-Identifier: MIT */
/* Syncing the disks: see durable.h. */
#include "daemon/step/durable.h"

#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "api/text.h"

#define LINE_MAX_BYTES 4096
#define DISKS_MAX 64

DEFINE_CLEANUP(FILE *, endmntent)

typedef struct Disks {
        dev_t seen[DISKS_MAX];
        size_t n;
} Disks;

static bool is_new(Disks *d, dev_t dev) {
        for (size_t i = 0; i < d->n; i++)
                if (d->seen[i] == dev)
                        return false;
        if (d->n < DISKS_MAX)
                d->seen[d->n++] = dev;
        return true;
}

/* A folder that is gone, or that may not be opened, has nothing that could be lost through it. */
static int sync_at(Disks *d, const char *path, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
        struct stat st;
        int r = 0;

        if (fd < 0)
                r = errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == EPERM
                            ? 0
                            : -errno;
        else if (fstat(fd, &st) < 0 || (is_new(d, st.st_dev) && syncfs(fd) < 0))
                r = -errno;
        return r < 0 ? error_set(reterr, -r, "write-failed",
                                 "What was written could not be brought to the disk of %s: %s",
                                 path, strerror(-r))
                     : 0;
}

static bool is_own_disk(const struct mntent *m) {
        bool own = startswith(m->mnt_fsname, "/dev/") || streq(m->mnt_type, "zfs") ||
                   streq(m->mnt_type, "overlay");

        return own && hasmntopt(m, MNTOPT_RW) && !startswith(m->mnt_type, "fuse.");
}

int disks_sync(const char *dir, Error *reterr) {
        _cleanup_(endmntentp) FILE *mounts = setmntent("/proc/self/mounts", "re");
        char line[LINE_MAX_BYTES];
        struct mntent m;
        Disks d = {.n = 0};
        int r = dir ? sync_at(&d, dir, reterr) : 0;

        while (r >= 0 && mounts && getmntent_r(mounts, &m, line, sizeof(line)))
                if (is_own_disk(&m))
                        r = sync_at(&d, m.mnt_dir, reterr);
        return r;
}
