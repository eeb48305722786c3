/* SPDX-License-Identifier: MIT */
/*
 * Prints the two state tables: as JSON for the tests (`table`), or as the page api/states.md with
 * its diagrams (`page`). It asks job_next() and step_next() for each pair, so what it prints is what
 * the daemon does. For the build and the tests; not installed.
 */
#include "daemon/state/state.h"

/* One of the two machines, seen the same way. */
typedef struct Machine {
        const char *name;
        int n_states, n_events;
        const char *(*state)(int s);
        const char *(*event)(int e);
        int (*next)(int from, int event);
        const char *const *meanings; /* of the events */
} Machine;

static const char *job_state(int s) {
        return job_state_to_text((JobState) s);
}

static const char *job_event(int e) {
        return job_event_to_text((JobEvent) e);
}

static int job_step(int from, int event) {
        return job_next((JobState) from, (JobEvent) event);
}

static const char *step_state(int s) {
        return step_status_to_text((StepStatus) s);
}

static const char *step_event(int e) {
        return step_event_to_text((StepEvent) e);
}

static int step_step(int from, int event) {
        return step_next((StepStatus) from, (StepEvent) event);
}

static const char *const job_meanings[_JOB_EVENT_MAX] = {
        [JOB_EVENT_CHECKS_PASSED] = "all checks of the plan passed, or it has none",
        [JOB_EVENT_CHECKS_REFUSED] = "a check failed: nothing was touched",
        [JOB_EVENT_PARK] = "nothing of it runs and its list of waits is not empty",
        [JOB_EVENT_REQUEUE] = "what it waited for before its first step is there",
        [JOB_EVENT_RESUME] =
                "a wait settled itself: a deadline that continues, a step that went on",
        [JOB_EVENT_CONFIRM] = "a person confirmed a gate",
        [JOB_EVENT_ANSWER] = "a person answered a step's question",
        [JOB_EVENT_STEPS_DONE] = "the last step is done",
        [JOB_EVENT_STEP_FAILED] = "a step failed, and `on_failure` names a way back",
        [JOB_EVENT_DRY_RUN_FAILED] = "a step of a dry run failed: there is nothing to undo",
        [JOB_EVENT_DEADLINE] = "a deadline passed that leads back: a gate's, the window's",
        [JOB_EVENT_ROLLBACK] = "a person asked for the way back",
        [JOB_EVENT_CANCEL] = "a person cancelled it after a step began",
        [JOB_EVENT_WITHDRAW] = "a person cancelled it, or its window closed, before any step began",
        [JOB_EVENT_UNDO_DONE] = "everything that the strategy undoes is undone",
        [JOB_EVENT_UNDO_FAILED] = "an undo failed",
        [JOB_EVENT_RETRY] = "a person has what failed tried again",
        [JOB_EVENT_SKIP] = "a person has what failed left as it is, and says why",
        [JOB_EVENT_ABANDON] = "a person gives the way back up, and says why",
        [JOB_EVENT_FINALISE] = "a person closes the way back",
};

static const char *const step_meanings[_STEP_EVENT_MAX] = {
        [STEP_EVENT_BEGIN] = "an attempt is recorded, or a group's first member may begin",
        [STEP_EVENT_PASS_OVER] = "its `when` is false, or a person skips it",
        [STEP_EVENT_ASK] = "a gate opens, a command asks a question",
        [STEP_EVENT_GO_ON] = "the question is answered",
        [STEP_EVENT_SUCCEED] = "it is done, and what it says of itself was checked",
        [STEP_EVENT_FAIL] = "it failed, and no try is left",
        [STEP_EVENT_INTERRUPT] = "its attempt ended without a result",
        [STEP_EVENT_AGAIN] = "it will be tried again: `retry`, `on_crash: rerun`, a person",
        [STEP_EVENT_UNDO] = "its undo begins",
        [STEP_EVENT_UNDO_SUCCEED] = "it is undone",
        [STEP_EVENT_UNDO_FAIL] = "its undo failed",
        [STEP_EVENT_LEAVE] = "it has nothing to undo, or a person leaves it as it is",
};

static const Machine machines[] = {
        {"job", _JOB_STATE_MAX, _JOB_EVENT_MAX, job_state, job_event, job_step, job_meanings},
        {"step", _STEP_STATUS_MAX, _STEP_EVENT_MAX, step_state, step_event, step_step,
         step_meanings},
};

/* ---- for the tests ---- */

static void print_json_row(const Machine *m, int from) {
        const char *comma = "";

        printf("  \"%s\": {", m->state(from));
        for (int e = 0; e < m->n_events; e++)
                if (m->next(from, e) >= 0) {
                        printf("%s\"%s\": \"%s\"", comma, m->event(e), m->state(m->next(from, e)));
                        comma = ", ";
                }
        printf("}%s\n", from + 1 < m->n_states ? "," : "");
}

static void print_json(void) {
        for (size_t i = 0; i < ELEMENTSOF(machines); i++) {
                printf("%s\"%s\": {\n", i == 0 ? "{" : ", ", machines[i].name);
                for (int from = 0; from < machines[i].n_states; from++)
                        print_json_row(&machines[i], from);
                puts(" }");
        }
        puts("}");
}

/* ---- for readers ---- */

/* All the events that lead from one state to another, on one arc. */
static void print_arc(const Machine *m, int from, int to) {
        const char *before = NULL;

        for (int e = 0; e < m->n_events; e++) {
                if (m->next(from, e) != to)
                        continue;
                if (!before)
                        printf("    %s --> %s: ", m->state(from), m->state(to));
                printf("%s%s", before ? " | " : "", m->event(e));
                before = m->event(e);
        }
        if (before)
                putchar('\n');
}

static bool is_left(const Machine *m, int from) {
        for (int e = 0; e < m->n_events; e++)
                if (m->next(from, e) >= 0)
                        return true;
        return false;
}

static void print_diagram(const Machine *m) {
        printf("```mermaid\nstateDiagram-v2\n    [*] --> %s\n", m->state(0));
        for (int from = 0; from < m->n_states; from++) {
                for (int to = 0; to < m->n_states; to++)
                        print_arc(m, from, to);
                if (!is_left(m, from))
                        printf("    %s --> [*]\n", m->state(from));
        }
        puts("```\n");
}

/* The states that an event is allowed in, each with where it leads. */
static void print_event(const Machine *m, int e) {
        const char *comma = "";

        printf("| `%s` | %s | ", m->event(e), m->meanings[e]);
        for (int from = 0; from < m->n_states; from++)
                if (m->next(from, e) >= 0) {
                        printf("%s%s → %s", comma, m->state(from), m->state(m->next(from, e)));
                        comma = ", ";
                }
        puts(" |");
}

static void print_page(void) {
        puts("# The states of a job and of a step\n\n"
             "Generated from the tables by which updd moves them (`state-generate page`). A pair "
             "of "
             "state and event that does not stand here is refused; what is true on disk in each "
             "state, and what a restart does there, is told in `daemon/state/state.h`.");
        for (size_t i = 0; i < ELEMENTSOF(machines); i++) {
                const Machine *m = &machines[i];

                printf("\n## A %s\n\n", m->name);
                print_diagram(m);
                puts("| event | what it says | from → to |\n|---|---|---|");
                for (int e = 0; e < m->n_events; e++)
                        print_event(m, e);
        }
}

int main(int argc, char **argv) {
        if (argc == 2 && streq(argv[1], "table"))
                print_json();
        else if (argc == 2 && streq(argv[1], "page"))
                print_page();
        else {
                fprintf(stderr, "usage: %s table | page\n", argv[0]);
                return 2;
        }
        return 0;
}
