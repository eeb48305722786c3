/* SPDX-License-Identifier: MIT */
/*
 * What the files of this room share. A Listener is one libmicrohttpd daemon in the event loop; a
 * Request lives from its headers to the end of its answer; a Waiter is a connection that is
 * suspended until something happens. All of it belongs to one thread.
 */
#pragma once

#include <microhttpd.h>
#include <sys/types.h>

#include "daemon/http/http.h"

#define HTTP_BODY_MAX (1024U * 1024)
#define HTTP_DRAIN_MAX                                                                             \
        (64U * 1024 * 1024)          /* what of a body that is too large is read and dropped */
#define HTTP_HEADER_MAX (16U * 1024) /* a connection's memory: request line, headers, buffers */
#define HTTP_WAIT_MAX_S 60

typedef struct Listener Listener;
typedef struct Request Request;
typedef struct Waiter Waiter;
typedef struct Pending Pending;
typedef struct Reporting Reporting;
typedef struct JobCache JobCache;
typedef struct Route Route;

/* A suspended connection. It is in the server's list exactly while it is suspended. */
struct Waiter {
        Waiter *next, *prev;
        Listener *listener;
        struct MHD_Connection *connection;
        int64_t job;      /* woken by this job's change; 0: by any job's, -1: by none */
        int64_t deadline; /* CLOCK_MONOTONIC in us, or INT64_MAX */
        bool suspended;
        bool timed_out; /* why it was woken last */
};

/* The daemon's own question to its server: probe.c. */
typedef struct Probe {
        int fd; /* of the asking end; negative: none is under way */
        sd_event_source *io;
        HttpProbeFunc answered;
        void *userdata;
} Probe;

struct Listener {
        HttpServer *server;
        struct MHD_Daemon *daemon;
        sd_event_source *io, *timer, *again;
        int64_t armed; /* what the timer is set to, in us; 0: off */
        int fd;        /* the listening socket; owned */
        bool is_unix;
        unsigned port;
};

typedef struct Peer {
        uid_t uid;
        Role role;
} Peer;

struct HttpServer {
        sd_event *event;
        Engine *engine;
        Listener unix_listener, tcp_listener;
        char *socket_path; /* to be removed at the end; NULL when it is not ours */
        dev_t socket_device;
        ino_t socket_inode;
        char *address;
        const char *const *origins; /* the config's */
        gid_t operators;            /* (gid_t) -1: there is no such group */
        Probe probe;
        bool others_view;
        int64_t heartbeat_us;
        unsigned timeout_s, max_connections;
        Waiter *waiters;
        unsigned n_waiters;
        sd_event_source *wait_timer;
        Pending *pendings;
        unsigned n_reportings;
        JobCache *cache;
        uint64_t answers[6]; /* by the status' first digit */
};

struct Request {
        HttpServer *server;
        Listener *listener;
        struct MHD_Connection *connection;
        const char *method; /* borrowed from MHD for the request's life */
        const Route *route;
        Role role;
        uid_t uid;   /* on a Unix socket */
        char *token; /* the bearer token's name on TCP */
        int64_t id;  /* {id} of the path */
        char *name;  /* {name} or {step} of the path */
        char *body;
        size_t size, capacity;
        uint64_t dropped; /* bytes of a body that is too large */
        struct MHD_Response *response;
        unsigned status;
        bool borrowed; /* the response is the cache's */
        Waiter waiter;
        bool waited; /* a long poll's wait is over: answer now */
        Pending *pending;
        Reporting *reporting;
};

/* ---- server.c ---- */
/* Runs MHD once in the loop's next turn. */
void listener_wake(Listener *l);

/* ---- listen.c ---- */
/* Opens the listening sockets into the server's listeners (-EBADF where there is none). */
_must_check_ int listen_open(HttpServer *server, const HttpConfig *config, Error *reterr);
/* Splits "HOST:PORT", refuses what is not loopback. *ret_host is without brackets; caller frees. */
_must_check_ int listen_parse(const char *text, char **ret_host, unsigned *ret_port, Error *reterr);
void listen_close(HttpServer *server);
/* Sets anew who may use the Unix socket, unless it is the service manager's. */
void listen_access(const HttpServer *server);
/* ---- probe.c ---- */
void probe_done(Probe *p);

/* ---- request.c ---- */
enum MHD_Result request_handle(void *cls, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload_data,
                               size_t *upload_size, void **req_cls);
void request_completed(void *cls, struct MHD_Connection *connection, void **req_cls,
                       enum MHD_RequestTerminationCode code);
const char *request_header(const Request *q, const char *name);
const char *request_query(const Request *q, const char *name);
/* A number of the query: `fallback` when it is not there, else within min..max (bad-request). */
_must_check_ int request_query_int(const Request *q, const char *name, int64_t min, int64_t max,
                                   int64_t fallback, int64_t *ret, Error *reterr);

/* ---- accept.c ---- */
/* Does the Accept header allow `type`? `explicitly`: is it named itself? */
bool request_accepts(const Request *q, const char *type, bool explicitly);
/* The index of the type that the client likes best, the first of equals. -ENOENT: none of them. */
int request_preferred(const Request *q, const char *const *types, size_t n);
/* How welcome a type is by the header's text: 0 not at all, 1000 most. */
unsigned accept_weight(const char *accept, const char *type, bool explicitly);

