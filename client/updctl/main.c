/* SPDX-License-Identifier: MIT */
/*
 * updctl: tells updd over HTTP what to do and shows what it does. It knows nothing that the API
 * does not say. Here: the command line's common options, and the daemon's address.
 */
#include <curl/curl.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>

#include "client/updctl/ctl.h"
#include "client/updctl/tunnel.h"

#define TOKEN_SIZE_MAX 4096

static char *default_socket(void) {
        const char *runtime = getenv("XDG_RUNTIME_DIR");

        if (geteuid() == 0)
                return strdup("/run/updd/updd.sock");
        if (!isempty(runtime))
                return strf("%s/updd/updd.sock", runtime);
        return strf("/tmp/updd-%lu/updd.sock", (unsigned long) geteuid());
}

/* The bearer token of --token-file or UPDD_TOKEN; *ret NULL when there is none. */
static int read_token(Ctl *ctl, char **ret) {
        const char *path = args_value(ctl->args, OPT_TOKEN_FILE), *given = getenv("UPDD_TOKEN");
        size_t size;
        int r;

        if (!path) {
                *ret = given ? strdup(given) : NULL;
                return 0;
        }
        r = file_read(AT_FDCWD, path, TOKEN_SIZE_MAX, ret, &size);
        if (r < 0)
                return tell(ctl, EXIT_REFUSED, "cannot read the token from %s: %s", path,
                            strerror(-r));
        (*ret)[strcspn(*ret, "\r\n")] = '\0';
        return 0;
}

typedef struct Address {
        char *socket, *token;
        const char *url;
        Tunnel *tunnel;
} Address;

static void address_done(Address *a) {
        free(a->socket);
        free(a->token);
        tunnel_free(a->tunnel);
}

/* An option beats the environment, and of the options the one that is there. */
static int find_daemon(Ctl *ctl, Address *a) {
        const char *socket = args_value(ctl->args, OPT_SOCKET), *env = getenv("UPDD_SOCKET");
        const char *host = args_value(ctl->args, OPT_HOST);
        _cleanup_error_ Error error = ERROR_INIT;

        a->url = args_value(ctl->args, OPT_URL);
        if (!!socket + !!a->url + !!host > 1 && !(socket && host))
                return tell(ctl, EXIT_USAGE,
                            "--url names a daemon, and --socket or --host another");
        if (host) {
                if (tunnel_new(host, socket, &a->tunnel, &error) < 0)
                        return tell_error(ctl, EXIT_UNREACHABLE, &error);
                a->socket = strdup(tunnel_socket(a->tunnel));
                return 0;
        }
        if (!a->url && !socket && isempty(env) && !isempty(getenv("UPDD_URL")))
                a->url = getenv("UPDD_URL");
        if (a->url)
                return read_token(ctl, &a->token);
        a->socket = socket ? strdup(socket) : !isempty(env) ? strdup(env) : default_socket();
        return 0;
}

static int run_command(Ctl *ctl) {
        _cleanup_(client_freep) Client *client = NULL;
        _cleanup_(address_done) Address address = {0};
        _cleanup_error_ Error error = ERROR_INIT;
        int r;

        if (ctl->args->command && ctl->args->command->func == cmd_help)
                return cmd_help(ctl);
        r = find_daemon(ctl, &address);
        if (r > 0)
                return r;
        r = client_new(&(ClientConfig){.socket = address.socket,
                                       .url = address.url,
                                       .token = address.token},
                       &client, &error);
        if (r < 0)
                return tell_error(ctl, EXIT_REFUSED, &error);
        ctl->client = client;
        return ctl->args->command ? ctl->args->command->func(ctl) : cmd_overview(ctl);
}

static int dispatch(Ctl *ctl) {
        if (args_has(ctl->args, OPT_VERSION)) {
                put(ctl->out, PLAIN, "updctl %s\n", UPDD_VERSION);
                return EXIT_AS_ASKED;
        }
        if (args_has(ctl->args, OPT_HELP))
                return ctl->args->command ? help_command(ctl->out, ctl->args->command)
                                          : help_all(ctl->out);
        return run_command(ctl);
}

int main(int argc, char **argv) {
        _cleanup_(args_done) Args args = {0};
        Screen out, err;
        int r;

        (void) setlocale(LC_CTYPE, "");
        (void) signal(SIGPIPE, SIG_IGN);
        screen_init(&err, stderr, false);
        r = args_parse(&args, argc, argv, &err);
        screen_init(&out, stdout, args_has(&args, OPT_NO_COLOR));
        screen_init(&err, stderr, args_has(&args, OPT_NO_COLOR));
        if (r == 0) {
                Ctl ctl = {
                        .args = &args, .out = &out, .err = &err, .json = args_has(&args, OPT_JSON)};

                ctl.ask = out.tty && isatty(STDIN_FILENO) && !ctl.json;
                (void) curl_global_init(CURL_GLOBAL_DEFAULT);
                r = dispatch(&ctl);
                curl_global_cleanup();
        }
        if (fflush(stdout) != 0 || ferror(stdout))
                r = r > 0 ? r : EXIT_REFUSED;
        return r;
}
