/* SPDX-License-Identifier: MIT */
/* One request over libcurl: see daemon/step/curl.h. What a reply must look like: http_expect.c. */
#include "daemon/step/curl.h"

#include <curl/curl.h>

DEFINE_CLEANUP(CURL *, curl_easy_cleanup)
DEFINE_CLEANUP(struct curl_slist *, curl_slist_free_all)
DEFINE_CLEANUP(CURLU *, curl_url_cleanup)

#define CONNECT_MS 30000L

typedef struct Exchange {
        Step *step;
        HttpReply *reply;
        size_t max_body;
        int out_fd;
        int err; /* negative errno of writing, or 0 */
} Exchange;

void http_reply_done(HttpReply *r) {
        free(r->body);
        free(r->content_type);
        *r = (HttpReply){0};
}

static size_t on_body(char *data, size_t one, size_t size, void *userdata) {
        Exchange *x = userdata;
        size_t room = x->max_body - x->reply->body_size, keep = MIN(size, room);

        x->reply->total += size;
        if (x->out_fd > 0) {
                x->err = write_all(x->out_fd, data, size);
                return x->err < 0 ? 0 : size;
        }
        if (keep > 0) {
                char *grown = realloc(x->reply->body, x->reply->body_size + keep + 1);

                if (!grown) {
                        x->err = -ENOMEM;
                        return 0;
                }
                memcpy(grown + x->reply->body_size, data, keep);
                x->reply->body = grown;
                x->reply->body_size += keep;
                grown[x->reply->body_size] = '\0';
        }
        return size;
}

static int on_progress(void *userdata, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up_now) {
        Exchange *x = userdata;

        return x->step && step_stopping(x->step) ? 1 : 0;
}

static int header_add(struct curl_slist **list, const char *name, const char *value) {
        /* "Name;" is how curl is told to send a header without a value. */
        _cleanup_free_ char *line = *value ? strf("%s: %s", name, value) : strf("%s;", name);
        struct curl_slist *grown = line ? curl_slist_append(*list, line) : NULL;

        if (!grown)
                return -ENOMEM;
        *list = grown;
        return 0;
}

/* A line break in a value would let it smuggle in further headers. */
static int header_check(const char *name, const char *value, Error *reterr) {
        if (!strpbrk(name, "\r\n") && !strpbrk(value, "\r\n"))
                return 0;
        return error_set(reterr, EINVAL, "bad-header", "Header '%.40s' has a line break in it",
                         name);
}

static int headers_from_list(const json_t *headers, struct curl_slist **list, Error *reterr) {
        const json_t *line;
        size_t i;

        json_array_foreach (headers, i, line) {
                const char *text = json_string_value(line);
                struct curl_slist *grown;
                int r;

                if (!text)
                        continue;
                r = header_check(text, "", reterr);
                if (r < 0)
                        return r;
                grown = curl_slist_append(*list, text);
                if (!grown)
                        return error_oom(reterr);
                *list = grown;
        }
        return 0;
}

static int headers_make(const HttpRequest *q, struct curl_slist **list, Error *reterr) {
        bool typed = false;
        const char *name;
        json_t *value;
        int r;

        if (json_is_array(q->headers))
                return headers_from_list(q->headers, list, reterr);
        json_object_foreach ((json_t *) q->headers, name, value) {
                if (!json_is_string(value))
                        continue;
                r = header_check(name, json_string_value(value), reterr);
                if (r < 0)
                        return r;
                if (header_add(list, name, json_string_value(value)) < 0)
                        return error_oom(reterr);
                typed = typed || strcasecmp(name, "Content-Type") == 0;
        }
        if (!typed && q->content_type && header_add(list, "Content-Type", q->content_type) < 0)
                return error_oom(reterr);
        return 0;
}

static bool host_is_here(const char *url) {
        _cleanup_(curl_url_cleanupp) CURLU *u = curl_url();
        char *host = NULL;
        bool here;

        if (!u || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
            curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK)
                return false;
        here = strcasecmp(host, "localhost") == 0 || startswith(host, "127.") ||
               streq(host, "[::1]");
        curl_free(host);
        return here;
}

static void proxy_set(CURL *curl, Step *s, const char *url) {
        const json_t *env = s ? json_object_get(step_op(s), "env") : NULL;
        const char *key = startswith(url, "https:") ? "https_proxy" : "http_proxy";
        const char *proxy = args_text(env, key, NULL), *except = args_text(env, "no_proxy", NULL);

        if (host_is_here(url))
                proxy = "";
        if (proxy)
                (void) curl_easy_setopt(curl, CURLOPT_PROXY, proxy);
        if (except)
                (void) curl_easy_setopt(curl, CURLOPT_NOPROXY, except);
}

