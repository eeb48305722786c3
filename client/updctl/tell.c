/* SPDX-License-Identifier: MIT */
/* What went wrong, as a person reads it: errors of this side, and the daemon's problem documents.
 */
#include <inttypes.h>
#include <stdarg.h>

#include "client/updctl/ctl.h"

int tell(Ctl *ctl, int code, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                return code;
        }
        put(ctl->err, BAD, "updctl:");
        put(ctl->err, PLAIN, " %s\n", text);
        return code;
}

void tell_hint(Ctl *ctl, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                return;
        }
        put_text(ctl->err, 0, "hint: ", PLAIN, text);
}

int tell_error(Ctl *ctl, int code, const Error *e) {
        (void) tell(ctl, code, "%s", e->message ? e->message : "it failed");
        if (e->hint)
                tell_hint(ctl, "%s", e->hint);
        return code;
}

/* Where a fault is: a place in a file, an input's name, or a path in the plan. */
static char *fault_place(const json_t *fault) {
        const char *file = get_text(fault, "file"), *input = get_text(fault, "input");
        const char *path = get_text(fault, "path");
        int64_t line = get_int(fault, "line"), column = get_int(fault, "column");

        if (line > 0)
                return strf("%s:%" PRId64 ":%" PRId64 ": ", file ? file : "plan", line, column);
        if (input)
                return strf("input %s: ", input);
        if (path && *path)
                return strf("%s%s%s: ", file ? file : "", file ? ":" : "", path);
        return strf("%s%s", file ? file : "", file ? ": " : "");
}

void put_faults(const Screen *s, const json_t *faults) {
        json_t *fault;
        size_t i;

        json_array_foreach ((json_t *) faults, i, fault) {
                _cleanup_free_ char *place = fault_place(fault);
                const char *severity = get_text(fault, "severity"), *hint = get_text(fault, "hint");
                const char *message = get_text(fault, "message"), *what = get_text(fault, "what");

                put(s, BOLD, "%s", place ? place : "");
                if (severity)
                        put(s, streq(severity, "error") ? BAD : WARN, "%s: ", severity);
                put(s, PLAIN, "%s", message ? message : what ? what : "not carried out yet");
                if (hint)
                        put(s, DIM, " (%s)", hint);
                put(s, PLAIN, "\n");
        }
}

static void put_allowed(Ctl *ctl, const json_t *problem) {
        _cleanup_free_ char *actions = join_texts(json_object_get(problem, "actions"), ", ");

        if (actions)
                tell_hint(ctl, "allowed now: %s", actions);
}

/* Details that have a form of their own. */
static void put_details(Ctl *ctl, const json_t *problem) {
        int64_t line = get_int(problem, "line"), job = get_int(problem, "job");
        json_t *waits = json_object_get(problem, "waits"), *wait;
        size_t i;

        put_faults(ctl->err, json_object_get(problem, "faults"));
        put_faults(ctl->err, json_object_get(problem, "unsupported"));
        if (line > 0)
                put(ctl->err, PLAIN, "at line %" PRId64 ", column %" PRId64 "\n", line,
                    get_int(problem, "column"));
        json_array_foreach (waits, i, wait)
                put(ctl->err, PLAIN, "  --wait %s  %s  %s\n",
                    get_text(wait, "id") ? get_text(wait, "id") : "",
                    get_text(wait, "kind") ? get_text(wait, "kind") : "", step_of(wait));
        if (!get_text(problem, "hint")) {
                if (job > 0 && !json_object_get(problem, "actions"))
                        tell_hint(ctl, "see it with: updctl status %" PRId64, job);
                put_allowed(ctl, problem);
        }
}

int tell_problem(Ctl *ctl, const Response *response) {
        const char *detail = get_text(response->json, "detail");
        const char *title = get_text(response->json, "title");
        const char *hint = get_text(response->json, "hint");

        if (ctl->json && response->json)
                (void) put_json(ctl, response);
        if (detail || title)
                (void) tell(ctl, EXIT_REFUSED, "%s", detail ? detail : title);
        else
                (void) tell(ctl, EXIT_REFUSED, "the daemon answered with HTTP status %ld",
                            response->status);
        put_details(ctl, response->json);
        if (hint)
                tell_hint(ctl, "%s", hint);
        return EXIT_REFUSED;
}

int put_json(Ctl *ctl, const Response *response) {
        if (ctl->out->tty)
                put(ctl->out, PLAIN, "%s", response->text);
        else
                (void) fwrite(response->text, 1, response->size, ctl->out->f);
        if (response->size == 0 || response->text[response->size - 1] != '\n')
                (void) fputc('\n', ctl->out->f);
        return EXIT_AS_ASKED;
}

int put_json_value(Ctl *ctl, const json_t *value) {
        Response response = RESPONSE_INIT;
        _cleanup_free_ char *text = json_dumps(value, JSON_COMPACT);

        if (!text)
                return tell(ctl, EXIT_REFUSED, "out of memory");
        response.text = text;
        response.size = strlen(text);
        return put_json(ctl, &response);
}
