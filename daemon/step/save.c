/* SPDX-License-Identifier: MIT */
/* Outputs taken out of a text: see command.h. */
#include "api/text.h"
#include "daemon/step/command.h"
#include "daemon/step/match.h"
#include "daemon/step/pointer.h"

static char *value_text(const json_t *value) {
        if (json_is_string(value))
                return strdup(json_string_value(value));
        return json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
}

static int find_json(const char *name, const char *pointer, const char *text, size_t size,
                     char **ret, Error *reterr) {
        json_error_t where;
        json_auto_t *value = json_loadb(text, size, JSON_DECODE_ANY, &where);
        const json_t *found;

        if (!value)
                return error_set(reterr, EBADMSG, "save",
                                 "'%s' cannot be saved: the output is no JSON (%s)", name,
                                 where.text);
        found = pointer_get(value, pointer);
        if (!found)
                return error_set(reterr, ENOENT, "save",
                                 "'%s' cannot be saved: the output has nothing at '%s'", name,
                                 pointer);
        *ret = value_text(found);
        return *ret ? 0 : error_oom(reterr);
}

static int find_regex(const char *name, const char *regex, const char *text, size_t size,
                      char **ret, Error *reterr) {
        int r = match_text(regex, text, size, ret, reterr);

        if (r < 0)
                return r;
        if (r == 0)
                return error_set(reterr, ENOENT, "save",
                                 "'%s' cannot be saved: the output does not match '%s'", name,
                                 regex);
        return 0;
}

/* A secret is handed on and masked as it stands there: it must not be another text by now. */
static int put_secret(Step *s, const char *name, const char *found, bool is_text, Error *reterr) {
        if (!is_text && strstr(found, "\xef\xbf\xbd"))
                return error_set(reterr, EILSEQ, "save",
                                 "'%s' cannot be saved as a secret: it is no UTF-8 text", name);
        return step_output_secret(s, name, found);
}

static int save_one(Step *s, const char *name, const json_t *how, const char *text, size_t size,
                    Error *reterr) {
        const char *regex = args_text(how, "regex", NULL), *json = args_text(how, "json", NULL);
        _cleanup_free_ char *found = NULL;
        bool secret;
        int r;

        r = args_bool(how, "secret", false, &secret, reterr);
        if (r < 0)
                return r;
        if (json)
                r = find_json(name, json, text, size, &found, reterr);
        else
                r = find_regex(name, regex ? regex : "(?s).*", text, size, &found, reterr);
        if (r < 0)
                return r;
        r = secret ? put_secret(s, name, found, utf8_is_text(text, size), reterr)
                   : step_output(s, name, json_string(found));
        if (r < 0 && r != -EILSEQ)
                return error_set(reterr, -r, "save", "'%s' cannot be saved: %s", name,
                                 strerror(-r));
        return r;
}

bool save_has_secret(const json_t *save) {
        const char *name;
        json_t *how;

        json_object_foreach ((json_t *) save, name, how) {
                bool secret = true;

                (void) !args_bool(how, "secret", false, &secret, NULL);
                if (secret)
                        return true;
        }
        return false;
}

int save_outputs(Step *s, const json_t *save, const char *text, size_t size, Error *reterr) {
        const char *name;
        json_t *how;

        json_object_foreach ((json_t *) save, name, how) {
                int r = save_one(s, name, how, text, size, reterr);

                if (r < 0)
                        return r;
        }
        return 0;
}
