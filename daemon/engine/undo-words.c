/* SPDX-License-Identifier: MIT */
/* What undoing a step does, in words for cards, strategies and reports. */
#include "api/args.h"
#include "daemon/engine/turn.h"

#define WORDS_MAX 80 /* bytes of an entry's arguments that are shown */

static char *known_words(const json_t *norm) {
        static const struct {
                const char *verb, *words;
        } table[] = {
                {"git", "git: back to the recorded commit and branch"},
                {"stop", "start again exactly what ran"},
                {"start", "stop what it started"},
                {"copy", "put back what was there"},
                {"write", "put back what was there"},
                {"append", "put back what was there"},
                {"remove", "put back what was removed"},
                {"snapshot", "put back bytes, mode and owner"},
                {"switch", "switch back to what stood there"},
                {"fetch", "put back the former file"},
                {"revert", "do the reverted step again"},
                {"timer", "the timer as it was before"},
                {"helm", "back to the recorded revision"},
        };
        const char *verb = args_text(norm, "verb", "");

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(table[i].verb, verb))
                        return strdup(table[i].words);
        return strf("%s: its own undo", verb);
}

/* On one line, and cut between two characters where it is long. True. */
static bool one_line(char *line) {
        size_t n = strlen(line);

        for (char *c = line; *c; c++)
                if (*c == '\n')
                        *c = ' ';
        if (n <= WORDS_MAX)
                return true;
        for (n = WORDS_MAX - 3; n > 0 && ((unsigned char) line[n] & 0xc0) == 0x80; n--)
                ;
        (void) strcpy(line + n, "...");
        return true;
}

/* "run: make clean", as it is written in the plan, and not all of it when it is long. */
static char *entry_words(const json_t *norm) {
        static const char *const keys[] = {"argv", "services", "paths", "args", "from",
                                           "to",   "path",     "url",   "step", "db"};
        const json_t *args = json_object_get(norm, "args"), *value = NULL;
        const char *verb = args_text(norm, "verb", "?"), *title = args_text(norm, "title", NULL);
        _cleanup_free_ char *line = NULL;
        json_t *word;
        size_t i;

        for (i = 0; i < ELEMENTSOF(keys) && !value; i++)
                value = json_object_get(args, keys[i]);
        if (title || !value)
                return strdup(title ? title : verb);
        if (json_is_string(value))
                line = strdup(json_string_value(value));
        json_array_foreach ((json_t *) value, i, word) {
                char *more = strf("%s%s%s", line ? line : "", line ? " " : "",
                                  json_is_string(word) ? json_string_value(word) : "...");

                free(line);
                line = more;
        }
        return line && one_line(line) ? strf("%s: %s", verb, line) : strdup(verb);
}

static char *list_words(const json_t *list) {
        _cleanup_free_ char *words = NULL;
        const json_t *norm;
        size_t i;

        json_array_foreach ((json_t *) list, i, norm) {
                _cleanup_free_ char *word = entry_words(norm);
                char *more = word ? strf("%s%s%s", words ? words : "", words ? ", then " : "", word)
                                  : NULL;

                if (!more)
                        return NULL;
                free(words);
                words = more;
        }
        return words ? TAKE(words) : strdup("nothing");
}

char *undo_words(const Job *job, unsigned idx, const json_t *strategy) {
        const StepDef *def = &job->def->steps[idx];
        const json_t *instead = json_object_get(json_object_get(strategy, "instead"), def->id);
        const json_t *undo = instead ? instead : json_object_get(def->norm, "undo");

        if (json_is_string(undo))
                return strdup("left as it is (undo: none)");
        if (json_is_array(undo))
                return list_words(undo);
        return verb_undo(def->norm) == UNDO_KNOWN ? known_words(def->norm) : strdup("nothing");
}
