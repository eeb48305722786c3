/* SPDX-License-Identifier: MIT */
/* RFC 6901: see pointer.h. */
#include "daemon/step/pointer.h"

/* An index is 0 or digits that do not begin with 0; all else is none ("01", "-", "x"). */
static const json_t *array_item(const json_t *array, const char *key) {
        size_t n = strspn(key, "0123456789");

        if (n == 0 || key[n] || n > 9 || (key[0] == '0' && n > 1))
                return NULL;
        return json_array_get(array, strtoul(key, NULL, 10));
}

static char *unescape(const char *from, size_t n) {
        char *key = malloc(n + 1);
        size_t k = 0;

        for (size_t i = 0; key && i < n; i++)
                if (from[i] == '~' && i + 1 < n && strchr("01", from[i + 1]))
                        key[k++] = from[++i] == '0' ? '~' : '/';
                else
                        key[k++] = from[i];
        if (key)
                key[k] = '\0';
        return key;
}

const json_t *pointer_get(const json_t *value, const char *pointer) {
        while (value && *pointer == '/') {
                size_t n = strcspn(++pointer, "/");
                _cleanup_free_ char *key = unescape(pointer, n);

                if (!key)
                        return NULL;
                pointer += n;
                value = json_is_array(value) ? array_item(value, key) : json_object_get(value, key);
        }
        return *pointer ? NULL : value;
}
