/* SPDX-License-Identifier: MIT */
/*
 * Attempts in flight: starting updd-step, hearing of its end by pidfd and of its questions by
 * inotify, and after a restart finding out what became of it. The order of looks is the protocol's:
 * lock, result, claim. Nothing here decides: what is found goes into the queue of facts.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "api/args.h"
#include "daemon/attempt/attempt.h"
#include "daemon/attempt/logtail.h"
#include "daemon/attempt/tree.h"
#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define SPAWNS_MAX 3
#define LOOK_AGAIN_MS 20
#define LOOK_LATER_MS 1000

static void watch_look(Watch *w);
static int watch_open(Watch *w);
static void watch_broken(Watch *w, int r);
static void watch_wait(Watch *w);
static void look_again(Watch *w, int64_t ms);

Watch *watch_find(Engine *e, int64_t job, unsigned step, unsigned n) {
        for (unsigned i = 0; i < e->n_watches; i++) {
                Watch *w = e->watches[i];

                if (w->job == job && w->step == step && w->n == n)
                        return w;
        }
        return NULL;
}

void watch_free(Watch *w) {
        if (!w)
                return;
        sd_event_source_disable_unref(w->pid_source);
        sd_event_source_disable_unref(w->progress_source);
        sd_event_source_disable_unref(w->claim_source);
        sd_event_source_disable_unref(w->timer);
        sd_bus_slot_unref(w->call);
        if (w->pidfd >= 0)
                (void) close(w->pidfd);
        if (w->dirfd >= 0)
                (void) close(w->dirfd);
        json_decref(w->secrets);
        json_decref(w->limits);
        free(w->dir);
        free(w);
}

/* What updd-step did not live to read must not stay either. */
static void watch_forget_answers(const Watch *w) {
        for (unsigned k = 1; w->dirfd >= 0 && k <= w->question; k++) {
                int r = attempt_answer_forget(w->dirfd, k);

                if (r < 0)
                        log_job_warning(w->job, NULL, "cannot empty an answer, ignoring: %s",
                                        strerror(-r));
        }
}

void watches_end(Engine *e, int64_t job, unsigned step, unsigned n) {
        for (unsigned i = 0; i < e->n_watches; i++) {
                Watch *w = e->watches[i];

                if (w->job != job || w->step != step || w->n != n)
                        continue;
                watch_forget_answers(w);
                watch_free(w);
                e->watches[i] = e->watches[--e->n_watches];
                return;
        }
}

int fact_add(Engine *e, FactKind kind, int64_t job, unsigned step, unsigned n, json_t *data) {
        Fact *grown = realloc(e->facts, sizeof(Fact) * (e->n_facts + 1));

        if (!grown) {
                json_decref(data);
                return -ENOMEM;
        }
        e->facts = grown;
        e->facts[e->n_facts++] =
                (Fact){.kind = kind, .job = job, .step = step, .n = n, .data = data};
        return 0;
}

/* ---- the end ---- */

static void watch_ended(Watch *w, json_t *result) {
        if (w->told) {
                json_decref(result);
                return;
        }
        w->pid_source = sd_event_source_disable_unref(w->pid_source);
        w->timer = sd_event_source_disable_unref(w->timer);
        w->told = fact_add(w->engine, FACT_ENDED, w->job, w->step, w->n, result) >= 0;
        if (!w->told)
                look_again(w, LOOK_LATER_MS);
}

/* The same with a result of the daemon's own; without memory for it there is none yet. */
static void watch_ended_so(Watch *w, json_t *result) {
        if (result)
                watch_ended(w, result);
        else
                look_again(w, LOOK_LATER_MS);
}

static bool claim_is_ours(Watch *w) {
        json_auto_t *claim = NULL;

        return attempt_claim_read(w->dirfd, w->id, &claim) >= 0 &&
               streq0(args_text(claim, "by", NULL), "daemon");
}

/* Its log is made once it has claimed: where there is one and no claim, somebody took that away. */
static bool has_begun(const Watch *w) {
        return faccessat(w->dirfd, "log", F_OK, 0) == 0;
}

