/* SPDX-License-Identifier: MIT */
/*
 * libmicrohttpd in the sd_event loop. MHD keeps its own epoll set; that set's descriptor is one
 * event source, and MHD's next timeout is a timer. MHD's sockets are edge-triggered inside that
 * set, so what MHD_get_timeout says must be honoured: 0 means that work is left which no descriptor
 * will announce.
 */
#include "daemon/http/server.h"

#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "daemon/log.h"

/* The timer may only fire late: a connection that has timed out is in no hurry. */
#define TIMER_ACCURACY_US (250 * 1000)

static void arm_timer(Listener *l, uint64_t timeout_ms) {
        uint64_t now;
        int64_t at;

        if (sd_event_now(l->server->event, CLOCK_MONOTONIC, &now) < 0)
                return;
        at = (int64_t) (now + timeout_ms * 1000);
        /* Armed earlier is good enough: it fires, finds nothing and is armed again. This keeps
         * a busy server from setting a timer for each request. */
        if (l->armed > 0 && l->armed <= at)
                return;
        if (sd_event_source_set_time(l->timer, (uint64_t) at) >= 0 &&
            sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT) >= 0)
                l->armed = at;
}

void listener_wake(Listener *l) {
        (void) sd_event_source_set_enabled(l->again, SD_EVENT_ONESHOT);
}

static unsigned connections(const Listener *l) {
        const union MHD_DaemonInfo *info =
                MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

        return info ? info->num_connections : 0;
}

static void listener_run(Listener *l) {
        unsigned before = connections(l);
        MHD_UNSIGNED_LONG_LONG timeout;

        if (MHD_run(l->daemon) != MHD_YES)
                log_warning("the HTTP server could not run a turn, ignoring");
        if (MHD_get_timeout(l->daemon, &timeout) != MHD_YES) {
                (void) sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
                l->armed = 0;
        } else if (timeout == 0)
                listener_wake(l);
        else
                arm_timer(l, timeout);
        /* MHD that has run out of descriptors or connections takes its listening socket out of the
         * set, and puts it back in the turn after the one that freed some: nothing else calls for
         * that turn. */
        if (connections(l) < before)
                listener_wake(l);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        listener_run(userdata);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Listener *l = userdata;

        l->armed = 0;
        listener_run(l);
        return 0;
}

static int on_again(sd_event_source *source, void *userdata) {
        listener_run(userdata);
        return 0;
}

_printf_(2, 0) static void on_mhd_log(void *cls, const char *format, va_list ap) {
        char text[512];

        /* Clients that vanish in mid-sentence are the rule here, not news. */
        (void) vsnprintf(text, sizeof(text), format, ap);
        log_debug("libmicrohttpd: %s", text);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code) {
        const union MHD_ConnectionInfo *info;

        if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
                free(TAKE(*socket_context));
                return;
        }
        info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (info)
                *socket_context = peer_new(cls, info->connect_fd);
}

/* MHD decodes the path before we see it, and an encoded NUL would cut it short: such a
 * text stays as it was sent, and names nothing. */
static size_t on_unescape(void *cls, struct MHD_Connection *connection, char *text) {
        return strstr(text, "%00") ? strlen(text) : MHD_http_unescape(text);
}

static struct MHD_Daemon *start_mhd(Listener *l) {
        HttpServer *s = l->server;
        struct MHD_OptionItem peers[] = {
                {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t) on_connection, s},
                {MHD_OPTION_END, 0, NULL},
        };

        if (!l->is_unix)
                peers[0].option = MHD_OPTION_END;
        return MHD_start_daemon(
                MHD_USE_EPOLL | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
                request_handle, l, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL,
                MHD_OPTION_LISTEN_SOCKET, l->fd, MHD_OPTION_CONNECTION_LIMIT, s->max_connections,
                MHD_OPTION_CONNECTION_TIMEOUT, s->timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                (size_t) HTTP_HEADER_MAX, MHD_OPTION_NOTIFY_COMPLETED, request_completed, l,
                MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL, MHD_OPTION_SIGPIPE_HANDLED_BY_APP,
                1, MHD_OPTION_ARRAY, peers, MHD_OPTION_END);
}

