/* SPDX-License-Identifier: MIT */
/*
 * The database file, byte for byte: what a bad disk or another program left of it. It is opened,
 * verified, loaded and shown, or refused with the reason and left as it was.
 */
#include <fcntl.h>

#include "daemon.h"

static bool is_unchanged(const char *dir, const uint8_t *data, size_t size) {
        _cleanup_free_ char *path = path_join(dir, "updd.db"), *text = NULL;
        size_t now = 0;

        if (file_read(AT_FDCWD, path, SIZE_MAX / 2, &text, &now) < 0)
                return false;
        return now == size && (size == 0 || memcmp(text, data, size) == 0);
}

/* A file as updd leaves them says that its changes go to a log; another one is made so first. */
static bool has_log(const uint8_t *data, size_t size) {
        return size >= 100 && data[18] == 2 && data[19] == 2;
}

static void hold_refusal(const char *dir, const uint8_t *data, size_t size) {
        _cleanup_(store_freep) Store *store = NULL;
        _cleanup_error_ Error error = ERROR_INIT;
        int r = store_open(dir, &store, &error);

        if (r >= 0)
                return;
        PROMISED(error.message && error.type);
        store = store_free(store);
        if ((r == -EUCLEAN || r == -ENOTSUP) && has_log(data, size))
                PROMISED(is_unchanged(dir, data, size));
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *dir = path_join(fuzz_folder(), "database");
        _cleanup_error_ Error error = ERROR_INIT, verdict = ERROR_INIT;
        json_auto_t *findings = NULL, *found = NULL;
        static Section ask[] = {{.name = (char *) "confirm", .text = (char *) ""},
                                {.name = (char *) "rollback", .text = (char *) ""}};
        static const Sections verbs = {.list = ask, .n = ELEMENTSOF(ask)};
        Daemon d;

        if (mkdir_parents(dir, 0700) < 0)
                abort();
        file_put(dir, "updd.db", data, size);
        if (engine_check_state(dir, &findings, &found, &verdict) < 0)
                PROMISED(verdict.message);
        PROMISED(is_unchanged(dir, data, size));
        hold_refusal(dir, data, size);
        if (daemon_open(dir, &d, &error) < 0)
                PROMISED(error.message && error.type);
        else {
                daemon_look(&d);
                daemon_turn(&d);
                daemon_calls(&d, STATE_GATE, &verbs);
                daemon_look(&d);
                daemon_close(&d);
        }
        folder_remove(dir);
        return 0;
}