/* The daemon makes the claim itself: from then on no updd-step will act. On failure (somebody has
 * claimed, or the claim cannot be written) nothing is certain, and nothing is told. */
static int watch_withdraw(Watch *w) {
        int r = w->dirfd < 0   ? -EBADF
                : has_begun(w) ? -EEXIST
                               : attempt_claim(w->dirfd, w->id, withdrawn_reason(w));

        if (r < 0 && (r == -EEXIST || !claim_is_ours(w)))
                return r;
        if (w->engine->bus)
                unit_kill(w);
        else if (w->pid > 0)
                (void) kill(w->pid, SIGKILL);
        watch_ended_so(w, withdrawn_result(w));
        return 0;
}

/* It lives and has not claimed in all this time: it does not come to its work any more. */
void watch_unclaimed(Watch *w) {
        json_auto_t *claim = NULL;

        w->timer = sd_event_source_disable_unref(w->timer);
        if (attempt_claim_read(w->dirfd, w->id, &claim) == -ENOENT && watch_withdraw(w) >= 0)
                log_job_warning(w->job, NULL, "updd-step hung before its claim; it is withdrawn");
        else if (!w->progress_source)
                look_again(w, LOOK_LATER_MS);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Watch *w = userdata;

        watch_progress(w);
        if (!w->pid_source)
                watch_look(w);
        else if (now_mono_us() / 1000 - w->started >= ATTEMPT_UNCLAIMED_MS)
                watch_unclaimed(w);
        else
                watch_wait(w);
        return 0;
}

static void look_again(Watch *w, int64_t ms) {
        w->timer = sd_event_source_disable_unref(w->timer);
        if (sd_event_add_time_relative(w->engine->event, &w->timer, CLOCK_MONOTONIC,
                                       (uint64_t) ms * 1000, 1000, on_timer, w) < 0)
                w->engine->unwatched = true;
}

/* While it lives: for its claim, and for its progress where that cannot be heard of. */
static void watch_wait(Watch *w) {
        int64_t left = w->started + ATTEMPT_UNCLAIMED_MS - now_mono_us() / 1000;

        look_again(w, w->progress_source ? MAX(left, 1) : LOOK_LATER_MS);
}

void watch_look_again(Watch *w, bool later) {
        look_again(w, later ? LOOK_LATER_MS : 1);
}

static int on_exit_of(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Watch *w = userdata;

        w->pid_source = sd_event_source_disable_unref(w->pid_source);
        if (w->child) {
                siginfo_t si;

                (void) waitid(P_PIDFD, (id_t) w->pidfd, &si, WEXITED | WNOHANG);
        }
        (void) close(TAKE_FD(w->pidfd));
        w->pid = 0;
        w->child = false;
        watch_look(w);
        return 0;
}

static int watch_pid(Watch *w, pid_t pid, bool child) {
        int fd = pidfd_open(pid, 0), r;

        if (fd < 0)
                return -errno;
        if (w->pidfd >= 0)
                (void) close(w->pidfd);
        w->pidfd = fd;
        w->pid = pid;
        w->child = child;
        r = sd_event_add_io(w->engine->event, &w->pid_source, fd, EPOLLIN, on_exit_of, w);
        return r;
}

/* Somebody holds the lock who is not ours to wait for yet: follow the pid in the claim. */
static void watch_follow(Watch *w) {
        json_auto_t *claim = NULL;
        pid_t pid = 0;

        if (attempt_claim_read(w->dirfd, w->id, &claim) >= 0)
                pid = (pid_t) json_integer_value(json_object_get(claim, "pid"));
        /* The lock was held when we looked; it must still be once the pid is pinned. */
        if (pid <= 0 || watch_pid(w, pid, false) < 0) {
                look_again(w, LOOK_AGAIN_MS);
                return;
        }
        if (attempt_is_alive(w->dirfd) != 1) {
                w->pid_source = sd_event_source_disable_unref(w->pid_source);
                look_again(w, 1);
                return;
        }
        /* Whoever wanted it stopped may have died before the signal was sent. */
        if (w->stop_wanted)
                (void) pidfd_send_signal(w->pidfd, SIGTERM, NULL, 0);
}

