/* SPDX-License-Identifier: MIT */
/*
 * A job's definition: its frozen plan and inputs, flattened into numbered steps. It never changes
 * while a job has it (a retry that changes the plan makes a new one), so copies of a job share it.
 *
 * Steps stand in this order: "@checks" (if the plan has checks, or steps that keep something for
 * the way back), the plan's steps with members right behind their group, finalise steps,
 * "@then.<strategy>" for each strategy with `then`, "@hook.<event>.<i>" for each hook, "@release",
 * which gives back the space that was reserved for the way back, and "@images" (if the plan stops
 * containers), which gives back the images that were kept for it.
 */
#pragma once

#include "daemon/plan/plan.h"

#define STEP_CHECKS "@checks"
#define STEP_RELEASE "@release"
#define STEP_IMAGES "@images"
#define WAY_BACK_CHECK "way-back" /* its name, and what `--override` calls it */

typedef enum Phase {
        PHASE_CHECKS,
        PHASE_MAIN,
        PHASE_FINALISE,
        PHASE_THEN,
        PHASE_HOOK,
        _PHASE_MAX,
} Phase;

const char *phase_to_text(Phase phase);

typedef struct StepDef {
        char *id;
        char *title;        /* inputs put in; NULL when the plan gives none */
        const json_t *norm; /* the step's normal form; borrowed from the plan or from `made` */
        json_t *made;       /* owned normal form of a pseudo-step, or NULL */
        Phase phase;
        VerbClass class;
        int parent;   /* index of the group it is a member of, or -1 */
        unsigned end; /* index behind its last member (its own index + 1 when it has none) */
        bool parallel;
} StepDef;

typedef struct JobDef {
        unsigned n_ref;
        Plan *plan;
        json_t *inputs;
        StepDef *steps;
        unsigned n_steps;
        char *target; /* expanded */
        char *title;  /* expanded */
        /* What steps keep for the way back (saves.c), borrowed from "@checks". NULL: nothing, and
         * then there need be neither "@checks" nor "@release". */
        const json_t *saves;
} JobDef;

/* With `reserved` the job holds space for its way back, by a former plan: "@checks" and "@release" are
 * there whatever this one says. */
_must_check_ int job_def_new(Plan *plan, json_t *inputs, bool reserved, JobDef **ret,
                             Error *reterr);
JobDef *job_def_ref(JobDef *def);
void job_def_unref(JobDef *def);
DEFINE_CLEANUP(JobDef *, job_def_unref)

/* A copy of a normal form, or a list of such, without the ids that the plan room made up: what
 * stands elsewhere in a plan may number them in another way. Caller owns; NULL: out of memory. */
json_t *norm_plain(const json_t *norm);
/* Whether `is` holds for the value or for anything in it. */
bool norm_any(const json_t *value, bool (*is)(const json_t *value, const void *wanted),
              const void *wanted);

/* ---- saves.c ---- */
/* The check that measures what the plan's steps will keep. 1; 0 when they keep nothing. */
_must_check_ int plan_way_back_check(const Plan *plan, json_t **ret);
/* What the step will keep; NULL: nothing. Borrowed. */
const json_t *job_def_save(const JobDef *def, const char *step);
/* The check that measures it once more, when it has become another since "@checks". Caller owns;
 * NULL: out of memory. */
json_t *save_check_again(const json_t *save);

/* The step's index, or -ENOENT. */
int job_def_find(const JobDef *def, const char *id);
/* Half-open range of a phase's steps. */
void job_def_range(const JobDef *def, Phase phase, unsigned *ret_begin, unsigned *ret_end);
/* The nearest value of an inheritable key ("cwd", "user", …): step, its groups, the plan. */
const json_t *job_def_inherited(const JobDef *def, unsigned idx, const char *key);
