/* SPDX-License-Identifier: MIT */
/*
 * Who asks, and what they may do. On the Unix socket the kernel says who connected: root and the
 * daemon's own user may do everything, members of the operators' group operate, others look if the
 * config lets them. On TCP a bearer token says it, and Host and Origin must be this machine's own,
 * so that no web page can drive the daemon through its visitor's browser.
 */
#include "daemon/http/server.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/socket.h>

#define PASSWD_MAX (4U * 1024 * 1024)

/* The peer's supplementary groups as the kernel had them at connect(2) (socket(7)). Caller frees.
 */
static int peer_groups(int fd, gid_t **ret, size_t *ret_n) {
        _cleanup_free_ gid_t *groups = NULL;
        socklen_t size = 0;

        /* With no room the kernel says how much it needs. */
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) < 0 && errno != ERANGE)
                return -errno;
        groups = malloc(MAX(size, (socklen_t) sizeof(gid_t)));
        if (!groups)
                return -ENOMEM;
        if (size > 0 && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
                return -errno;
        *ret_n = size / sizeof(gid_t);
        *ret = TAKE(groups);
        return 0;
}

static int peer_in_group(int fd, gid_t primary, gid_t wanted) {
        _cleanup_free_ gid_t *groups = NULL;
        size_t n = 0;
        int r;

        if (wanted == (gid_t) -1 || primary == wanted)
                return wanted != (gid_t) -1;
        r = peer_groups(fd, &groups, &n);
        for (size_t i = 0; r >= 0 && i < n; i++)
                if (groups[i] == wanted)
                        return 1;
        return r == -ENOMEM ? r : 0;
}

Peer *peer_new(const HttpServer *s, int fd) {
        _cleanup_free_ Peer *peer = calloc(1, sizeof(Peer));
        struct ucred cred = {.uid = (uid_t) -1, .gid = (gid_t) -1};
        socklen_t size = sizeof(cred);
        int r;

        if (!peer)
                return NULL;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0) {
                peer->uid = (uid_t) -1;
                return TAKE(peer);
        }
        peer->uid = cred.uid;
        if (cred.uid == 0 || cred.uid == geteuid())
                peer->role = ROLE_ADMIN;
        else {
                r = peer_in_group(fd, cred.gid, s->operators);
                if (r < 0)
                        return NULL; /* nobody is refused for what was not looked up */
                peer->role = r > 0 ? ROLE_OPERATE : s->others_view ? ROLE_VIEW : ROLE_NONE;
        }
        return TAKE(peer);
}

/* "localhost", "127.x.y.z", "[::1]", each with or without a port. A tunnel may give another port,
 * and the port is no part of what keeps a foreign name out. */
static bool host_is_local(const char *host, size_t size, unsigned *ret_port) {
        const char *port = memchr(host, ':', size);
        struct in_addr in;
        char name[64];
        size_t n;

        if (size > 0 && host[0] == '[') {
                const char *end = memchr(host, ']', size);

                port = end && end + 1 < host + size ? end + 1 : NULL;
                if (!end || (port && *port != ':'))
                        return false;
        }
        n = port ? (size_t) (port - host) : size;
        if (n == 0 || n >= sizeof(name))
                return false;
        memcpy(name, host, n);
        name[n] = '\0';
        *ret_port = 0;
        for (const char *p = port ? port + 1 : NULL; p && p < host + size; p++) {
                if (!isdigit((unsigned char) *p) || *ret_port > 65535)
                        return false;
                *ret_port = *ret_port * 10 + (unsigned) (*p - '0');
        }
        return strcasecmp(name, "localhost") == 0 || streq(name, "[::1]") ||
               (inet_pton(AF_INET, name, &in) == 1 && ntohl(in.s_addr) >> 24 == 127);
}

