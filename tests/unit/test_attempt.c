/* SPDX-License-Identifier: MIT */
/* The attempt protocol's files, and the processes behind an attempt. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "api/args.h"
#include "daemon/attempt/attempt.h"
#include "daemon/attempt/tree.h"

#define ID "00112233445566778899aabbccddeeff"
#define OTHER "ffeeddccbbaa99887766554433221100"

typedef struct Folder {
        char root[64];
        int fd;
} Folder;

static int folder_make(void **state) {
        _cleanup_free_ char *dir = NULL;
        Folder *f = calloc(1, sizeof(Folder));

        strcpy(f->root, "/tmp/test-attempt-XXXXXX");
        if (!mkdtemp(f->root))
                return -1;
        dir = strf("%s/jobs/1/step/1", f->root);
        if (attempt_open(dir, true, &f->fd) < 0)
                return -1;
        *state = f;
        return 0;
}

static int folder_remove(void **state) {
        Folder *f = *state;
        int r;

        (void) close(f->fd);
        r = remove_tree(f->root);
        free(f);
        return r;
}

static bool exists(const Folder *f, const char *name) {
        return faccessat(f->fd, name, F_OK, 0) == 0;
}

static void a_task_is_read_back_and_a_foreign_id_is_refused(void **state) {
        Folder *f = *state;
        json_auto_t *task = json_pack("{s:i, s:s, s:s}", "format", 1, "id", ID, "step", "s");
        json_auto_t *back = NULL, *foreign = NULL;
        _cleanup_error_ Error error = ERROR_INIT;

        assert_int_equal(attempt_task_read(f->fd, ID, &back, NULL), -ENOENT);
        assert_int_equal(attempt_task_write(f->fd, task), 0);
        assert_int_equal(attempt_task_read(f->fd, ID, &back, NULL), 0);
        assert_true(json_equal(task, back));
        assert_int_equal(attempt_task_read(f->fd, OTHER, &foreign, &error), -ESTALE);
        assert_string_equal(error.type, "foreign-id");
        assert_null(foreign);
}

static void a_task_of_another_format_is_refused(void **state) {
        Folder *f = *state;
        json_auto_t *task = json_pack("{s:i, s:s}", "format", 2, "id", ID);
        json_auto_t *back = NULL;

        assert_int_equal(attempt_task_write(f->fd, task), 0);
        assert_int_equal(attempt_task_read(f->fd, ID, &back, NULL), -EPROTO);
}

static void only_one_can_claim(void **state) {
        Folder *f = *state;
        json_auto_t *claim = NULL, *foreign = NULL;

        assert_int_equal(attempt_claim_read(f->fd, ID, &claim), -ENOENT);
        assert_int_equal(attempt_claim(f->fd, ID, NULL), 0);
        assert_int_equal(attempt_claim(f->fd, ID, NULL), -EEXIST);
        assert_int_equal(attempt_claim(f->fd, ID, "stopped"), -EEXIST);
        assert_int_equal(attempt_claim_read(f->fd, ID, &claim), 0);
        assert_int_equal(json_integer_value(json_object_get(claim, "pid")), getpid());
        assert_null(json_object_get(claim, "by"));
        assert_int_equal(attempt_claim_read(f->fd, OTHER, &foreign), -ESTALE);
}

static void the_daemons_claim_says_so_and_why(void **state) {
        Folder *f = *state;
        json_auto_t *claim = NULL;

        assert_int_equal(attempt_claim(f->fd, ID, "stopped"), 0);
        assert_int_equal(attempt_claim_read(f->fd, ID, &claim), 0);
        assert_string_equal(args_text(claim, "by", ""), "daemon");
        assert_string_equal(args_text(claim, "reason", ""), "stopped");
        assert_int_equal(attempt_claim(f->fd, ID, NULL), -EEXIST);
}

/* A child of the test takes the lock and holds it until it is killed. */
static pid_t hold_lock(int dirfd) {
        int fds[2], lock;
        char byte;
        pid_t pid;

        assert_int_equal(pipe(fds), 0);
        pid = fork();
        if (pid == 0) {
                if (attempt_lock(dirfd, &lock) < 0 || write(fds[1], "", 1) != 1)
                        _exit(1);
                for (;;)
                        pause();
        }
        assert_int_equal(read(fds[0], &byte, 1), 1);
        (void) close(fds[0]);
        (void) close(fds[1]);
        return pid;
}

