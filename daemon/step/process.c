/* SPDX-License-Identifier: MIT */
/* Processes through /proc and pidfds: see process.h. */
#include "daemon/step/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#define POLL_MS 50
#define KILL_MS (5 * 1000)
#define CLOCK_SLACK_MS (2 * 1000) /* between the file system's clock and the ticks since boot */

int process_now(pid_t pid, Process *ret) {
        _cleanup_free_ char *path = strf("/proc/%d/stat", (int) pid), *text = NULL;
        unsigned long long ticks;
        const char *end;
        char state;

        *ret = (Process){0};
        if (pid <= 0 || !path || file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
                return 0;
        end = strrchr(text, ')'); /* the name before it may hold anything */
        if (!end || sscanf(end + 1,
                           " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                           "%*d %*d %llu",
                           &state, &ticks) != 2)
                return 0;
        if (state == 'Z' || state == 'X')
                return 0;
        *ret = (Process){.pid = pid, .ticks = ticks};
        return 1;
}

bool process_lives(const Process *p) {
        Process now;

        return p->pid > 0 && process_now(p->pid, &now) > 0 && now.ticks == p->ticks;
}

int64_t process_age_ms(const Process *p) {
        return now_boot_ms() - (int64_t) (p->ticks * 1000 / (uint64_t) sysconf(_SC_CLK_TCK));
}

int process_from_file(const char *path, Process *ret) {
        _cleanup_free_ char *text = NULL;
        int64_t written_ms, began_ms;
        struct stat st;
        char *end;
        long pid;

        *ret = (Process){0};
        if (stat(path, &st) < 0 || file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
                return 0;
        pid = strtol(text, &end, 10);
        if (end == text || pid <= 1 || pid > INT32_MAX || process_now((pid_t) pid, ret) == 0)
                return 0;
        written_ms = (int64_t) st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
        began_ms = now_wall_ms() - process_age_ms(ret);
        if (began_ms <= written_ms + CLOCK_SLACK_MS)
                return 1;
        *ret = (Process){0};
        return 0;
}

/* The pidfd is of whoever has the number; that it is the right one is seen after it is held. */
static bool signal_process(const Process *p, int signal) {
        _cleanup_close_ int fd = pidfd_open(p->pid, 0);

        return fd >= 0 && process_lives(p) && pidfd_send_signal(fd, signal, NULL, 0) >= 0;
}

int process_wait(Step *s, const Process *p, int64_t ms, Error *reterr) {
        int64_t until_us = now_mono_us() + ms * 1000;

        while (process_lives(p)) {
                if (now_mono_us() >= until_us)
                        return 0;
                if (step_sleep(s, POLL_MS) < 0)
                        return error_set(reterr, ECANCELED, "stopped", "Stopped");
        }
        return 1;
}

int process_end(Step *s, const Process *p, int64_t grace_ms, Error *reterr) {
        bool leads = getpgid(p->pid) == p->pid;
        int r;

        if (!process_lives(p))
                return 0;
        (void) signal_process(p, SIGTERM);
        r = process_wait(s, p, grace_ms, reterr);
        if (r == 0) {
                step_log(s, "process %d does not end: killing it", (int) p->pid);
                if (process_lives(p) && leads)
                        (void) kill(-p->pid, SIGKILL);
                (void) signal_process(p, SIGKILL);
                r = process_wait(s, p, KILL_MS, reterr);
        }
        if (r != 0)
                return MIN(r, 0);
        return error_set(reterr, EBUSY, "still-running", "Process %d cannot be ended",
                         (int) p->pid);
}
