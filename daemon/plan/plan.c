/* SPDX-License-Identifier: MIT */
/* From text to a Plan: see daemon/plan/plan.h. The stages are read, decode, resolve, lint. */
#include "daemon/plan/plan.h"

#include <ctype.h>

#include "api/args.h"
#include "api/memory.h"
#include "daemon/plan/decode.h"
#include "daemon/plan/read.h"

Plan *plan_ref(Plan *plan) {
        plan->n_ref++;
        return plan;
}

void plan_unref(Plan *plan) {
        if (!plan || --plan->n_ref > 0)
                return;
        json_decref(plan->source);
        json_decref(plan->norm);
        free(plan->canonical);
        free(plan);
}

static bool is_json(const char *text, size_t size) {
        size_t i = 0;

        while (i < size && isspace((unsigned char) text[i]))
                i++;
        return i < size && text[i] == '{';
}

static int read_document(Faults *f, const char *text, size_t size, Node **ret) {
        int r;

        *ret = NULL;
        if (size > DOCUMENT_MAX) {
                fault_at(f, NULL, 1, 1, "too-large", NULL,
                         "the document has %zu bytes, at most %u are read", size, DOCUMENT_MAX);
                return 0;
        }
        r = is_json(text, size) ? json_read(f, text, size, ret) : yaml_read(f, text, size, ret);
        if (r >= 0 && !*ret && f->n_errors == 0)
                fault_at(f, NULL, 1, 1, "empty", "a plan begins with 'format: 1'",
                         "the document is empty");
        return r;
}

static int plan_new(Pair *made, Plan **ret) {
        _cleanup_plan_ Plan *plan = calloc(1, sizeof(*plan));

        if (!plan)
                return -ENOMEM;
        plan->n_ref = 1;
        plan->source = TAKE(made->source);
        plan->norm = TAKE(made->norm);
        plan->canonical = json_canonical(plan->source);
        if (!plan->canonical)
                return -ENOMEM;
        sha256_text(plan->canonical, strlen(plan->canonical), plan->sha256);
        *ret = TAKE(plan);
        return 0;
}

static int read_plan(Faults *f, const char *text, size_t size, Plan **ret) {
        _cleanup_(decoder_done) Decoder d = {.faults = f};
        _cleanup_node_ Node *root = NULL;
        _cleanup_pair_ Pair made = {0};
        int r;

        r = read_document(f, text, size, &root);
        if (r < 0 || !root)
                return r;
        decode_plan(&d, root, &made);
        if (made.norm) {
                assign_ids(&d, made.norm);
                resolve_uses(&d, made.norm);
                lint_plan(&d, made.norm);
                lint_ways_back(&d, made.norm);
        }
        if (f->oom)
                return -ENOMEM;
        return f->n_errors > 0 ? 0 : plan_new(&made, ret);
}

int plan_parse(const char *file, const char *text, size_t size, Plan **ret, json_t **ret_faults) {
        _cleanup_(faults_done) Faults f = {0};
        _cleanup_plan_ Plan *plan = NULL;
        uint64_t before = memory_failures();
        json_t *faults;
        int r;

        *ret_faults = NULL;
        r = faults_init(&f, file);
        if (r >= 0)
                r = read_plan(&f, text, size, &plan);
        if (r < 0)
                return r;
        faults = faults_take(&f);
        /* Half a plan is none, and half of its faults are not told. */
        if (!faults || memory_failures() != before) {
                json_decref(faults);
                return -ENOMEM;
        }
        *ret_faults = faults;
        if (f.n_errors > 0)
                return -EBADMSG;
        *ret = TAKE(plan);
        return 0;
}
