/* SPDX-License-Identifier: MIT */
/*
 * reboot {reason, tries}: another boot of the machine, through systemd. Before each try the boot
 * that is to end is recorded, so that whichever attempt looks next knows: another boot id, and it
 * is done; the same, and it asks again or says that the tries are used up. The shutdown ends the
 * attempt that asked, as an interrupted one; the one that follows is its rerun.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "daemon/step/shutdown.h"
#include "daemon/step/step.h"
#include "daemon/step/system_bus.h"

#define ANSWER_US (30 * 1000 * 1000)
/* From systemd's yes to the end of this attempt, which goes before all that it comes after. */
#define PATIENCE_MS (10 * 1000)
#define LOOK_MS 200
#define RESULT_MAX (16U * 1024 * 1024)

/* ---- what was asked before ---- */

/* An attempt that ended by itself closes the round of its tries; an interrupted one does not. 1 it
 * ended; 0 it was interrupted, or left no result. What it is cannot be guessed: a round taken for
 * another one would reboot once too often, or be done without a boot. */
static int attempt_ended(Step *s, int64_t n, Error *reterr) {
        _cleanup_free_ char *path = strf("%s/%" PRId64 "/result.json", step_record_dir(s), n);
        _cleanup_free_ char *text = NULL;
        json_auto_t *result = NULL;
        const char *state;
        size_t size;
        int r = path ? file_read(AT_FDCWD, path, RESULT_MAX, &text, &size) : -ENOMEM;

        if (r == -ENOENT)
                return 0;
        if (r == -ENOMEM)
                return error_oom(reterr);
        if (r < 0)
                return error_set(reterr, -r, "record",
                                 "How attempt %" PRId64 " ended cannot be read: %s", n,
                                 strerror(-r));
        result = json_loadb(text, size, 0, NULL);
        state = args_text(result, "state", NULL);
        if (!state)
                return error_set(reterr, EBADMSG, "record", "%s is not a result", path);
        return !streq(state, "interrupted");
}

/* The first attempt of the present round. */
static int round_begin(Step *s, int64_t *ret, Error *reterr) {
        int64_t n = json_integer_value(json_object_get(step_task(s), "n"));
        int r = 0;

        while (n > 1 && (r = attempt_ended(s, n - 1, reterr)) == 0)
                n--;
        *ret = n;
        return MIN(r, 0);
}

/* How often this round has asked in this boot; *ret_other: it has asked in another one. */
static int asked_before(Step *s, const char *boot, int64_t *ret, bool *ret_other, Error *reterr) {
        const json_t *entries, *entry;
        int64_t begin, n = 0;
        bool other = false;
        size_t i;
        int r = round_begin(s, &begin, reterr);

        if (r >= 0)
                r = step_undo_entries(s, &entries, reterr);
        if (r < 0)
                return r;
        json_array_foreach (entries, i, entry) {
                const char *was = args_text(entry, "reboot", NULL);

                if (!was || json_integer_value(json_object_get(entry, "attempt")) < begin)
                        continue;
                if (streq(was, boot))
                        n++;
                else
                        other = true;
        }
        *ret = n;
        *ret_other = other;
        return 0;
}

/* ---- asking ---- */

static int stopped(Error *reterr) {
        return error_set(reterr, ECANCELED, "stopped", "Stopped");
}

/* Until the bus has said hello: one that hangs holds up no stop, and what is sent afterwards goes
 * out at once. */
static int bus_ready(Step *s, sd_bus *bus) {
        int64_t until = now_mono_us() + ANSWER_US;
        int r;

        while ((r = sd_bus_is_ready(bus)) == 0) {
                if (step_stopping(s))
                        return -ECANCELED;
                if (now_mono_us() > until)
                        return -ETIMEDOUT;
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, INT64_C(1000) * LOOK_MS);
                if (r < 0 && r != -EINTR)
                        return r;
        }
        return MIN(r, 0);
}

/* What `systemctl reboot` has systemd do, and nothing can take back: so the last look at whether it
 * is still wanted comes just before. */
