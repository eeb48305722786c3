/* SPDX-License-Identifier: MIT */
/* Results that the daemon writes itself, where updd-step has none or none that can be used. */
#include "daemon/engine/internal.h"

typedef struct Why {
        const char *reason, *type, *message;
} Why;

static const Why *why_of(const Watch *w) {
        static const Why whys[] = {
                {"spawn", "spawn-failed", "updd-step could not be started"},
                {"stopped", "stopped", "It was stopped before it began"},
                {WITHDRAWN_WINDOW, "window-closed",
                 "Its window was not open any more when it was to begin"},
        };

        return &whys[w->stop_wanted ? 1 : w->too_late ? 2 : 0];
}

const char *withdrawn_reason(const Watch *w) {
        return why_of(w)->reason;
}

json_t *withdrawn_result(const Watch *w) {
        const Why *why = why_of(w);
        int64_t now = now_wall_ms();

        return json_pack("{s:s, s:i, s:s, s:b, s:s, s:s, s:{s:s, s:s}, s:I, s:I}", "id", w->id, "n",
                         (int) w->n, "state", "failed", "withdrawn", 1, "phase", "do", "reason",
                         why->reason, "error", "type", why->type, "message", why->message,
                         "started", (json_int_t) now, "ended", (json_int_t) now);
}

json_t *foreign_result(const Watch *w) {
        return json_pack("{s:s, s:i, s:s, s:s, s:{s:s, s:s}}", "id", w->id, "n", (int) w->n,
                         "state", "interrupted", "phase", "do", "error", "type", "unknown-format",
                         "message",
                         "The step's result is in a format that updd " UPDD_VERSION
                         " does not know: another version wrote it");
}