static void method_set(CURL *curl, const HttpRequest *q) {
        const char *method = q->method ? q->method : "GET";

        if (q->body) {
                (void) curl_easy_setopt(curl, CURLOPT_POST, 1L);
                (void) curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                                        (curl_off_t) q->body_size);
                (void) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, q->body);
        }
        if (streq(method, "HEAD"))
                (void) curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
        if (!streq(method, "GET") || q->body)
                (void) curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
}

static void options_set(CURL *curl, const HttpRequest *q, struct curl_slist *headers, Exchange *x,
                        char why[static CURL_ERROR_SIZE]) {
        (void) curl_easy_setopt(curl, CURLOPT_URL, q->url);
        (void) curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR,
                                q->files ? "http,https,file" : "http,https");
        (void) curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
        (void) curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, q->follow ? 1L : 0L);
        (void) curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 10L);
        (void) curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        (void) curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
        (void) curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) q->timeout_ms);
        (void) curl_easy_setopt(curl, CURLOPT_USERAGENT, "updd/" UPDD_VERSION);
        (void) curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        (void) curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
        (void) curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
        (void) curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
        (void) curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        (void) curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        (void) curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
        if (q->ca)
                (void) curl_easy_setopt(curl, CURLOPT_CAINFO, q->ca);
        if (q->unix_socket)
                (void) curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, q->unix_socket);
        method_set(curl, q);
        proxy_set(curl, x->step, q->url);
}

static int failure_of(CURLcode code, const HttpRequest *q, const Exchange *x, const char *why,
                      Error *reterr) {
        const char *method = q->method ? q->method : "GET";

        if (isempty(why))
                why = curl_easy_strerror(code);
        if (x->err < 0)
                return error_set(reterr, -x->err, "write-failed", "Cannot write what %s sends: %s",
                                 q->url, strerror(-x->err));
        if (code == CURLE_ABORTED_BY_CALLBACK)
                return error_set(reterr, ECANCELED, "stopped", "Stopped during %s %s", method,
                                 q->url);
        if (code == CURLE_OPERATION_TIMEDOUT)
                return error_set(reterr, ETIMEDOUT, "http-failed", "%s %s: %s", method, q->url,
                                 why);
        if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
                return error_set(reterr, EINVAL, "bad-url", "'%s' is no address to use here: %s",
                                 q->url, why);
        if (code == CURLE_FILE_COULDNT_READ_FILE)
                return error_set(reterr, ENOENT, "http-failed", "Cannot read %s: %s", q->url, why);
        return error_set(reterr, EHOSTUNREACH, "http-failed", "%s %s: %s", method, q->url, why);
}

int http_exchange(Step *s, const HttpRequest *q, HttpReply *ret, Error *reterr) {
        _cleanup_(curl_easy_cleanupp) CURL *curl = curl_easy_init();
        _cleanup_(curl_slist_free_allp) struct curl_slist *headers = NULL;
        _cleanup_reply_ HttpReply reply = {.body = calloc(1, 1)};
        Exchange x = {.step = s,
                      .reply = &reply,
                      .max_body = q->max_body ? q->max_body : HTTP_BODY_MAX,
                      .out_fd = q->out_fd};
        char why[CURL_ERROR_SIZE] = "", *type = NULL;
        CURLcode code;
        int r;

        if (!curl || !reply.body)
                return error_oom(reterr);
        r = headers_make(q, &headers, reterr);
        if (r < 0)
                return r;
        options_set(curl, q, headers, &x, why);
        code = curl_easy_perform(curl);
        if (code != CURLE_OK)
                return failure_of(code, q, &x, why, reterr);
        (void) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.status);
        (void) curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
        if (type)
                reply.content_type = strdup(type);
        *ret = reply;
        reply = (HttpReply){0};
        return 0;
}

int http_exchange_args(Step *s, const json_t *args, int64_t timeout_ms, HttpReply *ret,
                       Error *reterr) {
        const json_t *body_json = json_object_get(args, "body_json");
        const char *body = args_text(args, "body", NULL), *ca = args_text(args, "ca", NULL);
        _cleanup_free_ char *dumped = NULL, *ca_path = NULL;
        HttpRequest q = {.url = args_text(args, "url", ""),
                         .method = args_text(args, "method", NULL),
                         .headers = json_object_get(args, "headers"),
                         .timeout_ms = timeout_ms,
                         .max_body = 4U * 1024 * 1024};

        if (body_json) {
                dumped = json_dumps(body_json, JSON_COMPACT | JSON_ENCODE_ANY);
                if (!dumped)
                        return error_oom(reterr);
                body = dumped;
                q.content_type = "application/json";
        }
        q.body = body;
        q.body_size = body ? strlen(body) : 0;
        if (ca) {
                int r = step_path(s, ca, &ca_path, reterr);

                if (r < 0)
                        return r;
                q.ca = ca_path;
        }
        return http_exchange(s, &q, ret, reterr);
}
