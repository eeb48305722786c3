/* SPDX-License-Identifier: MIT */
/* A unit's last lines, out of systemd's journal. See services_unit.h. */
#include "daemon/step/services_unit.h"

#include <systemd/sd-journal.h>

#define AGAIN_MS 150
#define TRIES 8

static void closed(sd_journal *j) {
        sd_journal_close(j);
}
DEFINE_CLEANUP(sd_journal *, closed)

static int add_match(sd_journal *j, const char *field, const char *value) {
        _cleanup_free_ char *match = strf("%s=%s", field, value);

        return match ? sd_journal_add_match(j, match, 0) : -ENOMEM;
}

/* What the unit says, and what systemd (process 1) says about it. */
static int add_matches(sd_journal *j, const char *unit, const char *invocation) {
        int r = add_match(j, "_SYSTEMD_UNIT", unit);

        if (r >= 0 && *invocation)
                r = add_match(j, "_SYSTEMD_INVOCATION_ID", invocation);
        if (r >= 0)
                r = sd_journal_add_disjunction(j);
        if (r >= 0)
                r = add_match(j, "UNIT", unit);
        if (r >= 0)
                r = add_match(j, "_PID", "1");
        if (r >= 0 && *invocation)
                r = add_match(j, "INVOCATION_ID", invocation);
        return r;
}

/* One entry may be several lines. */
static int add_entry(sd_journal *j, json_t *lines) {
        _cleanup_free_ char *clean = NULL;
        const char *data;
        char *rest, *line;
        size_t size;
        int r = sd_journal_get_data(j, "MESSAGE", (const void **) &data, &size);

        if (r < 0) /* it has none, or its file is damaged there */
                return r == -ENOMEM ? r : 0;
        clean = utf8_clean(data + strlen("MESSAGE="), size - strlen("MESSAGE="));
        if (!clean)
                return -ENOMEM;
        for (rest = clean; (line = strsep(&rest, "\n"));)
                if ((*line || rest) && json_array_append_new(lines, json_string(line)) < 0)
                        return -ENOMEM;
        return 0;
}

static int read_lines(const char *unit, const char *invocation, unsigned n, json_t **ret) {
        _cleanup_(closedp) sd_journal *j = NULL;
        json_auto_t *lines = json_array();
        int r = lines ? sd_journal_open(&j, SD_JOURNAL_LOCAL_ONLY) : -ENOMEM;

        if (r >= 0)
                r = add_matches(j, unit, invocation);
        if (r >= 0)
                r = sd_journal_seek_tail(j);
        if (r >= 0)
                r = sd_journal_previous_skip(j, n);
        while (r > 0) {
                r = add_entry(j, lines);
                if (r >= 0)
                        r = sd_journal_next(j);
        }
        if (r < 0)
                return r;
        while (json_array_size(lines) > n)
                (void) json_array_remove(lines, 0);
        *ret = TAKE(lines);
        return 0;
}

/* What it said last may still be on its way: until nothing more comes, and something came. */
static int read_settled(Step *s, const char *unit, const char *invocation, unsigned n,
                        json_t **ret) {
        json_auto_t *lines = NULL;
        int r = read_lines(unit, invocation, n, &lines);

        for (unsigned i = 0; r >= 0 && i < TRIES && step_sleep(s, AGAIN_MS) >= 0; i++) {
                size_t before = json_array_size(lines);
                json_t *more;

                r = read_lines(unit, invocation, n, &more);
                if (r < 0)
                        break;
                json_decref(lines);
                lines = more;
                if (before > 0 && json_array_size(lines) == before)
                        break;
        }
        if (r >= 0)
                *ret = TAKE(lines);
        return r;
}

int unit_tail(Step *s, Service *v, unsigned n, json_t **ret, Error *reterr) {
        _cleanup_free_ char *name = NULL;
        json_auto_t *p = NULL;
        const char *invocation;
        int r = unit_find(s, v, &name, &p, reterr);

        if (r < 0)
                return r;
        /* Of one that is started again and again, the newest try has said nothing yet. */
        invocation = unit_is_looping(p) ? "" : args_text(p, "InvocationID", "");
        r = unit_is_active(p) ? read_lines(name, invocation, n, ret)
                              : read_settled(s, name, invocation, n, ret);
        return r < 0 ? error_set(reterr, -r, "read-failed", "Cannot read the journal: %s",
                                 strerror(-r))
                     : 0;
}