static int check_host(const Request *q, Error *reterr) {
        const char *host = request_header(q, MHD_HTTP_HEADER_HOST);
        unsigned port;

        if (q->listener->is_unix || (host && host_is_local(host, strlen(host), &port)))
                return 0;
        (void) error_set(reterr, EPERM, "bad-host", "'%s' is not a name of this machine",
                         host ? host : "");
        error_hint(reterr, "use localhost, 127.0.0.1 or [::1]");
        return -EPERM;
}

static int check_origin(const Request *q, Error *reterr) {
        const char *origin = request_header(q, MHD_HTTP_HEADER_ORIGIN);
        unsigned port;

        if (!origin)
                return 0;
        for (const char *const *o = q->server->origins; *o; o++)
                if (strcasecmp(*o, origin) == 0)
                        return 0;
        /* Another port of this machine is another site. */
        if (!q->listener->is_unix && strncasecmp(origin, "http://", 7) == 0 &&
            host_is_local(origin + 7, strlen(origin + 7), &port) &&
            (port > 0 ? port : 80) == q->listener->port)
                return 0;
        (void) error_set(reterr, EPERM, "bad-origin", "pages of '%s' may not use this API", origin);
        error_hint(reterr, "name it under 'origins' in the daemon's config if they should");
        return -EPERM;
}

static int check_token(Request *q, Error *reterr) {
        const char *header = request_header(q, MHD_HTTP_HEADER_AUTHORIZATION);

        if (!header)
                return error_set(reterr, EACCES, "unauthorized", "a bearer token is needed here");
        if (strncasecmp(header, "Bearer ", 7) != 0)
                return error_set(reterr, EACCES, "unauthorized",
                                 "only bearer tokens are accepted here");
        header += 7;
        header += strspn(header, " ");
        q->role = engine_token_role(q->server->engine, header, &q->token);
        if (q->role == ROLE_NONE)
                return error_set(reterr, EACCES, "unauthorized", "this token is not known");
        return 0;
}

static int check_peer(Request *q, Error *reterr) {
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(q->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        const Peer *peer = info ? info->socket_context : NULL;

        if (!peer)
                return error_oom(reterr);
        q->uid = peer->uid;
        q->role = peer->role;
        if (q->role != ROLE_NONE)
                return 0;
        (void) error_set(reterr, EPERM, "forbidden", "user %ld may not use this daemon",
                         (long) q->uid);
        error_hint(reterr, "members of the group updd may operate, root may do everything");
        return -EPERM;
}

int auth_check(Request *q, Error *reterr) {
        int r;

        r = check_host(q, reterr);
        if (r >= 0)
                r = check_origin(q, reterr);
        if (r < 0)
                return r;
        return q->listener->is_unix ? check_peer(q, reterr) : check_token(q, reterr);
}

/* From /etc/passwd alone: a name service may ask the network, and this loop must not wait for it.
 */
static int local_user_name(uid_t uid, char **ret) {
        _cleanup_free_ char *text = NULL;
        int r = file_read(AT_FDCWD, "/etc/passwd", PASSWD_MAX, &text, NULL);

        /* Who asks is a part of what is asked: it has the same name each time. */
        if (r < 0)
                return r == -ENOENT || r == -EFBIG ? 0 : r;
        for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                size_t n = strcspn(line, ":\n");
                const char *secret = line[n] == ':' ? line + n + 1 : NULL;
                const char *number = secret ? secret + strcspn(secret, ":\n") : NULL;
                char *end;

                if (n == 0 || !number || *number != ':' || strtoul(number + 1, &end, 10) != uid ||
                    end == number + 1 || *end != ':')
                        continue;
                *ret = strndup(line, n);
                return *ret ? 0 : -ENOMEM;
        }
        return 0;
}

char *auth_who(const Request *q) {
        _cleanup_free_ char *name = NULL;

        if (!q->listener->is_unix)
                return strf("token:%s", q->token ? q->token : "");
        if (local_user_name(q->uid, &name) < 0)
                return NULL;
        return name ? strf("uid:%ld (%s)", (long) q->uid, name) : strf("uid:%ld", (long) q->uid);
}
