/* SPDX-License-Identifier: MIT */
/*
 * Secrets that the caller brings along: a file, stdin, or a variable of the environment. Never a
 * value on the command line, where every user of the machine can read it.
 */
#include <fcntl.h>

#include "client/updctl/ctl.h"

#define SECRET_SIZE_MAX (64u << 10)

/* One newline at the end is the editor's, not the secret's. */
static int read_secret(Ctl *ctl, const char *path, char **ret) {
        bool is_stdin = streq(path, "-");
        size_t size;
        int r;

        r = file_read(AT_FDCWD, is_stdin ? "/dev/stdin" : path, SECRET_SIZE_MAX, ret, &size);
        if (r < 0)
                return tell(ctl, EXIT_REFUSED, "cannot read the secret from %s: %s",
                            is_stdin ? "stdin" : path, strerror(-r));
        if (size > 0 && (*ret)[size - 1] == '\n')
                (*ret)[--size] = '\0';
        if (strlen(*ret) != size)
                return tell(ctl, EXIT_REFUSED, "the secret in %s is not a text", path);
        return 0;
}

static int add_secret(Ctl *ctl, json_t *secrets, const char *option) {
        const char *equals = strchr(option, '=');
        _cleanup_free_ char *name = NULL, *value = NULL;
        int r;

        if (!equals || equals == option || equals[1] != '@' || !equals[2]) {
                (void) tell(ctl, EXIT_USAGE, "--secret takes NAME=@FILE or NAME=@-");
                tell_hint(ctl, "a secret on the command line could be read by every user of this "
                               "machine: put it into a file");
                return EXIT_USAGE;
        }
        name = strndup(option, (size_t) (equals - option));
        r = name ? read_secret(ctl, equals + 2, &value) : EXIT_REFUSED;
        if (r > 0)
                return r;
        r = json_put(secrets, name, json_string(value));
        explicit_bzero(value, strlen(value));
        return r < 0 ? tell(ctl, EXIT_REFUSED, "the secret %s is not UTF-8", name) : 0;
}

int read_secrets(Ctl *ctl, json_t *secrets) {
        for (unsigned i = 0; i < ctl->args->n_values[OPT_SECRET]; i++) {
                int r = add_secret(ctl, secrets, ctl->args->values[OPT_SECRET][i]);

                if (r > 0)
                        return r;
        }
        return 0;
}
