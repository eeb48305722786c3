/* SPDX-License-Identifier: MIT */
/* report: the whole story of a job, for a file, a ticket or a screen. */
#include <fcntl.h>
#include <inttypes.h>

#include "client/updctl/ctl.h"

static int choose_format(Ctl *ctl, const char **ret) {
        static const char *const names[] = {"markdown", "html", "json"};
        const char *format = args_value(ctl->args, OPT_FORMAT), *meant;

        if (!format)
                format = ctl->json ? "json" : "markdown";
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(names[i], format)) {
                        *ret = format;
                        return 0;
                }
        meant = guess(format, names, ELEMENTSOF(names));
        (void) tell(ctl, EXIT_USAGE, "--format takes markdown, html or json, not '%s'", format);
        if (meant)
                tell_hint(ctl, "did you mean '%s'?", meant);
        return EXIT_USAGE;
}

/* A pipe gets the bytes as they came, a terminal what it can bear. */
static int put_report(Ctl *ctl, const Response *report) {
        if (ctl->out->tty)
                put(ctl->out, PLAIN, "%s", report->text);
        else
                (void) fwrite(report->text, 1, report->size, ctl->out->f);
        return ferror(ctl->out->f) ? tell(ctl, EXIT_REFUSED, "cannot write the report") : 0;
}

static int write_report(Ctl *ctl, const char *path, const Response *report) {
        int r = file_write_atomic(AT_FDCWD, path, report->text, report->size, 0600);

        if (r < 0)
                return tell(ctl, EXIT_REFUSED, "cannot write %s: %s", path, strerror(-r));
        put(ctl->err, DIM, "written to %s\n", path);
        return 0;
}

int cmd_report(Ctl *ctl) {
        const char *path = args_value(ctl->args, OPT_OUTPUT), *format = NULL;
        _cleanup_response_ Response job = RESPONSE_INIT, report = RESPONSE_INIT;
        int r;

        r = choose_format(ctl, &format);
        if (r == 0)
                r = pick_job(ctl, args_word(ctl->args, 0), &job);
        if (r == 0)
                r = ctl_get(ctl, &report, "/v1/jobs/%" PRId64 "/report?format=%s",
                            get_int(job.json, "id"), format);
        if (r > 0)
                return r;
        if (path && !streq(path, "-"))
                return write_report(ctl, path, &report);
        return streq(format, "json") ? put_json(ctl, &report) : put_report(ctl, &report);
}
