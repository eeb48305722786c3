/* SPDX-License-Identifier: MIT */
/* Bearer tokens: made here, shown once, kept as SHA-256. */
#include "api/args.h"
#include "daemon/engine/internal.h"

static Role role_from_text(const char *text) {
        static const char *const names[] = {NULL, "view", "operate", "admin"};

        for (size_t i = 1; i < ELEMENTSOF(names); i++)
                if (streq0(text, names[i]))
                        return (Role) i;
        return ROLE_NONE;
}

static bool name_is_valid(const char *name) {
        size_t n =
                strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

        return n > 0 && n <= 64 && !name[n];
}

static int token_add(Batch *b, Call *call, Reply *reply) {
        const char *name = args_text(call->body, "name", ""),
                   *role = args_text(call->body, "role", "");
        char first[ID128_TEXT_MAX], second[ID128_TEXT_MAX], hash[SHA256_TEXT_MAX];
        _cleanup_free_ char *token = NULL;
        int r;

        if (!name_is_valid(name))
                return error_set(&reply->error, EINVAL, "bad-request",
                                 "'name' must be 1 to 64 letters, digits, '-', '_' or '.'");
        if (role_from_text(role) == ROLE_NONE)
                return error_set(&reply->error, EINVAL, "bad-request",
                                 "'role' must be view, operate or admin");
        if (id128_random(first) < 0 || id128_random(second) < 0)
                return error_set(&reply->error, EIO, "internal", "No random numbers");
        token = strf("updd_%s%s", first, second);
        if (!token)
                return error_oom(&reply->error);
        sha256_text(token, strlen(token), hash);
        r = store_token_put(b->engine->store, name, role, hash, now_wall_ms(), call->who,
                            &reply->error);
        if (r < 0)
                return r;
        reply->body = json_pack("{s:s, s:s, s:s}", "name", name, "role", role, "token", token);
        reply->created = true;
        b->tokens_changed = true;
        return reply->body ? 0 : error_oom(&reply->error);
}

int call_token(Batch *b, Call *call, Reply *reply) {
        int r;

        if (call->kind == CALL_TOKEN_ADD)
                return token_add(b, call, reply);
        r = store_token_remove(b->engine->store, args_text(call->body, "name", ""), &reply->error);
        if (r < 0)
                return r;
        b->tokens_changed = true;
        return 0;
}

int engine_tokens(Engine *e, json_t **ret, Error *reterr) {
        json_auto_t *list = json_array();
        json_t *token;
        size_t i;

        json_array_foreach (e->tokens, i, token) {
                char time[TIME_TEXT_MAX];
                json_t *view = json_copy(token);

                (void) json_object_del(view, "hash");
                (void) json_put(
                        view, "created",
                        json_string(time_format(
                                json_integer_value(json_object_get(token, "created")), time)));
                if (json_array_append_new(list, view) < 0)
                        return error_oom(reterr);
        }
        *ret = json_pack("{s:O}", "tokens", list);
        return *ret ? 0 : error_oom(reterr);
}

/* Compares hashes, not tokens, and every byte of them: nothing can be learned from how long it
 * takes. */
static bool hash_equals(const char *a, const char *b) {
        unsigned char difference = 0;

        if (strlen(a) != strlen(b))
                return false;
        for (size_t i = 0; a[i]; i++)
                difference |= (unsigned char) (a[i] ^ b[i]);
        return difference == 0;
}

Role engine_token_role(Engine *e, const char *token, char **ret_name) {
        char hash[SHA256_TEXT_MAX];
        Role role = ROLE_NONE;
        json_t *entry;
        size_t i;

        sha256_text(token, strlen(token), hash);
        json_array_foreach (e->tokens, i, entry) {
                char *name;

                if (!hash_equals(args_text(entry, "hash", ""), hash))
                        continue;
                name = strdup(args_text(entry, "name", ""));
                if (!name)
                        return ROLE_NONE;
                *ret_name = name;
                role = role_from_text(args_text(entry, "role", ""));
                break;
        }
        return role;
}
