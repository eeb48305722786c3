/* SPDX-License-Identifier: MIT */
/*
 * The listening sockets: handed over by the service manager, or made here. A Unix socket that is
 * left over is replaced only when nobody answers on it; a TCP socket listens on loopback addresses
 * and on no others.
 */
#include "daemon/http/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "daemon/log.h"

typedef union Address {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
} Address;

static int unix_address(const char *path, Address *ret, Error *reterr) {
        size_t n = strlen(path);

        if (n >= sizeof(ret->un.sun_path))
                return error_set(reterr, ENAMETOOLONG, "bad-config",
                                 "the socket's path is longer than %zu bytes: %s",
                                 sizeof(ret->un.sun_path) - 1, path);
        *ret = (Address){.un = {.sun_family = AF_UNIX}};
        memcpy(ret->un.sun_path, path, n + 1);
        return 0;
}

/* Removes a socket on which nobody answers. 0: the place is free. */
static int clear_stale(const char *path, const Address *address, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0
                                       : error_set(reterr, errno, "bad-config",
                                                   "cannot look at %s: %m", path);
        if (!S_ISSOCK(st.st_mode))
                return error_set(reterr, EEXIST, "bad-config", "%s is there and is not a socket",
                                 path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_set(reterr, errno, "internal", "cannot make a socket: %m");
        /* EAGAIN: somebody's queue is full, so somebody is there. */
        if (connect(fd, &address->any, sizeof(address->un)) == 0 || errno == EAGAIN)
                return error_set(reterr, EADDRINUSE, "bad-config", "another daemon answers on %s",
                                 path);
        if (errno != ECONNREFUSED)
                return error_set(reterr, errno, "bad-config",
                                 "cannot tell whether somebody answers on %s: %m", path);
        if (unlink(path) < 0)
                return error_set(reterr, errno, "bad-config",
                                 "cannot replace the socket %s that nobody answers on: %m", path);
        return 0;
}

static int remember_socket(HttpServer *s, const char *path) {
        struct stat st;

        if (lstat(path, &st) < 0)
                return -errno;
        s->socket_path = strdup(path);
        if (!s->socket_path)
                return -ENOMEM;
        s->socket_device = st.st_dev;
        s->socket_inode = st.st_ino;
        return 0;
}

static int set_access(const HttpServer *s, const char *path) {
        /* Who may not change the group still has a socket, for its owner and root. */
        if (s->operators != (gid_t) -1 && chown(path, (uid_t) -1, s->operators) < 0)
                log_warning("cannot give %s to the operators' group: %m, ignoring", path);
        return chmod(path, s->others_view ? 0666 : 0660) < 0 ? -errno : 0;
}

/* Who may connect to a socket that the service manager made is said in its unit, and not changed
 * here: that an option is in vain because of it must be told. */
static void tell_closed(const HttpServer *s) {
        Address address = {0};
        socklen_t size = sizeof(address.un) - 1;
        struct stat st;

        if (!s->others_view || s->unix_listener.fd < 0 ||
            getsockname(s->unix_listener.fd, &address.any, &size) < 0 ||
            stat(address.un.sun_path, &st) < 0 || (st.st_mode & S_IWOTH))
                return;
        log_warning("others: view lets nobody in as long as %s is for its owner and group only; it "
                    "is systemd's: set SocketMode=0666 in a drop-in of updd.socket",
                    address.un.sun_path);
}

void listen_access(const HttpServer *s) {
        if (!s->socket_path)
                tell_closed(s);
        else if (set_access(s, s->socket_path) < 0)
                log_warning("cannot change who may use %s, ignoring: %m", s->socket_path);
}

static int open_unix(HttpServer *s, const char *path, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        Address address;
        mode_t mask;
        int r;

        r = unix_address(path, &address, reterr);
        if (r >= 0)
                r = clear_stale(path, &address, reterr);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_set(reterr, errno, "internal", "cannot make a socket: %m");
        mask = umask(0177);
        r = bind(fd, &address.any, sizeof(address.un)) < 0 ? -errno : 0;
        (void) umask(mask);
        if (r >= 0)
                r = remember_socket(s, path);
        if (r >= 0)
                r = set_access(s, path);
        if (r >= 0 && listen(fd, SOMAXCONN) < 0)
                r = -errno;
        if (r < 0)
                return error_set(reterr, -r, "bad-config", "cannot listen on %s: %s", path,
                                 strerror(-r));
        s->unix_listener.fd = TAKE_FD(fd);
        return 0;
}

static int parse_port(const char *text, unsigned *ret) {
        char *end;
        unsigned long n;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        errno = 0;
        n = strtoul(text, &end, 10);
        if (errno != 0 || *end || n > 65535)
                return -EINVAL;
        *ret = (unsigned) n;
        return 0;
}

static bool is_loopback(const char *host) {
        struct in6_addr in6;
        struct in_addr in;

        if (inet_pton(AF_INET, host, &in) == 1)
                return ntohl(in.s_addr) >> 24 == 127;
        if (inet_pton(AF_INET6, host, &in6) == 1)
                return IN6_IS_ADDR_LOOPBACK(&in6);
        return streq(host, "localhost");
}

int listen_parse(const char *text, char **ret_host, unsigned *ret_port, Error *reterr) {
        _cleanup_free_ char *host = NULL;
        const char *colon = strrchr(text, ':');
        size_t n = colon ? (size_t) (colon - text) : 0;
        unsigned port;

        if (!colon || parse_port(colon + 1, &port) < 0)
                return error_set(reterr, EINVAL, "bad-config",
                                 "listen takes HOST:PORT, as 127.0.0.1:8080, not '%s'", text);
        if (n > 2 && text[0] == '[' && text[n - 1] == ']')
                host = strndup(text + 1, n - 2);
        else
                host = strndup(text, n);
        if (!host)
                return error_oom(reterr);
        if (!is_loopback(host)) {
                (void) error_set(reterr, EINVAL, "bad-config",
                                 "listen takes loopback addresses only, and '%s' is none", host);
                error_hint(reterr, "from elsewhere use updctl -H HOST, or a reverse proxy with "
                                   "TLS on this machine");
                return -EINVAL;
        }
        *ret_host = TAKE(host);
        *ret_port = port;
        return 0;
}

static socklen_t tcp_address(const char *host, unsigned port, Address *ret) {
        *ret = (Address){0};
        if (strchr(host, ':')) {
                ret->in6.sin6_family = AF_INET6;
                ret->in6.sin6_port = htons((uint16_t) port);
                (void) inet_pton(AF_INET6, host, &ret->in6.sin6_addr);
                return sizeof(ret->in6);
        }
        ret->in.sin_family = AF_INET;
        ret->in.sin_port = htons((uint16_t) port);
        (void) inet_pton(AF_INET, streq(host, "localhost") ? "127.0.0.1" : host, &ret->in.sin_addr);
        return sizeof(ret->in);
}

/* Reads back what the socket is bound to; refuses what is not loopback. */
static int name_tcp(HttpServer *s, int fd, Error *reterr) {
        char host[INET6_ADDRSTRLEN] = "";
        socklen_t size = sizeof(Address);
        Address address = {0};
        bool six;

        if (getsockname(fd, &address.any, &size) < 0)
                return error_set(reterr, errno, "internal", "cannot read a socket's address: %m");
        six = address.any.sa_family == AF_INET6;
        (void) inet_ntop(address.any.sa_family,
                         six ? (void *) &address.in6.sin6_addr : (void *) &address.in.sin_addr,
                         host, sizeof(host));
        if (!is_loopback(host))
                return error_set(reterr, EINVAL, "bad-config",
                                 "only loopback addresses are listened on, and %s is none", host);
        s->tcp_listener.port = ntohs(six ? address.in6.sin6_port : address.in.sin_port);
        free(s->address);
        s->address = strf(six ? "[%s]:%u" : "%s:%u", host, s->tcp_listener.port);
        return s->address ? 0 : error_oom(reterr);
}

static int open_tcp(HttpServer *s, const char *text, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *host = NULL;
        unsigned port = 0;
        Address address;
        socklen_t size;
        int r, one = 1;

        r = listen_parse(text, &host, &port, reterr);
        if (r < 0)
                return r;
        size = tcp_address(host, port, &address);
        fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
            bind(fd, &address.any, size) < 0 || listen(fd, SOMAXCONN) < 0)
                return error_set(reterr, errno, "bad-config", "cannot listen on %s: %m", text);
        r = name_tcp(s, fd, reterr);
        if (r >= 0)
                s->tcp_listener.fd = TAKE_FD(fd);
        return r;
}

