/* SPDX-License-Identifier: MIT */
/* The engine's life: lock, store, the jobs taken up again, the loop. */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/inotify.h>

#include "api/args.h"
#include "api/memory.h"
#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define CALLS_MAX 1024
#define EVENTS_MAX 64 /* before a turn */
#define MAX_JOBS_DEFAULT 64
#define LOCK_TRIES 40
#define LOCK_PAUSE_US (50 * 1000)

static int take_lock(Engine *e, Error *reterr) {
        _cleanup_free_ char *path = path_join(e->state_dir, "lock");
        _cleanup_close_ int fd = -EBADF;
        int tries = 0, r;

        if (!path)
                return error_oom(reterr);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_set(reterr, errno, "bad-config", "Cannot open %s: %s", path,
                                 strerror(errno));
        /* A child of a killed daemon that has not reached its exec yet holds the lock for a moment.
         */
        while (flock(fd, LOCK_EX | LOCK_NB) < 0 && tries++ < LOCK_TRIES)
                (void) usleep(LOCK_PAUSE_US);
        if (tries > LOCK_TRIES) {
                r = error_set(reterr, EBUSY, "locked", "Another updd has the state folder %s",
                              e->state_dir);
                error_hint(reterr, "stop that one first, or give this one another --state-dir");
                return r;
        }
        e->lock_fd = TAKE_FD(fd);
        return 0;
}

/* Before the first attempt: its claim syncs no folder above this one. */
static int make_jobs_folder(Engine *e, Error *reterr) {
        _cleanup_free_ char *path = path_join(e->state_dir, "jobs");
        int r = path ? mkdir_durable(path, 0700) : -ENOMEM;

        return r < 0 ? error_set(reterr, -r, "bad-config", "Cannot make %s/jobs: %s", e->state_dir,
                                 strerror(-r))
                     : 0;
}

static int set_aside(Engine *e, const JobRow *row, const char *why) {
        Unread u = {
                .id = row->id,
                .version = row->version,
                .created = row->created,
                .plan = (char *) row->plan,
                .target = (char *) row->target,
                .state = (char *) row->state,
                .why = (char *) why,
        };
        int state = row->state ? job_state_from_text(row->state) : -EINVAL;

        /* What has ended holds nothing. */
        if (state >= 0 && job_state_is_end((JobState) state)) {
                log_job_error(row->id, NULL, "%s, ignoring", why);
                return 0;
        }
        return unread_add(e, &u, !e->loading);
}

static int load_job(void *userdata, const JobRow *row) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_job_ Job *job = NULL;
        _cleanup_free_ char *why = NULL;
        Engine *e = userdata;
        Slot *grown;
        int r;

        r = job_load(e->store, row, &job, &error);
        if (r == -ENOMEM || r == -EIO || store_is_damaged(e->store))
                return r;
        /* One unreadable job must not keep the others from going on. */
        if (r < 0)
                return set_aside(e, row, error.message ? error.message : strerror(-r));
        why = unread_by_folder(e, job);
        if (why)
                return set_aside(e, row, why);
        grown = realloc(e->slots, sizeof(Slot) * (e->n_slots + 1));
        if (!grown)
                return -ENOMEM;
        e->slots = grown;
        e->slots[e->n_slots++] = (Slot){.job = job, .wakes_at = job_wakes_at(job), .kick = true};
        (void) TAKE(job);
        return 0;
}

static void slots_free(Slot *slots, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                job_free(slots[i].job);
                free(slots[i].json);
        }
        free(slots);
}

void engine_attach_all(Engine *e) {
        e->unwatched = false;
        for (unsigned i = 0; i < e->n_slots; i++) {
                const Job *job = e->slots[i].job;

                for (unsigned k = 0; k < job->def->n_steps; k++) {
                        Watch *w = watch_find(e, job->id, k, job->steps[k].attempts);

                        if (!job->steps[k].in_flight)
                                continue;
                        if (w) {
                                watch_make_up(w, &job->steps[k]);
                                watch_look_if_idle(w);
                        } else
                                watch_attach(e, job, k);
                }
        }
}

/* Jobs without rows are found at the start only. */
static int keep_lost(Engine *e, const Unread *unreads, unsigned n) {
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < n; i++)
                if (unreads[i].lost)
                        r = unread_add(e, &unreads[i], true);
        return r;
}

