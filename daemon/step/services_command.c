/* SPDX-License-Identifier: MIT */
/*
 * Services that are commands: {start, stop, pid_file}. A command may stay in the foreground (then
 * updd writes the pid file, unless the command does) or put itself into the background. What updd
 * started stands in the job's folder: svc-<name>.json {"pid","ticks","boot","wrote"} and
 * svc-<name>.log. A number in a pid file counts only if its process is not younger than the file.
 *   entries: "ran", "pid"
 */
#include <fcntl.h>

#include "api/text.h"
#include "daemon/step/process.h"
#include "daemon/step/services.h"

#define STOP_MS (10 * 1000)  /* for its stop command, and again for TERM */
#define YOUNG_MS 1000        /* a command that lives so long is not about to end by itself */
#define APPEAR_MS (5 * 1000) /* for the process of a command that went into the background */
#define LOG_TAIL_MAX (256U * 1024)

typedef struct Paths {
        char *pid_file; /* or NULL */
        char *record, *log;
        char *cwd;
} Paths;

static void paths_done(Paths *p) {
        free(p->pid_file);
        free(p->record);
        free(p->log);
        free(p->cwd);
}
#define _cleanup_paths_ _cleanup_(paths_done)

static const json_t *command_of(const Service *v) {
        return json_object_get(v->def, "command");
}

/* A service belongs to the plan: its places begin at the plan's cwd, whatever step uses it. */
static int place(Step *s, const char *path, char **ret, Error *reterr) {
        const char *cwd = args_text(step_context(s), "cwd", NULL);

        if (*path == '/' || !cwd)
                return step_path(s, path, ret, reterr);
        *ret = path_join(cwd, path);
        return *ret ? 0 : error_oom(reterr);
}

static int paths_find(Step *s, const Service *v, Paths *ret, Error *reterr) {
        const char *pid_file = args_text(command_of(v), "pid_file", NULL);
        const char *cwd = args_text(step_context(s), "cwd", NULL);
        _cleanup_paths_ Paths p = {0};
        int r = pid_file ? place(s, pid_file, &p.pid_file, reterr) : 0;

        if (r < 0)
                return r;
        p.record = strf("%s/svc-%s.json", step_job_dir(s), v->name);
        p.log = strf("%s/svc-%s.log", step_job_dir(s), v->name);
        p.cwd = cwd ? strdup(cwd) : NULL;
        if (!p.record || !p.log || (cwd && !p.cwd))
                return error_oom(reterr);
        *ret = p;
        p = (Paths){0};
        return 0;
}

/* ---- what runs ---- */

static json_t *record_read(const Paths *p) {
        _cleanup_free_ char *text = NULL;
        char boot[ID128_TEXT_MAX];
        json_auto_t *record = NULL;

        if (file_read(AT_FDCWD, p->record, 65536, &text, NULL) < 0)
                return NULL;
        record = json_loads(text, 0, NULL);
        if (boot_id_read(boot) < 0 || !streq(args_text(record, "boot", ""), boot))
                return NULL;
        return TAKE(record);
}

static int record_write(const Paths *p, const Process *process, bool wrote, Error *reterr) {
        char boot[ID128_TEXT_MAX] = "";
        json_auto_t *record = NULL;
        _cleanup_free_ char *text = NULL;
        int r = boot_id_read(boot);

        record = json_pack("{s:i, s:I, s:s, s:I, s:b}", "pid", (int) process->pid, "ticks",
                           (json_int_t) process->ticks, "boot", boot, "at",
                           (json_int_t) now_boot_ms(), "wrote", wrote);
        text = record ? json_dumps(record, JSON_COMPACT) : NULL;
        if (r >= 0)
                r = text ? file_write_atomic(AT_FDCWD, p->record, text, strlen(text), 0600)
                         : -ENOMEM;
        if (r < 0)
                return error_set(reterr, -r, "write-failed", "Cannot write %s: %s", p->record,
                                 strerror(-r));
        return 0;
}

static Process process_recorded(const json_t *record) {
        Process p = {.pid = (pid_t) json_integer_value(json_object_get(record, "pid")),
                     .ticks = (uint64_t) json_integer_value(json_object_get(record, "ticks"))};

        return process_lives(&p) ? p : (Process){0};
}

/* The process that the pid file names, else the one that this job started. */
static Process process_find(const Paths *p) {
        json_auto_t *record = NULL;
        Process found = {0};

        if (p->pid_file && process_from_file(p->pid_file, &found) > 0)
                return found;
        record = record_read(p);
        return process_recorded(record);
}

