/* SPDX-License-Identifier: MIT */
/*
 * Elapses of a schedule's timer: there is one job for each, however often it is asked for.
 *
 * What an elapse is, is the moment that the calendar event names ("elapse"). When the timer really
 * fired ("at") is another matter: later by its accuracy, or by the time that the machine was off or
 * asleep; and when the wall clock is set back, systemd lets the same moment come a second time. The
 * row remembers the last ones that a job was started for, as "ran", by both. A job that was made ahead
 * and withdrawn, because its window passed before it could begin, is one that there never was: if
 * systemd makes up for its elapse, that is another job's.
 */
#include "api/args.h"
#include "daemon/engine/internal.h"

#define RAN_MAX 32
#define LATE_MS (INT64_C(60) * 1000) /* beyond the timer's accuracy, on a machine that is busy */

static int read_time(const json_t *body, const char *key, int64_t *ret, Error *reterr) {
        const char *text = args_text(body, key, NULL);

        if (!text || time_parse(text, ret) >= 0)
                return 0;
        return error_set(reterr, EINVAL, "bad-request", "'%s' is no time: '%s'", key, text);
}

int elapse_read(const json_t *body, Elapse *ret, Error *reterr) {
        Elapse e = {0};
        int r = read_time(body, "elapse", &e.of, reterr);

        if (r >= 0)
                r = read_time(body, "at", &e.at, reterr);
        if (r >= 0 && e.of == 0 && e.at != 0)
                r = error_set(reterr, EINVAL, "bad-request", "'at' belongs to an 'elapse'");
        if (r >= 0)
                *ret = e;
        return r;
}

/* What is made ahead begins when the timer is to fire, which may be some time after the elapse, too. */
int64_t elapse_begins(const Elapse *e) {
        return e->ends > 0 || e->at - e->of > LATE_MS ? e->at : e->of;
}

/* Who asks later knows only when the timer fired, and may name that as the elapse. A job that was made
 * ahead is that of the first firing in its window: what fires late, because the machine was off, names
 * another moment. */
static bool is_the_same(const json_t *ran, const Elapse *e) {
        int64_t at = json_integer_value(json_object_get(ran, "at"));
        int64_t of = json_integer_value(json_object_get(ran, "elapse"));
        int64_t ends = json_integer_value(json_object_get(ran, "ends"));

        return e->of == of || (at != 0 && (at == e->at || at == e->of)) ||
               (e->of > of && e->of < ends);
}

int64_t elapse_job(const json_t *row, const Elapse *e) {
        const json_t *ran;
        size_t i;

        if (e->of == 0)
                return 0;
        json_array_foreach (json_object_get(row, "ran"), i, ran) {
                if (is_the_same(ran, e))
                        return json_integer_value(json_object_get(ran, "job"));
        }
        return 0;
}

int elapse_note(json_t *row, const Elapse *e, int64_t job) {
        json_t *ran = json_copy(json_object_get(row, "ran"));

        if (!ran)
                ran = json_array();
        while (json_array_size(ran) >= RAN_MAX)
                (void) json_array_remove(ran, 0);
        if (json_array_append_new(ran,
                                  json_pack("{s:I, s:I, s:I, s:I}", "elapse", (json_int_t) e->of,
                                            "at", (json_int_t) e->at, "job", (json_int_t) job,
                                            "ends", (json_int_t) e->ends)) < 0) {
                json_decref(ran);
                return -ENOMEM;
        }
        return json_put(row, "ran", ran);
}

int elapse_forget(json_t *row, int64_t job) {
        json_t *ran = json_copy(json_object_get(row, "ran"));
        size_t n = json_array_size(ran);

        for (size_t i = n; i-- > 0;)
                if (json_integer_value(json_object_get(json_array_get(ran, i), "job")) == job)
                        (void) json_array_remove(ran, i);
        if (json_array_size(ran) == n) {
                json_decref(ran);
                return 0;
        }
        return json_put(row, "ran", ran) < 0 ? -ENOMEM : 1;
}

int elapse_settle(json_t *row, const Elapse *e) {
        json_auto_t *ran = json_deep_copy(json_object_get(row, "ran"));
        json_t *one;
        size_t i;

        json_array_foreach (ran, i, one) {
                if (!is_the_same(one, e) || e->at == 0 ||
                    json_integer_value(json_object_get(one, "ends")) == 0)
                        continue;
                if (json_put(one, "at", json_integer(e->at)) < 0 ||
                    json_put(one, "ends", json_integer(0)) < 0 ||
                    json_object_set(row, "ran", ran) < 0)
                        return -ENOMEM;
                return 1;
        }
        return 0;
}

bool elapse_has_job(const json_t *row, int64_t job) {
        const json_t *ran;
        size_t i;

        json_array_foreach (json_object_get(row, "ran"), i, ran) {
                if (json_integer_value(json_object_get(ran, "job")) == job)
                        return true;
        }
        return false;
}

int elapses_forget(json_t *row, int64_t wall_now) {
        const json_t *was = json_object_get(row, "ran");
        json_t *ran = json_array(), *one;
        size_t i;

        json_array_foreach (was, i, one) {
                int64_t of = json_integer_value(json_object_get(one, "elapse"));
                int64_t at = json_integer_value(json_object_get(one, "at"));

                if (MAX(of, at) <= wall_now && json_array_append(ran, one) < 0) {
                        json_decref(ran);
                        return -ENOMEM;
                }
        }
        return json_put(row, "ran", ran);
}
