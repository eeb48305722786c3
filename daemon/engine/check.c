/* SPDX-License-Identifier: MIT */
/*
 * `updd --check-state`: is the state folder whole? Nothing in it is changed. And the mark that a
 * daemon leaves which met damage, so that the next one looks at everything before it serves.
 */
#include <fcntl.h>
#include <sys/file.h>

#include "api/args.h"
#include "daemon/attempt/attempt.h"
#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define MARK "damaged"

typedef struct Check {
        Engine engine; /* no more of it than what reads rows and folders */
        json_t *findings;
        unsigned jobs;
} Check;

_printf_(2, 3) static int find(Check *c, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0)
                text = NULL;
        return text && json_array_append_new(c->findings, json_string(text)) >= 0 ? 0 : -ENOMEM;
}

static int check_claim(Check *c, const Job *job, unsigned idx, int dirfd) {
        const StepState *s = &job->steps[idx];
        json_auto_t *claim = NULL, *result = NULL;
        int r = attempt_claim_read(dirfd, s->id, &claim);

        if (r < 0 && r != -ENOENT)
                return find(c, "job %lld: the claim of attempt %u of step '%s' cannot be used: %s",
                            (long long) job->id, s->attempts, job->def->steps[idx].id,
                            r == -ESTALE ? "it is another attempt's" : strerror(-r));
        if (r == -ENOENT && faccessat(dirfd, "log", F_OK, 0) == 0)
                return find(c, "job %lld: attempt %u of step '%s' has begun, and its claim is gone",
                            (long long) job->id, s->attempts, job->def->steps[idx].id);
        r = attempt_result_read(dirfd, s->id, &result);
        if (r < 0 && r != -ENOENT)
                return find(c, "job %lld: the result of attempt %u of step '%s' cannot be used: %s",
                            (long long) job->id, s->attempts, job->def->steps[idx].id,
                            r == -ESTALE ? "it is another attempt's" : strerror(-r));
        return 0;
}

/* Attempts in flight: whatever is decided about them is decided by their folders. */
static int check_attempts(Check *c, const Job *job) {
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < job->def->n_steps; i++) {
                _cleanup_free_ char *dir = NULL;
                _cleanup_close_ int fd = -EBADF;

                if (!job->steps[i].in_flight)
                        continue;
                dir = attempt_dir(c->engine.state_dir, job, i, job->steps[i].attempts);
                if (!dir)
                        return -ENOMEM;
                /* One that never came to be begins anew. */
                if (attempt_open(dir, false, &fd) >= 0)
                        r = check_claim(c, job, i, fd);
        }
        return r;
}

static int check_job(void *userdata, const JobRow *row) {
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_free_ char *why = NULL;
        _cleanup_job_ Job *job = NULL;
        Check *c = userdata;
        int r = job_load(c->engine.store, row, &job, &error);

        c->jobs++;
        if (r == -ENOMEM || store_is_damaged(c->engine.store))
                return r;
        if (r < 0)
                return find(c,
                            "job %lld (%s) cannot be read, and is held until it is abandoned: %s",
                            (long long) row->id, row->target ? row->target : "?",
                            error.message ? error.message : strerror(-r));
        why = unread_by_folder(&c->engine, job);
        if (why)
                return find(c, "job %lld (%s) is held until it is abandoned: %s",
                            (long long) row->id, job->def->target, why);
        return check_attempts(c, job);
}

static int check_lost(Check *c, Error *reterr) {
        int64_t last = 0;
        int r = store_last_job(c->engine.store, &last, reterr);

        if (r < 0 || last == 0)
                return r;
        unread_find_lost(&c->engine, last, true);
        for (unsigned i = 0; r >= 0 && i < c->engine.n_unreads; i++)
                r = find(c, "job %lld (%s) is held until it is abandoned: %s",
                         (long long) c->engine.unreads[i].id, c->engine.unreads[i].target,
                         c->engine.unreads[i].why);
        return r;
}

