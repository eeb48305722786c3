/* SPDX-License-Identifier: MIT */
/* Keeping a target's hands off the machine: see confine.h. */
#include "confine.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netdb.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#define FILE_MAX (8U * 1024 * 1024)

#define LIST LANDLOCK_ACCESS_FS_READ_DIR
#define CHANGE                                                                                     \
        (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                           \
         LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                           \
         LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                               \
         LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |                             \
         LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

/* ---- what Landlock does not know: by taking the C library's names ---- */

int kill(pid_t pid, int signal_number) {
        return 0;
}

int connect(int fd, const struct sockaddr *address, socklen_t size) {
        errno = ECONNREFUSED;
        return -1;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret) {
        return EAI_NONAME;
}

/* A path is ours when it lies in our folder and has no way out of it. */
static bool is_ours(const char *path) {
        size_t n = strlen(fuzz_folder());

        return strncmp(path, fuzz_folder(), n) == 0 && path[n] == '/' && !strstr(path, "/../") &&
               !endswith(path, "/..");
}

#define NEXT(name) ((typeof(&name)) dlsym(RTLD_NEXT, #name))
#define REFUSE_FOREIGN(path)                                                                       \
        do                                                                                         \
                if (!is_ours(path)) {                                                              \
                        errno = EPERM;                                                             \
                        return -1;                                                                 \
                }                                                                                  \
        while (false)

int chmod(const char *path, mode_t mode) {
        REFUSE_FOREIGN(path);
        return NEXT(chmod)(path, mode);
}

int chown(const char *path, uid_t uid, gid_t gid) {
        REFUSE_FOREIGN(path);
        return NEXT(chown)(path, uid, gid);
}

int fchownat(int dirfd, const char *path, uid_t uid, gid_t gid, int flags) {
        REFUSE_FOREIGN(path);
        return NEXT(fchownat)(dirfd, path, uid, gid, flags);
}

int utimensat(int dirfd, const char *path, const struct timespec times[2], int flags) {
        REFUSE_FOREIGN(path);
        return NEXT(utimensat)(dirfd, path, times, flags);
}

int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags) {
        REFUSE_FOREIGN(path);
        return NEXT(lsetxattr)(path, name, value, size, flags);
}

/* ---- what it knows ---- */

static void allow(int ruleset, const char *path, uint64_t access) {
        struct landlock_path_beneath_attr rule = {.allowed_access = access};
        struct stat st;

        rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
        if (rule.parent_fd < 0)
                return;
        /* Of a file only what files can have. */
        if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
                rule.allowed_access &= LANDLOCK_ACCESS_FS_WRITE_FILE;
        if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
                abort();
        (void) close(rule.parent_fd);
}

/* The fuzzer's folders stand on its command line, or are where it was started; there the coverage of a
 * replay is written, too. */
static void allow_fuzzer(int ruleset, int argc, char **argv) {
        if (argc > 1 || getenv("LLVM_PROFILE_FILE"))
                allow(ruleset, ".", LIST | CHANGE);
        for (int i = 1; i < argc; i++)
                if (argv[i][0] != '-')
                        allow(ruleset, argv[i], LIST | CHANGE);
}

static bool lock_files(int argc, char **argv) {
        static const char *const usable[] = {"/dev/null", "/dev/zero"};
        struct landlock_ruleset_attr attr = {.handled_access_fs = LIST | CHANGE};
        int ruleset = (int) syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
        bool ok;

        if (ruleset < 0)
                return false;
        for (size_t i = 0; i < ELEMENTSOF(usable); i++)
                allow(ruleset, usable[i], LANDLOCK_ACCESS_FS_WRITE_FILE);
        allow(ruleset, fuzz_folder(), LIST | CHANGE);
        allow(ruleset, "/proc/self", LIST); /* the leak checker lists its threads */
        allow_fuzzer(ruleset, argc, argv);
        ok = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
             syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
        (void) close(ruleset);
        return ok;
}

bool confine(int argc, char **argv) {
        static const struct rlimit limit = {.rlim_cur = FILE_MAX, .rlim_max = FILE_MAX};

        (void) signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
                return false;
        return lock_files(argc, argv);
}
