/* SPDX-License-Identifier: MIT */
/*
 * What updd-step reads: its task, the secrets on its standard input, the step's undo record, answers,
 * and all that commands and servers say to it. The worker's own code carries the task out, in a
 * folder of its own (confine.h). Sections of the input:
 *   task.json, secrets, undo, answer.1 …   the files; @DIR@ is the folder, @ID@ the attempt's id
 *   file NAME                              a file in @DIR@/site, where the seeds' tasks work
 *   kept NAME                              a file in the record's kept/
 *   out N                                  the next command prints this and ends with N
 *   reply N                                the next request is answered with this and status N
 *   control                                lines of a worker to its supervisor
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "confine.h"
#include "daemon/attempt/attempt.h"
#include "daemon/step/child.h"
#include "daemon/step/curl.h"
#include "daemon/step/launch.h"
#include "daemon/step/listen.h"
#include "daemon/step/worker.h"

#define ID "0123456789abcdef0123456789abcdef"
#define TIME_MS 40       /* of one task, which may ask to wait for hours */
#define COMMANDS_MAX 100 /* of one task */
#define SKIPPED 77       /* as meson has it */

static const Sections *input;
static size_t next_out, next_reply;
static unsigned n_commands;

static struct {
        int argc;
        char **argv;
        bool confined;
} program;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        program.argc = *argc;
        program.argv = *argv;
        return 0;
}

/* Before the first input, and not earlier: a merge's outer process runs none, and starts others. */
static void confine_once(void) {
        if (program.confined)
                return;
        if (!confine(program.argc, program.argv)) {
                (void) fprintf(stderr, "this kernel has no Landlock: nothing was tried\n");
                exit(SKIPPED);
        }
        /* The log's lines. */
        if (!freopen("/dev/null", "w", stdout))
                abort();
        program.confined = true;
}

/* ---- what stands in for the world: commands and servers ---- */

/* The next section whose name begins with `word`; its number in *ret. */
static const Section *section_next(const char *word, size_t *at, int *ret) {
        for (; *at < input->n; (*at)++) {
                const Section *section = &input->list[*at];

                if (!startswith(section->name, word))
                        continue;
                (*at)++;
                *ret = atoi(section->name + strlen(word));
                return section;
        }
        return NULL;
}

static int text_fd(const Section *section) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                abort();
        /* What the pipe does not hold is cut off. */
        if (section)
                (void) !write(fds[1], section->text, section->size);
        (void) close(fds[1]);
        (void) fcntl(fds[0], F_SETFL, 0);
        return fds[0];
}

/* In place of daemon/step/child.c: a process that has ended already. */
void child_done(Child *child) {
        closep(&child->out);
        closep(&child->err);
}

int child_start(Step *s, const Exec *x, Child *ret, Error *reterr) {
        _cleanup_(launch_done) Launch l = LAUNCH_INIT;
        const Section *section;
        int code = 0, r;

        r = launch_prepare(s, x, &l, reterr);
        if (r < 0)
                return r;
        section = section_next("out ", &next_out, &code);
        if (++n_commands > COMMANDS_MAX)
                return error_set(reterr, ENOENT, "spawn", "There is no command '%s' in PATH",
                                 l.argv[0]);
        *ret = (Child){.pid = vfork(), .out = -EBADF, .err = -EBADF};
        if (ret->pid == 0)
                _exit(code & 0xff);
        if (ret->pid < 0)
                abort();
        if (x->out_fd > 0 && section)
                (void) !write_all(x->out_fd, section->text, section->size);
        if (x->out_fd <= 0)
                ret->out = text_fd(section);
        if (!x->merge || x->out_fd > 0)
                ret->err = text_fd(NULL);
        return 0;
}

/* In place of daemon/step/spawn_service.c. */
int step_spawn_service(Step *s, const Exec *x, const char *log_path, pid_t *ret_pid,
                       Error *reterr) {
        _cleanup_(launch_done) Launch l = LAUNCH_INIT;
        int r = launch_prepare(s, x, &l, reterr);

        if (r >= 0)
                *ret_pid = getpid();
        return r;
}