/* While the jobs cannot be read, those in memory go on being shown. */
static int load_slots(Engine *e, Error *reterr) {
        Slot *slots = TAKE(e->slots);
        Unread *unreads = TAKE(e->unreads);
        unsigned n_slots = e->n_slots, n_unreads = e->n_unreads;
        int r;

        e->n_slots = e->n_unreads = 0;
        r = store_jobs_live(e->store, load_job, e, reterr);
        if (r >= 0)
                r = keep_lost(e, unreads, n_unreads);
        if (r >= 0) {
                slots_free(slots, n_slots);
                unreads_free(unreads, n_unreads);
                return 0;
        }
        slots_free(e->slots, e->n_slots);
        unreads_free(e->unreads, e->n_unreads);
        e->slots = slots;
        e->n_slots = n_slots;
        e->unreads = unreads;
        e->n_unreads = n_unreads;
        return r;
}

int engine_load(Engine *e, Error *reterr) {
        uint64_t before = memory_failures();
        json_t *tokens = NULL, *schedules = NULL;
        int64_t last = 0;
        int r;

        r = load_slots(e, reterr);
        if (r >= 0 && memory_failures() != before)
                r = error_oom(reterr);
        if (r >= 0)
                r = store_last_job(e->store, &last, reterr);
        if (r >= 0)
                r = store_tokens(e->store, &tokens, reterr);
        if (r >= 0)
                r = store_schedules(e->store, &schedules, reterr);
        if (r < 0) {
                json_decref(tokens);
                return reterr && reterr->message ? r
                                                 : error_set(reterr, -r, "store-failed",
                                                             "Cannot load jobs: %s", strerror(-r));
        }
        e->last_job = MAX(e->last_job, last);
        json_decref(e->tokens);
        e->tokens = tokens;
        json_decref(e->schedules);
        e->schedules = schedules;
        e->ahead_at = 0;
        engine_attach_all(e);
        return 0;
}

void engine_reconfigure(Engine *e, const EngineConfig *config) {
        static const char *const none[] = {NULL};

        e->plan_dirs = config->plan_dirs ? config->plan_dirs : none;
        e->max_jobs = config->max_jobs > 0 ? config->max_jobs : MAX_JOBS_DEFAULT;
        engine_kick_queued(e);
}

static int copy_config(Engine *e, const EngineConfig *config) {
        e->state_dir = realpath(config->state_dir, NULL);
        e->step_program = config->step_program ? strdup(config->step_program) : NULL;
        e->bus = config->bus;
        engine_reconfigure(e, config);
        return e->state_dir && e->step_program ? 0 : -ENOMEM;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Engine *e = userdata;

        e->armed_for = INT64_MAX;
        return 0;
}

static int on_anchor(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        return 0;
}

int engine_new(sd_event *event, const EngineConfig *config, Engine **ret, Error *reterr) {
        _cleanup_(engine_freep) Engine *e = calloc(1, sizeof(Engine));
        int r;

        if (!e)
                return error_oom(reterr);
        e->lock_fd = -EBADF;
        e->armed_for = INT64_MAX;
        e->event = sd_event_ref(event);
        e->started = now_wall_ms();
        if (copy_config(e, config) < 0)
                return error_set(reterr, ENOMEM, "bad-config", "Cannot use the state folder %s",
                                 config->state_dir);
        r = sd_event_add_time(event, &e->timer, CLOCK_BOOTTIME, UINT64_MAX, 1000, on_timer, e);
        if (r >= 0)
                r = engine_watch_clock(e);
        if (r < 0)
                return error_set(reterr, -r, "internal", "Cannot set a timer: %s", strerror(-r));
        r = sd_event_add_inotify(event, &e->anchor, e->state_dir, IN_DELETE_SELF, on_anchor, e);
        if (r < 0)
                return error_set(reterr, -r, "internal", "Cannot watch %s: %s", e->state_dir,
                                 strerror(-r));
        r = take_lock(e, reterr);
        if (r >= 0)
                r = make_jobs_folder(e, reterr);
        if (r >= 0)
                r = engine_check_mark(e, reterr);
        if (r >= 0)
                r = store_open(e->state_dir, &e->store, reterr);
        e->loading = true;
        if (r >= 0)
                r = engine_load(e, reterr);
        e->loading = false;
        if (r < 0)
                return r;
        /* One that was just made knows of nothing, and whoever removed the former knows that. */
        if (e->last_job > 0)
                unread_find_lost(e, e->last_job, false);
        /* A database that was put back from a backup knows less than the folders do: their numbers
         * are not given again. */
        e->last_job = MAX(e->last_job, engine_newest_folder(e));
        engine_run_begin(e);
        engine_prune(e);
        *ret = TAKE(e);
        return 0;
}

