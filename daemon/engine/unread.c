/* SPDX-License-Identifier: MIT */
/*
 * Jobs that cannot be carried on, since what is known of them is not whole: their rows make no sense,
 * or their folders hold attempts that the database does not know (it is older than they are, or lost
 * its last commits). Nothing of such a job is begun or ended by this daemon. It keeps its target, is
 * shown as stuck with the reason, and one way leads out: a person sees to it and abandons it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "api/args.h"
#include "daemon/attempt/attempt.h"
#include "daemon/engine/internal.h"
#include "daemon/log.h"

static bool is_number(const char *name) {
        return *name && strspn(name, "0123456789") == strlen(name);
}

/* ---- what the folders say ---- */

typedef int (*AttemptFunc)(void *userdata, const char *path, const char *step, unsigned n);

/* The attempts of one step, by its folder. */
static int each_of_step(const char *path, const char *step, AttemptFunc func, void *userdata) {
        DIR *dir = opendir(path);
        struct dirent *d;
        int r = 0;

        while (dir && r >= 0 && (d = readdir(dir))) {
                _cleanup_free_ char *attempt =
                        is_number(d->d_name) ? path_join(path, d->d_name) : NULL;

                if (attempt)
                        r = func(userdata, attempt, step, (unsigned) strtoul(d->d_name, NULL, 10));
        }
        if (dir)
                (void) closedir(dir);
        return r;
}

static int each_attempt(const char *state_dir, int64_t job, AttemptFunc func, void *userdata) {
        _cleanup_free_ char *path = job_dir(state_dir, job);
        DIR *dir = path ? opendir(path) : NULL;
        struct dirent *d;
        int r = 0;

        while (dir && r >= 0 && (d = readdir(dir))) {
                _cleanup_free_ char *step = d->d_name[0] != '.' && !streq(d->d_name, "secrets")
                                                    ? path_join(path, d->d_name)
                                                    : NULL;

                if (step)
                        r = each_of_step(step, d->d_name, func, userdata);
        }
        if (dir)
                (void) closedir(dir);
        return r;
}

static int add_if_alive(void *userdata, const char *path, const char *step, unsigned n) {
        _cleanup_close_ int fd = -EBADF;

        if (attempt_open(path, false, &fd) < 0 || attempt_is_alive(fd) != 1)
                return 0;
        return json_array_append_new(userdata,
                                     json_pack("{s:s, s:i}", "step", step, "attempt", (int) n));
}

/* Array of {"step", "attempt"} of what lives. */
static json_t *running_of(const Engine *e, int64_t job) {
        json_t *list = json_array();

        if (list)
                (void) each_attempt(e->state_dir, job, add_if_alive, list);
        return list;
}

typedef struct Newest {
        const Job *job;
        char *step;
        unsigned n, known;
} Newest;

static int find_unknown(void *userdata, const char *path, const char *step, unsigned n) {
        Newest *u = userdata;
        _cleanup_free_ char *task = path_join(path, "task.json");
        int idx = job_def_find(u->job->def, step);

        if (!task || idx < 0 || n <= u->job->steps[idx].attempts || n <= u->n ||
            access(task, F_OK) < 0)
                return 0;
        free(u->step);
        u->step = strdup(step);
        u->n = n;
        u->known = u->job->steps[idx].attempts;
        return 0;
}

char *unread_by_folder(const Engine *e, const Job *job) {
        Newest u = {.job = job};
        char *why = NULL;

        (void) each_attempt(e->state_dir, job->id, find_unknown, &u);
        if (u.step)
                why = strf("its folder has attempt %u of step '%s', and the database knows of %u: "
                           "what was decided last is lost",
                           u.n, u.step, u.known);
        free(u.step);
        return why;
}

/* ---- the list ---- */

static void unread_done(Unread *u) {
        free(u->plan);
        free(u->target);
        free(u->state);
        free(u->why);
}

void unreads_free(Unread *unreads, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                unread_done(&unreads[i]);
        free(unreads);
}

static void tell(const Engine *e, const Unread *u) {
        json_auto_t *running = running_of(e, u->id);
        const json_t *one;
        size_t i;

        log_job_error(
                u->id, NULL,
                "it cannot be carried on, and keeps its target '%s' until it is abandoned: %s",
                u->target, u->why);
        json_array_foreach (running, i, one) {
                log_job_warning(u->id, args_text(one, "step", "?"),
                                "attempt %d runs, and nobody watches it",
                                (int) json_integer_value(json_object_get(one, "attempt")));
        }
}

