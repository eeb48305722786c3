/* SPDX-License-Identifier: MIT */
/*
 * A load for the HTTP benchmarks: N keep-alive connections to a Unix socket, each with one request
 * under way. http-load SOCKET PATH CONNECTIONS SECONDS prints one JSON object: requests, seconds,
 * per_second, and the latency's percentiles in µs. Any answer but 200 ends it with an error, so a
 * fast refusal is never taken for speed.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "api/text.h"

#define ANSWER_MAX (1024U * 1024)
#define SAMPLES_MAX 4000000U

typedef struct Client {
        int fd;
        char *answer;
        size_t size, expected; /* expected 0: the headers are not whole yet */
        int64_t began;
} Client;

typedef struct Load {
        char *request;
        size_t request_size;
        int epoll;
        uint32_t *samples;
        size_t n;
} Load;

static void die(const char *what, const char *detail) {
        (void) fprintf(stderr, "http-load: %s: %s\n", what, detail);
        exit(EXIT_FAILURE);
}

static void client_ask(const Load *l, Client *c) {
        c->size = c->expected = 0;
        c->began = now_mono_us();
        if (send(c->fd, l->request, l->request_size, MSG_NOSIGNAL) != (ssize_t) l->request_size)
                die("send", strerror(errno));
}

static void client_open(Load *l, Client *c, const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        c->answer = malloc(ANSWER_MAX + 1);
        if (c->fd < 0 || !c->answer ||
            connect(c->fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0 ||
            epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
                die(path, strerror(errno));
        client_ask(l, c);
}

static void client_headers(Client *c) {
        const char *end, *length;

        c->answer[c->size] = '\0';
        end = strstr(c->answer, "\r\n\r\n");
        if (!end)
                return;
        if (!startswith(c->answer, "HTTP/1.1 200 "))
                die("not 200", c->answer);
        length = strcasestr(c->answer, "\r\nContent-Length: ");
        if (!length)
                die("no length", c->answer);
        c->expected = (size_t) (end + 4 - c->answer) +
                      strtoul(length + strlen("\r\nContent-Length: "), NULL, 10);
}

static void client_read(Load *l, Client *c) {
        ssize_t n = recv(c->fd, c->answer + c->size, ANSWER_MAX - c->size, 0);

        if (n < 0 && errno == EAGAIN)
                return;
        if (n <= 0)
                die("recv", n < 0 ? strerror(errno) : "closed");
        c->size += (size_t) n;
        if (c->expected == 0)
                client_headers(c);
        if (c->expected == 0 || c->size < c->expected)
                return;
        if (l->n < SAMPLES_MAX)
                l->samples[l->n] = (uint32_t) (now_mono_us() - c->began);
        l->n++;
        client_ask(l, c);
}

static int compare(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return (x > y) - (x < y);
}

static void report(Load *l, int64_t took_us) {
        size_t n = MIN(l->n, SAMPLES_MAX);

        qsort(l->samples, n, sizeof(uint32_t), compare);
        (void) printf(
                "{\"requests\": %zu, \"seconds\": %.3f, \"per_second\": %.0f, \"p50_us\": %u, "
                "\"p99_us\": %u, \"max_us\": %u}\n",
                l->n, (double) took_us / 1e6, (double) l->n * 1e6 / (double) took_us,
                l->samples[n / 2], l->samples[n * 99 / 100], l->samples[n - 1]);
}

int main(int argc, char *argv[]) {
        struct epoll_event events[256];
        Load l = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
        int64_t began, end;
        Client *clients;
        unsigned n;

        if (argc != 5)
                die("usage", "http-load SOCKET PATH CONNECTIONS SECONDS");
        n = (unsigned) atoi(argv[3]);
        l.request = strf("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[2]);
        l.samples = calloc(SAMPLES_MAX, sizeof(uint32_t));
        clients = calloc(MAX(n, 1U), sizeof(Client));
        if (l.epoll < 0 || !l.request || !l.samples || !clients || n < 1)
                die("set-up", strerror(errno));
        l.request_size = strlen(l.request);
        for (unsigned i = 0; i < n; i++)
                client_open(&l, &clients[i], argv[1]);
        began = now_mono_us();
        end = began + (int64_t) (atof(argv[4]) * 1e6);
        while (now_mono_us() < end || l.n == 0) {
                int k = epoll_wait(l.epoll, events, ELEMENTSOF(events), 100);

                for (int i = 0; i < k; i++)
                        client_read(&l, events[i].data.ptr);
        }
        report(&l, now_mono_us() - began);
        for (unsigned i = 0; i < n; i++) {
                (void) close(clients[i].fd);
                free(clients[i].answer);
        }
        free(clients);
        free(l.samples);
        free(l.request);
        (void) close(l.epoll);
        return EXIT_SUCCESS;
}