static int check_all(Check *c, Error *reterr) {
        int r = store_verify(c->engine.store, c->findings, reterr);

        if (r >= 0)
                r = store_jobs_live(c->engine.store, check_job, c, reterr);
        if (r >= 0)
                r = check_lost(c, reterr);
        return r == -ENOMEM ? error_oom(reterr) : r;
}

/* What stops the reading of a damaged file is a finding too. */
static int check_opened(Check *c, Error *reterr) {
        int r = check_all(c, reterr);

        if (r == -EUCLEAN && store_is_damaged(c->engine.store)) {
                r = find(c, "%s", reterr->message);
                error_done(reterr);
        }
        return r;
}

/* Whoever serves the folder holds its lock, and writes while we would read. */
static int refuse_served(const char *state_dir, Error *reterr) {
        _cleanup_free_ char *path = path_join(state_dir, "lock");
        _cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -EBADF;
        int r;

        if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0)
                return 0;
        r = error_set(reterr, EBUSY, "locked", "An updd serves the state folder %s", state_dir);
        error_hint(reterr, "stop it first; its jobs go on with the next start");
        return r;
}

static json_t *state_of(const Check *c, int version) {
        json_t *state = json_pack("{s:i, s:i}", "schema", version, "jobs", (int) c->jobs);
        char time[TIME_TEXT_MAX];
        RunRow run;

        if (!state || version < 2 || store_run_last(c->engine.store, &run, NULL) < 0)
                return state;
        (void) json_put(state, "version", json_string(run.version));
        (void) json_put(state, "ended", json_boolean(run.ended > 0));
        (void) json_put(state, "seen", json_string(time_format(run.seen, time)));
        return state;
}

int engine_check_state(const char *state_dir, json_t **ret_findings, json_t **ret_state,
                       Error *reterr) {
        Check c = {.engine = {.state_dir = (char *) state_dir}};
        json_auto_t *findings = json_array();
        int version = 0, r;

        if (!findings)
                return error_oom(reterr);
        c.findings = findings;
        r = refuse_served(state_dir, reterr);
        if (r >= 0)
                r = store_open_readers(state_dir, &c.engine.store, &version, reterr);
        if (r >= 0)
                r = check_opened(&c, reterr);
        if (r >= 0)
                *ret_state = state_of(&c, version);
        store_free(c.engine.store);
        unreads_free(c.engine.unreads, c.engine.n_unreads);
        if (r >= 0)
                *ret_findings = TAKE(findings);
        return r;
}

/* ---- the mark ---- */

void engine_mark_damaged(Engine *e, const char *why) {
        _cleanup_free_ char *path = path_join(e->state_dir, MARK);
        int r = path ? file_write_atomic(AT_FDCWD, path, why, strlen(why), 0600) : -ENOMEM;

        if (r < 0)
                log_warning("cannot leave a mark of it for the next start, ignoring: %s",
                            strerror(-r));
}

static int look_again(Engine *e, json_t *findings, Error *reterr) {
        Store *store = NULL;
        int version = 0, r;

        r = store_open_readers(e->state_dir, &store, &version, reterr);
        if (r >= 0)
                r = store_verify(store, findings, reterr);
        store_free(store);
        return r;
}

int engine_check_mark(Engine *e, Error *reterr) {
        _cleanup_free_ char *path = path_join(e->state_dir, MARK);
        json_auto_t *findings = json_array();
        int r;

        if (!path || !findings)
                return error_oom(reterr);
        if (access(path, F_OK) < 0)
                return 0;
        log_info("damage was met when updd ran last: the whole database is read first");
        r = look_again(e, findings, reterr);
        if (r < 0)
                return r;
        if (json_array_size(findings) > 0) {
                (void) error_set(reterr, EUCLEAN, "store-damaged", "%s: %s", e->state_dir,
                                 json_string_value(json_array_get(findings, 0)));
                error_hint(reterr, "updd --check-state tells more; keep the files and put a backup "
                                   "in their place");
                return -EUCLEAN;
        }
        (void) unlink(path);
        return 0;
}
