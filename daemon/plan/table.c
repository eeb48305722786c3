/* SPDX-License-Identifier: MIT */
/* Lookups in the tables and the names of the field types: see daemon/plan/table.h. */
#include "daemon/plan/table.h"

const TypeInfo field_types[_FIELD_TYPE_MAX] = {
        [TYPE_TEXT] = {"text", "text"},
        [TYPE_ID] = {"id", "an id: a lower-case letter, then letters, digits, '_' and '-'"},
        [TYPE_PATH] = {"path", "a path"},
        [TYPE_PATHS] = {"paths", "a path, a glob or a list of them"},
        [TYPE_DURATION] = {"duration", "a duration such as 500ms, 5s, 10m, 2h, 1d or 1h30m"},
        [TYPE_SIZE] = {"size", "a size such as 64K, 10M or 1G"},
        [TYPE_SHARE] = {"share", "a share of a processor such as 50%"},
        [TYPE_INT] = {"int", "a whole number"},
        [TYPE_BOOL] = {"bool", "yes or no"},
        [TYPE_ENUM] = {"word", "one of its words"},
        [TYPE_REGEX] = {"regex", "a regular expression"},
        [TYPE_REGEXES] = {"regex or list", "a regular expression or a list of them"},
        [TYPE_ARGV] = {"argv", "a list: the program and its arguments"},
        [TYPE_TEXTS] = {"list of text", "a list of text"},
        [TYPE_TEXT_MAP] = {"map of text", "a map from names to text"},
        [TYPE_TEXTS_MAP] = {"map of lists", "a map from names to lists of text"},
        [TYPE_PATH_MAP] = {"map of paths", "a map from names to paths"},
        [TYPE_SCALAR] = {"value", "text or a number"},
        [TYPE_EXPECTATION] = {"expectation", "a value, or a map from columns to values"},
        [TYPE_JSON] = {"JSON", "any value"},
        [TYPE_POINTER] = {"JSON pointer", "a JSON pointer such as /status/ready"},
        [TYPE_EXPRESSION] = {"expression", "an expression such as in.mode == 'full'"},
        [TYPE_EXITS] = {"int or list", "an exit code or a list of them"},
        [TYPE_STATUS] = {"status or list", "an HTTP status such as 200 or 2xx"},
        [TYPE_MODE] = {"mode", "a file mode in octal such as 0644"},
        [TYPE_SHA256] = {"SHA-256", "a SHA-256 of 64 hexadecimal digits"},
        [TYPE_VERSION] = {"version", "a version such as 3.10"},
        [TYPE_STEPS] = {"STEPS", "one step or a list of steps"},
        [TYPE_CHECKS] = {"checks", "a list of checks"},
        [TYPE_UNDO] = {"none or STEPS", "'none', one step or a list of steps"},
        [TYPE_RETRY] = {"retry", "a number of tries, or {tries, first, factor, max}"},
        [TYPE_OBJECT] = {"map", "a map"},
        [TYPE_OBJECTS] = {"list of maps", "a list of maps"},
        [TYPE_OBJECT_MAP] = {"map of maps", "a map from names to maps"},
        [TYPE_STEPS_MAP] = {"map of STEPS", "a map from step ids to steps"},
        [TYPE_ON_FAILURE] = {"map", "a map from 'default' or step ids to a strategy or 'hold'"},
        [TYPE_HOOKS] = {"hooks", "a map from events to lists of hooks"},
        [TYPE_REGEX_MAP] = {"map of hints", "a map from regular expressions to text"},
        [TYPE_SERVICES] = {"services", "a list of names of 'services'"},
        [TYPE_STEP] = {"step", "the id of a step"},
        [TYPE_STEP_LIST] = {"steps", "a list of ids of steps"},
        [TYPE_BACKUP_STEP] = {"backup step", "the id of a backup step"},
        [TYPE_BACKUP] = {"backup", "the id of a backup step, or a backup's id"},
        [TYPE_DATABASE] = {"database", "a name of 'databases'"},
        [TYPE_DATABASE_URL] = {"database url", "a url that begins with sqlite: or postgresql:"},
        [TYPE_COMPOSE] = {"project", "a name of 'compose'"},
        [TYPE_COMPOSE_SERVICE] = {"PROJECT[/SERVICE]",
                                  "PROJECT or PROJECT/SERVICE, with a project of 'compose'"},
        [TYPE_STRATEGY] = {"strategy", "hold, rollback, continue or a name of 'rollbacks'"},
};

const char *const job_names[] = {"id", "dir", "stamp", "date", "took", "target", "plan", NULL};
const char *const step_outputs[] = {"state", "started", "took", NULL};

const VerbInfo *verb_find(const char *name) {
        for (const VerbInfo *v = plan_verbs; v->spec.name; v++)
                if (streq(v->spec.name, name))
                        return v;
        return NULL;
}

const CheckInfo *check_find(const char *name) {
        for (const CheckInfo *c = plan_checks; c->spec.name; c++)
                if (streq(c->spec.name, name))
                        return c;
        return NULL;
}

const FieldInfo *field_find(const Spec *spec, const char *name) {
        for (const FieldInfo *f = spec->fields; f->name; f++)
                if (streq(f->name, name))
                        return f;
        return NULL;
}

const FieldInfo *field_alone(const Spec *spec) {
        for (const FieldInfo *f = spec->fields; f->name; f++)
                if (f->flags & FIELD_ALONE)
                        return f;
        return NULL;
}
