/* SPDX-License-Identifier: MIT */
/* Becoming a command: see launch.h. */
#include "daemon/step/launch.h"

#include <limits.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

void launch_done(Launch *l) {
        if (l->argv)
                strings_free(l->argv);
        if (l->envp)
                strings_free(l->envp);
        free(l->script); /* its texts are argv's */
        free(l->cwd);
        identity_done(&l->identity);
        closep(&l->in);
        closep(&l->out);
        closep(&l->err);
}

/* ---- in the child ---- */

_Noreturn static void give_up(Launch *l, Stage stage) {
        l->news = (News){.stage = stage, .err = errno};
        _exit(127);
}

static int child_signals(void) {
        sigset_t none;

        for (int i = 1; i < NSIG; i++)
                (void) signal(i, SIG_DFL);
        (void) sigemptyset(&none);
        return sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_session(const Launch *l) {
        if (l->service)
                return setsid() < 0 ? -1 : 0;
        if (!l->terminal)
                return setpgid(0, 0);
        if (setsid() < 0)
                return -1;
        return ioctl(l->in, TIOCSCTTY, 0);
}

/* A service is no part of the attempt: it must not carry its mark (tree.h). */
static int child_mark(const Launch *l) {
        return l->service ? setrlimit(RLIMIT_RTTIME, &l->unmarked) : 0;
}

static int child_files(const Launch *l) {
        if (dup2(l->in, 0) < 0 || dup2(l->out, 1) < 0 || dup2(l->err, 2) < 0)
                return -1;
        return 0;
}

/* The bare system calls: the C library's would change the user of every thread it knows of, and in
 * a child that shares our memory those are ours. */
static int child_user(const Launch *l) {
        const Identity *who = &l->identity;

        if (!who->change)
                return 0;
        if (syscall(SYS_setgroups, (size_t) who->n_groups, who->groups) < 0 ||
            syscall(SYS_setresgid, who->gid, who->gid, who->gid) < 0)
                return -1;
        return syscall(SYS_setresuid, who->uid, who->uid, who->uid) < 0 ? -1 : 0;
}

/* What begins with no "#!" is the shell's to read, as execvp(3) has it. */
static void child_try(const Launch *l, const char *program) {
        (void) execve(program, l->argv, l->envp);
        if (errno != ENOEXEC)
                return;
        l->script[1] = (char *) program;
        (void) execve("/bin/sh", l->script, l->envp);
}

/* Looks through the PATH that the command itself will have. */
static void child_search(const Launch *l) {
        bool denied = false;

        if (strchr(l->argv[0], '/')) {
                child_try(l, l->argv[0]);
                return;
        }
        for (const char *p = l->path; *p; p += *p == ':') {
                size_t n = strcspn(p, ":");
                char program[PATH_MAX];
                int k = snprintf(program, sizeof(program), "%.*s/%s", (int) n, n > 0 ? p : ".",
                                 l->argv[0]);

                p += n;
                if (k < 0 || (size_t) k >= sizeof(program))
                        continue;
                child_try(l, program);
                denied |= errno == EACCES;
                if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
                        return;
        }
        errno = denied ? EACCES : ENOENT;
}

_Noreturn static void child_main(Launch *l) {
        if (child_session(l) < 0 || child_files(l) < 0 || child_mark(l) < 0)
                give_up(l, STAGE_SETUP);
        (void) umask(022);
        if (child_user(l) < 0)
                give_up(l, STAGE_USER);
        /* After the change of user, which clears it. A service is meant to live on. */
        if (!l->service && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != l->parent))
                give_up(l, STAGE_SETUP);
        if (l->cwd && chdir(l->cwd) < 0)
                give_up(l, STAGE_CWD);
        if (child_signals() < 0)
                give_up(l, STAGE_SETUP);
        child_search(l);
        give_up(l, STAGE_EXEC);
}

/* ---- in the worker ---- */

static int news_error(const Launch *l, const News *news, Error *reterr) {
        const char *why = strerror(news->err);

        switch ((Stage) news->stage) {
        case STAGE_USER:
                return error_set(reterr, news->err, "spawn", "Cannot become user '%s': %s",
                                 l->identity.name, why);
        case STAGE_CWD:
                return error_set(reterr, news->err, "spawn", "Cannot go to the folder %s: %s",
                                 l->cwd, why);
        case STAGE_EXEC:
                if (news->err == ENOENT && !strchr(l->argv[0], '/'))
                        return error_set(reterr, ENOENT, "spawn",
                                         "There is no command '%s' in PATH", l->argv[0]);
                return error_set(reterr, news->err, "spawn", "Cannot run %s: %s", l->argv[0], why);
        default:
                return error_set(reterr, news->err, "spawn", "Cannot start %s: %s", l->argv[0],
                                 why);
        }
}

/* Whatever takes memory is done before the child is there, which shares ours. */
static int launch_search(Launch *l, Error *reterr) {
        size_t n = 0;

        l->path = "";
        for (char **e = l->envp; *e; e++)
                if (startswith(*e, "PATH="))
                        l->path = *e + strlen("PATH=");
        while (l->argv[n])
                n++;
        l->script = calloc(n + 2, sizeof(char *));
        if (!l->script)
                return error_oom(reterr);
        l->script[0] = (char *) "sh";
        for (size_t i = 1; i < n; i++)
                l->script[i + 1] = l->argv[i];
        return 0;
}

/* The supervisor, our parent, has the limit that it was started with. */
static int limit_before(Launch *l, Error *reterr) {
        return prlimit(getppid(), RLIMIT_RTTIME, NULL, &l->unmarked) < 0
                       ? error_set(reterr, errno, "spawn", "The limits cannot be read: %s",
                                   strerror(errno))
                       : 0;
}

int launch_prepare(Step *s, const Exec *x, Launch *l, Error *reterr) {
        const json_t *cwd = step_setting(s, "cwd"), *user = step_setting(s, "user");
        const char *dir = x->cwd ? x->cwd : json_string_value(cwd);
        int r;

        r = identity_find(x->user ? x->user : json_string_value(user), &l->identity, reterr);
        if (r >= 0)
                r = exec_arguments(s, x->argv, &l->argv, reterr);
        if (r >= 0)
                r = exec_environment(s, x, &l->identity, l->service, &l->envp, reterr);
        if (r >= 0)
                r = launch_search(l, reterr);
        if (r >= 0 && l->service)
                r = limit_before(l, reterr);
        if (r < 0)
                return r;
        return step_path(s, dir ? dir : "/", &l->cwd, reterr);
}

/* vfork(2): nothing of the worker's memory is copied for a child that replaces it at once, and when
 * the call returns it is known whether it could. 0 and the pid, or the child's news of why not. */
int launch(Launch *l, pid_t *ret_pid, Error *reterr) {
        sigset_t all, before;
        pid_t pid;

        l->parent = getpid();
        l->news = (News){0};
        /* Our handlers must not run in the child, where they would speak to us. */
        (void) sigfillset(&all);
        (void) sigprocmask(SIG_SETMASK, &all, &before);
        pid = vfork();
        if (pid == 0)
                child_main(l);
        (void) sigprocmask(SIG_SETMASK, &before, NULL);
        if (pid < 0)
                return error_set(reterr, errno, "spawn", "Cannot fork: %s", strerror(errno));
        if (l->news.err != 0) {
                (void) waitpid(pid, NULL, 0);
                return news_error(l, &l->news, reterr);
        }
        *ret_pid = pid;
        return 0;
}