static int listener_start(Listener *l, Error *reterr) {
        sd_event *event = l->server->event;
        const union MHD_DaemonInfo *info;
        int r;

        l->daemon = start_mhd(l);
        if (!l->daemon)
                return error_set(reterr, EIO, "internal", "the HTTP server could not be started");
        info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
        if (!info)
                return error_set(reterr, EIO, "internal", "the HTTP server has no epoll set");
        r = sd_event_add_io(event, &l->io, info->epoll_fd, EPOLLIN, on_io, l);
        if (r >= 0)
                r = sd_event_add_time(event, &l->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US,
                                      on_timer, l);
        if (r >= 0)
                r = sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_defer(event, &l->again, on_again, l);
        if (r < 0)
                return error_set(reterr, -r, "internal", "cannot watch the HTTP server: %s",
                                 strerror(-r));
        return 0;
}

static void listener_stop(Listener *l) {
        l->io = sd_event_source_disable_unref(l->io);
        l->timer = sd_event_source_disable_unref(l->timer);
        l->again = sd_event_source_disable_unref(l->again);
        if (l->daemon) {
                MHD_stop_daemon(TAKE(l->daemon));
                l->fd = -EBADF; /* MHD has closed it */
        }
        closep(&l->fd);
        l->fd = -EBADF;
}

static void set_origins(HttpServer *s, const char *const *origins) {
        static const char *const none[] = {NULL};

        s->origins = origins ? origins : none;
}

static int server_init(HttpServer *s, sd_event *event, Engine *engine, const HttpConfig *config) {
        struct group *group = config->group ? getgrnam(config->group) : NULL;

        s->event = sd_event_ref(event);
        s->probe.fd = -EBADF;
        s->engine = engine;
        s->unix_listener = (Listener){.server = s, .fd = -EBADF, .is_unix = true};
        s->tcp_listener = (Listener){.server = s, .fd = -EBADF};
        s->operators = group ? group->gr_gid : (gid_t) -1;
        s->others_view = config->others_view;
        s->heartbeat_us = 1000LL * (config->heartbeat_ms > 0 ? config->heartbeat_ms : 15000);
        s->timeout_s = config->timeout_s > 0 ? config->timeout_s : 30;
        s->max_connections = config->max_connections > 0 ? config->max_connections : 512;
        s->cache = job_cache_new();
        set_origins(s, config->origins);
        return s->cache ? 0 : -ENOMEM;
}

static void on_change(void *userdata, int64_t job, uint64_t version) {
        HttpServer *s = userdata;

        for (Waiter *w = s->waiters, *next; w; w = next) {
                next = w->next;
                if (w->job == 0 || w->job == job)
                        waiter_resume(w);
        }
}

int http_new(sd_event *event, Engine *engine, const HttpConfig *config, HttpServer **ret,
             Error *reterr) {
        _cleanup_(http_freep) HttpServer *s = calloc(1, sizeof(HttpServer));
        int r;

        if (!s)
                return error_oom(reterr);
        r = server_init(s, event, engine, config);
        if (r >= 0)
                r = waiters_init(s);
        if (r < 0)
                return error_set(reterr, -r, "internal", "cannot set up the HTTP server: %s",
                                 strerror(-r));
        r = listen_open(s, config, reterr);
        if (r >= 0 && s->unix_listener.fd >= 0)
                r = listener_start(&s->unix_listener, reterr);
        if (r >= 0 && s->tcp_listener.fd >= 0)
                r = listener_start(&s->tcp_listener, reterr);
        if (r < 0)
                return r;
        engine_on_change(engine, on_change, s);
        *ret = TAKE(s);
        return 0;
}

void http_reconfigure(HttpServer *s, const HttpConfig *config) {
        set_origins(s, config->origins);
        if (s->others_view == config->others_view)
                return;
        s->others_view = config->others_view;
        listen_access(s);
}

void http_stop(HttpServer *s) {
        if (s->engine)
                engine_on_change(TAKE(s->engine), NULL, NULL);
        probe_done(&s->probe);
        /* MHD must not be stopped with suspended connections. */
        waiters_resume_all(s);
        listener_stop(&s->unix_listener);
        listener_stop(&s->tcp_listener);
        listen_close(s);
}

void http_free(HttpServer *s) {
        if (!s)
                return;
        http_stop(s);
        pendings_free(s);
        sd_event_source_disable_unref(s->wait_timer);
        job_cache_free(s->cache);
        free(s->address);
        free(s->socket_path);
        sd_event_unref(s->event);
        free(s);
}

const char *http_address(const HttpServer *s) {
        return s->address;
}
