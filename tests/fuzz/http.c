/* SPDX-License-Identifier: MIT */
/*
 * What comes over the socket: the input is a client's bytes, one request or several, on a Unix
 * socket of the real server with the real engine behind it, which has a job in each state. Every
 * answer must be well formed, every refusal a problem document. As long as an input changes nothing
 * the next one finds the same daemon; otherwise it is made anew.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon.h"
#include "daemon/http/http.h"

#define ANSWER_MAX (4U * 1024 * 1024)
#define TURNS_MAX 4000
#define PAUSE_US 2000 /* a long report rests between its pages */

typedef struct Server {
        Daemon daemon;
        HttpServer *http;
        uint64_t mark; /* of all that a request could have changed */
} Server;

static Server server;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        state_make();
        return 0;
}

static const char *socket_path(void) {
        static char path[96];

        (void) snprintf(path, sizeof(path), "%s/socket", fuzz_folder());
        return path;
}

static uint64_t mark(const Engine *e) {
        uint64_t sum = (uint64_t) e->last_job * 31 + json_array_size(e->tokens);

        for (unsigned i = 0; i < e->n_slots; i++)
                sum = sum * 31 + (uint64_t) e->slots[i].job->version;
        return sum;
}

/* What lived when the state was made lives on. */
static void hold_living(const char *dir) {
        _cleanup_free_ char *asks = state_attempt(dir, STATE_QUESTION, "asks", 1);
        _cleanup_free_ char *hangs = state_attempt(dir, STATE_RUNNING, "hangs", 1);

        spawn_hold(asks);
        spawn_hold(hangs);
}

static void server_start(void) {
        HttpConfig config = {.socket = socket_path()};
        const char *dir = state_fresh(0);

        hold_living(dir);
        if (daemon_open(dir, &server.daemon, NULL) < 0)
                abort();
        daemon_turn(&server.daemon);
        if (http_new(server.daemon.event, server.daemon.engine, &config, &server.http, NULL) < 0)
                abort();
        server.mark = mark(server.daemon.engine);
}

static void server_end(void) {
        HttpServer *http = TAKE(server.http);

        http_stop(http);
        daemon_close(&server.daemon);
        http_free(http);
}

static int client_open(void) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path());
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                abort();
        return fd;
}

/* Sends what the socket takes now. False once there is nothing to send, or nobody to send to. */
static bool client_send(int fd, const uint8_t **data, size_t *size) {
        ssize_t n = *size > 0 ? send(fd, *data, *size, MSG_NOSIGNAL) : 0;

        if (n < 0 && errno != EAGAIN)
                *size = 0;
        if (n > 0) {
                *data += n;
                *size -= (size_t) n;
        }
        if (*size == 0)
                (void) shutdown(fd, SHUT_WR);
        return *size > 0;
}

/* Turns the server once. False when nothing was to do for a moment. */
static bool server_turn(void) {
        bool busy = sd_event_run(server.daemon.event, PAUSE_US) > 0;

        if (engine_has_work(server.daemon.engine)) {
                engine_turn(server.daemon.engine);
                busy = true;
        }
        return busy;
}

/* Until the server has closed, or has nothing more to say for now (an event stream, a long poll).
 * Caller frees. */
static char *client_talk(int fd, const uint8_t *data, size_t size) {
        char *answer = malloc(ANSWER_MAX);
        size_t got = 0;
        bool sending = true;

        if (!answer)
                abort();
        for (unsigned i = 0; i < TURNS_MAX && got + 1 < ANSWER_MAX; i++) {
                bool busy;
                ssize_t n;

                sending = sending && client_send(fd, &data, &size);
                busy = server_turn();
                n = recv(fd, answer + got, ANSWER_MAX - got - 1, 0);
                if (n > 0)
                        got += (size_t) n;
                if (n == 0 || (n < 0 && errno != EAGAIN))
                        break;
                if (n < 0 && !busy && !sending)
                        break;
        }
        answer[got] = '\0';
        return answer;
}

/* The first answer: one of ours has a status that a client may be told, and says what it is. */
static void hold_answer(const char *answer) {
        const char *body = strstr(answer, "\r\n\r\n");
        int status = startswith(answer, "HTTP/1.") ? atoi(answer + 9) : 0;

        if (!*answer)
                return; /* it was no request, or its end did not come */
        PROMISED(status >= 100 && status < 600);
        PROMISED(status != 500);
        if (!body || !strstr(answer, "application/problem+json") ||
            strstr(answer, "application/problem+json") > body)
                return;
        PROMISED(status >= 400);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *answer = NULL;
        int fd;

        if (!server.http)
                server_start();
        fd = client_open();
        answer = client_talk(fd, data, size);
        (void) close(fd);
        for (unsigned i = 0; i < 10 && server_turn(); i++)
                ;
        hold_answer(answer);
        if (mark(server.daemon.engine) != server.mark)
                server_end();
        return 0;
}
