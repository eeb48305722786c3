/* SPDX-License-Identifier: MIT */
/*
 * updd's own plans. Their documents are of another form than people's, which `plan_parse` refuses:
 * they name what is wanted, and the steps follow from that here.
 *   {"internal": "schedule", "plan", "target", "title", "name", "on"?, "missed"?}
 */
#include "api/args.h"
#include "daemon/plan/plan.h"

/* systemd's own parser judges the text, and its words reach the person as the check's. */
static json_t *calendar_check(const char *on) {
        return json_pack("{s:s, s:s, s:s, s:{s:[s,s,s,s]}}", "check", "run", "name", "calendar",
                         "hint", "systemd.time(7) describes calendar events", "args", "argv",
                         "systemd-analyze", "calendar", "--", on);
}

static json_t *schedule_checks(const json_t *document) {
        const char *on = args_text(document, "on", NULL);
        json_t *checks = json_array();

        if (on && checks && json_array_append_new(checks, calendar_check(on)) < 0) {
                json_decref(checks);
                return NULL;
        }
        return checks;
}

static json_t *schedule_step(const json_t *document) {
        const char *on = args_text(document, "on", NULL);

        return json_pack("{s:s, s:s, s:s, s:s, s:{s:O, s:O*, s:O*}}", "id", "timer", "verb",
                         "timer", "title", on ? "Sets the timer" : "Removes the timer", "timeout",
                         "2m", "args", "name", json_object_get(document, "name"), "on",
                         json_object_get(document, "on"), "missed",
                         json_object_get(document, "missed"));
}

static json_t *schedule_norm(const json_t *document) {
        static const char *const sections[] = {"inputs",  "secrets",  "databases", "stores",
                                               "compose", "services", "rollbacks", "on_failure",
                                               "hooks",   "hints",    "env"};
        json_t *norm = json_pack(
                "{s:O, s:O, s:O, s:s, s:o, s:[o], s:[]}", "plan", json_object_get(document, "plan"),
                "target", json_object_get(document, "target"), "title",
                json_object_get(document, "title"), "way_back", "0s", "checks",
                schedule_checks(document), "steps", schedule_step(document), "finalise");

        for (size_t i = 0; norm && i < ELEMENTSOF(sections); i++)
                if (json_object_set_new(norm, sections[i], json_object()) < 0) {
                        json_decref(norm);
                        return NULL;
                }
        return norm;
}

static int plan_of(json_t *document, Plan **ret) {
        _cleanup_plan_ Plan *plan = calloc(1, sizeof(*plan));

        if (!plan)
                return -ENOMEM;
        plan->n_ref = 1;
        plan->source = json_incref(document);
        plan->norm = schedule_norm(document);
        plan->canonical = json_canonical(document);
        if (!plan->norm || !plan->canonical)
                return -ENOMEM;
        sha256_text(plan->canonical, strlen(plan->canonical), plan->sha256);
        *ret = TAKE(plan);
        return 0;
}

int plan_schedule(const char *name, const char *on, const char *missed, Plan **ret) {
        _cleanup_free_ char *target = strf(SCHEDULE_TARGET "%s", name);
        _cleanup_free_ char *title =
                on ? strf("Schedule %s: %s", name, on) : strf("Schedule %s is removed", name);
        json_auto_t *document = NULL;

        if (!target || !title)
                return -ENOMEM;
        document = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s*, s:s*}", "internal", "schedule",
                             "plan", PLAN_SCHEDULE, "target", target, "title", title, "name", name,
                             "on", on, "missed", missed);
        return document ? plan_of(document, ret) : -ENOMEM;
}

bool plan_is_internal(const Plan *plan) {
        return json_object_get(plan->source, "internal");
}

int plan_thaw(const char *text, Plan **ret, json_t **ret_faults) {
        json_auto_t *document = json_loads(text, 0, NULL);

        *ret_faults = NULL;
        if (streq0(args_text(document, "internal", NULL), "schedule"))
                return plan_of(document, ret);
        return plan_parse("frozen plan", text, strlen(text), ret, ret_faults);
}
