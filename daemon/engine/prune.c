/* SPDX-License-Identifier: MIT */
/*
 * Old jobs' folders: what is beyond the newest KEPT_COUNT, or older than KEPT_DAYS, goes, logs and
 * undo records with it; the rows in the database stay. Jobs in memory keep theirs, and so does a
 * folder that holds backups: those are removed by the plan's `keep`, not by age. Secrets that came
 * with requests go with the job's leaving memory, and what was reserved with its end; what a crash
 * left of them goes here.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define KEPT_COUNT 2000
#define KEPT_DAYS 90

static int is_job_folder(const struct dirent *d) {
        return strspn(d->d_name, "0123456789") == strlen(d->d_name);
}

static int by_number(const struct dirent **a, const struct dirent **b) {
        long long x = strtoll((*a)->d_name, NULL, 10), y = strtoll((*b)->d_name, NULL, 10);

        return x < y ? -1 : x > y;
}

/* The day to which ages are measured: that of the newest folder, or today if that is earlier. A
 * clock that was set far ahead makes nothing old. */
static int64_t today_of(const char *dir, struct dirent *const *entries, int n) {
        int64_t today = now_wall_ms() / 1000;
        _cleanup_free_ char *newest = n > 0 ? path_join(dir, entries[n - 1]->d_name) : NULL;
        struct stat st;

        return newest && stat(newest, &st) == 0 ? MIN(today, (int64_t) st.st_mtim.tv_sec) : today;
}

static bool may_go(Engine *e, const char *path, const char *name, int64_t today, bool surplus) {
        _cleanup_free_ char *backups = path_join(path, "backups");
        struct stat st;

        if (!backups || access(backups, F_OK) == 0 || slot_find(e, strtoll(name, NULL, 10)))
                return false;
        if (surplus)
                return true;
        return stat(path, &st) == 0 && today - st.st_mtim.tv_sec > (int64_t) KEPT_DAYS * 24 * 3600;
}

static void forget_secrets(Engine *e, const char *path, const char *name) {
        _cleanup_free_ char *secrets = path ? path_join(path, "secrets") : NULL;

        if (secrets && !slot_find(e, strtoll(name, NULL, 10)))
                (void) remove_tree(secrets);
}

int64_t engine_newest_folder(Engine *e) {
        _cleanup_free_ char *dir = path_join(e->state_dir, "jobs");
        struct dirent **entries = NULL;
        int n = dir ? scandir(dir, &entries, is_job_folder, by_number) : -1;
        int64_t newest = n > 0 ? strtoll(entries[n - 1]->d_name, NULL, 10) : 0;

        for (int i = 0; i < n; i++)
                free(entries[i]);
        free(entries);
        return newest;
}

void engine_prune(Engine *e) {
        _cleanup_free_ char *dir = path_join(e->state_dir, "jobs");
        struct dirent **entries = NULL;
        int n = dir ? scandir(dir, &entries, is_job_folder, by_number) : -1, gone = 0;
        int64_t today = today_of(dir, entries, n);

        for (int i = 0; i < n; i++) {
                _cleanup_free_ struct dirent *d = entries[i];
                _cleanup_free_ char *path = path_join(dir, d->d_name);

                forget_secrets(e, path, d->d_name);
                engine_unreserve(e, strtoll(d->d_name, NULL, 10));
                if (path && may_go(e, path, d->d_name, today, n - i > KEPT_COUNT) &&
                    remove_tree(path) >= 0)
                        gone++;
        }
        free(entries);
        if (gone > 0)
                log_info("removed the folders of %d old jobs", gone);
}
