/* SPDX-License-Identifier: MIT */
/*
 * Ready-made responses of the jobs that were asked for last. A slot is used again only for exactly
 * the same bytes, so a stale answer cannot leave this file; what it saves is copying the text and
 * building headers.
 */
#include "daemon/http/server.h"

#include <inttypes.h>

#define N_SLOTS 64
#define SMALL_MAX (64U * 1024) /* larger jobs share one slot */

typedef struct Slot {
        int64_t job;
        uint64_t version;
        size_t size;
        char *text; /* owned by the response */
        struct MHD_Response *response;
} Slot;

struct JobCache {
        Slot slots[N_SLOTS];
        Slot large;
};

JobCache *job_cache_new(void) {
        return calloc(1, sizeof(JobCache));
}

static void slot_clear(Slot *slot) {
        if (slot->response)
                MHD_destroy_response(slot->response);
        *slot = (Slot){0};
}

void job_cache_free(JobCache *cache) {
        for (size_t i = 0; cache && i < N_SLOTS; i++)
                slot_clear(&cache->slots[i]);
        if (cache)
                slot_clear(&cache->large);
        free(cache);
}

static struct MHD_Response *make_response(const JobView *view, char **ret_text) {
        struct MHD_Response *response;
        char *text = malloc(view->size + 1);
        char etag[32];

        if (!text)
                return NULL;
        memcpy(text, view->json, view->size);
        response = MHD_create_response_from_buffer(view->size, text, MHD_RESPMEM_MUST_FREE);
        if (!response) {
                free(text);
                return NULL;
        }
        (void) snprintf(etag, sizeof(etag), "\"%" PRIu64 "\"", view->version);
        if (response_common(response, "application/json", true) < 0 ||
            MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, etag) != MHD_YES) {
                MHD_destroy_response(response);
                return NULL;
        }
        *ret_text = text;
        return response;
}

struct MHD_Response *job_cache_get(JobCache *cache, int64_t job, const JobView *view) {
        Slot *slot =
                view->size > SMALL_MAX ? &cache->large : &cache->slots[(uint64_t) job % N_SLOTS];
        char *text;

        if (slot->response && slot->job == job && slot->version == view->version &&
            slot->size == view->size && memcmp(slot->text, view->json, view->size) == 0)
                return slot->response;
        slot_clear(slot);
        slot->response = make_response(view, &text);
        if (!slot->response)
                return NULL;
        slot->job = job;
        slot->version = view->version;
        slot->size = view->size;
        slot->text = text;
        return slot->response;
}
