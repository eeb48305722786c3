/* SPDX-License-Identifier: MIT */
/* Whether a database is whole, and its rows fit each other: for `updd --check-state`. */
#include "daemon/store/internal.h"

#define FINDINGS_MAX "20" /* of one kind */

/* What no daemon ever writes: each statement gives the jobs that it is true of. */
static const struct {
        const char *sql, *text;
} rules[] = {
        {"SELECT DISTINCT job FROM step WHERE job NOT IN (SELECT id FROM job)",
         "there are steps of job %lld, and no such job"},
        {"SELECT DISTINCT job FROM attempt WHERE job NOT IN (SELECT id FROM job)",
         "there are attempts of job %lld, and no such job"},
        {"SELECT DISTINCT job FROM event WHERE job NOT IN (SELECT id FROM job)",
         "there are events of job %lld, and no such job"},
        {"SELECT id FROM job WHERE sha256 <> '' AND sha256 NOT IN (SELECT sha256 FROM document)",
         "the plan of job %lld is not there"},
        {"SELECT job FROM event GROUP BY job HAVING count(*) <> max(seq) OR min(seq) <> 1",
         "the journal of job %lld has a gap"},
        {"SELECT id FROM job WHERE version <> "
         "(SELECT ifnull(max(seq), 0) FROM event WHERE event.job = job.id)",
         "job %lld and its journal are not of one time"},
        {"SELECT id FROM job WHERE live = 0 AND "
         "state IN ('queued', 'running', 'waiting', 'rolling_back', 'stuck')",
         "job %lld has not ended, and no daemon takes it up"},
};

static int add(json_t *findings, char *text) {
        _cleanup_free_ char *owned = text;

        return owned && json_array_append_new(findings, json_string(owned)) >= 0 ? 0 : -ENOMEM;
}

static int each_row(Store *s, const char *sql, int (*func)(json_t *, sqlite3_stmt *, const void *),
                    json_t *findings, const void *userdata, Error *reterr) {
        sqlite3_stmt *stmt = NULL;
        int r = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL), err = 0;

        while (r == SQLITE_OK || r == SQLITE_ROW) {
                r = sqlite3_step(stmt);
                if (r == SQLITE_ROW && (err = func(findings, stmt, userdata)) < 0)
                        break;
        }
        if (err == 0 && r != SQLITE_DONE)
                err = store_fault(s, "look through the database", reterr);
        (void) sqlite3_finalize(stmt);
        return err;
}

static int take_verdict(json_t *findings, sqlite3_stmt *stmt, const void *userdata) {
        const char *verdict = column_text(stmt, 0);

        if (streq0(verdict, "ok"))
                return 0;
        return add(findings, strf("the file is damaged: %s", verdict ? verdict : "unreadable"));
}

static int take_job(json_t *findings, sqlite3_stmt *stmt, const void *userdata) {
        long long job = sqlite3_column_int64(stmt, 0);
        _cleanup_free_ char *number = strf("%lld", job);
        const char *text = userdata, *at = strstr(text, "%lld");

        return number ? add(findings, strf("%.*s%s%s", (int) (at - text), text, number, at + 4))
                      : -ENOMEM;
}

int store_verify(Store *s, json_t *findings, Error *reterr) {
        int r = each_row(s, "PRAGMA integrity_check(" FINDINGS_MAX ")", take_verdict, findings,
                         NULL, reterr);

        if (r < 0 || json_array_size(findings) > 0)
                return r;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(rules); i++) {
                _cleanup_free_ char *sql = strf("%s LIMIT " FINDINGS_MAX, rules[i].sql);

                r = sql ? each_row(s, sql, take_job, findings, rules[i].text, reterr)
                        : error_oom(reterr);
        }
        return r;
}