/* In place of daemon/step/curl.c. */
void http_reply_done(HttpReply *r) {
        free(r->body);
        free(r->content_type);
        *r = (HttpReply){0};
}

int http_exchange(Step *s, const HttpRequest *q, HttpReply *ret, Error *reterr) {
        int status = 0;
        const Section *section = section_next("reply ", &next_reply, &status);
        size_t max = q->max_body ? q->max_body : HTTP_BODY_MAX;

        if (!section)
                return error_set(reterr, EHOSTUNREACH, "http-failed", "GET %s: refused", q->url);
        *ret = (HttpReply){.status = status,
                           .body = calloc(1, section->size + 1),
                           .body_size = MIN(section->size, max),
                           .total = section->size,
                           .content_type = strdup("application/json")};
        if (!ret->body || !ret->content_type)
                abort();
        memcpy(ret->body, section->text, ret->body_size);
        if (q->out_fd > 0)
                (void) !write_all(q->out_fd, section->text, section->size);
        return 0;
}

int http_exchange_args(Step *s, const json_t *args, int64_t timeout_ms, HttpReply *ret,
                       Error *reterr) {
        HttpRequest q = {.url = args_text(args, "url", ""), .timeout_ms = timeout_ms};

        return http_exchange(s, &q, ret, reterr);
}

/* In place of look_once() of daemon/step/look.c (the linker's --wrap), which looks in a child where no
 * fuzzer sees what happens: the check itself, in this process. */
int __wrap_look_once(Step *s, const json_t *check, Error *reterr);
int __real_look_once(Step *s, const json_t *check, Error *reterr);

int __wrap_look_once(Step *s, const json_t *check, Error *reterr) {
        const json_t *outer = s->overlay;
        const Check *row = NULL;
        int r;

        for (size_t i = 0; step_checks[i] && !row; i++)
                if (streq(step_checks[i]->name, args_text(check, "check", "")))
                        row = step_checks[i];
        if (!row)
                return __real_look_once(s, check, reterr);
        json_decref(TAKE(s->found));
        s->overlay = check;
        s->check_until_us = now_mono_us() + TIME_MS * 1000;
        r = row->look(s, json_object_get(check, "args"), reterr);
        s->check_until_us = 0;
        s->overlay = outer;
        PROMISED(r >= 0 || r == -ECANCELED || reterr->message);
        return r;
}

/* ---- the folder ---- */

static void put_section(const char *dir, const char *name, const Section *section,
                        const char *root) {
        _cleanup_free_ char *once = NULL, *text = NULL;
        Section placed = {0};
        size_t size;

        once = section_with(section, "@DIR@", root, &size);
        placed = (Section){.text = once, .size = size};
        text = section_with(&placed, "@ID@", ID, &size);
        file_put(dir, name, text, size);
}

static bool is_plain_name(const char *name) {
        return *name && strlen(name) < 64 && !strchr(name, '/') && name[0] != '.';
}

static void put_all(const char *root, const char *step_dir, const char *attempt, const char *site,
                    const char *kept) {
        for (size_t i = 0; i < input->n; i++) {
                const Section *section = &input->list[i];
                const char *name = section->name;

                if (streq(name, "task.json") || startswith(name, "answer."))
                        put_section(attempt, is_plain_name(name) ? name : "answer.1", section,
                                    root);
                else if (streq(name, "undo"))
                        put_section(step_dir, "undo", section, root);
                else if (startswith(name, "file ") && is_plain_name(name + 5))
                        put_section(site, name + 5, section, root);
                else if (startswith(name, "kept ") && is_plain_name(name + 5))
                        put_section(kept, name + 5, section, root);
        }
}

static json_t *read_secrets(const char *root) {
        const Section *section = section_find(input, "secrets");
        json_t *secrets = NULL;
        int fd;

        if (section)
                put_section(root, "secrets", section, root);
        else
                file_put(root, "secrets", "{}", 2);
        fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
                int file = openat(fd, "secrets", O_RDONLY | O_CLOEXEC);

                (void) !secrets_read(file, &secrets, NULL);
                (void) close(file);
                (void) close(fd);
        }
        return secrets ? secrets : json_object();
}

/* ---- the worker ---- */

