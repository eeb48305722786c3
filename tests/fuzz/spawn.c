/* SPDX-License-Identifier: MIT */
/*
 * Plays updd-step: step_spawn() of the engine, replaced at link time. No process runs. A step's name
 * says what becomes of its attempt:
 *   fail…   it fails          stuck…  it fails when it is undone
 *   hang…   it goes on        ask…    it asks a question and goes on
 * and everything else is done. A script (spawn_follow) says otherwise.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "api/args.h"
#include "daemon.h"
#include "daemon/attempt/attempt.h"

#define HELD_MAX 64

static int held[HELD_MAX];
static size_t n_held;
static SpawnScript script;

/* Nobody is to be signalled: what "lives" is this process itself. */
int kill(pid_t pid, int signal_number) {
        return 0;
}

int pidfd_send_signal(int fd, int signal_number, siginfo_t *info, unsigned flags) {
        return 0;
}

void spawn_hold(const char *dir) {
        _cleanup_free_ char *path = path_join(dir, "lock");
        int fd;

        if (n_held == HELD_MAX)
                return;
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                return;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                (void) close(fd);
        else
                held[n_held++] = fd;
}

void spawn_forget(void) {
        while (n_held > 0)
                (void) close(held[--n_held]);
        script = (SpawnScript){0};
}

void spawn_follow(const Sections *sections) {
        script = (SpawnScript){.sections = sections};
        while (script.next < sections->n && !streq(sections->list[script.next].name, "spawn"))
                script.next++;
}

static bool is_file_name(const char *name) {
        return *name && !strchr(name, '/') && name[0] != '.' && strlen(name) < 32 &&
               !streq(name, "lock") && !streq(name, "alive") && !streq(name, "task.json");
}

size_t spawn_write(const Sections *sections, size_t first, const char *dir, const char *id) {
        size_t i;

        for (i = first; i < sections->n && !streq(sections->list[i].name, "spawn"); i++) {
                const Section *section = &sections->list[i];
                _cleanup_free_ char *text = NULL;
                size_t size;

                if (streq(section->name, "alive"))
                        spawn_hold(dir);
                if (!is_file_name(section->name))
                        continue;
                text = section_with(section, "@ID@", id, &size);
                file_put(dir, section->name, text, size);
        }
        return i;
}

/* ---- what the names say ---- */

static void write_json(const Watch *w, const char *name, json_t *value) {
        json_auto_t *owned = value;
        _cleanup_free_ char *text = json_dumps(owned, JSON_COMPACT);

        if (!text)
                abort();
        file_put(w->dir, name, text, strlen(text));
}

static void write_claim(const Watch *w) {
        char boot[ID128_TEXT_MAX];

        if (boot_id_read(boot) < 0)
                abort();
        write_json(w, "claim",
                   json_pack("{s:s, s:i, s:s, s:I}", "id", w->id, "pid", (int) getpid(), "boot",
                             boot, "started", (json_int_t) now_wall_ms()));
}

static void write_result(const Watch *w, const char *phase, bool ok) {
        json_t *result = json_pack(
                "{s:s, s:i, s:s, s:s, s:I, s:I, s:{s:i, s:i, s:i}, s:{s:s, s:i}, s:[s], s:i, s:i}",
                "id", w->id, "n", (int) w->n, "state", ok ? "done" : "failed", "phase", phase,
                "started", (json_int_t) now_wall_ms(), "ended", (json_int_t) now_wall_ms(),
                "rusage", "user_us", 1, "system_us", 1, "maxrss_kib", 1, "outputs", "stdout",
                "what it said", "exit", ok ? 0 : 3, "tail", "its last line", "log_bytes", 14,
                "log_dropped", 0);

        if (!ok)
                (void) json_put(result, "error",
                                json_pack("{s:s, s:s}", "type", "exit", "message", "exit code 3"));
        write_json(w, "result.json", result);
}

static void play_name(const Watch *w, const char *step, const char *direction) {
        static const char question[] =
                "{\"t\":1,\"question\":{\"k\":1,\"prompt\":\"Sure?\",\"echo\":true}}\n";
        bool undo = streq(direction, "undo");

        write_claim(w);
        file_put(w->dir, "log", "what it said\n", 13);
        if (startswith(step, "ask"))
                file_put(w->dir, "progress", question, strlen(question));
        if (startswith(step, "hang") || startswith(step, "ask"))
                spawn_hold(w->dir);
        else
                write_result(w, direction,
                             !(undo ? startswith(step, "stuck") : startswith(step, "fail")));
}

static void play(const Watch *w) {
        json_auto_t *task = NULL;
        _cleanup_close_ int dirfd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (script.sections && script.next < script.sections->n) {
                script.next = spawn_write(script.sections, script.next + 1, w->dir, w->id);
                return;
        }
        /* The engine must have written what updd-step can read. */
        PROMISED(dirfd >= 0 && attempt_task_read(dirfd, w->id, &task, NULL) == 0);
        play_name(w, args_text(task, "step", ""), args_text(task, "direction", ""));
}

int step_spawn(const Watch *w, pid_t *ret) {
        siginfo_t si;
        int alive;

        play(w);
        alive = attempt_is_alive(w->dirfd);
        if (alive == 1) {
                *ret = getpid();
                return 0;
        }
        /* Ended already: the engine has only to reap it. */
        *ret = vfork();
        if (*ret == 0)
                _exit(0);
        if (*ret < 0 || waitid(P_PID, (id_t) *ret, &si, WEXITED | WNOWAIT) < 0)
                return -errno;
        return 0;
}
