/* SPDX-License-Identifier: MIT */
/* Gathering shares by file system, and telling of them: see daemon/step/estimate.h. */
#include "daemon/step/estimate.h"
#include "daemon/step/measure.h"

#include "daemon/plan/expand.h"

/* What the daemon and the attempts write besides: rows, tasks, claims, results, logs. */
#define SPARE_BYTES (INT64_C(4) << 20)
#define SPARE_BYTES_STEP (INT64_C(512) << 10)
#define SPARE_STEPS_MAX 64 /* more do not run into a full disk one after another */
#define SPARE_ENTRIES_STEP 20
#define SHARES_SHOWN 5

struct Estimate {
        Step *step;
        const json_t *save;
        json_t *filesystems, *unknown;
};

Step *estimate_step(Estimate *e) {
        return e->step;
}

static void grow(json_t *object, const char *key, int64_t more) {
        int64_t now = json_integer_value(json_object_get(object, key));

        (void) json_put(object, key, json_integer(now + more));
}

/* The file system's entry, made when it is new. Borrowed. */
static int filesystem_of(Estimate *e, const char *path, json_t **ret, Error *reterr) {
        _cleanup_free_ char *top = NULL, *near = NULL;
        json_t *fs;
        Room room;
        size_t i;
        int r = room_of(path, &room, &top, &near, reterr);

        if (r < 0)
                return r;
        json_array_foreach (e->filesystems, i, fs) {
                if ((uint64_t) json_integer_value(json_object_get(fs, "dev")) == room.dev) {
                        *ret = fs;
                        return 0;
                }
        }
        fs = json_pack("{s:s, s:i, s:I, s:i, s:[], s:I, s:s}", "path", top, "needed", 0, "free",
                       (json_int_t) room.free, "entries", 0, "shares", "dev", (json_int_t) room.dev,
                       "near", near);
        if (fs && room.free_entries >= 0)
                (void) json_put(fs, "free_entries", json_integer(room.free_entries));
        if (!fs || json_array_append_new(e->filesystems, fs) < 0)
                return error_oom(reterr);
        *ret = fs;
        return 0;
}

static json_t *share_of(json_t *fs, const char *step, const char *purpose) {
        json_t *shares = json_object_get(fs, "shares"), *share;
        size_t i;

        json_array_foreach (shares, i, share)
                if (streq(args_text(share, "step", ""), step) &&
                    streq(args_text(share, "for", ""), purpose))
                        return share;
        share = json_pack("{s:s, s:s, s:i, s:i}", "step", step, "for", purpose, "bytes", 0,
                          "entries", 0);
        return share && json_array_append_new(shares, share) >= 0 ? share : NULL;
}

static int add_for(Estimate *e, const char *path, const char *step, const char *purpose,
                   int64_t bytes, int64_t entries, Error *reterr) {
        json_t *fs = NULL, *share;
        int r;

        if (bytes == 0 && entries == 0)
                return 0;
        r = filesystem_of(e, path, &fs, reterr);
        if (r < 0)
                return r;
        share = share_of(fs, step, purpose);
        if (!share)
                return error_oom(reterr);
        grow(share, "bytes", bytes);
        grow(share, "entries", entries);
        return 0;
}

int estimate_add(Estimate *e, const char *path, const char *purpose, int64_t bytes, int64_t entries,
                 Error *reterr) {
        return add_for(e, path, args_text(e->save, "step", ""), purpose, bytes, entries, reterr);
}

int estimate_unknown(Estimate *e, const char *why, Error *reterr) {
        return json_array_append_new(e->unknown,
                                     json_pack("{s:O*, s:s}", "step",
                                               json_object_get(e->save, "step"), "why", why)) < 0
                       ? error_oom(reterr)
                       : 0;
}