static void watch_start(Watch *w);
static int watch_prepare(Watch *w);

/* What passes by itself; on a full disk there may be spare room for the next look. */
static bool passes(Watch *w, int r) {
        if (r == -ENOSPC || r == -EDQUOT)
                engine_spare(w->engine);
        return attempt_error_passes(r);
}

static void withdraw_or_look_again(Watch *w) {
        int r = w->stop_wanted || w->dirfd < 0 ? 0 : attempt_result_reserve(w->dirfd);

        /* What has no room now may have it later: the step is not failed for that. */
        if (passes(w, r))
                w->spawns = 0;
        else
                r = watch_withdraw(w);
        if (r < 0)
                look_again(w, LOOK_LATER_MS);
}

/* A former daemon may have died between the commit and the start, and that may be long ago: a step
 * whose window has closed since does not begin. */
static bool is_too_late(const Watch *w) {
        const Slot *slot = slot_find(w->engine, w->job);

        return slot && slot->job->steps[w->step].direction == DIRECTION_DO &&
               window_forbids(slot->job, w->step);
}

/* Nobody has claimed it and nobody lives there: it begins now, or never. */
static void look_at_unclaimed(Watch *w) {
        int r;

        w->too_late = is_too_late(w);
        if (w->too_late) {
                if (watch_withdraw(w) < 0)
                        look_again(w, LOOK_LATER_MS);
                return;
        }
        if (w->engine->bus && !w->unit_gone) {
                unit_ask(w);
                return;
        }
        if (w->stop_wanted || w->spawns >= SPAWNS_MAX ||
            (!w->unprepared && now_mono_us() / 1000 - w->started > ATTEMPT_UNCLAIMED_MS)) {
                withdraw_or_look_again(w);
                return;
        }
        r = w->unprepared ? watch_prepare(w) : 0;
        if (r >= 0)
                watch_start(w);
        else if (passes(w, r))
                look_again(w, LOOK_LATER_MS);
        else {
                log_job_error(w->job, NULL, "cannot prepare %s: %s", w->dir, strerror(-r));
                withdraw_or_look_again(w);
        }
}

/* Deleted under it: whether it was claimed is not known any more, so it is not begun again. */
static bool folder_is_gone(const Watch *w) {
        struct stat st;

        return fstat(w->dirfd, &st) == 0 && st.st_nlink == 0;
}

/* Somebody replaced the lock file under it: whoever claimed is alive nevertheless, and is waited for
 * by his pid. The number may be another's by now, so the process itself must name the attempt. */
static bool claimant_lives(Watch *w, const json_t *claim) {
        pid_t pid = (pid_t) json_integer_value(json_object_get(claim, "pid"));

        if (pid <= 0 || watch_pid(w, pid, false) < 0)
                return false;
        if (!tree_is_started_with(pid, w->id)) {
                w->pid_source = sd_event_source_disable_unref(w->pid_source);
                return false;
        }
        if (w->stop_wanted)
                (void) pidfd_send_signal(w->pidfd, SIGTERM, NULL, 0);
        return true;
}

