/* SPDX-License-Identifier: MIT */
/* An attempt's processes: see tree.h. */
#include "daemon/attempt/tree.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include "api/text.h"

#define ENVIRON_MAX (4U * 1024 * 1024)
#define LIMITS_MAX (64U * 1024)

typedef struct Process {
        pid_t pid, parent;
        bool zombie;
        bool ours;
} Process;

typedef struct Processes {
        Process *items;
        size_t n, room;
} Processes;

static void processes_done(Processes *p) {
        free(p->items);
}

/* /proc/PID/stat: the name in brackets may itself hold brackets and blanks. */
static int process_read(int proc, const char *pid, Process *ret) {
        _cleanup_free_ char *path = strf("%s/stat", pid), *text = NULL;
        const char *p;
        char state;
        int parent, r;

        if (!path)
                return -ENOMEM;
        r = file_read(proc, path, 64 * 1024, &text, NULL);
        if (r < 0)
                return r;
        p = strrchr(text, ')');
        if (!p || sscanf(p + 1, " %c %d", &state, &parent) != 2)
                return -EBADMSG;
        *ret = (Process){.pid = (pid_t) atoi(pid), .parent = parent, .zombie = state == 'Z'};
        return 0;
}

static int processes_add(Processes *all, const Process *one) {
        if (all->n == all->room) {
                size_t room = all->room ? all->room * 2 : 256;
                Process *grown = reallocarray(all->items, room, sizeof(Process));

                if (!grown)
                        return -ENOMEM;
                all->items = grown;
                all->room = room;
        }
        all->items[all->n++] = *one;
        return 0;
}

static int processes_read(Processes *ret) {
        _cleanup_(closedirp) DIR *dir = opendir("/proc");
        struct dirent *entry;

        if (!dir)
                return -errno;
        while ((entry = readdir(dir))) {
                Process one;

                if (!isdigit((unsigned char) entry->d_name[0]))
                        continue;
                if (process_read(dirfd(dir), entry->d_name, &one) < 0)
                        continue; /* it has ended meanwhile */
                if (processes_add(ret, &one) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static bool mark_children(Processes *all, pid_t parent) {
        bool found = false;

        for (size_t i = 0; i < all->n; i++)
                if (all->items[i].parent == parent && !all->items[i].ours) {
                        all->items[i].ours = true;
                        found = true;
                }
        return found;
}

static void mark_descendants(Processes *all, pid_t root) {
        bool more = mark_children(all, root);

        while (more) {
                more = false;
                for (size_t i = 0; i < all->n; i++)
                        if (all->items[i].ours)
                                more |= mark_children(all, all->items[i].pid);
        }
}

static int signal_ours(const Processes *all, int signal, bool forbidden_too) {
        int n = 0;

        for (size_t i = 0; i < all->n; i++)
                if (all->items[i].ours && !all->items[i].zombie &&
                    (kill(all->items[i].pid, signal) == 0 || (forbidden_too && errno == EPERM)))
                        n++;
        return n;
}

int tree_signal(pid_t root, int signal) {
        _cleanup_(processes_done) Processes all = {0};
        int r;

        r = processes_read(&all);
        if (r < 0)
                return r;
        mark_descendants(&all, root);
        return signal_ours(&all, signal, true);
}

/* ---- marks ---- */

/* 60 bits of the id, out of reach of any use: in microseconds, some 36,000 years. */
static unsigned long long mark_of(const char *id) {
        char digits[16] = "";

        (void) snprintf(digits, sizeof(digits), "%.15s", id);
        return 1ULL << 60 | strtoull(digits, NULL, 16);
}

int tree_mark(const char *id) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_RTTIME, &limit) < 0)
                return -errno;
        limit.rlim_cur = (rlim_t) mark_of(id);
        return setrlimit(RLIMIT_RTTIME, &limit) < 0 ? -errno : 0;
}

static bool has_limit(pid_t pid, unsigned long long mark) {
        static const char name[] = "\nMax realtime timeout ";
        _cleanup_free_ char *path = strf("/proc/%d/limits", (int) pid), *text = NULL;
        const char *line;

        if (!path || file_read(AT_FDCWD, path, LIMITS_MAX, &text, NULL) < 0)
                return false;
        line = strstr(text, name);
        return line && strtoull(line + strlen(name), NULL, 10) == mark;
}

/* Is it one of the NUL-terminated texts of /proc/PID/FILE? */
static bool has_text(pid_t pid, const char *file, const char *mark) {
        _cleanup_free_ char *path = strf("/proc/%d/%s", (int) pid, file), *text = NULL;
        size_t size, n = strlen(mark) + 1;

        if (!path || file_read(AT_FDCWD, path, ENVIRON_MAX, &text, &size) < 0)
                return false;
        for (size_t i = 0; i + n <= size; i += strlen(text + i) + 1)
                if (memcmp(text + i, mark, n) == 0)
                        return true;
        return false;
}

bool tree_is_started_with(pid_t pid, const char *id) {
        return has_text(pid, "cmdline", id);
}

static int signal_marked_once(const char *id, int signal) {
        _cleanup_free_ char *variable = strf("UPDD_ATTEMPT=%s", id);
        _cleanup_(processes_done) Processes all = {0};
        unsigned long long limit = mark_of(id);
        int r;

        if (!variable)
                return -ENOMEM;
        r = processes_read(&all);
        if (r < 0)
                return r;
        for (size_t i = 0; i < all.n; i++) {
                Process *p = &all.items[i];

                p->ours = p->pid != getpid() &&
                          (has_limit(p->pid, limit) || has_text(p->pid, "environ", variable));
        }
        return signal_ours(&all, signal, false);
}

/* Who forks and ends while /proc is read may be missed once; twice in a row is another matter. */
int tree_signal_marked(const char *id, int signal) {
        int n = signal_marked_once(id, signal);

        return n != 0 ? n : signal_marked_once(id, signal);
}

int tree_kill_marked(const char *id, int64_t patience_ms) {
        int64_t until = now_mono_us() + patience_ms * 1000;

        for (;;) {
                int n = tree_signal_marked(id, SIGKILL);

                if (n <= 0 || now_mono_us() >= until)
                        return n;
                (void) nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
        }
}