/* Without a pid, only its health checks can tell. */
static int look_blind(Step *s, Service *v, ServiceLook *ret, Error *reterr) {
        int r;

        if (json_array_size(json_object_get(v->def, "health")) == 0)
                return error_set(
                        reterr, ENODATA, "no-pid-file",
                        "Nothing tells whether %s runs: it has neither pid_file nor health",
                        v->name);
        r = service_checks_hold(s, v, &ret->why, reterr);
        if (r < 0)
                return r;
        ret->runs = ret->alive = r > 0;
        ret->state = r > 0 ? SERVICE_UP : SERVICE_DOWN;
        return 0;
}

static void look_at_process(const Process *found, const json_t *record, ServiceLook *ret) {
        int64_t since = now_boot_ms() - json_integer_value(json_object_get(record, "at"));

        if (found->pid > 0) {
                bool young = process_age_ms(found) < YOUNG_MS;

                ret->runs = ret->alive = true;
                ret->state = young ? SERVICE_COMING : SERVICE_UP;
                ret->why = young ? strdup("it has only just begun") : NULL;
        } else if (record && since < APPEAR_MS) {
                ret->state = SERVICE_COMING;
                ret->why = strdup("its process has not appeared yet");
        } else {
                ret->state = SERVICE_DOWN;
                ret->why = strdup(record ? "its process has ended" : "its process does not run");
        }
}

static int command_look(Step *s, Service *v, ServiceLook *ret, Error *reterr) {
        _cleanup_paths_ Paths p = {0};
        json_auto_t *record = NULL;
        Process found;
        int r = paths_find(s, v, &p, reterr);

        if (r < 0)
                return r;
        found = process_find(&p);
        record = record_read(&p);
        if (found.pid == 0 && !p.pid_file && !record)
                return look_blind(s, v, ret, reterr);
        look_at_process(&found, record, ret);
        return 0;
}

/* ---- its log ---- */

static int read_end(const char *path, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *text = malloc(LOG_TAIL_MAX + 1);
        off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
        ssize_t n;

        if (fd < 0 || end < 0 || !text)
                return text ? -errno : -ENOMEM;
        n = pread(fd, text, LOG_TAIL_MAX, MAX(end - (off_t) LOG_TAIL_MAX, (off_t) 0));
        if (n < 0)
                return -errno;
        *ret = TAKE(text);
        *ret_size = (size_t) n;
        return 0;
}

/* What somebody else started writes where we do not know: no line is no error. */
static int command_tail(Step *s, Service *v, unsigned n, json_t **ret, Error *reterr) {
        _cleanup_free_ char *text = NULL, *clean = NULL;
        json_auto_t *lines = json_array();
        _cleanup_paths_ Paths p = {0};
        char *rest, *line;
        size_t size = 0;
        int r = paths_find(s, v, &p, reterr);

        if (r < 0)
                return r;
        if (read_end(p.log, &text, &size) >= 0)
                clean = utf8_clean(text, size);
        for (rest = clean; (line = strsep(&rest, "\n"));)
                if ((*line || rest) && json_array_append_new(lines, json_string(line)) < 0)
                        return error_oom(reterr);
        while (json_array_size(lines) > n)
                (void) json_array_remove(lines, 0);
        *ret = TAKE(lines);
        return 0;
}

/* ---- starting ---- */

static int command_start(Step *s, Service *v, Error *reterr) {
        const json_t *argv = json_object_get(command_of(v), "start");
        _cleanup_paths_ Paths p = {0};
        Process process;
        pid_t pid = 0;
        int r = paths_find(s, v, &p, reterr);

        if (r < 0)
                return r;
        process = process_find(&p);
        if (process.pid > 0) {
                step_log(s, "%s: process %d runs already", v->name, (int) process.pid);
                return 0;
        }
        r = step_spawn_service(s, &(Exec){.argv = argv, .cwd = p.cwd}, p.log, &pid, reterr);
        if (r < 0)
                return r;
        step_log(s, "%s: started as process %d", v->name, (int) pid);
        /* It may have ended by now, having put its service into the background. */
        if (process_now(pid, &process) == 0)
                process = (Process){.pid = pid};
        return record_write(&p, &process, false, reterr);
}