/* The lock is free and there is no result: what does the claim say? */
static void look_at_claim(Watch *w) {
        json_auto_t *claim = NULL;
        int r = attempt_claim_read(w->dirfd, w->id, &claim);

        if (r == -ENOENT && !folder_is_gone(w) && !has_begun(w)) {
                look_at_unclaimed(w);
                return;
        }
        if (r == -ENOENT)
                log_job_warning(w->job, NULL, "%s has begun, and its claim is gone: interrupted",
                                w->dir);
        if (r >= 0 && streq0(args_text(claim, "by", NULL), "daemon")) {
                /* Perhaps a former daemon's, and the window may be open again. */
                w->too_late = streq0(args_text(claim, "reason", NULL), WITHDRAWN_WINDOW);
                watch_ended_so(w, withdrawn_result(w));
                return;
        }
        if (r >= 0 && claimant_lives(w, claim))
                return;
        if (w->engine->bus && !w->unit_gone) {
                unit_end(w);
                return;
        }
        /* Claimed and dead: decided only when none of its processes is left. */
        if (attempt_error_passes(r) || tree_signal_marked(w->id, SIGKILL) != 0) {
                look_again(w, attempt_error_passes(r) ? LOOK_LATER_MS : LOOK_AGAIN_MS);
                return;
        }
        if (logtail_settle(w->dirfd) < 0)
                log_job_warning(w->job, NULL, "the end of %s/log cannot be put to it, ignoring",
                                w->dir);
        watch_ended(w, NULL);
}

static void watch_look(Watch *w) {
        json_t *result = NULL;
        int r;

        w->timer = sd_event_source_disable_unref(w->timer);
        if (w->told || w->pid_source || w->call)
                return;
        r = w->dirfd < 0 ? watch_open(w) : 0;
        if (r >= 0)
                r = attempt_is_alive(w->dirfd);
        if (r == 1) {
                watch_follow(w);
                return;
        }
        /* Not to be able to look is not to know that it is dead. */
        if (r >= 0)
                r = attempt_result_read(w->dirfd, w->id, &result);
        if (r >= 0)
                watch_ended(w, result);
        else if (r == -EPROTO)
                watch_ended_so(w, foreign_result(w));
        else if (attempt_error_passes(r))
                look_again(w, LOOK_LATER_MS);
        else if (w->dirfd < 0)
                watch_broken(w, r);
        else
                look_at_claim(w);
}

/* ---- its folder ---- */

/* systemd starts it, so its pid is heard of by its claim. */
static int on_claim(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        Watch *w = userdata;

        if (event->len == 0 || !streq(event->name, "claim"))
                return 0;
        w->claim_source = sd_event_source_disable_unref(w->claim_source);
        if (!w->call)
                watch_look(w);
        return 0;
}

static void watch_claim(Watch *w) {
        if (w->engine->bus && faccessat(w->dirfd, "claim", F_OK, 0) < 0)
                (void) sd_event_add_inotify(w->engine->event, &w->claim_source, w->dir, IN_CREATE,
                                            on_claim, w);
}

/* ---- the start ---- */

void watch_start_failed(Watch *w, int r, const char *why) {
        /* Too many processes, descriptors or pages there are for a while. */
        if (attempt_error_passes(r) && !w->stop_wanted) {
                w->spawns--;
                w->started = now_mono_us() / 1000;
        }
        if (w->trouble != r)
                log_job_warning(w->job, NULL, "cannot start updd-step%s: %s",
                                attempt_error_passes(r) ? ", trying again" : "", why);
        w->trouble = r;
        if (w->spawns >= SPAWNS_MAX)
                withdraw_or_look_again(w);
        else
                look_again(w, LOOK_LATER_MS);
}

static int spawn(Watch *w) {
        pid_t pid = 0;
        int r;

        if (w->engine->bus)
                return unit_start(w);
        r = step_spawn(w, &pid);
        if (r >= 0)
                r = watch_pid(w, pid, true);
        if (r >= 0)
                watch_wait(w);
        return r;
}

static void watch_start(Watch *w) {
        int r;

        w->spawns++;
        r = spawn(w);
        if (r < 0)
                watch_start_failed(w, r, strerror(-r));
}

