/* SPDX-License-Identifier: MIT */
/* HTTP to the daemon: see client.h. */
#include "client/updctl/client.h"

#include <curl/curl.h>
#include <strings.h>
#include <time.h>

#include "api/text.h"

#define CONNECT_MS 3000
/* A read is answered from memory, a change after a commit. */
#define READ_MS 10000
#define CHANGE_MS 30000
#define ANSWER_SIZE_MAX (256u << 20)
#define TICK_MS 500

struct Client {
        CURL *curl;
        CURLM *multi;
        char *base;   /* scheme and host */
        char *socket; /* or NULL */
        char *token;
        int wake_fd;
        void (*tick)(void *userdata);
        void *userdata;
        char why[CURL_ERROR_SIZE];
};

void response_done(Response *r) {
        free(r->text);
        free(r->etag);
        json_decref(r->json);
        *r = RESPONSE_INIT;
}

Client *client_free(Client *c) {
        if (!c)
                return NULL;
        curl_easy_cleanup(c->curl);
        curl_multi_cleanup(c->multi);
        free(c->base);
        free(c->socket);
        free(c->token);
        free(c);
        return NULL;
}

int client_new(const ClientConfig *config, Client **ret, Error *reterr) {
        _cleanup_(client_freep) Client *c = calloc(1, sizeof(Client));

        if (!c)
                return error_oom(reterr);
        c->wake_fd = -1;
        c->curl = curl_easy_init();
        c->multi = curl_multi_init();
        c->base = strdup(config->url ? config->url : "http://localhost");
        if (!c->curl || !c->multi || !c->base)
                return error_oom(reterr);
        for (size_t n = strlen(c->base); n > 0 && c->base[n - 1] == '/'; n--)
                c->base[n - 1] = '\0';
        if (config->socket && !(c->socket = strdup(config->socket)))
                return error_oom(reterr);
        if (config->token && !(c->token = strdup(config->token)))
                return error_oom(reterr);
        *ret = TAKE(c);
        return 0;
}

void client_watch(Client *c, int wake_fd, void (*tick)(void *userdata), void *userdata) {
        c->wake_fd = wake_fd;
        c->tick = tick;
        c->userdata = userdata;
}

