/* SPDX-License-Identifier: MIT */
/* Who may do what: peers of the Unix socket, tokens, Host and Origin on TCP, and the sockets
 * themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "daemon/http/server.h"
#include "http_harness.h"

#define BEARER(role) "Authorization: Bearer " role "-token\r\n"
#define TCP (&(HttpConfig){.listen = "127.0.0.1:0"})

static void on_tcp_a_token_is_needed(void **state) {
        static const char *const headers[] = {NULL, "Authorization: Bearer guess\r\n",
                                              "Authorization: Basic dmlldzp4\r\n",
                                              "Authorization: Bearer \r\n"};
        _cleanup_harness_ Harness *h = harness_new(TCP);

        for (size_t i = 0; i < ELEMENTSOF(headers); i++) {
                _cleanup_free_ char *a = ask_tcp(h, "GET /v1/health", headers[i], NULL);
                _cleanup_free_ char *how = answer_header(a, "WWW-Authenticate");
                assert_problem(a, 401, "unauthorized");

                assert_string_equal(how, "Bearer realm=\"updd\"");
        }
}

/* Every row of the table is tried with every role: at least the row's own is needed. */
static void every_call_has_its_least_role(void **state) {
        static const char *const tokens[] = {
                [ROLE_VIEW] = BEARER("view"),
                [ROLE_OPERATE] = BEARER("operate"),
                [ROLE_ADMIN] = BEARER("admin"),
        };
        _cleanup_harness_ Harness *h = harness_new(TCP);

        for (size_t i = 0; i < n_routes; i++)
                for (Role role = ROLE_VIEW; role <= ROLE_ADMIN; role++) {
                        _cleanup_free_ char *request =
                                strf("%s %s", routes[i].method, routes[i].pattern);
                        _cleanup_free_ char *a = NULL;

                        for (char *p; (p = strstr(request, "{id}")) != NULL;)
                                memcpy(p, "4242", 4);
                        a = ask_tcp(h, request, tokens[role], NULL);
                        if ((answer_status(a) == 403) != (role < routes[i].role))
                                fail_msg("%s with role %d: %s", request, role, a);
                }
}

static void changes_by_token_name_the_token(void **state) {
        _cleanup_harness_ Harness *h = harness_new(TCP);
        _cleanup_free_ char *a = ask_tcp(h, "POST /v1/jobs/1/cancel", BEARER("operate"), NULL);

        assert_int_equal(answer_status(a), 200);
        assert_string_equal(json_string_value(json_object_get(h->engine->last, "who")),
                            "token:grafana");
}

static void on_tcp_only_names_of_this_machine_are_hosts(void **state) {
        static const struct {
                const char *host;
                bool local;
        } cases[] = {
                {"localhost", true},
                {"localhost:1234", true},
                {"127.0.0.1", true},
                {"127.0.0.1:9", true},
                {"[::1]", true},
                {"[::1]:80", true},
                {"LOCALHOST", true},
                {"evil.example", false},
                {"localhost.evil.com", false},
                {"127.0.0.1.nip.io", false},
                {"", false},
                {"192.168.0.1", false},
                {"localhost:80@evil", false},
                {"[::1].evil", false},
                {"[::2]", false},
                {"128.0.0.1", false},
                {"localhost:x", false},
        };
        _cleanup_harness_ Harness *h = harness_new(TCP);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *headers = strf("Host: %s\r\n" BEARER("admin"), cases[i].host);
                _cleanup_free_ char *a = ask_tcp(h, "GET /v1", headers, NULL);
                _cleanup_free_ char *b = ask(h, "GET /v1", headers, NULL);

                if (!cases[i].local) {
                        assert_problem(a, 403, "bad-host");
                } else
                        assert_int_equal(answer_status(a), 200);
                /* The Unix socket is reached by no web page. */
                assert_int_equal(answer_status(b), 200);
        }
}

static void pages_of_other_origins_are_refused(void **state) {
        static const char *const origins[] = {"https://dash.example", NULL};
        _cleanup_harness_ Harness *h =
                harness_new(&(HttpConfig){.listen = "127.0.0.1:0", .origins = origins});
        _cleanup_free_ char *own = strf("http://localhost:%u", h->port);
        const struct {
                const char *origin;
                bool allowed;
        } cases[] = {
                {own, true},
                {"https://dash.example", true},
                {"http://localhost:1", false},
                {"https://localhost", false},
                {"null", false},
                {"https://dash.example.evil", false},
                {"http://evil.example", false},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *headers =
                        strf("Origin: %s\r\n" BEARER("admin"), cases[i].origin);
                _cleanup_free_ char *a = ask_tcp(h, "POST /v1/jobs/1/cancel", headers, NULL);

                if (cases[i].allowed)
                        assert_int_equal(answer_status(a), 200);
                else {
                        assert_problem(a, 403, "bad-origin");
                }
        }
}

static void only_loopback_is_listened_on(void **state) {
        static const struct {
                const char *text;
                bool good;
        } cases[] = {
                {"127.0.0.1:0", true},      {"[::1]:8080", true},
                {"localhost:80", true},     {"127.9.9.9:1", true},
                {"0.0.0.0:80", false},      {"[::]:80", false},
                {"example.org:80", false},  {":80", false},
                {"127.0.0.1", false},       {"127.0.0.1:", false},
                {"127.0.0.1:65536", false}, {"127.0.0.1:8x", false},
                {"10.0.0.1:80", false},     {"127.0.0.1:-1", false},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_error_ Error error = ERROR_INIT;
                _cleanup_free_ char *host = NULL;
                unsigned port;
                int r = listen_parse(cases[i].text, &host, &port, &error);

                if ((r >= 0) != cases[i].good)
                        fail_msg("%s: %d", cases[i].text, r);
                assert_true(r >= 0 || error.message);
        }
}

