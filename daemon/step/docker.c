/* SPDX-License-Identifier: MIT */
/* Calls of the engine's API: see docker.h. What its answers mean: docker_condition.c. */
#include "daemon/step/docker.h"

#include <ctype.h>

#include "api/text.h"
#include "daemon/step/curl.h"
#include "daemon/step/setting.h"

#define DEFAULT_HOST "unix:///var/run/docker.sock"
#define REPLY_MAX (16U * 1024 * 1024)
#define FRAME_HEADER 8

void docker_done(Docker *d) {
        free(d->host);
        free(d->socket);
        free(d->base);
        *d = (Docker){0};
}

int docker_open(Step *s, const json_t *more, Docker *ret, Error *reterr) {
        _cleanup_docker_ Docker d = {.step = s};
        int r;

        r = setting_variable(s, more, "DOCKER_HOST", &d.host, reterr);
        if (r < 0)
                return r;
        if (isempty(d.host)) {
                free(d.host);
                d.host = strdup(DEFAULT_HOST);
        }
        if (!d.host)
                return error_oom(reterr);
        if (startswith(d.host, "unix://")) {
                d.socket = strdup(d.host + strlen("unix://"));
                d.base = strdup("http://localhost");
        } else if (startswith(d.host, "tcp://"))
                d.base = strf("http://%s", d.host + strlen("tcp://"));
        else
                return error_set(reterr, EPROTONOSUPPORT, "docker-host",
                                 "DOCKER_HOST is '%s': only unix:// and tcp:// can be used",
                                 d.host);
        if (!d.base || (startswith(d.host, "unix://") && !d.socket))
                return error_oom(reterr);
        *ret = d;
        d = (Docker){0};
        return 0;
}

/* ---- calls ---- */

static int docker_exchange(Docker *d, const char *method, const char *path, const json_t *body,
                           HttpReply *ret, Error *reterr) {
        _cleanup_free_ char *url = strf("%s%s", d->base, path);
        _cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
        _cleanup_error_ Error error = ERROR_INIT;
        int64_t left = step_time_left_ms(d->step);
        HttpRequest q = {.url = url,
                         .method = method,
                         .body = text                    ? text
                                 : streq(method, "POST") ? ""
                                                         : NULL,
                         .body_size = text ? strlen(text) : 0,
                         .content_type = "application/json",
                         .unix_socket = d->socket,
                         .timeout_ms = left == INT64_MAX ? 0 : MAX(left, 1),
                         .max_body = REPLY_MAX};
        int r;

        if (!url || (body && !text))
                return error_oom(reterr);
        r = http_exchange(d->step, &q, ret, &error);
        if (r == -ECANCELED || r >= 0) {
                error_move(reterr, &error);
                return r;
        }
        (void) error_set(reterr, EHOSTUNREACH, "no-docker",
                         "The Docker engine at %s does not answer: %s", d->host,
                         error.message ? error.message : strerror(-r));
        error_hint(reterr, "is it running (systemctl status docker), and may updd use it?");
        return -EHOSTUNREACH;
}

static int refused(const HttpReply *reply, const char *method, const char *path, Error *reterr) {
        json_auto_t *body = json_loadb(reply->body, reply->body_size, 0, NULL);

        return error_set(reterr,
                         reply->status == 404   ? ENOENT
                         : reply->status == 409 ? EBUSY
                                                : EREMOTEIO,
                         "docker", "Docker: %s (%s %.*s: %ld)",
                         args_text(body, "message", "refused"), method, (int) strcspn(path, "?"),
                         path, reply->status);
}

int docker_call(Docker *d, const char *method, const char *path, const json_t *body, json_t **ret,
                Error *reterr) {
        _cleanup_reply_ HttpReply reply = {0};
        json_error_t fault;
        int r = docker_exchange(d, method, path, body, &reply, reterr);

        if (r < 0)
                return r;
        if (reply.status / 100 != 2 && reply.status != 304)
                return refused(&reply, method, path, reterr);
        if (!ret)
                return 0;
        *ret = json_loadb(reply.body, reply.body_size, 0, &fault);
        if (!*ret)
                return error_set(reterr, EBADMSG, "docker", "Docker answered no JSON: %s",
                                 fault.text);
        return 0;
}

