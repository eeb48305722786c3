/* SPDX-License-Identifier: MIT */
/*
 * The end of what was reserved and kept for the way back (daemon/step/reserve.h, images.h). Images
 * go with "@images" once the way back is closed. Of the space, whatever the job's end,
 * the part in the state folder goes with the commit, and "@release" removes what stands elsewhere,
 * where only updd-step may write. A full disk takes its spare part earlier, so that the daemon can
 * write down what it decides and begin the attempts that go back.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "api/args.h"
#include "daemon/attempt/attempt.h"
#include "daemon/engine/internal.h"
#include "daemon/log.h"

#define SPARE_PIECE (256 * 1024) /* an attempt's folder and the rows about it */

/* May something stand outside the state folder? Where that is not known, @release looks. */
static bool is_outside(const StepState *checks) {
        const json_t *reserved = json_object_get(checks->outputs, "reserved");

        if (checks->status == STEP_DONE)
                return json_array_size(reserved) > 0;
        /* Checks that refuse come before the reserving. */
        return !streq0(args_text(checks->result, "reason", NULL), "check");
}

void reserve_settle(Turn *t, Job *job) {
        int release = job_def_find(job->def, STEP_RELEASE);
        int checks = release >= 0 ? job_def_find(job->def, STEP_CHECKS) : -ENOENT;
        const StepState *s = checks >= 0 ? &job->steps[checks] : NULL;
        bool again = json_object_get(job->facts, "unmeasured");

        if (!s || job->dry_run || !job_state_is_end(job->state) || (!s->begun && !again) ||
            s->in_flight || json_object_get(s->more, "settled"))
                return;
        job_step_note(job, (unsigned) checks, "settled", json_true());
        turn_effect(t, (Effect){.kind = EFFECT_UNRESERVE, .job = job->id});
        if (again || is_outside(s))
                job_step_note(job, (unsigned) release, "pending",
                              json_pack("[{s:s}]", "type", "release"));
}

void images_settle(Turn *t, Job *job) {
        int idx = job_def_find(job->def, STEP_IMAGES);

        if (idx < 0 || job->dry_run || !job_state_is_end(job->state) || job->way_back_open ||
            job->finalising || job->started == 0 ||
            json_object_get(job->steps[idx].more, "settled"))
                return;
        job_step_note(job, (unsigned) idx, "settled", json_true());
        job_step_note(job, (unsigned) idx, "pending", json_pack("[{s:s}]", "type", "release"));
}

static void remove_reserve(const char *state_dir, int64_t job) {
        _cleanup_free_ char *dir = strf("%s/jobs/%lld/" RESERVE_FOLDER, state_dir, (long long) job);
        int r = dir ? remove_tree(dir) : -ENOMEM;

        if (r < 0)
                log_job_warning(job, NULL, "cannot release what was reserved, ignoring: %s",
                                strerror(-r));
}

void engine_unreserve(Engine *e, int64_t job) {
        const Slot *slot = slot_find(e, job);

        if (!slot || job_state_is_end(slot->job->state))
                remove_reserve(e->state_dir, job);
}

/* A piece at a time: what is given back at once may be taken at once, by the step that fills the
 * disk. 1 some was given back, 0 nothing is left. */
static int spare_shrink(const char *path) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size <= SPARE_PIECE)
                return unlink(path) < 0 ? -errno : 1;
        return ftruncate(fd, st.st_size - SPARE_PIECE) < 0 ? -errno : 1;
}

void engine_spare(Engine *e) {
        for (unsigned i = 0; i < e->n_slots; i++) {
                int64_t job = e->slots[i].job->id;
                _cleanup_free_ char *spare = strf("%s/jobs/%lld/" RESERVE_FOLDER "/" RESERVE_SPARE,
                                                  e->state_dir, (long long) job);
                int r = spare ? spare_shrink(spare) : -ENOMEM;

                if (r > 0)
                        log_job_warning(job, NULL,
                                        "the disk is full: some of the job's spare room is taken");
                else if (r < 0)
                        log_job_warning(job, NULL, "cannot take its spare room, ignoring: %s",
                                        strerror(-r));
        }
}
