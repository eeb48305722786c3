/* SPDX-License-Identifier: MIT */
/* ssh carries the other machine's Unix socket here: see tunnel.h. */
#include "client/updctl/tunnel.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "api/text.h"

/* A person may have to type a passphrase; without an answer from the machine ssh gives up after 10
 * seconds by itself. */
#define READY_MS 120000

struct Tunnel {
        char folder[32];
        char *socket;
        pid_t ssh;
};

const char *tunnel_socket(const Tunnel *t) {
        return t->socket;
}

void tunnel_free(Tunnel *t) {
        if (!t)
                return;
        if (t->ssh > 0) {
                (void) kill(t->ssh, SIGTERM);
                while (waitpid(t->ssh, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
        if (t->socket)
                (void) unlink(t->socket);
        if (t->folder[0])
                (void) rmdir(t->folder);
        free(t->socket);
        free(t);
}

/* Ctrl-C ends the following and not the tunnel below it; ssh dies with us all the same. */
static void exec_ssh(const char *host, const char *forward, pid_t parent) {
        (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
                _exit(127);
        (void) signal(SIGINT, SIG_IGN);
        execlp("ssh", "ssh", "-N", "-o", "ExitOnForwardFailure=yes", "-o", "ConnectTimeout=10",
               "-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "ForwardAgent=no", "-o",
               "ForwardX11=no", "-L", forward, "--", host, (char *) NULL);
        (void) dprintf(STDERR_FILENO, "updctl: cannot run ssh: %m\n");
        _exit(127);
}

static int wait_until_ready(Tunnel *t, const char *host, Error *reterr) {
        int64_t end = now_mono_us() + READY_MS * INT64_C(1000);
        struct stat st;

        while (now_mono_us() < end) {
                if (stat(t->socket, &st) == 0 && S_ISSOCK(st.st_mode))
                        return 0;
                if (waitpid(t->ssh, NULL, WNOHANG) == t->ssh) {
                        t->ssh = 0;
                        return error_set(reterr, ECONNREFUSED, "unreachable",
                                         "ssh could not bring the daemon of %s here", host);
                }
                (void) nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
        }
        return error_set(reterr, ETIMEDOUT, "unreachable", "ssh to %s takes too long", host);
}

int tunnel_new(const char *host, const char *remote, Tunnel **ret, Error *reterr) {
        _cleanup_(tunnel_freep) Tunnel *t = calloc(1, sizeof(Tunnel));
        _cleanup_free_ char *forward = NULL;
        pid_t self = getpid();
        int r;

        if (!t)
                return error_oom(reterr);
        strcpy(t->folder, "/tmp/updctl-XXXXXX");
        if (!mkdtemp(t->folder)) {
                t->folder[0] = '\0';
                return error_set(reterr, errno, "internal", "cannot make a folder in /tmp: %m");
        }
        t->socket = strf("%s/updd.sock", t->folder);
        forward = t->socket ? strf("%s:%s", t->socket, remote ? remote : "/run/updd/updd.sock")
                            : NULL;
        if (!forward)
                return error_oom(reterr);
        t->ssh = fork();
        if (t->ssh < 0)
                return error_set(reterr, errno, "internal", "cannot start ssh: %m");
        if (t->ssh == 0)
                exec_ssh(host, forward, self);
        r = wait_until_ready(t, host, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(t);
        return 0;
}