static int start_reboot(Step *s, Error *reterr) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r = system_bus_open(&bus, NULL);

        if (r >= 0)
                r = sd_bus_set_method_call_timeout(bus, ANSWER_US);
        if (r >= 0)
                r = bus_ready(s, bus);
        if (r == -ECANCELED || step_stop_wanted(s))
                return stopped(reterr);
        if (r >= 0)
                r = sd_bus_call_method(bus, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_NAME ".Manager",
                                       "StartUnit", &error, NULL, "ss", "reboot.target",
                                       "replace-irreversibly");
        return r < 0 ? error_set(reterr, EREMOTEIO, "systemd", "systemd does not reboot: %s",
                                 error.message ? error.message : strerror(-r))
                     : 0;
}

/* -ECANCELED: the machine goes down, and this attempt with it. 0: it stays up. */
static int wait_for_end(Step *s, Error *reterr) {
        int64_t until = now_mono_us() + INT64_C(1000) * PATIENCE_MS;

        while (now_mono_us() < until || machine_is_stopping())
                if (step_sleep(s, LOOK_MS) < 0)
                        return error_set(reterr, ECANCELED, "stopped",
                                         "Ended while the machine goes down");
        return 0;
}

static int ask_once(Step *s, const json_t *args, const char *boot, int64_t k, int64_t tries,
                    Error *reterr) {
        const char *reason = args_text(args, "reason", NULL);
        json_t *entry = json_pack("{s:s, s:O}", "reboot", boot, "attempt",
                                  json_object_get(step_task(s), "n"));
        int r = entry ? step_undo_note(s, entry, reterr) : error_oom(reterr);

        if (r < 0)
                return r;
        step_log(s, "systemd is asked to reboot the machine, %" PRId64 " of %" PRId64 "%s%s", k,
                 tries, reason ? ": " : "", reason ? reason : "");
        step_progress(s, "rebooting");
        return start_reboot(s, reterr);
}

static int used_up(int64_t tries, Error *reterr) {
        (void) error_set(reterr, ETIMEDOUT, "reboot",
                         "The machine was asked to reboot %" PRId64 " time%s and runs on", tries,
                         tries == 1 ? "" : "s");
        error_hint(reterr, "see what holds it: systemctl list-jobs");
        return -ETIMEDOUT;
}

/* Those used up before this attempt began may be about to show. */
static int ask(Step *s, const json_t *args, const char *boot, int64_t asked, int64_t tries,
               Error *reterr) {
        do {
                _cleanup_error_ Error why = ERROR_INIT;
                int r = asked < tries ? ask_once(s, args, boot, asked + 1, tries, &why) : 0;

                if (r < 0 && (r != -EREMOTEIO || asked + 1 >= tries)) {
                        error_move(reterr, &why);
                        return r;
                }
                if (r < 0)
                        step_log(s, "%s", why.message);
                r = wait_for_end(s, reterr);
                if (r < 0)
                        return r;
        } while (++asked < tries);
        return used_up(tries, reterr);
}

static int reboot_run(Step *s, const json_t *args, Error *reterr) {
        char boot[ID128_TEXT_MAX];
        int64_t tries, asked;
        bool other;
        int r = args_int(args, "tries", 1, &tries, reterr);

        if (r >= 0 && tries < 1)
                r = error_set(reterr, EINVAL, "bad-task", "tries takes a number from 1 on");
        if (r < 0)
                return r;
        r = boot_id_read(boot);
        if (r < 0)
                return error_set(reterr, -r, "boot-id", "Which boot this is cannot be read: %s",
                                 strerror(-r));
        r = asked_before(s, boot, &asked, &other, reterr);
        if (r < 0)
                return r;
        if (other) {
                step_log(s, "the machine has booted anew");
                return 0;
        }
        if (sd_booted() <= 0)
                return error_set(reterr, EOPNOTSUPP, "no-systemd",
                                 "This machine is not run by systemd, which a reboot goes through");
        return ask(s, args, boot, asked, tries, reterr);
}

const Verb verb_reboot = {"reboot", reboot_run, NULL};