/* ---- wait.c ---- */
/* Suspends the connection. -EBUSY when too many wait already. */
_must_check_ int waiter_suspend(Waiter *w, Listener *listener, struct MHD_Connection *connection,
                                int64_t job, int64_t timeout_us);
/* Resumes it; one that is not suspended is left as it is. */
void waiter_resume(Waiter *w);
void waiters_resume_all(HttpServer *server);
_must_check_ int waiters_init(HttpServer *server);

/* ---- auth.c ---- */
/* Who connects to the Unix socket; NULL when memory is out. Caller frees. */
Peer *peer_new(const HttpServer *server, int fd);
/* Host, Origin, and the role of who asks, into q->role. */
_must_check_ int auth_check(Request *q, Error *reterr);
/* "uid:1000 (name)" or "token:grafana". Caller frees; NULL when memory is out. */
_must_check_ char *auth_who(const Request *q);

/* ---- route.c ---- */
typedef enum Produces {
        PRODUCES_JSON,
        PRODUCES_TEXT,
        PRODUCES_EVENTS, /* JSON, or text/event-stream when the client names it */
        PRODUCES_REPORT, /* JSON, Markdown or HTML */
} Produces;

/* A handler fills q->response (respond.c) and returns 0, or returns HANDLER_WAITS after it
 * suspended the connection, or returns -errno with *reterr set, which becomes a problem document.
 */
#define HANDLER_WAITS 1
typedef int (*RouteFunc)(Request *q, Error *reterr);

struct Route {
        const char *method;  /* a GET row serves HEAD too */
        const char *pattern; /* "{id}" takes a number, "{name}" and "{step}" one path segment */
        Role role;           /* the least that may call it */
        RouteFunc handle;
        CallKind call;     /* of handle_call */
        const char *query; /* allowed query parameters, separated by blanks */
        Produces produces;
        bool any_body; /* the body is not JSON */
};

extern const Route routes[];
extern const size_t n_routes;

/* Finds the row and the path's values. not-found or method-not-allowed (details: "allow"). */
_must_check_ int route_find(Request *q, const char *url, Error *reterr);

/* ---- problem.c ---- */
/* The problem document of an Error; `r` serves when it has no errno of its own. Never fails:
 * without memory the response is NULL and MHD closes the connection. */
void respond_problem(Request *q, int r, Error *error);
/* The status of an error type, 0 when it is unknown. */
unsigned problem_status(const char *type);

/* ---- respond.c ---- */
/* Each sets q->response and q->status, replacing an earlier one, and returns 0 or -ENOMEM. */
int respond_json(Request *q, unsigned status, const json_t *value);
int respond_problem_json(Request *q, unsigned status, const json_t *value);
int respond_text(Request *q, unsigned status, const char *type, const char *text);
int respond_empty(Request *q, unsigned status);
void response_drop(Request *q); /* no answer has been made */
int respond_ready(Request *q, unsigned status, struct MHD_Response *response); /* steals */
_printf_(3, 4) int respond_header(Request *q, const char *name, const char *format, ...);
/* Adds what every answer carries. */
int response_common(struct MHD_Response *response, const char *type, bool revalidate);

/* ---- body.c ---- */
typedef enum MemberType {
        MEMBER_TEXT,
        MEMBER_BOOL,
        MEMBER_OBJECT,
        MEMBER_TEXTS,       /* list of texts */
        MEMBER_TEXT_OBJECT, /* object whose values are texts */
} MemberType;

typedef struct Member {
        const char *name; /* NULL ends the list */
        MemberType type;
        bool required;
} Member;

/* Reads the body as one JSON object of these members; null is as good as absent. An empty body is
 * the empty object. bad-json (line, column) or bad-request (naming the member). */
_must_check_ int body_read(const char *text, size_t size, const Member *members, json_t **ret,
                           Error *reterr);

/* ---- cache.c: responses of GET /v1/jobs/{id}, ready made ---- */
JobCache *job_cache_new(void);
void job_cache_free(JobCache *cache);
/* A response of exactly these bytes, borrowed until the next call; NULL when memory is out. */
struct MHD_Response *job_cache_get(JobCache *cache, int64_t job, const JobView *view);

/* ---- the handlers ---- */
int handle_about(Request *q, Error *reterr);
int handle_health(Request *q, Error *reterr);
int handle_metrics(Request *q, Error *reterr);
int handle_openapi(Request *q, Error *reterr);
int handle_plans(Request *q, Error *reterr);
int handle_plan(Request *q, Error *reterr);
int handle_plan_check(Request *q, Error *reterr);
int handle_jobs(Request *q, Error *reterr);
int handle_job(Request *q, Error *reterr);
int handle_job_by_name(Request *q, Error *reterr);
int handle_events(Request *q, Error *reterr);
int handle_log(Request *q, Error *reterr);
int handle_report(Request *q, Error *reterr);
int handle_tokens(Request *q, Error *reterr);
int handle_schedules(Request *q, Error *reterr);
int handle_call(Request *q, Error *reterr);
/* The request that waits for this reply is gone. */
void pending_forget(Pending *pending);
void pendings_free(HttpServer *server);
/* Ends the making of a report; NULL is none. */
void reporting_free(Reporting *reporting);

/* Made from api/openapi.yaml at build time. */
extern const char openapi_json[];