char *url_escape(const char *text) {
        char *out = malloc(strlen(text) * 3 + 1), *o = out;

        for (const unsigned char *p = (const unsigned char *) text; out && *p; p++) {
                if ((*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
                    (*p >= 'a' && *p <= 'z') || strchr("-._~", *p))
                        *o++ = (char) *p;
                else
                        o += sprintf(o, "%%%02X", *p);
        }
        if (out)
                *o = '\0';
        return out;
}

typedef struct Sink {
        Response *response;
        size_t room;
} Sink;

static size_t on_body(char *data, size_t one, size_t n, void *userdata) {
        Sink *sink = userdata;
        Response *r = sink->response;

        if (r->size + n > ANSWER_SIZE_MAX)
                return 0;
        if (r->size + n + 1 > sink->room) {
                size_t room = MAX(2 * sink->room, r->size + n + 1);
                char *text = realloc(r->text, room);

                if (!text)
                        return 0;
                r->text = text;
                sink->room = room;
        }
        memcpy(r->text + r->size, data, n);
        r->size += n;
        r->text[r->size] = '\0';
        return n;
}

/* The header's value when it has this name, as a copy. */
static char *header_value(const char *data, size_t n, const char *name) {
        size_t m = strlen(name);

        if (n <= m || strncasecmp(data, name, m) != 0 || data[m] != ':')
                return NULL;
        data += m + 1;
        n -= m + 1;
        while (n > 0 && (*data == ' ' || *data == '\t'))
                data++, n--;
        while (n > 0 && strchr("\r\n \t", data[n - 1]))
                n--;
        return strndup(data, n);
}

static size_t on_header(char *data, size_t one, size_t n, void *userdata) {
        Response *r = ((Sink *) userdata)->response;
        _cleanup_free_ char *etag = header_value(data, n, "ETag");
        _cleanup_free_ char *attempt = header_value(data, n, "Updd-Attempt");
        _cleanup_free_ char *size = header_value(data, n, "Updd-Log-Size");
        _cleanup_free_ char *more = header_value(data, n, "Updd-Log-More");

        if (etag) {
                free(r->etag);
                r->etag = TAKE(etag);
        }
        if (attempt)
                r->attempt = (unsigned) strtoul(attempt, NULL, 10);
        if (size)
                r->log_size = strtoll(size, NULL, 10);
        if (more)
                r->more = streq(more, "yes");
        return n;
}

static int add_header(struct curl_slist **list, char *line) {
        _cleanup_free_ char *owned = line;
        struct curl_slist *more = owned ? curl_slist_append(*list, owned) : NULL;

        if (!more)
                return -ENOMEM;
        *list = more;
        return 0;
}

static void slist_freep(struct curl_slist **list) {
        curl_slist_free_all(*list);
}

static int make_headers(const Client *c, const Request *q, const char *key,
                        struct curl_slist **list) {
        int r = add_header(list, strdup("Accept: application/json, text/plain;q=0.9"));

        if (r >= 0)
                r = add_header(list, strdup("Expect:"));
        if (r >= 0 && c->token)
                r = add_header(list, strf("Authorization: Bearer %s", c->token));
        if (r >= 0 && key)
                r = add_header(list, strf("Idempotency-Key: %s", key));
        if (r >= 0 && (q->body || q->text))
                r = add_header(list, strf("Content-Type: %s",
                                          q->body ? "application/json" : "text/plain"));
        if (r >= 0 && q->etag)
                r = add_header(list, strf("If-None-Match: %s", q->etag));
        if (r >= 0 && q->wait_s > 0)
                r = add_header(list, strf("Prefer: wait=%u", q->wait_s));
        return r;
}

static void set_up(Client *c, const Request *q, const char *url, struct curl_slist *headers,
                   const char *body, size_t size, Sink *sink) {
        curl_easy_reset(c->curl);
        c->why[0] = '\0';
        curl_easy_setopt(c->curl, CURLOPT_URL, url);
        curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(c->curl, CURLOPT_NOPROXY, c->socket ? "*" : "localhost,127.0.0.1,::1");
        if (c->socket)
                curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
        curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->why);
        curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, (long) CONNECT_MS);
        curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS,
                         (streq(q->method, "GET") ? READ_MS : CHANGE_MS) + 1000L * q->wait_s);
        curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "updctl/" UPDD_VERSION);
        curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, sink);
        curl_easy_setopt(c->curl, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(c->curl, CURLOPT_HEADERDATA, sink);
        if (body || streq(q->method, "POST")) {
                /* libcurl repeats a request by itself when an old connection turns out to be dead;
                 * how often a POST is sent is decided in perform() alone. */
                curl_easy_setopt(c->curl, CURLOPT_FRESH_CONNECT, 1L);
                curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) size);
                curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body ? body : "");
        }
        if (!streq(q->method, "GET"))
                curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, q->method);
}

static CURLcode outcome(Client *c) {
        CURLMsg *message;
        int left;

        while ((message = curl_multi_info_read(c->multi, &left)))
                if (message->msg == CURLMSG_DONE)
                        return message->data.result;
        return CURLE_RECV_ERROR;
}

/* 1 when wake_fd ended it, else 0 and the outcome. */
static int drive(Client *c, CURLcode *ret) {
        int running = 1, r = 0;

        if (curl_multi_add_handle(c->multi, c->curl) != CURLM_OK) {
                *ret = CURLE_OUT_OF_MEMORY;
                return 0;
        }
        while (r == 0) {
                struct curl_waitfd wake = {.fd = c->wake_fd, .events = CURL_WAIT_POLLIN};

                if (curl_multi_perform(c->multi, &running) != CURLM_OK || !running)
                        break;
                (void) curl_multi_poll(c->multi, &wake, c->wake_fd >= 0, TICK_MS, NULL);
                r = wake.revents != 0;
                if (c->tick)
                        c->tick(c->userdata);
        }
        *ret = r == 0 ? outcome(c) : CURLE_OK;
        (void) curl_multi_remove_handle(c->multi, c->curl);
        return r;
}

