/* SPDX-License-Identifier: MIT */
/*
 * The state folder that targets begin with: the real engine makes it, from plans whose steps' names
 * say what becomes of them (spawn.c).
 */
#include <sqlite3.h>

#include "daemon.h"

/* In the order of the numbers in daemon.h. */
static const char *const plans[] = {
        "format: 1\nplan: done\ntitle: 'It ${in.word}'\ncwd: /srv\n"
        "inputs:\n  word: {type: string, default: works}\n  n: {type: int, default: 3}\n"
        "secrets:\n  token: {file: /dev/null}\n"
        "steps:\n"
        "  - {id: one, run: [echo, '${in.word}'], undo: {run: [true]}}\n"
        "  - {id: two, when: \"steps.one.stdout != ''\", run: [echo, '${steps.one.stdout}'],"
        " undo: none}\n"
        "finalise:\n  - {id: last, run: [echo], undo: none}\n",

        "format: 1\nplan: gate\ncwd: /srv\n"
        "checks:\n  - {path: /etc/passwd}\n"
        "steps:\n"
        "  - {id: data, undo: {run: [true]}}\n"
        "  - {id: both, parallel: [{id: left, run: [a], undo: none},"
        " {id: right, write: {to: x, text: y}}]}\n"
        "  - {id: accept, confirm: {ask: 'Go on?', items: [first, second], show: [left],"
        " within: 2d, on_timeout: hold}}\n"
        "  - {id: after, run: [echo], undo: none, retry: {tries: 3, first: 1ms}}\n"
        "rollbacks:\n"
        "  code: {loses: nothing, keep: [data], situations: [bug]}\n"
        "  typed: {loses: everything, type: 'yes', then: [{run: [echo]}]}\n"
        "on_failure: {default: code}\n"
        "hooks:\n  waiting: [{run: [echo]}]\n  ended: [{webhook: 'http://127.0.0.1:1/'}]\n"
        "hints:\n  'its last': 'look there'\n",

        "format: 1\nplan: held\ncwd: /srv\non_failure: {default: hold}\n"
        "inputs:\n  word: {type: string, default: works}\n"
        "steps:\n"
        "  - {id: one, run: [echo], undo: {run: [true]}}\n"
        "  - {id: fails, run: [echo, '${in.word}'], undo: none}\n"
        "  - {id: three, run: [echo], undo: none}\n",

        "format: 1\nplan: stuck\ncwd: /srv\n"
        "steps:\n"
        "  - {id: one, run: [echo], undo: {run: [true]}}\n"
        "  - {id: stuck, run: [echo], undo: {run: [false]}}\n"
        "  - {id: fails, run: [echo], undo: none}\n",

        "format: 1\nplan: question\ncwd: /srv\n"
        "steps:\n  - {id: asks, run: {argv: [sh], answers: []}, undo: none}\n",

        "format: 1\nplan: running\ncwd: /srv\n"
        "steps:\n"
        "  - {id: group, group: [{id: one, run: [echo], undo: {run: [true]}}]}\n"
        "  - {id: hangs, run: [sleep, 5m], undo: {run: [true]}, on_crash: ask}\n"
        "  - {id: two, run: [echo, '${steps.hangs.stdout}'], undo: none}\n",
};

static char *templates[STATE_JOBS + 1]; /* the whole, and each job alone */

static void make(void) {
        _cleanup_error_ Error error = ERROR_INIT;
        Daemon d;

        templates[0] = strf("%s/all", fuzz_folder());
        if (!templates[0] || mkdir_parents(templates[0], 0700) < 0)
                abort();
        if (daemon_open(templates[0], &d, &error) < 0)
                abort();
        for (size_t i = 0; i < ELEMENTSOF(plans); i++)
                daemon_call(&d, CALL_START, 0, json_pack("{s:s}", "document", plans[i]));
        daemon_call(&d, CALL_TOKEN_ADD, 0, json_pack("{s:s, s:s}", "name", "eve", "role", "view"));
        PROMISED(d.engine->last_job == STATE_JOBS);
        store_checkpoint(d.engine->store);
        daemon_close(&d);
}

/* Only that job's rows and folder, and small pages: what is not there costs no time. */
static void keep_only(const char *dir, int64_t job) {
        _cleanup_free_ char *path = path_join(dir, "updd.db");
        _cleanup_free_ char *sql =
                strf("PRAGMA journal_mode = DELETE; DELETE FROM job WHERE id != %lld;"
                     "DELETE FROM step WHERE job != %lld; DELETE FROM attempt WHERE job != %lld;"
                     "DELETE FROM event WHERE job != %lld;"
                     "DELETE FROM document WHERE sha256 NOT IN (SELECT sha256 FROM job);"
                     "PRAGMA page_size = 1024; VACUUM",
                     (long long) job, (long long) job, (long long) job, (long long) job);
        sqlite3 *db = NULL;

        if (!path || !sql || sqlite3_open(path, &db) != SQLITE_OK ||
            sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
                abort();
        (void) sqlite3_close(db);
        for (int64_t other = 1; other <= STATE_JOBS; other++) {
                _cleanup_free_ char *folder = strf("%s/jobs/%lld", dir, (long long) other);

                if (other != job)
                        folder_remove(folder);
        }
}

void state_make(void) {
        if (templates[0])
                return;
        make();
        for (int64_t job = 1; job <= STATE_JOBS; job++) {
                templates[job] = strf("%s/only-%lld", fuzz_folder(), (long long) job);
                if (!templates[job])
                        abort();
                folder_copy(templates[0], templates[job]);
                keep_only(templates[job], job);
        }
}

const char *state_fresh(int64_t job) {
        static char *fresh;

        if (!fresh)
                fresh = strf("%s/state", fuzz_folder());
        if (!fresh)
                abort();
        folder_remove(fresh);
        folder_copy(templates[job], fresh);
        return fresh;
}

char *state_attempt(const char *dir, int64_t job, const char *step, unsigned n) {
        char *path = strf("%s/jobs/%lld/%s/%u", dir, (long long) job, step, n);

        if (!path)
                abort();
        return path;
}
