/* SPDX-License-Identifier: MIT */
/* Is the machine going down: see shutdown.h. */
#include "daemon/step/shutdown.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "api/util.h"

#define PATIENCE_MS 2000

static int spawn_systemctl(int out, pid_t *ret_pid) {
        char *const argv[] = {(char *) "systemctl", (char *) "is-system-running", NULL};
        char *const env[] = {(char *) "PATH=/usr/bin:/bin", NULL};
        posix_spawn_file_actions_t actions;
        int r;

        (void) posix_spawn_file_actions_init(&actions);
        (void) posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        (void) posix_spawn_file_actions_adddup2(&actions, out, 1);
        (void) posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
        r = posix_spawn(ret_pid, "/usr/bin/systemctl", &actions, NULL, argv, env);
        (void) posix_spawn_file_actions_destroy(&actions);
        return -r;
}

bool machine_is_stopping(void) {
        _cleanup_close_ int read_fd = -EBADF, write_fd = -EBADF;
        char word[32] = "";
        struct pollfd p;
        int fds[2];
        pid_t pid;

        /* The folder is there exactly when systemd is the init of this machine (sd_booted(3)). */
        if (access("/run/systemd/system", F_OK) < 0 || pipe2(fds, O_CLOEXEC) < 0)
                return false;
        read_fd = fds[0];
        write_fd = fds[1];
        if (spawn_systemctl(write_fd, &pid) < 0)
                return false;
        (void) close(TAKE_FD(write_fd));
        p = (struct pollfd){.fd = read_fd, .events = POLLIN};
        if (poll(&p, 1, PATIENCE_MS) > 0 && read(read_fd, word, sizeof(word) - 1) < 0)
                word[0] = '\0';
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        return startswith(word, "stopping");
}
