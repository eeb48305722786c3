/* SPDX-License-Identifier: MIT */
/*
 * The systemd backend of the attempt protocol: updd-step as a transient service in its job's slice.
 *   updd-<attempt id>.service in updd-job<job>.slice in updd.slice
 * The files say all that counts, as on the plain backend. The unit is asked for two things only:
 * whether an attempt that nobody claimed is still to come, and whether of one that is dead anything
 * is left. An attempt that waits for its turn, as while the machine boots, is not late.
 */
#include <fcntl.h>
#include <signal.h>

#include "api/args.h"
#include "daemon/attempt/attempt.h"
#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define UNIT_MAX 64
#define FIELDS_MAX 8
#define STOP_SLACK_US (15 * 1000 * 1000) /* for the supervisor's own patience, and the result */

static void unit_name(const Watch *w, char *ret) {
        (void) snprintf(ret, UNIT_MAX, "updd-%s.service", w->id);
}

/* ---- the start ---- */

static void free_texts(char *texts[]) {
        for (unsigned i = 0; texts[i]; i++)
                free(texts[i]);
}

static uint64_t limit_of(const Watch *w, const char *key) {
        return (uint64_t) MAX(json_integer_value(json_object_get(w->limits, key)), 0);
}

static int fields_build(const Watch *w, char *ret[static FIELDS_MAX]) {
        const Slot *slot = slot_find(w->engine, w->job);
        const JobDef *def = slot ? slot->job->def : NULL;
        unsigned n = 0;

        ret[n++] = strf("UPDD_JOB=%lld", (long long) w->job);
        ret[n++] = strf("UPDD_ATTEMPT=%s", w->id);
        if (def) {
                ret[n++] = strf("UPDD_PLAN=%s", args_text(def->plan->norm, "plan", ""));
                ret[n++] = strf("UPDD_STEP=%s", def->steps[w->step].id);
        }
        ret[n] = NULL;
        for (unsigned i = 0; i < n; i++)
                if (!ret[i])
                        return -ENOMEM;
        return 0;
}

static void on_started(void *userdata, int r, const char *message) {
        Watch *w = userdata;

        w->call = sd_bus_slot_unref(w->call);
        if (r >= 0 || r == -EEXIST) {
                if (!w->pid_source && !w->timer)
                        watch_look_again(w, true);
                return;
        }
        watch_start_failed(w, r, message);
}

int unit_start(Watch *w) {
        char unit[UNIT_MAX], slice[UNIT_MAX], *env[SPAWN_ENVIRONMENT_MAX],
                *fields[FIELDS_MAX] = {0};
        char *argv[] = {
                w->engine->step_program, (char *) "--dir", w->dir, (char *) "--id", w->id, NULL};
        _cleanup_free_ char *description = NULL;
        _cleanup_close_ int in = -EBADF;
        BusService service = {.unit = unit, .slice = slice, .argv = argv, .environment = env};
        int r;

        unit_name(w, unit);
        (void) snprintf(slice, sizeof(slice), "updd-job%lld.slice", (long long) w->job);
        r = secrets_fd(w->secrets, &in);
        if (r >= 0)
                r = fields_build(w, fields);
        if (r < 0) {
                free_texts(fields);
                return r;
        }
        spawn_environment(env);
        description = strf("updd job %lld: %s", (long long) w->job,
                           fields[3] ? strchr(fields[3], '=') + 1 : "a step");
        service.description = description ? description : unit;
        service.fields = fields;
        service.in = in;
        service.stop_us = (uint64_t) w->grace_ms * 1000 + STOP_SLACK_US;
        service.memory = limit_of(w, "memory");
        service.cpu_us = limit_of(w, "cpu_us");
        service.tasks = limit_of(w, "tasks");
        service.io = limit_of(w, "io");
        service.io_device = w->engine->state_dir;
        w->unit_gone = false;
        r = bus_service_start(w->engine->bus, &service, on_started, w, &w->call);
        free_texts(env);
        free_texts(fields);
        return r;
}

/* ---- what became of it ---- */

/* Nobody has claimed it: is it running, still to come, or gone? */
static void on_processes(void *userdata, int r, const char *message) {
        Watch *w = userdata;

        w->call = sd_bus_slot_unref(w->call);
        w->unit_gone = r == -ENOENT;
        if (r == 0)
                w->started = now_mono_us() / 1000;
        if (r > 0 && now_mono_us() / 1000 - w->started > ATTEMPT_UNCLAIMED_MS)
                watch_unclaimed(w);
        else
                watch_look_again(w, !w->unit_gone);
}

void unit_ask(Watch *w) {
        char unit[UNIT_MAX];

        unit_name(w, unit);
        if (!w->call && bus_unit_processes(w->engine->bus, unit, on_processes, w, &w->call) < 0)
                watch_look_again(w, true);
}

/* Claimed and dead: nothing of it may be left when that is told. */
static void on_killed(void *userdata, int r, const char *message) {
        Watch *w = userdata;

        w->call = sd_bus_slot_unref(w->call);
        w->unit_gone = r == -ENOENT || r == -ESRCH;
        if (r < 0 && !w->unit_gone)
                log_job_warning(w->job, NULL, "cannot end what is left of an attempt: %s", message);
        watch_look_again(w, r < 0 && !w->unit_gone);
}

void unit_end(Watch *w) {
        char unit[UNIT_MAX];

        unit_name(w, unit);
        if (!w->call && bus_unit_kill(w->engine->bus, unit, SIGKILL, on_killed, w, &w->call) < 0)
                watch_look_again(w, true);
}

void unit_kill(const Watch *w) {
        char unit[UNIT_MAX];
        int r;

        unit_name(w, unit);
        r = bus_unit_kill(w->engine->bus, unit, SIGKILL, NULL, NULL, NULL);
        if (r < 0)
                log_job_warning(w->job, NULL, "cannot end %s, ignoring: %s", unit, strerror(-r));
}