Call *call_free(Call *call) {
        if (call) {
                json_decref(call->body);
                free(call->who);
                free(call->idempotency_key);
                free(call);
        }
        return NULL;
}

/* Whoever still waits for a reply hears that there will be none; updctl asks again with the same
 * key. */
static void drop_calls(Engine *e) {
        for (unsigned i = 0; i < e->n_calls; i++) {
                Reply reply = {.err = EBUSY};

                (void) error_set(&reply.error, EBUSY, "too-busy", "updd is ending; ask again");
                e->calls[i]->reply(e->calls[i]->userdata, &reply);
                error_done(&reply.error);
                call_free(e->calls[i]);
        }
        free(e->calls);
}

void engine_free(Engine *e) {
        if (!e)
                return;
        drop_calls(e);
        for (unsigned i = 0; i < e->n_watches; i++)
                watch_free(e->watches[i]);
        free(e->watches);
        for (unsigned i = 0; i < e->n_facts; i++)
                json_decref(e->facts[i].data);
        free(e->facts);
        slots_free(e->slots, e->n_slots);
        unreads_free(e->unreads, e->n_unreads);
        store_free(e->store);
        sd_event_source_disable_unref(e->timer);
        sd_event_source_disable_unref(e->clock_source);
        sd_event_source_disable_unref(e->anchor);
        sd_event_unref(e->event);
        schedule_looks_free(e);
        ahead_free(e);
        json_decref(e->tokens);
        json_decref(e->schedules);
        free(e->state_dir);
        free(e->step_program);
        error_done(&e->sickness);
        free(e->history_json);
        if (e->lock_fd >= 0)
                (void) close(e->lock_fd);
        free(e);
}

int engine_submit(Engine *e, Call *call) {
        Call **grown;

        if (e->n_calls >= CALLS_MAX) {
                call_free(call);
                return -EBUSY;
        }
        grown = realloc(e->calls, sizeof(Call *) * (e->n_calls + 1));
        if (!grown) {
                call_free(call);
                return -ENOMEM;
        }
        e->calls = grown;
        e->calls[e->n_calls++] = call;
        return 0;
}

void engine_on_change(Engine *e, ChangeFunc func, void *userdata) {
        e->change = func;
        e->change_userdata = userdata;
}

void engine_arm(Engine *e) {
        int64_t at = e->checkpoint_at > 0 ? e->checkpoint_at : INT64_MAX;

        if (e->bus)
                at = MIN(at, e->ahead_at);
        for (unsigned i = 0; i < e->n_slots; i++)
                at = MIN(at, e->slots[i].wakes_at);
        if (e->untold > 0)
                at = MIN(at, e->tell_at);
        /* A moment that has passed must not make it try without a pause. */
        if (e->sick)
                at = e->damaged ? INT64_MAX : e->tried_at + TRY_AGAIN_MS;
        if (e->unwatched)
                at = MIN(at, now_boot_ms() + TRY_AGAIN_MS);
        if (at == e->armed_for)
                return;
        e->armed_for = at;
        (void) sd_event_source_set_time(e->timer,
                                        at == INT64_MAX ? UINT64_MAX : (uint64_t) at * 1000);
        (void) sd_event_source_set_enabled(e->timer, SD_EVENT_ONESHOT);
}

static void checkpoint(Engine *e) {
        if (e->checkpoint_at == 0 || e->checkpoint_at > now_boot_ms())
                return;
        e->checkpoint_at = 0;
        store_checkpoint(e->store);
}

int engine_loop(Engine *e) {
        bool work = true;
        int r, code = 0;

        for (;;) {
                unsigned n = 0;

                ahead_look(e);
                work |= e->n_calls > 0;
                if (!work)
                        engine_arm(e);
                r = sd_event_run(e->event, work && !e->sick ? 0 : UINT64_MAX);
                work = engine_has_work(e);
                /* What else is ready shares the commit. */
                while (r > 0 && work && !e->sick && ++n < EVENTS_MAX &&
                       sd_event_get_state(e->event) != SD_EVENT_FINISHED)
                        r = sd_event_run(e->event, 0);
                if (r < 0)
                        return r;
                if (sd_event_get_state(e->event) == SD_EVENT_FINISHED)
                        break;
                if (work || e->sick) {
                        engine_turn(e);
                        work = engine_has_work(e);
                        if (e->sick)
                                engine_arm(e);
                } else {
                        checkpoint(e);
                        engine_tell_missed(e);
                }
        }
        engine_run_end(e);
        engine_tell_end(e);
        (void) sd_event_get_exit_code(e->event, &code);
        return code;
}
