/* SPDX-License-Identifier: MIT */
/* What the grammar has and this build cannot carry out yet. The tables say so, row by row. */
#include "api/args.h"
#include "daemon/plan/table.h"

typedef struct Walk {
        json_t *list;
        char path[2048];
        bool units;
        int r;
} Walk;

static void note(Walk *w, const char *what, const char *message) {
        json_t *o = json_object();

        if (json_put(o, "path", json_string(w->path)) < 0 ||
            json_put(o, "what", json_string(what)) < 0 ||
            json_put(o, "message", json_string(message)) < 0 ||
            json_array_append_new(w->list, o) < 0)
                w->r = -ENOMEM;
}

/* Into one member; the caller restores the path's end. */
static size_t push(Walk *w, const char *key, size_t index) {
        size_t n = strlen(w->path);

        if (key)
                (void) snprintf(w->path + n, sizeof(w->path) - n, "/%s", key);
        else
                (void) snprintf(w->path + n, sizeof(w->path) - n, "/%zu", index);
        return n;
}

static void walk(Walk *w, const json_t *value);

/* A limit that is not held is worse than none. */
static void judge_limits(Walk *w, const json_t *o) {
        static const char *const keys[] = {"memory", "cpu", "tasks", "io"};
        const json_t *limits = json_object_get(o, "limits");

        for (size_t i = 0; !w->units && i < ELEMENTSOF(keys); i++)
                if (json_object_get(limits, keys[i])) {
                        note(w, "limits",
                             "limits other than 'log' are held by systemd, and steps do not run in "
                             "it");
                        return;
                }
}

static void judge(Walk *w, const json_t *o) {
        const char *verb = args_text(o, "verb", NULL), *check = args_text(o, "check", NULL);
        const json_t *args = json_object_get(o, "args");
        const VerbInfo *v = verb && args ? verb_find(verb) : NULL;
        const CheckInfo *c = check && args ? check_find(check) : NULL;

        if (v && v->later)
                note(w, verb, v->later);
        if (c && c->later)
                note(w, check, c->later);
        if (v && streq(verb, "reboot") && !w->units)
                note(w, verb, "a reboot goes through systemd, and steps do not run in it");
        if (v)
                judge_limits(w, o);
        if (v && streq(verb, "backup") && json_object_get(args, "buckets"))
                note(w, "buckets", "backups of object stores come with a later version");
}

static void walk(Walk *w, const json_t *value) {
        const char *key;
        json_t *v;
        size_t i;

        judge(w, value);
        json_object_foreach ((json_t *) value, key, v) {
                size_t n;

                /* The user's own JSON is no part of the plan's grammar. */
                if (streq(key, "json") || streq(key, "body") || streq(key, "body_json"))
                        continue;
                n = push(w, key, 0);

                walk(w, v);
                w->path[n] = '\0';
        }
        json_array_foreach (value, i, v) {
                size_t n = push(w, NULL, i);

                walk(w, v);
                w->path[n] = '\0';
        }
}

static void judge_sections(Walk *w, const json_t *norm) {
        static const struct {
                const char *section, *message;
        } later[] = {
                {"stores", "object stores come with a later version"},
                {"kube", "Kubernetes comes with a later version"},
        };
        const char *name;
        json_t *db;

        for (size_t i = 0; i < ELEMENTSOF(later); i++) {
                const json_t *section = json_object_get(norm, later[i].section);

                (void) snprintf(w->path, sizeof(w->path), "/%s", later[i].section);
                if (section &&
                    (json_object_size(section) > 0 || !streq(later[i].section, "stores")))
                        note(w, later[i].section, later[i].message);
        }
        json_object_foreach (json_object_get(norm, "databases"), name, db) {
                (void) snprintf(w->path, sizeof(w->path), "/databases/%s", name);
                if (startswith(args_text(db, "url", ""), "postgresql:"))
                        note(w, "postgresql", "PostgreSQL comes with a later version");
        }
        w->path[0] = '\0';
        judge_limits(w, norm);
}

int plan_unsupported(const Plan *plan, bool units, json_t **ret) {
        json_auto_t *list = json_array();
        Walk w = {.list = list, .units = units};

        if (!list)
                return -ENOMEM;
        judge_sections(&w, plan->norm);
        walk(&w, plan->norm);
        if (w.r < 0)
                return w.r;
        *ret = TAKE(list);
        return 0;
}
