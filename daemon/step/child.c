/* SPDX-License-Identifier: MIT */
/* Starting a child: see child.h. */
#include "daemon/step/child.h"

#include <fcntl.h>
#include <grp.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

typedef enum Stage { STAGE_SETUP, STAGE_USER, STAGE_CWD, STAGE_EXEC, _STAGE_MAX } Stage;

typedef struct News { /* what the child tells when it cannot become the command */
        int stage, err;
} News;

typedef struct Launch {
        char **argv, **envp;
        char *cwd;
        Identity identity;
        int in, out, err; /* become 0, 1, 2 */
        int news;
        bool terminal, service;
        pid_t parent;
} Launch;

static void launch_done(Launch *l) {
        if (l->argv)
                strings_free(l->argv);
        if (l->envp)
                strings_free(l->envp);
        free(l->cwd);
        identity_done(&l->identity);
        closep(&l->in);
        closep(&l->out);
        closep(&l->err);
        closep(&l->news);
}

#define LAUNCH_INIT ((Launch){.in = -EBADF, .out = -EBADF, .err = -EBADF, .news = -EBADF})

void child_done(Child *child) {
        closep(&child->out);
        closep(&child->err);
        *child = CHILD_INIT;
}

/* ---- in the child ---- */

_Noreturn static void give_up(const Launch *l, Stage stage) {
        News news = {.stage = stage, .err = errno};

        (void) !write(l->news, &news, sizeof(news));
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

static int child_files(const Launch *l) {
        if (dup2(l->in, 0) < 0 || dup2(l->out, 1) < 0 || dup2(l->err, 2) < 0)
                return -1;
        return 0;
}

static int child_user(const Launch *l) {
        const Identity *who = &l->identity;

        if (!who->change)
                return 0;
        if (setgroups((size_t) who->n_groups, who->groups) < 0 ||
            setresgid(who->gid, who->gid, who->gid) < 0)
                return -1;
        return setresuid(who->uid, who->uid, who->uid);
}

_Noreturn static void child_main(const Launch *l) {
        if (child_signals() < 0 || child_session(l) < 0 || child_files(l) < 0)
                give_up(l, STAGE_SETUP);
        (void) umask(022);
        if (child_user(l) < 0)
                give_up(l, STAGE_USER);
        /* After the change of user, which clears it. A service is meant to live on. */
        if (!l->service && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != l->parent))
                give_up(l, STAGE_SETUP);
        if (l->cwd && chdir(l->cwd) < 0)
                give_up(l, STAGE_CWD);
        environ = l->envp;
        (void) execvp(l->argv[0], l->argv);
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

/* execvp() searches in the environment of the child, so its own PATH counts. */
static int launch_prepare(Step *s, const Exec *x, Launch *l, Error *reterr) {
        const json_t *cwd = step_setting(s, "cwd"), *user = step_setting(s, "user");
        const char *dir = x->cwd ? x->cwd : json_string_value(cwd);
        int r;

        r = identity_find(x->user ? x->user : json_string_value(user), &l->identity, reterr);
        if (r >= 0)
                r = exec_arguments(s, x->argv, &l->argv, reterr);
        if (r >= 0)
                r = exec_environment(s, x, &l->identity, l->service, &l->envp, reterr);
        if (r < 0 || !dir)
                return r;
        return step_path(s, dir, &l->cwd, reterr);
}

static int open_input(const Exec *x) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!x->input) {
                fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
                return fd < 0 ? -errno : TAKE_FD(fd);
        }
        fd = memfd_create("stdin", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = write_all(fd, x->input, x->input_size ? x->input_size : strlen(x->input));
        if (r < 0)
                return r;
        return lseek(fd, 0, SEEK_SET) < 0 ? -errno : TAKE_FD(fd);
}

