/* SPDX-License-Identifier: MIT */
/*
 * An engine for the tests of the HTTP room: it keeps what it is told and lets a test say what comes
 * back. Replies come from the loop, as the real engine's do.
 */
#pragma once

#include "daemon/engine/engine.h"

typedef struct FakeJob {
        int64_t id;
        uint64_t version;
        char json[4096];
} FakeJob;

struct Engine {
        sd_event *event;
        FakeJob jobs[4];
        json_t *events; /* {"id","job","seq","type"} */
        bool busy;      /* refuse calls */
        bool hold;      /* keep calls until fake_release */
        Error refusal;  /* when it has an err: the next replies */
        bool replayed;
        bool unhealthy;
        unsigned reports; /* begun and not freed */
        bool endless;     /* there is always a page more */
        char *log_path;
        bool log_running;
        Call *held[16];
        size_t n_held;
        json_t *last; /* {"kind","job","body","who","key"} of the call that came last */
        ChangeFunc change;
        void *change_userdata;
};

Engine *fake_engine_new(sd_event *event);
/* Sets a job's text and version and tells the listener. */
void fake_job_set(Engine *e, int64_t id, uint64_t version, const char *json);
void fake_event_add(Engine *e, int64_t job, const char *type);
/* Replies to all calls that were held. */
void fake_release(Engine *e);