static void a_free_lock_means_dead(void **state) {
        Folder *f = *state;
        int lock = -EBADF;
        pid_t pid;

        assert_int_equal(attempt_is_alive(f->fd), 0);
        assert_false(exists(f, "lock"));
        pid = hold_lock(f->fd);
        assert_int_equal(attempt_is_alive(f->fd), 1);
        assert_int_equal(attempt_lock(f->fd, &lock), -EBUSY);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(attempt_is_alive(f->fd), 0);
        assert_int_equal(attempt_lock(f->fd, &lock), 0);
        (void) close(lock);
}

static void looking_at_the_lock_never_turns_a_step_away(void **state) {
        Folder *f = *state;
        int looker, lock = -EBADF;
        pid_t pid;

        looker = openat(f->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(flock(looker, LOCK_SH), 0);
        pid = fork();
        if (pid == 0) {
                (void) usleep(30 * 1000);
                _exit(flock(looker, LOCK_UN));
        }
        assert_int_equal(attempt_lock(f->fd, &lock), 0);
        (void) close(lock);
        (void) close(looker);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_result_takes_the_reserved_space_and_is_read_back(void **state) {
        Folder *f = *state;
        json_auto_t *result = json_pack("{s:s, s:s}", "id", ID, "state", "done");
        json_auto_t *back = NULL, *foreign = NULL;
        struct stat st;

        assert_int_equal(attempt_result_reserve(f->fd), 0);
        assert_int_equal(fstatat(f->fd, ATTEMPT_RESULT_TMP, &st, 0), 0);
        assert_true(st.st_size >= ATTEMPT_RESULT_RESERVED);
        assert_int_equal(attempt_result_read(f->fd, ID, &back), -ENOENT);
        assert_int_equal(attempt_result_write(f->fd, result), 0);
        assert_false(exists(f, ATTEMPT_RESULT_TMP));
        assert_int_equal(attempt_result_read(f->fd, ID, &back), 0);
        assert_true(json_equal(result, back));
        assert_int_equal(attempt_result_read(f->fd, OTHER, &foreign), -ESTALE);
}

static void a_stop_is_written_once(void **state) {
        Folder *f = *state;
        _cleanup_free_ char *text = NULL;

        assert_false(attempt_stop_wanted(f->fd));
        assert_int_equal(attempt_stop_write(f->fd, "cancel"), 0);
        assert_int_equal(attempt_stop_write(f->fd, "again"), 0);
        assert_true(attempt_stop_wanted(f->fd));
        assert_int_equal(file_read(f->fd, "stop", 1000, &text, NULL), 0);
        assert_string_equal(text, "{\"why\":\"cancel\"}");
}

static void an_answer_is_there_only_once_delivered(void **state) {
        Folder *f = *state;
        _cleanup_free_ char *text = NULL;
        struct stat st;

        assert_int_equal(attempt_answer_deliver(f->fd, 1), 0); /* never staged */
        assert_int_equal(attempt_answer_stage(f->fd, 1, "yes"), 0);
        assert_int_equal(attempt_answer_read(f->fd, 1, &text), -ENOENT);
        assert_int_equal(attempt_answer_deliver(f->fd, 1), 0);
        assert_int_equal(attempt_answer_deliver(f->fd, 1), 0);
        assert_int_equal(attempt_answer_read(f->fd, 1, &text), 0);
        assert_string_equal(text, "yes");
        assert_false(exists(f, "answer.1.staged"));
        assert_int_equal(fstatat(f->fd, "answer.1", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_second_answer_never_replaces_the_first(void **state) {
        Folder *f = *state;
        _cleanup_free_ char *text = NULL;

        assert_int_equal(attempt_answer_stage(f->fd, 2, "first"), 0);
        assert_int_equal(attempt_answer_deliver(f->fd, 2), 0);
        assert_int_equal(attempt_answer_stage(f->fd, 2, "second"), 0);
        assert_int_equal(attempt_answer_deliver(f->fd, 2), 0);
        assert_int_equal(attempt_answer_read(f->fd, 2, &text), 0);
        assert_string_equal(text, "first");
}

static void marked_processes_are_found_and_killed_wherever_they_are(void **state) {
        char mark[] = "UPDD_ATTEMPT=" ID, *argv[] = {(char *) "sleep", (char *) "300", NULL};
        char *envp[] = {(char *) "PATH=/usr/bin:/bin", mark, NULL};
        pid_t pid = fork();

        if (pid == 0) {
                (void) setsid();
                (void) execvpe("sleep", argv, envp);
                _exit(127);
        }
        for (int i = 0; i < 500 && tree_signal_marked(ID, 0) < 1; i++)
                (void) usleep(10 * 1000);
        assert_int_equal(tree_signal_marked(ID, 0), 1);
        assert_int_equal(tree_signal_marked(OTHER, 0), 0);
        assert_int_equal(tree_kill_marked(ID, 5000), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void what_clears_its_environment_keeps_its_mark(void **state) {
        char *argv[] = {(char *) "setsid", (char *) "sleep", (char *) "300", NULL},
             *none[] = {NULL};
        pid_t pid = fork();

        if (pid == 0) {
                if (tree_mark(OTHER) < 0)
                        _exit(1);
                (void) execve("/usr/bin/setsid", argv, none);
                _exit(127);
        }
        for (int i = 0; i < 500 && tree_signal_marked(OTHER, 0) < 1; i++)
                (void) usleep(10 * 1000);
        assert_int_equal(tree_signal_marked(OTHER, 0), 1);
        assert_int_equal(tree_signal_marked(ID, 0), 0);
        assert_int_equal(tree_kill_marked(OTHER, 5000), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_tree_holds_grandchildren_but_not_its_root(void **state) {
        int fds[2];
        char byte;
        pid_t pid;

        assert_int_equal(pipe(fds), 0);
        pid = fork();
        if (pid == 0) {
                if (fork() == 0) {
                        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                        (void) !write(fds[1], "", 1);
                }
                for (;;)
                        pause();
        }
        assert_int_equal(read(fds[0], &byte, 1), 1);
        assert_int_equal(tree_signal(pid, 0), 1);
        assert_int_equal(tree_signal(getpid(), 0), 2);
        assert_int_equal(tree_signal(getpid(), SIGKILL), 2);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        (void) close(fds[0]);
        (void) close(fds[1]);
}

#define FOLDER_TEST(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)

int main(void) {
        const struct CMUnitTest tests[] = {
                FOLDER_TEST(a_task_is_read_back_and_a_foreign_id_is_refused),
                FOLDER_TEST(a_task_of_another_format_is_refused),
                FOLDER_TEST(only_one_can_claim),
                FOLDER_TEST(the_daemons_claim_says_so_and_why),
                FOLDER_TEST(a_free_lock_means_dead),
                FOLDER_TEST(looking_at_the_lock_never_turns_a_step_away),
                FOLDER_TEST(a_result_takes_the_reserved_space_and_is_read_back),
                FOLDER_TEST(a_stop_is_written_once),
                FOLDER_TEST(an_answer_is_there_only_once_delivered),
                FOLDER_TEST(a_second_answer_never_replaces_the_first),
                cmocka_unit_test(marked_processes_are_found_and_killed_wherever_they_are),
                cmocka_unit_test(what_clears_its_environment_keeps_its_mark),
                cmocka_unit_test(a_tree_holds_grandchildren_but_not_its_root),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
