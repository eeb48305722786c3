/* SPDX-License-Identifier: MIT */
/* plans, show, lint: what could be started. */
#include <fcntl.h>

#include "client/updctl/card.h"

#define PLAN_SIZE_MAX (8u << 20)

int cmd_plans(Ctl *ctl) {
        _cleanup_response_ Response page = RESPONSE_INIT;
        json_t *plan;
        size_t i;
        int r;

        r = ctl_get(ctl, &page, "/v1/plans");
        if (r > 0)
                return r;
        if (ctl->json)
                return put_json(ctl, &page);
        json_array_foreach (json_object_get(page.json, "plans"), i, plan) {
                bool ok = get_bool(plan, "ok");
                const char *title = get_text(plan, "title"), *file = get_text(plan, "file");

                put_cells(ctl->out, 0, {BOLD, 24, get_text(plan, "plan")},
                          {ok ? PLAIN : BAD, 0, ok ? title ? title : file : "has faults:"});
                put_faults(ctl->out, json_object_get(plan, "faults"));
        }
        if (i == 0)
                put(ctl->out, PLAIN, "No plan is installed: put one into /etc/updd/plans.\n");
        return EXIT_AS_ASKED;
}

int cmd_show(Ctl *ctl) {
        _cleanup_free_ char *name = url_escape(args_word(ctl->args, 0));
        _cleanup_response_ Response plan = RESPONSE_INIT;
        int r;

        r = ctl_get(ctl, &plan, "/v1/plans/%s", name ? name : "");
        if (r > 0)
                return r;
        if (ctl->json)
                return put_json(ctl, &plan);
        put_card(ctl->out, plan.json, NULL, false);
        return EXIT_AS_ASKED;
}

static int check_file(Ctl *ctl, const char *file, Response *ret) {
        _cleanup_free_ char *text = NULL, *name = url_escape(file), *path = NULL;
        size_t size;
        int r;

        r = file_read(AT_FDCWD, streq(file, "-") ? "/dev/stdin" : file, PLAN_SIZE_MAX, &text,
                      &size);
        if (r < 0)
                return tell(ctl, EXIT_REFUSED, "cannot read %s: %s", file, strerror(-r));
        path = strf("/v1/plans:check?file=%s", name ? name : "");
        return ctl_call(ctl,
                        &(Request){.method = "POST", .path = path, .text = text, .text_size = size},
                        ret);
}

static int lint_one(Ctl *ctl, const char *file, json_t *all) {
        _cleanup_response_ Response answer = RESPONSE_INIT;
        const char *plan;
        bool ok;
        int r;

        r = check_file(ctl, file, &answer);
        if (r > 0)
                return r;
        ok = get_bool(answer.json, "ok");
        plan = get_text(answer.json, "plan");
        if (all)
                (void) json_array_append(all, answer.json);
        else if (ctl->json)
                (void) put_json(ctl, &answer);
        else {
                put_faults(ctl->out, json_object_get(answer.json, "faults"));
                put_faults(ctl->out, json_object_get(answer.json, "unsupported"));
                if (ok)
                        put(ctl->out, PLAIN, "%s: %s is well formed\n", file, plan ? plan : "it");
        }
        return ok ? EXIT_AS_ASKED : EXIT_REFUSED;
}

int cmd_lint(Ctl *ctl) {
        json_auto_t *all = ctl->json && ctl->args->n_words > 1 ? json_array() : NULL;
        int worst = 0;

        for (unsigned i = 0; i < ctl->args->n_words; i++) {
                int r = lint_one(ctl, ctl->args->words[i], all);

                worst = MAX(worst, r);
                if (r == EXIT_UNREACHABLE)
                        return r;
        }
        if (all)
                (void) put_json_value(ctl, all);
        return worst;
}