static char *copy_or(const char *text, const char *otherwise) {
        return strdup(text ? text : otherwise);
}

int unread_add(Engine *e, const Unread *what, bool quiet) {
        Unread *grown = realloc(e->unreads, sizeof(Unread) * (e->n_unreads + 1));
        Unread u = *what;

        if (!grown)
                return -ENOMEM;
        e->unreads = grown;
        u.plan = copy_or(what->plan, "?");
        u.target = copy_or(what->target, "?");
        u.state = copy_or(what->state, "stuck");
        u.why = copy_or(what->why, "its rows cannot be read");
        if (!u.plan || !u.target || !u.state || !u.why) {
                unread_done(&u);
                return -ENOMEM;
        }
        e->unreads[e->n_unreads++] = u;
        if (!quiet)
                tell(e, &u);
        return 0;
}

Unread *unread_find(const Engine *e, int64_t job) {
        for (unsigned i = 0; i < e->n_unreads; i++)
                if (e->unreads[i].id == job)
                        return &e->unreads[i];
        return NULL;
}

const Unread *unread_of_target(const Engine *e, const char *target) {
        for (unsigned i = 0; i < e->n_unreads; i++)
                if (streq(e->unreads[i].target, target))
                        return &e->unreads[i];
        return NULL;
}

void unreads_settle(Engine *e, bool committed) {
        for (unsigned i = 0; i < e->n_unreads; i++) {
                Unread *u = &e->unreads[i];

                if (!u->given_up)
                        continue;
                u->given_up = false;
                if (!committed)
                        continue;
                unread_done(u);
                *u = e->unreads[--e->n_unreads];
                i--;
        }
}

/* ---- jobs that the database never heard of ---- */

static int read_task(void *userdata, const char *path, const char *step, unsigned n) {
        json_t **ret = userdata;
        _cleanup_free_ char *file = path_join(path, "task.json"), *text = NULL;

        if (*ret || !file || file_read(AT_FDCWD, file, ATTEMPT_FILE_MAX, &text, NULL) < 0)
                return 0;
        *ret = json_loads(text, 0, NULL);
        return 0;
}

static void add_lost(Engine *e, int64_t id, bool quiet) {
        json_auto_t *task = NULL;
        Unread u = {
                .id = id,
                .lost = true,
                .why = (char *) "it has a folder with attempts, and no rows: the database is older "
                                "than it, or has lost its last commits",
        };

        (void) each_attempt(e->state_dir, id, read_task, &task);
        if (!task || unread_find(e, id))
                return; /* an attempt's folder comes after its commit; all else may be left over */
        u.plan = (char *) args_text(task, "plan", NULL);
        u.target = (char *) args_text(task, "target", NULL);
        if (unread_add(e, &u, quiet) < 0)
                log_job_error(id, NULL, "out of memory: it does not keep its target");
}

void unread_find_lost(Engine *e, int64_t last, bool quiet) {
        _cleanup_free_ char *path = path_join(e->state_dir, "jobs");
        DIR *dir = path ? opendir(path) : NULL;
        struct dirent *d;

        while (dir && (d = readdir(dir)))
                if (is_number(d->d_name) && strtoll(d->d_name, NULL, 10) > last)
                        add_lost(e, strtoll(d->d_name, NULL, 10), quiet);
        if (dir)
                (void) closedir(dir);
}

/* ---- for callers ---- */

static void put_time(json_t *view, const char *key, int64_t ms) {
        char time[TIME_TEXT_MAX];

        if (ms > 0)
                (void) json_put(view, key, json_string(time_format(ms, time)));
}

static json_t *failure_of(const Engine *e, const Unread *u) {
        return json_pack(
                "{s:s, s:s, s:s, s:o}", "type", "unreadable", "message", u->why, "hint",
                "see that nothing of it runs and what it has changed, then abandon it with "
                "a reason; updd --check-state tells more",
                "running", running_of(e, u->id));
}

