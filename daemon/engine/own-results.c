/* SPDX-License-Identifier: MIT */
/* Results that the daemon writes itself, where updd-step has none or none that can be used. */
#include "daemon/engine/internal.h"

json_t *withdrawn_result(const Watch *w) {
        static const struct {
                const char *reason, *type, *message;
        } whys[] = {
                {"spawn", "spawn-failed", "updd-step could not be started"},
                {"stopped", "stopped", "It was stopped before it began"},
                {WITHDRAWN_WINDOW, "window-closed",
                 "Its window was not open any more when it was to begin"},
        };
        unsigned why = w->stop_wanted ? 1 : w->too_late ? 2 : 0;
        int64_t now = now_wall_ms();

        return json_pack("{s:s, s:i, s:s, s:b, s:s, s:s, s:{s:s, s:s}, s:I, s:I}", "id", w->id, "n",
                         (int) w->n, "state", "failed", "withdrawn", 1, "phase", "do", "reason",
                         whys[why].reason, "error", "type", whys[why].type, "message",
                         whys[why].message, "started", (json_int_t) now, "ended", (json_int_t) now);
}

json_t *foreign_result(const Watch *w) {
        return json_pack("{s:s, s:i, s:s, s:s, s:{s:s, s:s}}", "id", w->id, "n", (int) w->n,
                         "state", "interrupted", "phase", "do", "error", "type", "unknown-format",
                         "message",
                         "The step's result is in a format that updd " UPDD_VERSION
                         " does not know: another version wrote it");
}
