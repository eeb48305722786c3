/* SPDX-License-Identifier: MIT */
/* token: the bearer tokens of the TCP port. The token itself is shown once, alone on stdout. */
#include "api/text.h"
#include "client/updctl/ctl.h"

static int token_add(Ctl *ctl, const char *name) {
        const char *role = args_value(ctl->args, OPT_ROLE);
        _cleanup_response_ Response token = RESPONSE_INIT;
        json_auto_t *body = NULL;
        int r;

        if (!role)
                return tell(ctl, EXIT_USAGE, "token add needs --role view, operate or admin");
        body = json_pack("{s:s, s:s}", "name", name, "role", role);
        if (!body)
                return tell(ctl, EXIT_USAGE, "the token's name is not UTF-8");
        r = ctl_post(ctl, "/v1/tokens", body, &token);
        if (r > 0)
                return r;
        if (ctl->json)
                return put_json(ctl, &token);
        put(ctl->out, PLAIN, "%s\n", get_text(token.json, "token"));
        if (ctl->out->tty)
                put(ctl->err, DIM, "It is shown this once; updd keeps only its hash.\n");
        return EXIT_AS_ASKED;
}

static int token_list(Ctl *ctl) {
        _cleanup_response_ Response page = RESPONSE_INIT;
        json_t *token;
        size_t i;
        int r;

        r = ctl_get(ctl, &page, "/v1/tokens");
        if (r > 0)
                return r;
        if (ctl->json)
                return put_json(ctl, &page);
        json_array_foreach (json_object_get(page.json, "tokens"), i, token) {
                _cleanup_free_ char *when = when_text(get_time(token, "created"));

                put_cells(ctl->out, 0, {BOLD, 20, get_text(token, "name")},
                          {PLAIN, 8, get_text(token, "role")}, {DIM, 16, when},
                          {DIM, 0, get_text(token, "by")});
        }
        if (i == 0)
                put(ctl->out, PLAIN, "No token.\n");
        return EXIT_AS_ASKED;
}

static int token_remove(Ctl *ctl, const char *name) {
        _cleanup_free_ char *escaped = url_escape(name), *path = NULL;
        _cleanup_response_ Response answer = RESPONSE_INIT;
        int r;

        path = strf("/v1/tokens/%s", escaped ? escaped : "");
        r = ctl_call(ctl, &(Request){.method = "DELETE", .path = path}, &answer);
        if (r == 0 && !ctl->json)
                put(ctl->out, PLAIN, "token %s removed\n", name);
        return r;
}

int cmd_token(Ctl *ctl) {
        static const char *const verbs[] = {"add", "list", "remove"};
        const char *verb = args_word(ctl->args, 0), *name = args_word(ctl->args, 1), *nearest;

        if (streq(verb, "list") && !name)
                return token_list(ctl);
        if (streq(verb, "add") && name)
                return token_add(ctl, name);
        if (streq(verb, "remove") && name)
                return token_remove(ctl, name);
        nearest = guess(verb, verbs, ELEMENTSOF(verbs));
        (void) tell(ctl, EXIT_USAGE, "token takes: add NAME --role ROLE, list, remove NAME");
        if (nearest && !streq(nearest, verb))
                tell_hint(ctl, "did you mean '%s'?", nearest);
        return EXIT_USAGE;
}