json_t *unread_view(const Engine *e, const Unread *u) {
        json_t *view = json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:b, s:s, s:[], s:[], s:[s], s:o}",
                                 "id", (json_int_t) u->id, "plan", u->plan, "title", u->plan,
                                 "target", u->target, "state", "stuck", "version",
                                 (json_int_t) u->version, "dry_run", 0, "by", "", "steps", "waits",
                                 "actions", "abandon", "failure", failure_of(e, u));

        put_time(view, "created", u->created);
        return view;
}

/* A job of the history of which no more than its row can be read. */
json_t *unread_row_view(const JobRow *row) {
        json_t *view =
                json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:b, s:s, s:[], s:[], s:[], s:{s:s, "
                          "s:s}}",
                          "id", (json_int_t) row->id, "plan", row->plan, "title",
                          row->title ? row->title : row->plan, "target", row->target, "state",
                          job_state_from_text(row->state) < 0 ? "abandoned" : row->state, "version",
                          (json_int_t) row->version, "dry_run", row->dry_run, "by",
                          row->who ? row->who : "", "steps", "waits", "actions", "failure", "type",
                          "unreadable", "message", "its rows cannot be read");

        put_time(view, "created", row->created);
        put_time(view, "started", row->started);
        put_time(view, "ended", row->ended);
        return view;
}

int unread_refuse_target(const Engine *e, const char *target, Error *reterr) {
        const Unread *u = unread_of_target(e, target);
        int r;

        if (!u)
                return 0;
        r = error_set(reterr, EBUSY, "target-busy",
                      "Job %lld holds the target '%s' and cannot be carried on: %s",
                      (long long) u->id, target, u->why);
        error_hint(reterr,
                   "see that nothing of it runs, then updctl abandon %lld --reason '…' frees the "
                   "target",
                   (long long) u->id);
        error_detail(reterr, "job", json_integer(u->id));
        error_detail(reterr, "running", running_of(e, u->id));
        return r;
}

static int refuse_running(json_t *running, const Unread *u, Error *reterr) {
        int r = error_set(reterr, EPERM, "not-now",
                          "Attempts of job %lld still run: it cannot be abandoned now",
                          (long long) u->id);

        error_hint(reterr, "wait for them, or end their processes");
        error_detail(reterr, "state", json_string("stuck"));
        error_detail(reterr, "actions", json_array());
        error_detail(reterr, "running", running);
        return r;
}

static int write_abandoned(Batch *b, const Unread *u, const Call *call, Error *reterr) {
        const char *reason = args_text(call->body, "reason", "");
        _cleanup_free_ char *why = strf("abandoned by %s: %s", call->who, reason);
        json_auto_t *decided = why ? json_pack("{s:s}", "decided", why) : NULL;
        _cleanup_free_ char *text = decided ? json_dumps(decided, JSON_COMPACT) : NULL;
        Store *store = b->engine->store;
        int64_t now = now_wall_ms();

        if (!text)
                return error_oom(reterr);
        if (u->lost) {
                int r = store_job_insert(store,
                                         &(JobRow){.id = u->id,
                                                   .plan = u->plan,
                                                   .target = u->target,
                                                   .state = "stuck",
                                                   .who = call->who,
                                                   .sha256 = "",
                                                   .created = now,
                                                   .data = "{}"},
                                         reterr);

                if (r < 0)
                        return r;
        }
        return store_job_give_up(store, u->id, now, call->who, text, reterr);
}

int unread_call(Batch *b, Call *call, Reply *reply) {
        Unread *u = unread_find(b->engine, call->job);
        json_t *running;
        int r;

        reply->job = u->id;
        if (call->kind != CALL_ABANDON) {
                r = error_set(&reply->error, EPERM, "not-now", "Job %lld cannot be carried on: %s",
                              (long long) u->id, u->why);
                error_detail(&reply->error, "state", json_string("stuck"));
                error_detail(&reply->error, "actions", json_pack("[s]", "abandon"));
                return r;
        }
        if (isempty(args_text(call->body, "reason", NULL)))
                return error_set(&reply->error, EINVAL, "reason-missing", "This needs a reason");
        running = running_of(b->engine, u->id);
        if (json_array_size(running) > 0)
                return refuse_running(running, u, &reply->error);
        json_decref(running);
        r = write_abandoned(b, u, call, &reply->error);
        if (r < 0)
                return r;
        u->given_up = b->wrote = true;
        return 0;
}
