/* SPDX-License-Identifier: MIT */
/*
 * A target without a fuzzer: hands it each file it is given, and each file of each folder, once.
 *   fuzz_TARGET FILE|FOLDER...
 * It says on which input it was when it is killed, and fails when there is nothing to replay or when
 * one input takes longer than a person waits.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "api/text.h"
#include "fuzz.h"

#define PATIENCE_S 20

static const char *volatile current = "nothing";

/* Only what a signal handler may call. */
static void tell_current(int signal_number) {
        static const char before[] = "the input was ";

        (void) !write(STDERR_FILENO, before, sizeof(before) - 1);
        (void) !write(STDERR_FILENO, current, strlen(current));
        (void) !write(STDERR_FILENO, "\n", 1);
        (void) signal(signal_number, SIG_DFL);
        (void) raise(signal_number);
}

static unsigned replay_file(const char *path) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        uint8_t *copy;

        if (file_read(AT_FDCWD, path, SIZE_MAX / 2, &text, &size) < 0) {
                (void) fprintf(stderr, "%s cannot be read\n", path);
                exit(EXIT_FAILURE);
        }
        /* Exactly as large as it is, so that a look behind its end is seen. */
        copy = malloc(size);
        if (size > 0 && !copy)
                abort();
        if (size > 0)
                memcpy(copy, text, size);
        current = path;
        (void) alarm(PATIENCE_S);
        (void) LLVMFuzzerTestOneInput(copy, size);
        (void) alarm(0);
        current = "nothing";
        free(copy);
        return 1;
}

static unsigned replay(const char *path) {
        struct dirent **entries = NULL;
        struct stat st;
        unsigned count = 0;
        int n;

        if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
                return replay_file(path);
        n = scandir(path, &entries, NULL, alphasort);
        for (int i = 0; i < n; i++) {
                _cleanup_free_ char *inner = path_join(path, entries[i]->d_name);

                if (inner && entries[i]->d_name[0] != '.')
                        count += replay(inner);
                free(entries[i]);
        }
        free(entries);
        return count;
}

int main(int argc, char **argv) {
        int64_t begun = now_mono_us();
        unsigned count = 0;
        int bare = 1; /* what is replayed is no fuzzer's to write to */

        (void) LLVMFuzzerInitialize(&bare, &argv);
        (void) signal(SIGALRM, tell_current);
        (void) signal(SIGABRT, tell_current);
        for (int i = 1; i < argc; i++)
                count += replay(argv[i]);
        (void) fprintf(stderr, "%u inputs replayed in %lld ms\n", count,
                       (long long) (now_mono_us() - begun) / 1000);
        return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
