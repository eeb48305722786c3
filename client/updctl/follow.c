/* SPDX-License-Identifier: MIT */
/*
 * Following a job by long poll, until it ends or waits for a person. A daemon that goes away
 * meanwhile (an update of updd itself) is awaited for a while: the job goes on without either of
 * us. Ctrl-C ends the following, never the job.
 */
#include "client/updctl/follow.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "api/text.h"

#define POLL_S 30
#define GONE_MS 20000
#define EXIT_INTERRUPTED 130

static void follow_done(Follow *f) {
        client_watch(f->ctl->client, -1, NULL, NULL);
        response_done(&f->last);
        json_decref(f->begun);
        json_decref(f->seen);
        free(f->running);
        free(f->drawn);
}

static bool is_live(const Follow *f) {
        return f->ctl->out->moves && !f->ctl->json;
}

static void on_tick(void *userdata) {
        Follow *f = userdata;

        if (!f->last.json || f->ctl->json)
                return;
        if (is_live(f))
                live_draw(f);
        else
                plain_tick(f);
}

static int leave(Follow *f) {
        live_keep(f);
        put(f->ctl->err, PLAIN,
            "\nJob %" PRId64 " goes on. Come back with: updctl watch %" PRId64 "\n", f->id, f->id);
        return EXIT_INTERRUPTED;
}

/* 0 when somebody may go on asking; an exit code when it is over. */
static int await_daemon(Follow *f, int wake_fd, int64_t *gone_since, const Error *error) {
        struct pollfd p = {.fd = wake_fd, .events = POLLIN};

        if (!f->last.json)
                return tell_error(f->ctl, EXIT_UNREACHABLE, error);
        if (*gone_since == 0) {
                *gone_since = now_mono_us();
                live_keep(f);
                (void) tell(f->ctl, 0, "%s; waiting for it to come back", error->message);
        }
        if (now_mono_us() - *gone_since > GONE_MS * INT64_C(1000)) {
                (void) tell_error(f->ctl, EXIT_UNREACHABLE, error);
                tell_hint(f->ctl, "come back with: updctl watch %" PRId64, f->id);
                return EXIT_UNREACHABLE;
        }
        return poll(&p, 1, 500) > 0 ? leave(f) : 0;
}

/* One long poll. 0 with f->last renewed or unchanged, or an exit code. */
static int fetch(Follow *f, int wake_fd, int64_t *gone_since, bool *ret_new) {
        _cleanup_free_ char *path = strf("/v1/jobs/%" PRId64, f->id);
        _cleanup_response_ Response response = RESPONSE_INIT;
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        *ret_new = false;
        r = client_call(f->ctl->client,
                        &(Request){.method = "GET",
                                   .path = path,
                                   .etag = *gone_since == 0 ? f->last.etag : NULL,
                                   .wait_s = *gone_since == 0 && f->last.etag ? POLL_S : 0},
                        &response, &error);
        if (r == -EINTR)
                return leave(f);
        if (r < 0)
                return await_daemon(f, wake_fd, gone_since, &error);
        *gone_since = 0;
        if (response.status == 304)
                return 0;
        if (response.status >= 400 || !response.json)
                return tell_problem(f->ctl, &response);
        response_done(&f->last);
        f->last = response;
        response = RESPONSE_INIT;
        *ret_new = true;
        return 0;
}

/* A question is asked in place: what a step prints and waits for is answered here and now. */
static int ask_question(Follow *f, const json_t *wait) {
        _cleanup_free_ char *path = strf("/v1/jobs/%" PRId64 "/answer", f->id), *text = NULL;
        _cleanup_response_ Response response = RESPONSE_INIT;
        json_auto_t *body = NULL;
        int r;

        live_keep(f);
        text = ask_line(f->ctl->out, get_bool(wait, "echo"), "answer: ");
        if (!text)
                return leave(f);
        body = json_pack("{s:s, s:s}", "wait", get_text(wait, "id"), "text", text);
        explicit_bzero(text, strlen(text));
        if (!body || !path)
                return tell(f->ctl, EXIT_REFUSED, "the answer is not UTF-8");
        r = ctl_post(f->ctl, path, body, &response);
        /* It may have been answered elsewhere meanwhile: that is told, and no reason to leave. */
        return r == EXIT_UNREACHABLE ? r : 0;
}