static timer_t stop_after(int64_t ms) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};
        /* Again and again: the first may come before anybody listens. */
        struct timespec pause = {.tv_nsec = ms * 1000 * 1000};
        struct itimerspec when = {.it_value = pause, .it_interval = pause};
        timer_t timer;

        if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
            timer_settime(timer, 0, &when, NULL) < 0)
                abort();
        return timer;
}

static void step_done(Step *s) {
        json_decref(s->scope);
        json_decref(s->undo);
        json_decref(s->found);
        masks_done(&s->masks);
        free(s->undo_of);
        free(s->kept);
}

static void work(int dirfd, json_t *task, json_t *secrets) {
        /* It takes every word and gives a byte when one is waited for. */
        Step s = {.dirfd = dirfd,
                  .control = open("/dev/zero", O_RDWR | O_CLOEXEC),
                  .stop_fd = -EBADF,
                  .task = task,
                  .secrets = secrets,
                  .exit = -1};
        _cleanup_error_ Error error = ERROR_INIT;
        size_t failed, n_ops = json_array_size(json_object_get(task, "ops"));
        timer_t timer;
        int r;

        (void) signal(SIGTERM, SIG_IGN);
        timer = stop_after(TIME_MS);
        r = worker_work(&s, &failed, &error);
        (void) timer_delete(timer);
        (void) signal(SIGTERM, SIG_IGN);
        PROMISED(r >= 0 || r == -ECANCELED || error.message);
        PROMISED(failed == SIZE_MAX || failed < n_ops);
        step_done(&s);
}

/* ---- the supervisor ---- */

static void listen_to(int dirfd, const json_t *task, const json_t *secrets,
                      const Section *control) {
        Listener l = LISTENER_INIT;
        Ending ending = {0};
        int fds[2];

        if (listener_open(&l, dirfd, task, secrets) < 0) {
                listener_done(&l);
                return;
        }
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                abort();
        l.control_fd = fds[0];
        (void) !write(fds[1], control->text, control->size);
        for (size_t i = 0; i <= control->size / 512; i++)
                listener_read_control(&l);
        listener_log(&l, "a line of its own");
        listener_finish(&l);
        (void) !result_write(&l.result, &ending, &l.masks, &l.log, dirfd);
        (void) close(fds[1]);
        listener_done(&l);
}

static void hold_result(int dirfd) {
        json_auto_t *result = NULL;
        int r = attempt_result_read(dirfd, ID, &result);

        PROMISED(r == 0 || r == -ENOENT || r == -ESTALE);
}

static void attempt(const char *root, const char *dir) {
        json_auto_t *task = NULL, *secrets = read_secrets(root);
        _cleanup_error_ Error error = ERROR_INIT;
        const Section *control = section_find(input, "control");
        _cleanup_close_ int dirfd = -EBADF;
        int r;

        if (attempt_open(dir, false, &dirfd) < 0)
                abort();
        r = attempt_task_read(dirfd, ID, &task, &error);
        PROMISED((r < 0) == (error.message != NULL));
        if (r < 0)
                return;
        if (control) {
                listen_to(dirfd, task, secrets, control);
                hold_result(dirfd);
        } else
                work(dirfd, task, secrets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_sections_ Sections sections = sections_read(data, size);
        _cleanup_free_ char *root = path_join(fuzz_folder(), "task");
        _cleanup_free_ char *step = strf("%s/jobs/42/s", root), *dir = strf("%s/1", step);
        _cleanup_free_ char *kept = strf("%s/kept", step), *cwd = strf("%s/site", root);
        int before;

        confine_once();
        before = open("/dev/null", O_RDONLY | O_CLOEXEC);
        input = &sections;
        next_out = next_reply = n_commands = 0;
        if (mkdir_parents(dir, 0700) < 0 || mkdir_parents(kept, 0700) < 0 ||
            mkdir_parents(cwd, 0700) < 0)
                abort();
        put_all(root, step, dir, cwd, kept);
        attempt(root, dir);
        /* The worker ends with its process: its pipe for stops stays open until then. */
        (void) close_range((unsigned) before, ~0U, 0);
        folder_remove(root);
        return 0;
}
