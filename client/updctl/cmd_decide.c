/* SPDX-License-Identifier: MIT */
/* cancel, retry, skip, abandon, finalise. */
#include <fcntl.h>
#include <inttypes.h>

#include "client/updctl/decide.h"

#define PLAN_SIZE_MAX (8u << 20)

/* A verb whose body holds nothing but the reason. */
static int decide_simply(Ctl *ctl, const char *verb, int (*reason)(Ctl *ctl, json_t *body),
                         Response *ret) {
        json_auto_t *body = json_object();
        _cleanup_response_ Response job = RESPONSE_INIT;
        int r;

        r = pick_job(ctl, args_word(ctl->args, 0), &job);
        if (r == 0)
                r = reason(ctl, body);
        return r > 0 ? r : decide(ctl, get_int(job.json, "id"), verb, body, ret);
}

int cmd_cancel(Ctl *ctl) {
        _cleanup_response_ Response after = RESPONSE_INIT;
        int r = decide_simply(ctl, "cancel", add_reason, &after);

        if (r == 0)
                r = decided(ctl, &after, "cancelled");
        /* Going back is what was asked for. */
        return r == EXIT_ROLLED_BACK ? EXIT_AS_ASKED : r;
}

/* The wait that this decision is about, named in the body. A job without a fitting one (stuck, or
 * not waiting at all) is left to the daemon, which says what may be done. */
static int name_wait(Ctl *ctl, const json_t *job, WaitFits fits, json_t *body) {
        const json_t *wait = NULL;
        int r;

        r = pick_wait(ctl, job, fits, &wait);
        if (r == 0 && wait)
                r = json_put(body, "wait", json_string(get_text(wait, "id"))) < 0 ? EXIT_REFUSED
                                                                                  : 0;
        return r;
}

static int add_plan_file(Ctl *ctl, json_t *body) {
        const char *file = args_value(ctl->args, OPT_PLAN_FILE);
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        if (!file)
                return 0;
        r = file_read(AT_FDCWD, file, PLAN_SIZE_MAX, &text, &size);
        if (r < 0)
                return tell(ctl, EXIT_REFUSED, "cannot read %s: %s", file, strerror(-r));
        if (json_put(body, "document", json_stringn(text, size)) < 0)
                return tell(ctl, EXIT_REFUSED, "%s is not UTF-8", file);
        return 0;
}

static int retry_body(Ctl *ctl, const json_t *job, json_t *body) {
        json_auto_t *inputs = json_object(), *secrets = json_object();
        int r;

        r = name_wait(ctl, job, wait_can_retry, body);
        if (r == 0)
                r = args_pairs(ctl->args, OPT_INPUT, ctl->err, inputs);
        if (r == 0)
                r = read_secrets(ctl, secrets);
        if (r == 0)
                r = add_plan_file(ctl, body);
        if (r == 0)
                r = add_reason(ctl, body);
        if (r > 0)
                return r;
        if (json_object_size(inputs) > 0)
                (void) json_object_set(body, "inputs", inputs);
        if (json_object_size(secrets) > 0)
                (void) json_object_set(body, "secrets", secrets);
        return 0;
}

static void put_change(const Screen *s, const char *what, const char *key, const json_t *entry) {
        const json_t *from = json_object_get(entry, "from"), *to = json_object_get(entry, "to");
        _cleanup_free_ char *was = value_text(from), *is = value_text(to);
        _cleanup_free_ char *label = strf("%s  %s", what, key);

        put(s, PLAIN, "%s  %s -> %s\n", label ? label : "", from && was ? was : "(nothing)",
            to && is ? is : "(nothing)");
}

static void put_names(const Screen *s, const json_t *change, const char *key) {
        _cleanup_free_ char *names = join_texts(json_object_get(change, key), ", ");

        if (!isempty(names))
                put(s, PLAIN, "%s: %s\n", key, names);
}

static void put_steps_changed(const Screen *s, const json_t *change) {
        json_t *entry;
        size_t i;

        json_array_foreach (json_object_get(change, "differences"), i, entry)
                put_change(s, step_of(entry), get_text(entry, "key"), entry);
        put_names(s, change, "added");
        put_names(s, change, "removed");
}

/* What a retry would change. */
static void put_preview(const Screen *s, const json_t *change) {
        const char *from = get_text(change, "from"), *to = get_text(change, "to"), *name;
        json_t *entry;

        if (from && to && !streq(from, to))
                put(s, PLAIN, "plan  %.12s -> %.12s\n", from, to);
        json_object_foreach (json_object_get(change, "inputs"), name, entry)
                put_change(s, "input", startswith(name, "in.") ? name + 3 : name, entry);
        put_steps_changed(s, change);
}