static Watch *watch_new(Engine *e, const Job *job, unsigned step) {
        Watch **grown = realloc(e->watches, sizeof(Watch *) * (e->n_watches + 1));
        const StepState *s = &job->steps[step];
        Watch *w;

        if (!grown)
                return NULL;
        e->watches = grown;
        w = calloc(1, sizeof(Watch));
        if (!w)
                return NULL;
        w->engine = e;
        w->job = job->id;
        w->step = step;
        w->n = s->attempts;
        w->dirfd = w->pidfd = -EBADF;
        w->stop_wanted = s->stop_wanted;
        w->started = now_mono_us() / 1000;
        memcpy(w->id, s->id, sizeof(w->id));
        w->dir = attempt_dir(e->state_dir, job, step, s->attempts);
        if (!w->dir) {
                watch_free(w);
                return NULL;
        }
        e->watches[e->n_watches++] = w;
        return w;
}

static void watch_broken(Watch *w, int r) {
        json_t *result = withdrawn_result(w);

        log_job_error(w->job, NULL, "cannot prepare %s: %s", w->dir, strerror(-r));
        (void) json_putf(json_object_get(result, "error"), "message",
                         "The attempt's folder cannot be written: %s", strerror(-r));
        watch_ended_so(w, result);
}

/* Opens the folder, and hears from then on what is told in it. */
static int watch_open(Watch *w) {
        int r = attempt_open(w->dir, true, &w->dirfd);

        if (r >= 0) {
                watch_progress(w);
                watch_claim(w);
        }
        return r;
}

void watch_spawn(Engine *e, const Job *job, Effect *effect) {
        Watch *w = watch_new(e, job, effect->step);
        int r;

        if (!w) {
                e->unwatched = true;
                return;
        }
        w->secrets = TAKE(effect->secrets);
        watch_task(w, effect->task);
        r = watch_open(w);
        if (r >= 0)
                r = attempt_task_write(w->dirfd, effect->task);
        if (r >= 0)
                watch_start(w);
        else if (passes(w, r)) {
                w->unprepared = true;
                w->trouble = r;
                log_job_warning(job->id, NULL, "cannot prepare %s, trying again: %s", w->dir,
                                strerror(-r));
                look_again(w, LOOK_LATER_MS);
        } else
                watch_broken(w, r);
}

/* Makes up for a start that failed, or that a former daemon did not come to. */
static int watch_prepare(Watch *w) {
        Slot *slot = slot_find(w->engine, w->job);
        int r = slot ? watch_rebuild(w, slot->job) : -ENOENT;

        if (r < 0)
                return r;
        w->unprepared = false;
        w->started = now_mono_us() / 1000;
        return 0;
}

/* What a former daemon committed and may not have let out: answers, a stop. */
void watch_make_up(Watch *w, const StepState *s) {
        json_t *k;
        size_t i;

        json_array_foreach (json_object_get(s->more, "answered"), i, k) {
                watch_deliver(w->engine, w->job, w->step, (unsigned) json_integer_value(k));
        }
        if (s->stop_wanted)
                watch_stop(w->engine, w->job, w->step);
}

void watch_look_if_idle(Watch *w) {
        if (w->dirfd >= 0 && !w->told)
                watch_progress_read(w);
        if (!w->timer && !w->pid_source && !w->told)
                watch_look(w);
}

void watch_attach(Engine *e, const Job *job, unsigned step) {
        Watch *w = watch_new(e, job, step);
        int r;

        if (!w) {
                e->unwatched = true;
                return;
        }
        w->unprepared = true;
        r = watch_open(w);
        if (r >= 0)
                watch_make_up(w, &job->steps[step]);
        watch_look(w);
}

void watch_stop(Engine *e, int64_t job, unsigned step) {
        for (unsigned i = 0; i < e->n_watches; i++) {
                Watch *w = e->watches[i];
                int r;

                if (w->job != job || w->step != step || w->told)
                        continue;
                w->stop_wanted = true;
                if (w->dirfd < 0)
                        continue;
                r = attempt_stop_write(w->dirfd, "the daemon was asked to");
                if (r < 0)
                        log_job_warning(job, NULL, "cannot write a stop file: %s", strerror(-r));
                if (watch_withdraw(w) < 0 && w->pidfd >= 0)
                        (void) pidfd_send_signal(w->pidfd, SIGTERM, NULL, 0);
        }
}
