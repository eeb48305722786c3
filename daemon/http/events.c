/* SPDX-License-Identifier: MIT */
/*
 * The journal: pages of JSON, or a stream of server-sent events. A stream is one response whose
 * content is produced as the socket takes it; when there is nothing to say its connection is
 * suspended until a job changes or the heartbeat is due. It reads on from its own place, so it
 * misses and repeats nothing.
 */
#include "daemon/http/server.h"

#include <inttypes.h>

#define PAGE_MAX 1000
#define STREAM_PAGE 100
#define STREAM_BLOCK (8U * 1024)

typedef struct Stream {
        HttpServer *server;
        Listener *listener;
        struct MHD_Connection *connection;
        int64_t job, after; /* job 0: of all jobs */
        char *text;         /* what is to be sent next */
        size_t size, sent;
        Waiter waiter;
} Stream;

static void stream_free(void *cls) {
        Stream *st = cls;

        free(st->text);
        free(st);
}

/* Events are counted within a job by "seq", over all jobs by "id". */
static int64_t event_number(const Stream *st, const json_t *event) {
        return json_integer_value(json_object_get(event, st->job > 0 ? "seq" : "id"));
}

static int write_event(Stream *st, FILE *f, const json_t *event) {
        const char *type = json_string_value(json_object_get(event, "type"));
        _cleanup_free_ char *data = json_dumps(event, JSON_COMPACT);

        if (!data)
                return -ENOMEM;
        st->after = event_number(st, event);
        (void) fprintf(f, "id: %" PRId64 "\nevent: %s\ndata: %s\n\n", st->after,
                       type ? type : "event", data);
        return 0;
}

/* Fills the buffer with the events that have come since. 0: there are none. */
static int stream_fill(Stream *st) {
        json_auto_t *page = NULL;
        json_t *event, *events;
        FILE *f;
        size_t i;
        int r;

        r = engine_events(st->server->engine, st->job, st->after, STREAM_PAGE, &page, NULL);
        if (r < 0)
                return r;
        events = json_object_get(page, "events");
        if (json_array_size(events) == 0)
                return 0;
        free(TAKE(st->text));
        st->size = st->sent = 0;
        f = open_memstream(&st->text, &st->size);
        if (!f)
                return -ENOMEM;
        json_array_foreach (events, i, event) {
                if (r >= 0)
                        r = write_event(st, f, event);
        }
        return fclose(f) != 0 ? -ENOMEM : r < 0 ? r : 1;
}

static int stream_say(Stream *st, const char *text) {
        free(st->text);
        st->text = strdup(text);
        st->size = st->text ? strlen(st->text) : 0;
        st->sent = 0;
        return st->text ? 1 : -ENOMEM;
}

static ssize_t stream_read(void *cls, uint64_t pos, char *buf, size_t max) {
        Stream *st = cls;
        size_t n;
        int r = 1;

        if (!st->server->engine) /* the server stops */
                return MHD_CONTENT_READER_END_OF_STREAM;
        if (st->sent == st->size) {
                r = stream_fill(st);
                if (r == 0 && st->waiter.timed_out) {
                        st->waiter.timed_out = false;
                        r = stream_say(st, ":\n\n");
                }
        }
        if (r == 0 && waiter_suspend(&st->waiter, st->listener, st->connection, st->job,
                                     st->server->heartbeat_us) < 0)
                return MHD_CONTENT_READER_END_OF_STREAM; /* too many wait: it may come back */
        if (r < 0)
                return MHD_CONTENT_READER_END_WITH_ERROR;
        if (r == 0)
                return 0;
        n = MIN(max, st->size - st->sent);
        memcpy(buf, st->text + st->sent, n);
        st->sent += n;
        return (ssize_t) n;
}

static int respond_stream(Request *q, int64_t after) {
        Stream *st = calloc(1, sizeof(Stream));
        struct MHD_Response *response;

        if (!st)
                return -ENOMEM;
        *st = (Stream){
                .server = q->server,
                .listener = q->listener,
                .connection = q->connection,
                .job = q->id,
                .after = after,
        };
        /* The first words go out at once, so that the client sees that it is connected. */
        if (stream_say(st, "retry: 2000\n\n") < 0) {
                stream_free(st);
                return -ENOMEM;
        }
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, stream_read,
                                                     st, stream_free);
        if (!response) {
                stream_free(st);
                return -ENOMEM;
        }
        if (response_common(response, "text/event-stream", false) < 0)
                MHD_destroy_response(TAKE(response));
        return respond_ready(q, MHD_HTTP_OK, response);
}

static int start_after(const Request *q, int64_t *ret, Error *reterr) {
        const char *last = request_header(q, "Last-Event-ID");
        char *end;
        int64_t n;

        if (!last)
                return request_query_int(q, "after", 0, INT64_MAX, 0, ret, reterr);
        errno = 0;
        n = strtoll(last, &end, 10);
        if (errno != 0 || end == last || *end || n < 0)
                return error_set(reterr, EINVAL, "bad-request",
                                 "Last-Event-ID takes an event's number, not '%s'", last);
        *ret = n;
        return 0;
}

int handle_events(Request *q, Error *reterr) {
        bool stream = request_accepts(q, "text/event-stream", true);
        json_auto_t *page = NULL;
        int64_t after, limit;
        JobView view;
        int r;

        r = start_after(q, &after, reterr);
        if (r >= 0)
                r = request_query_int(q, "limit", 1, PAGE_MAX, 100, &limit, reterr);
        if (r < 0)
                return r;
        if (q->id > 0 && engine_job_view(q->server->engine, q->id, &view) < 0)
                return error_set(reterr, ENOENT, "no-such-job", "there is no job %" PRId64, q->id);
        if (stream)
                return respond_stream(q, after);
        r = engine_events(q->server->engine, q->id, after, (unsigned) limit, &page, reterr);
        return r < 0 ? r : respond_json(q, MHD_HTTP_OK, page);
}
