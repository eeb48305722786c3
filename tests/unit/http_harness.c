/* SPDX-License-Identifier: MIT */
/* See http_harness.h. */
#include "http_harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "api/text.h"

#define PATIENCE_MS (10 * 1000)

Harness *harness_new(const HttpConfig *config) {
        HttpConfig own = config ? *config : (HttpConfig){0};
        _cleanup_error_ Error error = ERROR_INIT;
        Harness *h = calloc(1, sizeof(Harness));
        const char *colon;

        (void) signal(SIGPIPE, SIG_IGN);
        assert_non_null(h);
        (void) snprintf(h->dir, sizeof(h->dir), "/tmp/test-http-XXXXXX");
        assert_non_null(mkdtemp(h->dir));
        (void) snprintf(h->socket, sizeof(h->socket), "%s/sock", h->dir);
        assert_true(sd_event_new(&h->event) >= 0);
        h->engine = fake_engine_new(h->event);
        own.socket = h->socket;
        if (http_new(h->event, h->engine, &own, &h->http, &error) < 0)
                fail_msg("%s", error.message);
        if (http_address(h->http)) {
                colon = strrchr(http_address(h->http), ':');
                h->port = (unsigned) atoi(colon + 1);
        }
        return h;
}

void harness_free(Harness *h) {
        http_stop(h->http);
        engine_free(h->engine);
        http_free(h->http);
        sd_event_unref(h->event);
        assert_int_equal(remove_tree(h->dir), 0);
        free(h);
}

void harness_turn(Harness *h, unsigned ms) {
        int64_t end = now_mono_us() + ms * 1000;

        while (now_mono_us() < end)
                assert_true(sd_event_run(h->event, 1000) >= 0);
}

int client_open(Harness *h) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", h->socket);
        assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
        return fd;
}

int client_open_tcp(Harness *h) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t) h->port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
        return fd;
}

void client_send(Harness *h, int fd, const char *text, size_t size) {
        while (size > 0) {
                ssize_t n = send(fd, text, size, MSG_NOSIGNAL);

                if (n < 0 && errno != EAGAIN)
                        return; /* the server has answered and closed */
                if (n > 0) {
                        text += n;
                        size -= (size_t) n;
                }
                assert_true(sd_event_run(h->event, 0) >= 0);
        }
}

/* By its own headers: a body of Content-Length bytes, the last chunk, or a status that has no body.
 */
static bool is_complete(const char *answer, size_t size) {
        const char *end = strstr(answer, "\r\n\r\n");
        _cleanup_free_ char *length = NULL;

        if (!end)
                return false;
        if (answer_status(answer) == 304 || answer_status(answer) == 204)
                return true;
        length = answer_header(answer, "Content-Length");
        if (*length)
                return size >= (size_t) (end + 4 - answer) + strtoul(length, NULL, 10);
        return endswith(answer, "\r\n0\r\n\r\n");
}

char *client_read(Harness *h, int fd, const char *until) {
        int64_t end = now_mono_us() + PATIENCE_MS * 1000;
        size_t size = 0, capacity = 4 * 1024 * 1024;
        char *answer = calloc(1, capacity);

        assert_non_null(answer);
        for (;;) {
                ssize_t n = recv(fd, answer + size, capacity - size - 1, 0);

                if (n > 0)
                        size += (size_t) n;
                answer[size] = '\0';
                if (until ? strstr(answer, until) != NULL : is_complete(answer, size))
                        return answer;
                if (n == 0 || (n < 0 && errno != EAGAIN))
                        return answer;
                if (now_mono_us() > end)
                        fail_msg("no answer, only: %s", answer);
                assert_true(sd_event_run(h->event, 1000) >= 0);
        }
}

static char *ask_on(Harness *h, int fd, const char *request, const char *headers,
                    const char *body) {
        _cleanup_free_ char *text = NULL, *length = NULL;
        bool head = startswith(request, "HEAD");
        char *answer;

        length = body ? strf("Content-Length: %zu\r\n", strlen(body)) : strdup("");
        text = strf("%s HTTP/1.1\r\n%s%s%s\r\n%s", request,
                    headers && strstr(headers, "Host:") ? "" : "Host: localhost\r\n",
                    headers ? headers : "", length, body ? body : "");
        client_send(h, fd, text, strlen(text));
        answer = client_read(h, fd, head ? "\r\n\r\n" : NULL);
        (void) close(fd);
        return answer;
}

char *ask(Harness *h, const char *request, const char *headers, const char *body) {
        return ask_on(h, client_open(h), request, headers, body);
}

char *ask_tcp(Harness *h, const char *request, const char *headers, const char *body) {
        return ask_on(h, client_open_tcp(h), request, headers, body);
}

unsigned answer_status(const char *answer) {
        return startswith(answer, "HTTP/1.1 ") ? (unsigned) atoi(answer + 9) : 0;
}

char *answer_header(const char *answer, const char *name) {
        const char *end = strstr(answer, "\r\n\r\n");
        size_t n = strlen(name);

        for (const char *line = answer; line && line < end; line = strstr(line, "\r\n")) {
                line += startswith(line, "\r\n") ? 2 : 0;
                if (strncasecmp(line, name, n) == 0 && startswith(line + n, ": "))
                        return strndup(line + n + 2, strcspn(line + n + 2, "\r"));
        }
        return strdup("");
}

const char *answer_body(const char *answer) {
        const char *end = strstr(answer, "\r\n\r\n");

        return end ? end + 4 : "";
}

json_t *answer_json(const char *answer) {
        json_t *value = json_loads(answer_body(answer), 0, NULL);

        if (!value)
                fail_msg("no JSON: %s", answer);
        return value;
}

json_t *answer_problem(const char *answer, unsigned status, const char *type) {
        _cleanup_free_ char *urn = strf("urn:updd:problem:%s", type);
        _cleanup_free_ char *content = answer_header(answer, "Content-Type");
        json_t *doc = answer_json(answer);

        assert_string_equal(json_string_value(json_object_get(doc, "type")), urn);
        assert_int_equal(answer_status(answer), status);
        assert_int_equal(json_integer_value(json_object_get(doc, "status")), status);
        assert_string_equal(content, "application/problem+json");
        assert_true(strlen(json_string_value(json_object_get(doc, "title"))) > 0);
        assert_true(strlen(json_string_value(json_object_get(doc, "detail"))) > 0);
        return doc;
}

void assert_problem(const char *answer, unsigned status, const char *type) {
        json_decref(answer_problem(answer, status, type));
}
