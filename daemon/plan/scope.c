/* SPDX-License-Identifier: MIT */
/* Names and what a scope has for them: see daemon/plan/scope.h. */
#include "daemon/plan/scope.h"

#include <ctype.h>

#include "api/args.h"

#define NAME_MAX_BYTES 512

static const char *const job_fields[] = {"id", "dir", "stamp", "date", "took", "target", "plan"};

static size_t word_span(const char *text) {
        size_t n = 0;

        while (isalnum((unsigned char) text[n]) || text[n] == '_' || text[n] == '-')
                n++;
        return n;
}

size_t scope_name_span(const char *text) {
        size_t size = word_span(text), words = 1;

        if (!isalpha((unsigned char) *text))
                return 0;
        for (; text[size] == '.'; words++) {
                size_t n = word_span(text + size + 1);

                if (n == 0)
                        return 0;
                size += 1 + n;
        }
        return words > 1 && size <= NAME_MAX_BYTES ? size : 0;
}

static size_t count_words(const char *name) {
        size_t n = 1;

        for (; *name; name++)
                n += *name == '.';
        return n;
}

static bool is_job_field(const char *field) {
        for (size_t i = 0; i < ELEMENTSOF(job_fields); i++)
                if (streq(job_fields[i], field))
                        return true;
        return false;
}

int scope_name_check(const char *name, Error *reterr) {
        size_t words = count_words(name);

        if ((startswith(name, "in.") || startswith(name, "secret.")) && words == 2)
                return 0;
        if (startswith(name, "db.") && words == 3 && endswith(name, ".url"))
                return 0;
        if (startswith(name, "steps.") && words >= 3)
                return 0;
        if (startswith(name, "job.") && is_job_field(name + strlen("job.")))
                return 0;
        return error_set(reterr, EINVAL, "bad-name",
                         "'%s' is not a name that can be used here, expected in.N, secret.N, "
                         "db.N.url, steps.ID.KEY or job.id, dir, stamp, date, took, target, plan",
                         name);
}

int scope_find(const json_t *scope, const char *name, const json_t **ret, Error *reterr) {
        char words[NAME_MAX_BYTES + 1];
        const json_t *at = scope;
        char *save = NULL;
        int r;

        r = scope_name_check(name, reterr);
        if (r < 0)
                return r;
        if (startswith(name, "secret.") || strlen(name) > NAME_MAX_BYTES)
                return error_set(reterr, EINVAL, "bad-name", "'%.60s' cannot be used here", name);

        memcpy(words, name, strlen(name) + 1);
        for (char *word = strtok_r(words, ".", &save); word && at;
             word = strtok_r(NULL, ".", &save))
                at = json_object_get(at, word);
        if (!at && !startswith(name, "steps."))
                return error_set(reterr, ENOKEY, "undefined-name", "'%s' is not defined", name);
        *ret = json_is_null(at) ? NULL : at;
        return 0;
}

bool scope_is_secret(const json_t *value) {
        const json_t *secret = json_object_get(value, "$secret");

        return json_object_size(value) == 1 && (json_is_string(secret) || json_is_array(secret));
}

char *scope_value_text(const json_t *value) {
        if (!value || json_is_null(value))
                return strdup("");
        if (json_is_string(value))
                return strdup(json_string_value(value));
        return json_canonical(value);
}

static int compare_texts(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

json_t *scope_sorted_keys(const json_t *object) {
        size_t n = json_object_size(object), i = 0;
        json_auto_t *list = json_array();
        _cleanup_free_ const char **keys = calloc(n + 1, sizeof(*keys));
        const char *key;
        json_t *value;

        if (!list || !keys)
                return NULL;
        json_object_foreach ((json_t *) object, key, value)
                keys[i++] = key;
        qsort(keys, n, sizeof(*keys), compare_texts);
        for (i = 0; i < n; i++)
                if (json_array_append_new(list, json_string(keys[i])) < 0)
                        return NULL;
        return TAKE(list);
}
