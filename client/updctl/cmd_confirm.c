/* SPDX-License-Identifier: MIT */
/* confirm and answer: what a job waits for a person to say. */
#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <strings.h>

#include "api/text.h"
#include "client/updctl/decide.h"

#define ANSWER_SIZE_MAX (64u << 10)
#define ITEMS_MAX 256

static int tell_nothing_open(Ctl *ctl, const json_t *job, const char *what) {
        _cleanup_free_ char *actions = join_texts(json_object_get(job, "actions"), ", ");

        (void) tell(ctl, EXIT_REFUSED, "job %" PRId64 " (%s) %s", get_int(job, "id"),
                    state_look(get_text(job, "state"))->words, what);
        if (actions)
                tell_hint(ctl, "allowed now: %s", actions);
        return EXIT_REFUSED;
}

/* The item that --tick names: its number, its text, or how only it begins. NULL, told. */
static const char *find_item(Ctl *ctl, const json_t *items, const char *word) {
        const char *texts[ITEMS_MAX], *found = NULL, *nearest;
        size_t n = 0, i, n_found = 0;
        json_t *item;

        json_array_foreach ((json_t *) items, i, item)
                if (n < ITEMS_MAX && get_text(item, "text"))
                        texts[n++] = get_text(item, "text");
        for (i = 0; i < n; i++) {
                if (streq(texts[i], word))
                        return texts[i];
                if (strncasecmp(texts[i], word, strlen(word)) == 0) {
                        found = texts[i];
                        n_found++;
                }
        }
        if (n_found == 0 && *word && strspn(word, "0123456789") == strlen(word)) {
                i = strtoul(word, NULL, 10);
                found = i >= 1 && i <= n ? texts[i - 1] : NULL;
                n_found = found != NULL;
        }
        if (n_found == 1)
                return found;
        nearest = guess(word, texts, n);
        (void) tell(ctl, EXIT_USAGE, "'%s' is %s", word,
                    n_found == 0 ? "none of the items" : "the beginning of several items");
        if (nearest)
                tell_hint(ctl, "did you mean '%s'?", nearest);
        for (i = 0; i < n; i++)
                put(ctl->err, PLAIN, "  %zu  %s\n", i + 1, texts[i]);
        return NULL;
}

static int add_ticks(Ctl *ctl, const json_t *items, json_t *ticks) {
        for (unsigned i = 0; i < ctl->args->n_values[OPT_TICK]; i++) {
                const char *text = find_item(ctl, items, ctl->args->values[OPT_TICK][i]);

                if (!text)
                        return EXIT_USAGE;
                (void) json_array_append_new(ticks, json_string(text));
        }
        return 0;
}

static void ask_items(Ctl *ctl, const json_t *items, json_t *ticks) {
        json_t *item;
        size_t i;

        json_array_foreach ((json_t *) items, i, item) {
                const char *text = get_text(item, "text");
                _cleanup_free_ char *question = strf("  %s?", text);

                if (!json_is_object(json_object_get(item, "ticked")) && question &&
                    ask_yes(ctl->out, question))
                        (void) json_array_append_new(ticks, json_string(text));
        }
}

/* The ticks of the options, or of a person at the terminal. */
static int choose_ticks(Ctl *ctl, const json_t *wait, json_t *body) {
        const json_t *items = json_object_get(wait, "items");
        json_auto_t *ticks = json_array();
        int r;

        if (args_has(ctl->args, OPT_ALL_ITEMS))
                return json_put(body, "all", json_true()) < 0 ? EXIT_REFUSED : 0;
        r = add_ticks(ctl, items, ticks);
        if (r > 0)
                return r;
        if (json_array_size(items) > 0 && json_array_size(ticks) == 0 && ctl->ask) {
                put_text(ctl->out, 0, "", BOLD, get_text(wait, "ask") ? get_text(wait, "ask") : "");
                ask_items(ctl, items, ticks);
                if (json_array_size(ticks) == 0)
                        return tell(ctl, EXIT_REFUSED, "nothing was ticked");
        }
        if (json_array_size(ticks) > 0)
                return json_put(body, "ticks", json_incref(ticks)) < 0 ? EXIT_REFUSED : 0;
        if (json_array_size(items) == 0)
                return 0;
        (void) tell(ctl, EXIT_USAGE, "the gate has items: --tick each that holds, or --all");
        for (size_t i = 0; i < json_array_size(items); i++)
                put(ctl->err, PLAIN, "  %zu  %s\n", i + 1,
                    get_text(json_array_get(items, i), "text"));
        return EXIT_USAGE;
}

