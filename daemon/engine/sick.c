/* SPDX-License-Identifier: MIT */
/*
 * A store that fails: what is remembered of it, when it is tried again, and what callers hear
 * meanwhile. Reads go on from memory, steps go on in updd-step, and facts stay in their queue.
 */
#include "daemon/engine/internal.h"
#include "daemon/log.h"

void engine_sicken(Engine *e, const Error *error) {
        const char *why = error->message ? error->message : strerror(error->err);

        if (!e->sick || !streq0(why, e->sickness.message))
                log_message(LOG_LEVEL_ERROR, MESSAGE_STORE_SICK,
                            "nothing can be written; changes are refused until it can be: %s", why);
        if (!e->sick)
                e->sick_since = now_wall_ms();
        /* A full disk is told before the commit: what the store holds is known, and stays open to
         * readers, which a store that is opened anew may not be. */
        e->reopen |= error->err != ENOSPC || store_in_transaction(e->store);
        e->sick = true;
        e->failures++;
        e->tried_at = now_boot_ms();
        error_done(&e->sickness);
        (void) error_set(&e->sickness, error->err, error->type, "%s", why);
        if (error->hint)
                error_hint(&e->sickness, "%s", error->hint);
        if (error->err == EUCLEAN && !e->damaged) {
                e->damaged = true;
                engine_mark_damaged(e, why);
                log_message(LOG_LEVEL_ERROR, MESSAGE_STORE_DAMAGED,
                            "the database is damaged: updd writes nothing more into it%s%s",
                            error->hint ? "; " : "", error->hint ? error->hint : "");
        }
}

void engine_look(Engine *e) {
        _cleanup_error_ Error error = ERROR_INIT;
        RunRow run;
        int r;

        if (e->sick)
                return;
        r = store_run_last(e->store, &run, &error);
        if (r < 0 && r != -ENOENT && error.message)
                engine_sicken(e, &error);
}

bool engine_recover(Engine *e) {
        _cleanup_error_ Error error = ERROR_INIT;
        int r = 0;

        if (e->damaged)
                return false;
        if (e->reopen)
                r = store_reopen(e->store, &error);
        if (r >= 0 && e->reopen)
                r = engine_load(e, &error);
        if (r >= 0) {
                e->reopen = false;
                return true;
        }
        if (!error.message)
                (void) error_set(&error, -r, "store-failed", "%s", strerror(-r));
        engine_sicken(e, &error);
        return false;
}

void engine_is_well(Engine *e) {
        log_message(LOG_LEVEL_INFO, MESSAGE_STORE_WELL, "the store is well again");
        e->sick = false;
        error_done(&e->sickness);
}

bool engine_may_try(const Engine *e) {
        return e->n_calls > 0 || now_boot_ms() - e->tried_at >= TRY_AGAIN_MS;
}

void engine_refuse_all(Engine *e) {
        while (e->n_calls > 0) {
                Pending p = {.call = e->calls[0]};
                const Error *why = &e->sickness;

                engine_drop_calls(e, 1);
                (void) error_set(&p.reply.error, why->err > 0 ? why->err : EIO,
                                 why->type ? why->type : "store-failed",
                                 "Nothing can be written, and the change did not happen: %s",
                                 why->message ? why->message : "");
                if (why->hint)
                        error_hint(&p.reply.error, "%s", why->hint);
                reply_refuse(&p.reply, -(why->err > 0 ? why->err : EIO));
                pending_answer(&p);
        }
}