static int ask_questions(Follow *f) {
        json_t *wait;
        size_t i;

        if (!f->ctl->ask)
                return 0;
        json_array_foreach (json_object_get(f->last.json, "waits"), i, wait) {
                const char *id = get_text(wait, "id");
                _cleanup_free_ char *key = strf("asked %s", id);

                if (!wait_is_question(wait) || !key || json_object_get(f->seen, key))
                        continue;
                (void) json_object_set_new(f->seen, key, json_true());
                return ask_question(f, wait);
        }
        return 0;
}

static void put_end(Follow *f) {
        const json_t *job = f->last.json, *way = json_object_get(job, "way_back");
        const StateLook *look = state_look(get_text(job, "state"));
        int64_t from = get_time(job, "started"), to = get_time(job, "ended");
        int64_t until = get_time(way, "until");
        _cleanup_free_ char *span = from > 0 && to > 0 ? span_text(to - from) : NULL;
        _cleanup_free_ char *when = until > 0 ? deadline_text(until) : NULL, *line = NULL;
        const Screen *s = f->ctl->out;

        if (is_live(f))
                live_erase(f);
        if (get_bool(job, "dry_run"))
                put_steps(s, job);
        else if (is_live(f))
                put_steps_within(s, job, 0);
        if (is_live(f) && !job_ended(job))
                put_waits(s, job);
        put(s, BOLD, "job %" PRId64 " ", f->id);
        put(s, look->style, "%s", look->words);
        put(s, PLAIN, "%s%s\n", span ? " after " : "", span ? span : "");
        if (get_bool(way, "open") && streq0(get_text(job, "state"), "succeeded")) {
                line = strf("the way back is open%s%s: updctl rollback %" PRId64, when ? " " : "",
                            when ? when : "", f->id);
                put_text(s, 2, "", PLAIN, line ? line : "");
        }
        put_failure(s, job);
        put_back(s, job);
        put_next(s, job);
}

static bool is_over(const Follow *f) {
        const json_t *job = f->last.json;

        return job_ended(job) || streq0(get_text(job, "state"), "stuck") ||
               (!f->ctl->ask && job_waits_for_person(job));
}

static int show_change(Follow *f) {
        int r = 0;

        if (f->ctl->json)
                return 0;
        if (is_live(f))
                live_draw(f);
        else
                r = plain_tell(f);
        return r > 0 ? r : ask_questions(f);
}

static int follow_loop(Follow *f, int wake_fd) {
        int64_t gone_since = 0;
        bool is_new;
        int r;

        for (;;) {
                r = fetch(f, wake_fd, &gone_since, &is_new);
                if (r == 0 && is_new)
                        r = show_change(f);
                if (r > 0)
                        return r;
                if (f->last.json && is_over(f))
                        break;
        }
        if (f->ctl->json)
                (void) put_json(f->ctl, &f->last);
        else
                put_end(f);
        return state_look(get_text(f->last.json, "state"))->exit;
}

int follow_job(Ctl *ctl, int64_t job, int64_t from) {
        _cleanup_(follow_done) Follow f = {.ctl = ctl, .id = job, .told = from};
        _cleanup_close_ int wake_fd = -EBADF;
        sigset_t mask, was;
        int r;

        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGINT);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGHUP);
        f.begun = json_object();
        f.seen = json_object();
        f.last = RESPONSE_INIT;
        if (sigprocmask(SIG_BLOCK, &mask, &was) < 0 || !f.begun || !f.seen)
                return tell(ctl, EXIT_REFUSED, "out of memory");
        wake_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        client_watch(ctl->client, wake_fd, on_tick, &f);
        r = follow_loop(&f, wake_fd);
        /* What came in while following has been obeyed. */
        if (r == EXIT_INTERRUPTED && wake_fd >= 0) {
                struct signalfd_siginfo info;
                ssize_t n = read(wake_fd, &info, sizeof(info));

                (void) n;
        }
        (void) sigprocmask(SIG_SETMASK, &was, NULL);
        return r;
}