/* The command stayed in the foreground and wrote no pid file: then it is ours to write. */
static int command_started(Step *s, Service *v, Error *reterr) {
        _cleanup_paths_ Paths p = {0};
        _cleanup_free_ char *text = NULL;
        json_auto_t *record = NULL;
        Process process;
        int r = paths_find(s, v, &p, reterr);

        if (r < 0 || !p.pid_file || process_from_file(p.pid_file, &process) > 0)
                return r;
        record = record_read(&p);
        process = process_recorded(record);
        if (process.pid == 0)
                return 0;
        text = strf("%d\n", (int) process.pid);
        r = text ? file_write_atomic(AT_FDCWD, p.pid_file, text, strlen(text), 0644) : -ENOMEM;
        if (r < 0)
                return error_set(reterr, -r, "write-failed", "Cannot write %s: %s", p.pid_file,
                                 strerror(-r));
        return record_write(&p, &process, true, reterr);
}

static int command_record(Step *s, Service *v, json_t *entry, Error *reterr) {
        _cleanup_look_ ServiceLook look = {0};
        _cleanup_paths_ Paths p = {0};
        Process process;
        int r = paths_find(s, v, &p, reterr);

        if (r >= 0)
                r = command_look(s, v, &look, reterr);
        if (r < 0)
                return r;
        process = process_find(&p);
        if (json_put(entry, "ran", json_boolean(look.runs)) < 0 ||
            json_put(entry, "pid", json_integer(process.pid)) < 0)
                return error_oom(reterr);
        return 0;
}

/* Nobody can tell whether it runs: then it is ours to start, and from then on we can. */
static int command_prepare(Step *s, Service *v, json_t *entry, Error *reterr) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = command_record(s, v, entry, &error);

        if (r == -ENODATA)
                return json_put(entry, "ran", json_false()) < 0 ? error_oom(reterr) : 0;
        error_move(reterr, &error);
        return r;
}

/* ---- stopping ---- */

static int run_stop(Step *s, Service *v, const Paths *p, const json_t *argv, Error *reterr) {
        _cleanup_exec_ ExecResult result = {0};
        int r = step_exec(s, &(Exec){.argv = argv, .cwd = p->cwd}, &result, reterr);

        if (r < 0)
                return r;
        if (result.exit != 0)
                step_log(s, "%s: its stop command ended with code %d", v->name, result.exit);
        return 0;
}

/* A process that is gone while the health checks still hold: something else of it is left. */
static int make_sure(Step *s, Service *v, Error *reterr) {
        _cleanup_free_ char *why = NULL;
        int r;

        if (json_array_size(json_object_get(v->def, "health")) == 0)
                return 0;
        r = service_checks_hold(s, v, &why, reterr);
        if (r <= 0)
                return r;
        return error_set(reterr, EBUSY, "still-running",
                         "%s has been stopped, but its health checks still hold: something else "
                         "answers in its place",
                         v->name);
}

static void forget_pid_file(const Paths *p) {
        json_auto_t *record = record_read(p);

        if (p->pid_file && json_is_true(json_object_get(record, "wrote")))
                (void) unlink(p->pid_file);
        (void) unlink(p->record);
}

static int command_stop(Step *s, Service *v, const json_t *entry, Error *reterr) {
        const json_t *argv = json_object_get(command_of(v), "stop");
        _cleanup_paths_ Paths p = {0};
        Process process;
        int r = paths_find(s, v, &p, reterr);

        if (r < 0)
                return r;
        process = process_find(&p);
        if (argv && (process.pid > 0 || !p.pid_file)) {
                r = run_stop(s, v, &p, argv, reterr);
                if (r >= 0)
                        r = process_wait(s, &process, STOP_MS, reterr);
        }
        if (r >= 0)
                r = process_end(s, &process, STOP_MS, reterr);
        if (r >= 0)
                r = make_sure(s, v, reterr);
        if (r >= 0)
                forget_pid_file(&p);
        return r;
}

static int command_restore(Step *s, Service *v, const json_t *entry, Error *reterr) {
        return json_is_true(json_object_get(entry, "ran")) ? command_start(s, v, reterr) : 0;
}

static int command_restored(Step *s, Service *v, const json_t *entry, ServiceLook *ret,
                            Error *reterr) {
        return command_look(s, v, ret, reterr);
}

static int command_unstart(Step *s, Service *v, const json_t *entry, Error *reterr) {
        return json_is_true(json_object_get(entry, "ran")) ? 0 : command_stop(s, v, entry, reterr);
}

const ServiceKind service_command = {
        .name = "command",
        .look = command_look,
        .tail = command_tail,
        .record = command_record,
        .stop = command_stop,
        .restore = command_restore,
        .restored = command_restored,
        .prepare = command_prepare,
        .start = command_start,
        .started = command_started,
        .unstart = command_unstart,
};