/* The wait of this id, when it is still open. */
static const json_t *still_open(const json_t *job, const char *id) {
        json_t *wait;
        size_t i;

        json_array_foreach (json_object_get(job, "waits"), i, wait)
                if (streq0(get_text(wait, "id"), id))
                        return wait;
        return NULL;
}

static char *confirm_words(const json_t *job, const json_t *wait) {
        const json_t *open = still_open(job, get_text(wait, "id")), *items;
        size_t n = 0;

        if (!open)
                return strf("%s is confirmed", step_of(wait));
        items = json_object_get(open, "items");
        if (json_array_size(items) == 0)
                return strf("%s is still open", step_of(wait));
        for (size_t i = 0; i < json_array_size(items); i++)
                n += json_is_object(json_object_get(json_array_get(items, i), "ticked"));
        return strf("%s: %zu of %zu items are ticked", step_of(wait), n, json_array_size(items));
}

int cmd_confirm(Ctl *ctl) {
        json_auto_t *body = json_object();
        _cleanup_response_ Response job = RESPONSE_INIT, after = RESPONSE_INIT;
        _cleanup_free_ char *words = NULL;
        const json_t *wait = NULL;
        int r;

        r = pick_job(ctl, args_word(ctl->args, 0), &job);
        if (r == 0)
                r = pick_wait(ctl, job.json, wait_is_gate, &wait);
        if (r > 0)
                return r;
        if (!wait)
                return tell_nothing_open(ctl, job.json, "asks for no confirmation");
        (void) json_put(body, "wait", json_string(get_text(wait, "id")));
        r = choose_ticks(ctl, wait, body);
        if (r == 0)
                r = add_typed(ctl, get_text(wait, "type"), body);
        if (r == 0)
                r = add_reason(ctl, body);
        if (r == 0)
                r = decide(ctl, get_int(job.json, "id"), "confirm", body, &after);
        if (r > 0)
                return r;
        words = confirm_words(after.json, wait);
        return decided(ctl, &after, words ? words : "confirmed");
}

/* The answer's text: the word, stdin for "-", or typed at the terminal. */
static int read_answer(Ctl *ctl, const json_t *wait, char **ret) {
        const char *word = args_word(ctl->args, 1), *prompt = get_text(wait, "prompt");
        bool echo = get_bool(wait, "echo");
        size_t size;
        int r;

        if (word && !streq(word, "-") && !echo) {
                (void) tell(ctl, EXIT_USAGE,
                            "this answer is a secret and does not belong on the "
                            "command line");
                tell_hint(ctl, "give '-' and the answer on stdin, or answer at a terminal");
                return EXIT_USAGE;
        }
        if (word && !streq(word, "-")) {
                *ret = strdup(word);
                return *ret ? 0 : EXIT_REFUSED;
        }
        if (!word && !ctl->ask)
                return tell(ctl, EXIT_USAGE,
                            "give the answer: updctl answer JOB TEXT, or - for "
                            "stdin");
        if (!word) {
                put_text(ctl->out, 0, "", BOLD, prompt ? prompt : "");
                *ret = ask_line(ctl->out, echo, "answer: ");
                return *ret ? 0 : tell(ctl, EXIT_REFUSED, "nothing was answered");
        }
        r = file_read(AT_FDCWD, "/dev/stdin", ANSWER_SIZE_MAX, ret, &size);
        if (r < 0)
                return tell(ctl, EXIT_REFUSED, "cannot read stdin: %s", strerror(-r));
        if (size > 0 && (*ret)[size - 1] == '\n')
                (*ret)[size - 1] = '\0';
        return 0;
}

int cmd_answer(Ctl *ctl) {
        json_auto_t *body = NULL;
        _cleanup_response_ Response job = RESPONSE_INIT, after = RESPONSE_INIT;
        _cleanup_free_ char *text = NULL, *words = NULL;
        const json_t *wait = NULL;
        int r;

        r = pick_job(ctl, args_word(ctl->args, 0), &job);
        if (r == 0)
                r = pick_wait(ctl, job.json, wait_is_question, &wait);
        if (r > 0)
                return r;
        if (!wait)
                return tell_nothing_open(ctl, job.json, "asks no question");
        r = read_answer(ctl, wait, &text);
        if (r > 0)
                return r;
        body = json_pack("{s:s, s:s}", "wait", get_text(wait, "id"), "text", text);
        explicit_bzero(text, strlen(text));
        if (!body)
                return tell(ctl, EXIT_USAGE, "the answer is not UTF-8");
        r = decide(ctl, get_int(job.json, "id"), "answer", body, &after);
        if (r > 0)
                return r;
        words = strf("%s has its answer", step_of(wait));
        return decided(ctl, &after, words ? words : "answered");
}