/* A condition over inputs alone is decided already. 1: the step may come. */
static int may_come(Estimate *e, const json_t *save, Error *reterr) {
        const json_t *when, *name;
        size_t i, k;

        json_array_foreach (json_object_get(save, "when"), i, when) {
                json_auto_t *names = NULL;
                bool decided = true;
                int r = expr_names_used(json_string_value(when), &names, reterr);

                json_array_foreach (names, k, name)
                        decided = decided && startswith(json_string_value(name), "in.");
                if (r >= 0 && decided)
                        r = expr_eval(json_string_value(when), step_scope(e->step), reterr);
                if (r < 0 || (decided && r == 0))
                        return r;
        }
        return 1;
}

static int one_save(Estimate *e, const json_t *save, Error *reterr) {
        const char *uses = args_text(save, "uses", NULL);
        _cleanup_error_ Error error = ERROR_INIT;
        int r = may_come(e, save, &error);

        e->save = save;
        if (r > 0 && uses)
                r = error_set(&error, ENODATA, "unknown", "it uses ${%s}, which no step has given",
                              uses);
        else if (r > 0)
                r = estimate_save(e, save, &error);
        if (r >= 0)
                return 0;
        if (r == -ECANCELED || r == -ENOMEM) {
                error_move(reterr, &error);
                return r;
        }
        return estimate_unknown(e, error.message ? error.message : strerror(-r), reterr);
}

/* Sums up, each share with what it may grow until it is taken. */
static void filesystem_finish(json_t *fs) {
        const json_t *limit = json_object_get(fs, "free_entries");
        json_t *share;
        bool fits;
        size_t i;

        json_array_foreach (json_object_get(fs, "shares"), i, share) {
                Size size = {json_integer_value(json_object_get(share, "bytes")),
                             json_integer_value(json_object_get(share, "entries"))};

                size = size_with_margin(&size);
                (void) json_put(share, "bytes", json_integer(size.bytes));
                (void) json_put(share, "entries", json_integer(size.entries));
                grow(fs, "needed", size.bytes);
                grow(fs, "entries", size.entries);
        }
        fits = json_integer_value(json_object_get(fs, "needed")) <=
                       json_integer_value(json_object_get(fs, "free")) &&
               (!limit ||
                json_integer_value(json_object_get(fs, "entries")) <= json_integer_value(limit));
        (void) json_put(fs, "fits", json_boolean(fits));
}

int estimate_make(Step *s, const json_t *args, json_t **ret, Error *reterr) {
        json_auto_t *estimate = json_pack("{s:[], s:[]}", "filesystems", "not_estimated");
        Estimate e = {.step = s,
                      .filesystems = json_object_get(estimate, "filesystems"),
                      .unknown = json_object_get(estimate, "not_estimated")};
        int64_t steps = json_integer_value(json_object_get(args, "steps"));
        const json_t *save;
        json_t *fs;
        size_t i;
        int r;

        if (!estimate)
                return error_oom(reterr);
        r = steps == 0 ? 0
                       : add_for(&e, step_job_dir(s), SHARE_DAEMON, SHARE_SPARE,
                                 SPARE_BYTES + MIN(steps, SPARE_STEPS_MAX) * SPARE_BYTES_STEP,
                                 steps * SPARE_ENTRIES_STEP, reterr);
        json_array_foreach (json_object_get(args, "saves"), i, save)
                if (r >= 0)
                        r = one_save(&e, save, reterr);
        if (r < 0)
                return r;
        json_array_foreach (e.filesystems, i, fs)
                filesystem_finish(fs);
        *ret = TAKE(estimate);
        return 0;
}

bool estimate_fits(const json_t *estimate) {
        json_t *fs;
        size_t i;

        json_array_foreach (json_object_get(estimate, "filesystems"), i, fs)
                if (!json_is_true(json_object_get(fs, "fits")))
                        return false;
        return true;
}

/* ---- telling ---- */

static int64_t number(const json_t *object, const char *key) {
        return json_integer_value(json_object_get(object, key));
}

static int by_bytes(const void *a, const void *b) {
        int64_t x = number(*(json_t *const *) a, "bytes"),
                y = number(*(json_t *const *) b, "bytes");

        return x < y ? 1 : x > y ? -1 : 0;
}