/* Asks as another user; the child's exit code is the status by hundreds and whether it is 403. */
static unsigned ask_as(Harness *h, uid_t uid, gid_t gid, const gid_t *groups, size_t n,
                       const char *request) {
        _cleanup_free_ char *text =
                strf("%s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", request);
        int pair[2], status;
        char answer[64] = "";
        pid_t pid;

        assert_int_equal(pipe(pair), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                int fd = -1;

                if (setgroups(n, groups) == 0 && setgid(gid) == 0 && setuid(uid) == 0) {
                        struct sockaddr_un address = {.sun_family = AF_UNIX};

                        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s",
                                        h->socket);
                        fd = socket(AF_UNIX, SOCK_STREAM, 0);
                        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                                _exit(3);
                }
                if (write(fd, text, strlen(text)) < 0 || read(fd, answer, sizeof(answer)) < 0 ||
                    write(pair[1], answer, sizeof(answer)) < 0)
                        _exit(4);
                _exit(0);
        }
        (void) close(pair[1]);
        while (waitpid(pid, &status, WNOHANG) == 0)
                harness_turn(h, 5);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 0)
                assert_true(read(pair[0], answer, sizeof(answer)) > 0);
        (void) close(pair[0]);
        return WEXITSTATUS(status) == 0 ? answer_status(answer) : 0;
}

static void peers_have_the_role_that_they_are_due(void **state) {
        gid_t operators, nobody = 65534;
        _cleanup_harness_ Harness *h = NULL;
        struct group *group;

        if (geteuid() != 0)
                skip(); /* only root can become somebody else */
        group = getgrnam("daemon");
        assert_non_null(group);
        operators = group->gr_gid;
        h = harness_new(&(HttpConfig){.group = "daemon"});
        assert_int_equal(chmod(h->dir, 0755), 0);
        /* Who is in the group operates, by its first group or a further one. */
        assert_int_equal(ask_as(h, 65534, operators, NULL, 0, "POST /v1/jobs/1/cancel"), 200);
        assert_int_equal(ask_as(h, 65534, nobody, &operators, 1, "POST /v1/jobs/1/cancel"), 200);
        assert_int_equal(ask_as(h, 65534, operators, NULL, 0, "GET /v1/tokens"), 403);
        assert_true(startswith(json_string_value(json_object_get(h->engine->last, "who")),
                               "uid:65534"));
        /* The socket is closed to others, and even a socket that is not lets nobody in. */
        assert_int_equal(ask_as(h, 65534, nobody, NULL, 0, "GET /v1"), 0);
        assert_int_equal(chmod(h->socket, 0666), 0);
        assert_int_equal(ask_as(h, 65534, nobody, NULL, 0, "GET /v1"), 403);
        assert_int_equal(ask_as(h, 0, nobody, NULL, 0, "GET /v1/tokens"), 200);
}

static void others_look_when_the_config_lets_them(void **state) {
        _cleanup_harness_ Harness *h = NULL;

        if (geteuid() != 0)
                skip();
        h = harness_new(&(HttpConfig){.others_view = true});
        assert_int_equal(chmod(h->dir, 0755), 0);
        assert_int_equal(ask_as(h, 65534, 65534, NULL, 0, "GET /v1"), 200);
        assert_int_equal(ask_as(h, 65534, 65534, NULL, 0, "POST /v1/jobs/1/cancel"), 403);
}

static void a_socket_that_is_left_over_is_replaced(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_(http_freep) HttpServer *second = NULL;
        _cleanup_free_ char *left = strf("%s/left", h->dir);
        HttpConfig config = {.socket = left};
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct stat st;
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", left);
        assert_int_equal(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        (void) close(fd);
        assert_int_equal(http_new(h->event, h->engine, &config, &second, &error), 0);
        assert_int_equal(stat(left, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0660);
}

static void a_socket_that_somebody_answers_on_is_left_alone(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_error_ Error error = ERROR_INIT;
        HttpConfig config = {.socket = h->socket};
        HttpServer *second = NULL;
        _cleanup_free_ char *a = NULL;

        assert_int_equal(http_new(h->event, h->engine, &config, &second, &error), -EADDRINUSE);
        assert_non_null(strstr(error.message, "another daemon answers"));
        a = ask(h, "GET /v1", NULL, NULL);
        assert_int_equal(answer_status(a), 200);
}

static void what_is_no_socket_is_never_removed(void **state) {
        _cleanup_harness_ Harness *h = harness_new(NULL);
        _cleanup_error_ Error error = ERROR_INIT;
        _cleanup_free_ char *file = strf("%s/file", h->dir);
        HttpConfig config = {.socket = file};
        HttpServer *second = NULL;

        assert_int_equal(file_write_atomic(AT_FDCWD, file, "x", 1, 0600), 0);
        assert_int_equal(http_new(h->event, h->engine, &config, &second, &error), -EEXIST);
        assert_int_equal(access(file, F_OK), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(on_tcp_a_token_is_needed),
                cmocka_unit_test(every_call_has_its_least_role),
                cmocka_unit_test(changes_by_token_name_the_token),
                cmocka_unit_test(on_tcp_only_names_of_this_machine_are_hosts),
                cmocka_unit_test(pages_of_other_origins_are_refused),
                cmocka_unit_test(only_loopback_is_listened_on),
                cmocka_unit_test(peers_have_the_role_that_they_are_due),
                cmocka_unit_test(others_look_when_the_config_lets_them),
                cmocka_unit_test(a_socket_that_is_left_over_is_replaced),
                cmocka_unit_test(a_socket_that_somebody_answers_on_is_left_alone),
                cmocka_unit_test(what_is_no_socket_is_never_removed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