static int unreachable(Client *c, CURLcode code, bool sent, Error *reterr) {
        const char *where = c->socket ? c->socket : c->base, *why = c->why;
        long number = 0;

        curl_easy_getinfo(c->curl, CURLINFO_OS_ERRNO, &number);
        if (code == CURLE_OPERATION_TIMEDOUT)
                why = "it does not answer";
        else if (code == CURLE_COULDNT_CONNECT && number > 0)
                why = strerror((int) number);
        else if (isempty(why))
                why = curl_easy_strerror(code);
        (void) error_set(reterr, ECONNREFUSED, "unreachable", "cannot reach updd at %s: %s", where,
                         why);
        if (sent)
                error_hint(reterr, "the request was sent and may have been carried out: look at "
                                   "'updctl status' before asking again");
        else if (number == EACCES || number == EPERM)
                error_hint(reterr, "root and members of the group updd may use it");
        else if (c->socket)
                error_hint(reterr, "is updd running (systemctl status updd)? another socket is "
                                   "named with --socket or UPDD_SOCKET");
        else
                error_hint(reterr, "is updd running there, with --listen?");
        return -ECONNREFUSED;
}

/* Broken after the request may have arrived: worth a second try under the same key. */
static bool broke_after_sending(CURLcode code) {
        return code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING ||
               code == CURLE_PARTIAL_FILE;
}

static int perform(Client *c, const Request *q, const char *url, struct curl_slist *headers,
                   const char *body, size_t size, Response *ret, Error *reterr) {
        bool post = !streq(q->method, "GET");

        for (unsigned try = 0;; try++) {
                Sink sink = {.response = ret};
                CURLcode code;

                response_done(ret);
                set_up(c, q, url, headers, body, size, &sink);
                if (drive(c, &code) > 0)
                        return -EINTR;
                if (code == CURLE_OK)
                        break;
                if (try > 0 || !broke_after_sending(code))
                        return unreachable(c, code,
                                           post && (try > 0 || code == CURLE_OPERATION_TIMEDOUT),
                                           reterr);
                (void) nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
        }
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &ret->status);
        return 0;
}

static int finish_response(const Request *q, Response *r, Error *reterr) {
        const char *p;

        if (!r->text && !(r->text = strdup("")))
                return error_oom(reterr);
        p = r->text + strspn(r->text, " \t\r\n");
        /* A log may look like JSON; it is never asked for as such. */
        if (*p == '{' && r->log_size < 0)
                r->json = json_loadb(r->text, r->size, JSON_ALLOW_NUL, NULL);
        return 0;
}

int client_call(Client *c, const Request *q, Response *ret, Error *reterr) {
        _cleanup_(slist_freep) struct curl_slist *headers = NULL;
        _cleanup_free_ char *url = strf("%s%s", c->base, q->path), *body = NULL;
        _cleanup_response_ Response response = RESPONSE_INIT;
        char key[ID128_TEXT_MAX];
        bool change = !streq(q->method, "GET");
        int r;

        if (change && id128_random(key) < 0)
                return error_set(reterr, EIO, "internal", "cannot get a random number");
        if (q->body && !(body = json_dumps(q->body, JSON_COMPACT)))
                return error_oom(reterr);
        if (!url || make_headers(c, q,
                                 change && q->key ? q->key
                                 : change         ? key
                                                  : NULL,
                                 &headers) < 0)
                return error_oom(reterr);
        r = perform(c, q, url, headers, body ? body : q->text, body ? strlen(body) : q->text_size,
                    &response, reterr);
        if (r >= 0)
                r = finish_response(q, &response, reterr);
        if (r < 0)
                return r;
        *ret = response;
        response = RESPONSE_INIT;
        return 0;
}