/* The largest shares. NULL: out of memory. */
static json_t *largest(const json_t *shares) {
        size_t n = json_array_size(shares);
        _cleanup_free_ json_t **sorted = calloc(n + 1, sizeof(json_t *));
        json_t *list = json_array();

        for (size_t i = 0; sorted && i < n; i++)
                sorted[i] = json_array_get(shares, i);
        if (sorted)
                qsort(sorted, n, sizeof(json_t *), by_bytes);
        for (size_t i = 0; sorted && i < MIN(n, (size_t) SHARES_SHOWN); i++)
                (void) json_array_append(list, sorted[i]);
        return list;
}

json_t *estimate_summary(const json_t *estimate) {
        json_t *summary = json_deep_copy(estimate), *fs;
        size_t i;

        json_array_foreach (json_object_get(summary, "filesystems"), i, fs) {
                (void) json_object_del(fs, "dev");
                (void) json_object_del(fs, "near");
                (void) json_put(fs, "shares", largest(json_object_get(fs, "shares")));
        }
        return summary;
}

/* Adds to a text that is being put together; NULL stays NULL. */
static char *add_words(char *text, char *more, const char *between) {
        _cleanup_free_ char *before = text, *words = more;

        if (!before || !words)
                return NULL;
        return strf("%s%s%s", before, isempty(before) ? "" : between, words);
}

static char *share_words(const json_t *share) {
        const char *step = args_text(share, "step", ""), *purpose = args_text(share, "for", "");
        _cleanup_free_ char *size = size_format(number(share, "bytes"));

        if (streq(step, SHARE_DAEMON))
                return strf("updd's own records %s", size ? size : "?");
        return strf("%s %s%s", step, size ? size : "?",
                    streq(purpose, SHARE_BACK) ? " to put back" : " to keep");
}

static char *shares_words(const json_t *fs) {
        json_auto_t *shares = largest(json_object_get(fs, "shares"));
        char *text = strdup("");
        json_t *share;
        size_t i;

        json_array_foreach (shares, i, share)
                text = add_words(text, share_words(share), ", ");
        return text;
}

static char *filesystem_words(const json_t *fs) {
        const char *path = args_text(fs, "path", "");
        _cleanup_free_ char *needed = size_format(number(fs, "needed"));
        _cleanup_free_ char *left = size_format(number(fs, "free"));
        _cleanup_free_ char *shares = NULL;

        if (json_is_true(json_object_get(fs, "fits")))
                return strf("%s: %s of %s free", path, needed ? needed : "?", left ? left : "?");
        shares = shares_words(fs);
        if (number(fs, "needed") > number(fs, "free"))
                return strf("%s: %s needed, %s free (%s)", path, needed ? needed : "?",
                            left ? left : "?", shares ? shares : "");
        return strf("%s: %" JSON_INTEGER_FORMAT " files needed, room for %" JSON_INTEGER_FORMAT
                    " (%s)",
                    path, (json_int_t) number(fs, "entries"),
                    (json_int_t) number(fs, "free_entries"), shares ? shares : "");
}

static char *unknown_words(const json_t *estimate) {
        const json_t *list = json_object_get(estimate, "not_estimated");
        char *text = strdup("");
        json_t *one;
        size_t i;

        json_array_foreach ((json_t *) list, i, one)
                text = add_words(
                        text,
                        strf("%s (%s)", args_text(one, "step", ""), args_text(one, "why", "")),
                        ", ");
        return text;
}

char *estimate_words(const json_t *estimate) {
        bool fits = estimate_fits(estimate);
        _cleanup_free_ char *unknown = unknown_words(estimate);
        char *text = strdup("");
        json_t *fs;
        size_t i;

        json_array_foreach (json_object_get(estimate, "filesystems"), i, fs)
                if (fits || !json_is_true(json_object_get(fs, "fits")))
                        text = add_words(text, filesystem_words(fs), "; ");
        if (!isempty(unknown))
                text = add_words(text, strf("not estimated: %s", unknown), "; ");
        return text;
}
