/* SPDX-License-Identifier: MIT */
/*
 * When updd ran: one row for each run, so that the next one can say when this one was last there,
 * whether it ended or died, and which version it was.
 */
#include "daemon/engine/internal.h"
#include "daemon/log.h"

static void tell_migration(const Engine *e) {
        const char *copy = NULL;
        int from = store_migrated(e->store, &copy);

        if (from > 0)
                log_info(
                        "the database was of schema %d and is migrated; as it was it is kept in %s",
                        from, copy);
}

static void tell_run_before(const RunRow *run) {
        char time[TIME_TEXT_MAX];

        if (run->ended == 0)
                log_message(LOG_LEVEL_WARNING, MESSAGE_DAEMON_DIED,
                            "updd %s did not end, it died; its last sign is of %s", run->version,
                            time_format(run->seen, time));
        if (!streq(run->version, UPDD_VERSION))
                log_info("updd %s follows updd %s", UPDD_VERSION, run->version);
}

static int run_add(Engine *e, Error *reterr) {
        char boot[ID128_TEXT_MAX];

        if (boot_id_read(boot) < 0)
                boot[0] = '\0';
        return store_run_add(e->store, UPDD_VERSION, boot, e->started, &e->run, reterr);
}

/* What is too old to be asked for again goes with the first write. */
static int begin(Engine *e, Error *reterr) {
        int r = store_begin(e->store, reterr);

        if (r >= 0)
                r = run_add(e, reterr);
        if (r >= 0)
                r = store_requests_prune(e->store, now_wall_ms(), REQUESTS_KEPT_MS, reterr);
        if (r >= 0)
                r = store_commit(e->store, reterr);
        if (r < 0) {
                store_rollback(e->store);
                e->run = 0;
        }
        return r;
}

void engine_run_begin(Engine *e) {
        _cleanup_error_ Error error = ERROR_INIT;

        tell_migration(e);
        if (store_run_last(e->store, &e->run_before, NULL) >= 0)
                tell_run_before(&e->run_before);
        if (begin(e, &error) < 0)
                engine_sicken(e, &error);
}

int engine_run_seen(Engine *e, Error *reterr) {
        if (e->run == 0)
                return run_add(e, reterr);
        return store_run_seen(e->store, e->run, now_wall_ms(), false, reterr);
}

void engine_run_end(Engine *e) {
        _cleanup_error_ Error error = ERROR_INIT;

        if (e->run == 0 || e->sick || store_in_transaction(e->store))
                return;
        if (store_run_seen(e->store, e->run, now_wall_ms(), true, &error) < 0)
                log_warning("cannot write that updd ends, ignoring: %s", error.message);
}