static char *escape(const char *text) {
        char *out = malloc(3 * strlen(text) + 1), *to = out;

        for (const char *p = text; out && *p; p++)
                if (isalnum((unsigned char) *p) || strchr("-_.~", *p))
                        *to++ = *p;
                else
                        to += sprintf(to, "%%%02X", (unsigned char) *p);
        if (out)
                *to = '\0';
        return out;
}

int docker_list(Docker *d, const char *label, json_t **ret, Error *reterr) {
        json_auto_t *filters = label ? json_pack("{s:[s]}", "label", label) : json_object();
        _cleanup_free_ char *text = filters ? json_dumps(filters, JSON_COMPACT) : NULL;
        _cleanup_free_ char *escaped = text ? escape(text) : NULL;
        _cleanup_free_ char *path =
                escaped ? strf("/containers/json?all=true&filters=%s", escaped) : NULL;

        if (!path)
                return error_oom(reterr);
        return docker_call(d, "GET", path, NULL, ret, reterr);
}

static int container_call(Docker *d, const char *method, const char *id, const char *what,
                          const json_t *body, json_t **ret, Error *reterr) {
        _cleanup_free_ char *escaped = escape(id);
        _cleanup_free_ char *path = escaped ? strf("/containers/%s%s", escaped, what) : NULL;

        return path ? docker_call(d, method, path, body, ret, reterr) : error_oom(reterr);
}

int docker_inspect(Docker *d, const char *id, json_t **ret, Error *reterr) {
        return container_call(d, "GET", id, "/json", NULL, ret, reterr);
}

int docker_start(Docker *d, const char *id, Error *reterr) {
        return container_call(d, "POST", id, "/start", NULL, NULL, reterr);
}

int docker_stop(Docker *d, const char *id, Error *reterr) {
        return container_call(d, "POST", id, "/stop", NULL, NULL, reterr);
}

int docker_remove(Docker *d, const char *id, Error *reterr) {
        return container_call(d, "DELETE", id, "?v=false&force=false", NULL, NULL, reterr);
}

int docker_restart_policy(Docker *d, const char *id, const json_t *policy, Error *reterr) {
        json_auto_t *body = json_pack("{s:O}", "RestartPolicy", policy);

        return body ? container_call(d, "POST", id, "/update", body, NULL, reterr)
                    : error_oom(reterr);
}

/* ---- logs ---- */

/* Without a terminal stdout and stderr come as frames: a byte that says which, three of zero, the
 * length, big-endian. Takes the headers out, in place. */
static size_t unframe(char *text, size_t size) {
        size_t to = 0, at = 0;

        while (size - at >= FRAME_HEADER) {
                const unsigned char *h = (const unsigned char *) text + at;
                size_t n = (size_t) h[4] << 24 | (size_t) h[5] << 16 | (size_t) h[6] << 8 | h[7];

                if (h[0] > 2 || h[1] || h[2] || h[3])
                        return size; /* a terminal's log: no frames */
                at += FRAME_HEADER;
                n = MIN(n, size - at);
                memmove(text + to, text + at, n);
                to += n;
                at += n;
        }
        return to;
}

static int lines_of(char *text, size_t size, unsigned n, json_t **ret) {
        _cleanup_free_ char *clean = utf8_clean(text, size);
        json_auto_t *lines = json_array();
        char *rest = clean, *line;

        if (!clean || !lines)
                return -ENOMEM;
        while ((line = strsep(&rest, "\n"))) {
                size_t length = strlen(line);

                if (!rest && length == 0)
                        break;
                if (length > 0 && line[length - 1] == '\r')
                        line[length - 1] = '\0';
                if (json_array_append_new(lines, json_string(line)) < 0)
                        return -ENOMEM;
        }
        while (json_array_size(lines) > n)
                (void) json_array_remove(lines, 0);
        *ret = TAKE(lines);
        return 0;
}

int docker_tail(Docker *d, const char *id, unsigned n, json_t **ret, Error *reterr) {
        _cleanup_free_ char *path =
                strf("/containers/%s/logs?stdout=true&stderr=true&tail=%u", id, n);
        _cleanup_reply_ HttpReply reply = {0};
        int r;

        if (!path)
                return error_oom(reterr);
        r = docker_exchange(d, "GET", path, NULL, &reply, reterr);
        if (r < 0)
                return r;
        if (reply.status != 200)
                return refused(&reply, "GET", path, reterr);
        r = lines_of(reply.body, unframe(reply.body, reply.body_size), n, ret);
        return r < 0 ? error_oom(reterr) : 0;
}