/* Takes over what the service manager listens on for us (sd_listen_fds(3)). */
static int take_activated(HttpServer *s, Error *reterr) {
        int n = sd_listen_fds(1), r;

        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
                if (sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0 && s->unix_listener.fd < 0)
                        s->unix_listener.fd = fd;
                else if (sd_is_socket_inet(fd, AF_UNSPEC, SOCK_STREAM, 1, 0) > 0 &&
                         s->tcp_listener.fd < 0) {
                        s->tcp_listener.fd = fd;
                        r = name_tcp(s, fd, reterr);
                        if (r < 0)
                                return r;
                } else
                        return error_set(reterr, EINVAL, "bad-config",
                                         "descriptor %d of socket activation is not one listening "
                                         "Unix or TCP stream socket of each kind",
                                         fd);
                if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
                        return error_set(reterr, errno, "internal",
                                         "cannot set up an activated socket: %m");
        }
        return 0;
}

int listen_open(HttpServer *s, const HttpConfig *config, Error *reterr) {
        int r;

        r = take_activated(s, reterr);
        if (r >= 0)
                tell_closed(s);
        if (r >= 0 && s->unix_listener.fd < 0 && config->socket)
                r = open_unix(s, config->socket, reterr);
        if (r >= 0 && s->tcp_listener.fd < 0 && config->listen)
                r = open_tcp(s, config->listen, reterr);
        return r;
}

void listen_close(HttpServer *s) {
        struct stat st;

        /* Only the socket that we made: by now another daemon's may stand there. */
        if (s->socket_path && lstat(s->socket_path, &st) == 0 && st.st_dev == s->socket_device &&
            st.st_ino == s->socket_inode)
                (void) unlink(s->socket_path);
        free(TAKE(s->socket_path));
}