static int open_pipe(int *ret_read, int *ret_write) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        *ret_read = fds[0];
        *ret_write = fds[1];
        return fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int open_terminal(Launch *l, Child *child) {
        struct winsize size = {.ws_row = 24, .ws_col = 80};
        struct termios attributes;
        int master, slave;

        if (openpty(&master, &slave, NULL, NULL, &size) < 0)
                return -errno;
        child->out = master;
        l->in = slave;
        if (fcntl(master, F_SETFD, FD_CLOEXEC) < 0 || fcntl(slave, F_SETFD, FD_CLOEXEC) < 0 ||
            fcntl(master, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        /* Lines end as they do in a pipe, so that what matches there matches here. */
        if (tcgetattr(slave, &attributes) < 0)
                return -errno;
        attributes.c_oflag &= ~(tcflag_t) ONLCR;
        attributes.c_iflag |= IUTF8;
        if (tcsetattr(slave, TCSANOW, &attributes) < 0)
                return -errno;
        l->out = fcntl(slave, F_DUPFD_CLOEXEC, 3);
        l->err = fcntl(slave, F_DUPFD_CLOEXEC, 3);
        return l->out < 0 || l->err < 0 ? -errno : 0;
}

static int open_pipes(const Exec *x, Launch *l, Child *child) {
        int r;

        l->in = open_input(x);
        if (l->in < 0)
                return l->in;
        if (x->out_fd > 0) {
                l->out = fcntl(x->out_fd, F_DUPFD_CLOEXEC, 3);
                if (l->out < 0)
                        return -errno;
        } else {
                r = open_pipe(&child->out, &l->out);
                if (r < 0)
                        return r;
        }
        if (x->merge && x->out_fd <= 0) {
                l->err = fcntl(l->out, F_DUPFD_CLOEXEC, 3);
                return l->err < 0 ? -errno : 0;
        }
        return open_pipe(&child->err, &l->err);
}

/* Another user's command must be able to open /dev/stdout and /dev/tty; files of the caller's stay
 * whose they are. */
static int give_to_user(const Exec *x, const Launch *l) {
        const int fds[] = {x->input || l->terminal ? l->in : -EBADF,
                           x->out_fd > 0 ? -EBADF : l->out, l->err};

        for (size_t i = 0; l->identity.change && i < ELEMENTSOF(fds); i++)
                if (fds[i] >= 0 && fchown(fds[i], l->identity.uid, (gid_t) -1) < 0)
                        return -errno;
        return 0;
}

/* Forks and waits for exec. 0 and the pid, or the child's own news of why not. */
static int launch(Launch *l, pid_t *ret_pid, Error *reterr) {
        _cleanup_close_ int listen = -EBADF;
        News news;
        ssize_t n;
        pid_t pid;
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_set(reterr, errno, "spawn", "No pipe: %s", strerror(errno));
        listen = fds[0];
        l->news = fds[1];
        l->parent = getpid();
        pid = fork();
        if (pid < 0)
                return error_set(reterr, errno, "spawn", "Cannot fork: %s", strerror(errno));
        if (pid == 0)
                child_main(l);
        (void) close(TAKE_FD(l->news));
        do
                n = read(listen, &news, sizeof(news));
        while (n < 0 && errno == EINTR);
        if (n == sizeof(news)) {
                (void) waitpid(pid, NULL, 0);
                return news_error(l, &news, reterr);
        }
        *ret_pid = pid;
        return 0;
}

int child_start(Step *s, const Exec *x, Child *ret, Error *reterr) {
        _cleanup_(launch_done) Launch l = LAUNCH_INIT;
        _cleanup_(child_done) Child child = CHILD_INIT;
        int r;

        l.terminal = child.terminal = x->answers != NULL;
        r = launch_prepare(s, x, &l, reterr);
        if (r < 0)
                return r;
        r = l.terminal ? open_terminal(&l, &child) : open_pipes(x, &l, &child);
        if (r >= 0)
                r = give_to_user(x, &l);
        if (r < 0)
                return error_set(reterr, -r, "spawn", "Cannot prepare %s: %s", l.argv[0],
                                 strerror(-r));
        r = launch(&l, &child.pid, reterr);
        if (r < 0)
                return r;
        *ret = child;
        child = CHILD_INIT;
        return 0;
}

/* ---- services ---- */

static int open_service_files(Launch *l, const char *log_path, Error *reterr) {
        l->in = open("/dev/null", O_RDONLY | O_CLOEXEC);
        l->out = open(log_path ? log_path : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                      0644);
        if (l->out >= 0)
                l->err = fcntl(l->out, F_DUPFD_CLOEXEC, 3);
        if (l->in < 0 || l->out < 0 || l->err < 0)
                return error_set(reterr, errno, "spawn", "Cannot open %s: %s",
                                 log_path ? log_path : "/dev/null", strerror(errno));
        return 0;
}

/* Started by a process that ends at once, while the supervisor is no subreaper: so neither the
 * service nor what it starts ever belongs to the attempt's tree. */
static int launch_away(Launch *l, pid_t *ret_pid, Error *reterr) {
        _cleanup_close_ int listen = -EBADF;
        struct {
                pid_t pid;
                News news;
        } word = {0};
        int fds[2];
        ssize_t n;
        pid_t middle;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_set(reterr, errno, "spawn", "No pipe: %s", strerror(errno));
        listen = fds[0];
        middle = fork();
        if (middle == 0) {
                _cleanup_error_ Error error = ERROR_INIT;
                int r = launch(l, &word.pid, &error);

                word.news.err = r < 0 ? -r : 0;
                (void) !write(fds[1], &word, sizeof(word));
                if (r < 0 && error.message)
                        (void) !write(fds[1], error.message, strlen(error.message));
                _exit(0);
        }
        (void) close(fds[1]);
        if (middle < 0)
                return error_set(reterr, errno, "spawn", "Cannot fork: %s", strerror(errno));
        do
                n = read(listen, &word, sizeof(word));
        while (n < 0 && errno == EINTR);
        if (n == sizeof(word) && word.news.err != 0) {
                char message[512] = "";

                (void) !read(listen, message, sizeof(message) - 1);
                (void) error_set(reterr, word.news.err, "spawn", "%s", message);
        }
        (void) waitpid(middle, NULL, 0);
        if (n != sizeof(word))
                return error_set(reterr, EIO, "spawn", "Cannot start %s", l->argv[0]);
        *ret_pid = word.pid;
        return -word.news.err;
}

int step_spawn_service(Step *s, const Exec *x, const char *log_path, pid_t *ret_pid,
                       Error *reterr) {
        _cleanup_(launch_done) Launch l = LAUNCH_INIT;
        int r;

        l.service = true;
        r = launch_prepare(s, x, &l, reterr);
        if (r >= 0)
                r = open_service_files(&l, log_path, reterr);
        if (r < 0)
                return r;
        worker_tell_wait(s, "subreaper", json_false());
        r = launch_away(&l, ret_pid, reterr);
        worker_tell_wait(s, "subreaper", json_true());
        return r;
}
