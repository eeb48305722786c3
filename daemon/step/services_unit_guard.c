/* SPDX-License-Identifier: MIT */
/*
 * A unit that something else than its own enablement starts is kept down by a drop-in, not by a
 * mask: a mask hides the unit's file, and with it how the unit is to be stopped; it cannot be where
 * that file stands itself (/etc); and nobody could tell it from an administrator's. The drop-in is
 * this job's by its name. It asserts its own absence: removed, it binds nobody, read or not.
 */
#include "daemon/step/files.h"
#include "daemon/step/services_unit.h"

#include <fcntl.h>

static int guard_paths(Step *s, const char *unit, char **ret_folder, char **ret_file,
                       Error *reterr) {
        const char *job = strrchr(step_job_dir(s), '/');
        _cleanup_free_ char *folder = strf("/etc/systemd/system/%s.d", unit);
        _cleanup_free_ char *file =
                folder ? strf("%s/updd-job-%s.conf", folder, job ? job + 1 : step_job_dir(s))
                       : NULL;

        if (!file)
                return error_oom(reterr);
        *ret_folder = TAKE(folder);
        *ret_file = TAKE(file);
        return 0;
}

int unit_guard_set(Step *s, const char *unit, Error *reterr) {
        _cleanup_free_ char *folder = NULL, *file = NULL, *text = NULL;
        int r = guard_paths(s, unit, &folder, &file, reterr);

        if (r < 0)
                return r;
        text = strf(
                "# Written by updd, whose job holds this unit down. Its start, and the way back,\n"
                "# remove this file; whoever must have the unit sooner may do so as well.\n"
                "[Unit]\n"
                "AssertPathExists=!%s\n",
                file);
        if (!text)
                return error_oom(reterr);
        step_log(s, "%s is kept from starting by %s", unit, file);
        r = mkdir_durable(folder, 0755);
        if (r >= 0)
                r = file_write_atomic(AT_FDCWD, file, text, strlen(text), 0644);
        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot write %s: %s", file,
                                 strerror(-r))
                     : 0;
}

int unit_guard_lift(Step *s, const char *unit, Error *reterr) {
        _cleanup_free_ char *folder = NULL, *file = NULL;
        int r = guard_paths(s, unit, &folder, &file, reterr);

        if (r < 0)
                return r;
        if (unlink(file) < 0)
                r = errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
        else {
                step_log(s, "%s may start again: removed %s", unit, file);
                r = parent_sync(file);
                if (r >= 0)
                        r = rmdir(folder) < 0 && errno != ENOTEMPTY && errno != EEXIST ? -errno : 1;
        }
        return r < 0 ? error_set(reterr, -r, "write-failed", "Cannot remove %s: %s", file,
                                 strerror(-r))
                     : r;
}
