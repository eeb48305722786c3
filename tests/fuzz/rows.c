/* SPDX-License-Identifier: MIT */
/*
 * Rows whose texts are not what the engine wrote. The input's sections replace columns of a real
 * database, in which there is a job in each state; then the engine loads it, goes on, shows
 * everything and is asked everything. Sections are called TABLE.COLUMN WHERE, e.g.
 *   === job.data 2          === step.state 2 1          === event.data 2 3
 *   === attempt.data 6 hangs    === document.text 2    === token.role eve
 */
#include <sqlite3.h>

#include "daemon.h"

/* What a section's name begins with, and the statement that it stands for: ?1 is the text, and what
 * follows the name, word by word, ?2 and so on. */
static const struct {
        const char *name, *sql;
} columns[] = {
        {"job.data", "UPDATE job SET data = ?1 WHERE id = ?2"},
        {"job.state", "UPDATE job SET state = ?1 WHERE id = ?2"},
        {"job.who", "UPDATE job SET who = ?1 WHERE id = ?2"},
        {"job.plan", "UPDATE job SET plan = ?1 WHERE id = ?2"},
        {"job.target", "UPDATE job SET target = ?1 WHERE id = ?2"},
        {"job.reason", "UPDATE job SET reason = ?1 WHERE id = ?2"},
        {"job.sha256", "UPDATE job SET sha256 = ?1 WHERE id = ?2"},
        {"job.times", "UPDATE job SET created = CAST(?1 AS INTEGER), started = CAST(?3 AS INTEGER),"
                      " ended = CAST(?4 AS INTEGER) WHERE id = ?2"},
        {"job.version", "UPDATE job SET version = CAST(?1 AS INTEGER) WHERE id = ?2"},
        {"job.id", "UPDATE job SET id = CAST(?1 AS INTEGER) WHERE id = ?2"},
        {"step.data", "UPDATE step SET data = ?1 WHERE job = ?2 AND idx = ?3"},
        {"step.state", "UPDATE step SET state = ?1 WHERE job = ?2 AND idx = ?3"},
        {"step.id", "UPDATE step SET id = ?1 WHERE job = ?2 AND idx = ?3"},
        {"step.idx", "UPDATE step SET idx = CAST(?1 AS INTEGER) WHERE job = ?2 AND idx = ?3"},
        {"event.data", "UPDATE event SET data = ?1 WHERE job = ?2 AND seq = ?3"},
        {"event.type", "UPDATE event SET type = ?1 WHERE job = ?2 AND seq = ?3"},
        {"event.time", "UPDATE event SET time = CAST(?1 AS INTEGER) WHERE job = ?2 AND seq = ?3"},
        {"event.seq", "UPDATE event SET seq = CAST(?1 AS INTEGER) WHERE job = ?2 AND seq = ?3"},
        {"attempt.data", "UPDATE attempt SET data = ?1 WHERE job = ?2 AND step = ?3"},
        {"attempt.n", "UPDATE attempt SET n = CAST(?1 AS INTEGER) WHERE job = ?2 AND step = ?3"},
        {"document.text", "UPDATE document SET text = ?1 WHERE sha256 ="
                          " (SELECT sha256 FROM job WHERE id = ?2)"},
        {"token.role", "UPDATE token SET role = ?1 WHERE name = ?2"},
        {"token.hash", "UPDATE token SET hash = ?1 WHERE name = ?2"},
        {"request.reply", "INSERT OR REPLACE INTO request VALUES (?2, 'f', 4102444800000, ?1)"},
        {"sqlite_sequence.seq", "UPDATE sqlite_sequence SET seq = CAST(?1 AS INTEGER)"
                                " WHERE name = ?2"},
};

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        state_make();
        return 0;
}

static void replace(sqlite3 *db, const char *sql, const char *where, const Section *section) {
        _cleanup_free_ char *words = strdup(where);
        sqlite3_stmt *q = NULL;
        char *save = NULL, *word;
        int i = 2;

        if (!words || sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK)
                abort();
        (void) sqlite3_bind_text(q, 1, section->text, (int) section->size, SQLITE_STATIC);
        for (word = strtok_r(words, " ", &save); word && i <= sqlite3_bind_parameter_count(q);
             word = strtok_r(NULL, " ", &save))
                (void) sqlite3_bind_text(q, i++, word, -1, SQLITE_STATIC);
        (void) sqlite3_step(q); /* what breaks a constraint is not in a database either */
        (void) sqlite3_finalize(q);
}

static void replace_rows(const char *dir, const Sections *sections) {
        _cleanup_free_ char *path = path_join(dir, "updd.db");
        sqlite3 *db = NULL;

        if (sqlite3_open(path, &db) != SQLITE_OK ||
            sqlite3_exec(db, "PRAGMA synchronous = OFF; BEGIN", NULL, NULL, NULL) != SQLITE_OK)
                abort();
        for (size_t i = 0; i < sections->n; i++) {
                const Section *section = &sections->list[i];
                size_t n = strcspn(section->name, " ");

                for (size_t k = 0; k < ELEMENTSOF(columns); k++)
                        if (strlen(columns[k].name) == n &&
                            strncmp(columns[k].name, section->name, n) == 0)
                                replace(db, columns[k].sql, section->name + n, section);
        }
        (void) sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
        (void) sqlite3_close(db);
}

/* What lived when the state was made lives on. */
static void hold_living(const char *dir) {
        _cleanup_free_ char *asks = state_attempt(dir, STATE_QUESTION, "asks", 1);
        _cleanup_free_ char *hangs = state_attempt(dir, STATE_RUNNING, "hangs", 1);

        spawn_hold(asks);
        spawn_hold(hangs);
}

/* The job whose rows the input is about: the first that a section names. */
static int64_t job_meant(const Sections *sections) {
        for (size_t i = 0; i < sections->n; i++) {
                const char *blank = strchr(sections->list[i].name, ' ');
                long long job = blank ? strtoll(blank, NULL, 10) : 0;

                if (job >= 1 && job <= STATE_JOBS)
                        return job;
        }
        return STATE_GATE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_sections_ Sections sections = sections_read(data, size);
        _cleanup_error_ Error error = ERROR_INIT;
        int64_t job = job_meant(&sections);
        const char *dir = state_fresh(job);
        Daemon d;

        replace_rows(dir, &sections);
        if (!section_find(&sections, "dead"))
                hold_living(dir);
        if (daemon_open(dir, &d, &error) < 0) {
                PROMISED(error.message);
                spawn_forget();
                return 0;
        }
        daemon_look(&d);
        daemon_turn(&d);
        daemon_calls(&d, job, &sections);
        daemon_look(&d);
        daemon_close(&d);
        return 0;
}