/* What the retry changed in what was asked for. */
static void put_difference(const Screen *s, const json_t *before, const json_t *after) {
        const json_t *was = json_object_get(before, "inputs"),
                     *is = json_object_get(after, "inputs");
        const char *old_hash = get_text(before, "sha256"), *hash = get_text(after, "sha256"), *name;
        json_t *value;

        if (hash && !streq0(old_hash, hash))
                put(s, PLAIN, "plan  %.12s -> %.12s\n", old_hash ? old_hash : "", hash);
        json_object_foreach ((json_t *) is, name, value) {
                const json_t *old = json_object_get(was, name);
                _cleanup_free_ char *from = value_text(old), *to = value_text(value);

                if (!json_equal((json_t *) old, value))
                        put(s, PLAIN, "%s  %s -> %s\n", name, from ? from : "", to ? to : "");
        }
}

/* And in which steps: the journal has it. A journal that cannot be read keeps nobody from going on.
 */
static void put_what_changed(Ctl *ctl, const json_t *before, const json_t *after) {
        _cleanup_response_ Response page = RESPONSE_INIT;
        json_t *event;
        size_t i;

        put_difference(ctl->out, before, after);
        if (ctl_get(ctl, &page, "/v1/jobs/%" PRId64 "/events?after=%" PRId64 "&limit=20",
                    get_int(after, "id"), get_int(before, "version")) > 0)
                return;
        json_array_foreach (json_object_get(page.json, "events"), i, event)
                if (streq0(get_text(event, "type"), "plan_changed"))
                        put_steps_changed(ctl->out, json_object_get(event, "data"));
}

static bool changes_something(const json_t *body) {
        return json_object_get(body, "inputs") || json_object_get(body, "document");
}

/* Somebody at a terminal sees what will be another before it is. */
static int ask_changes(Ctl *ctl, int64_t id, const json_t *body) {
        json_auto_t *look = json_copy((json_t *) body);
        _cleanup_response_ Response change = RESPONSE_INIT;
        int r;

        (void) json_object_del(look, "secrets");
        if (json_put(look, "preview", json_true()) < 0)
                return EXIT_REFUSED;
        r = decide(ctl, id, "retry", look, &change);
        if (r > 0)
                return r;
        put_preview(ctl->out, change.json);
        return ask_yes(ctl->out, "Try again with this?")
                       ? 0
                       : tell(ctl, EXIT_REFUSED, "nothing was changed");
}

int cmd_retry(Ctl *ctl) {
        json_auto_t *body = json_object();
        _cleanup_response_ Response job = RESPONSE_INIT, after = RESPONSE_INIT;
        bool asks = ctl->ask && !ctl->json && !args_has(ctl->args, OPT_YES);
        int r;

        r = pick_job(ctl, args_word(ctl->args, 0), &job);
        if (r == 0)
                r = retry_body(ctl, job.json, body);
        if (r == 0 && asks && changes_something(body))
                r = ask_changes(ctl, get_int(job.json, "id"), body);
        if (r == 0)
                r = decide(ctl, get_int(job.json, "id"), "retry", body, &after);
        if (r > 0)
                return r;
        if (!ctl->json && !asks && changes_something(body))
                put_what_changed(ctl, job.json, after.json);
        return decided(ctl, &after, "trying again");
}

int cmd_skip(Ctl *ctl) {
        json_auto_t *body = json_object();
        _cleanup_response_ Response job = RESPONSE_INIT, after = RESPONSE_INIT;
        int r;

        r = pick_job(ctl, args_word(ctl->args, 0), &job);
        if (r == 0)
                r = name_wait(ctl, job.json, wait_can_skip, body);
        if (r == 0)
                r = need_reason(ctl, body);
        if (r == 0)
                r = decide(ctl, get_int(job.json, "id"), "skip", body, &after);
        return r > 0 ? r : decided(ctl, &after, "skipped");
}

int cmd_abandon(Ctl *ctl) {
        _cleanup_response_ Response after = RESPONSE_INIT;
        int r = decide_simply(ctl, "abandon", need_reason, &after);

        if (r == 0)
                r = decided(ctl, &after, "left as it is");
        if (r == 0 && !ctl->json)
                put_back(ctl->out, after.json);
        return r;
}

int cmd_finalise(Ctl *ctl) {
        _cleanup_response_ Response after = RESPONSE_INIT;
        int r = decide_simply(ctl, "finalise", add_reason, &after);

        return r > 0 ? r : decided(ctl, &after, "the way back is closed");
}
