/* SPDX-License-Identifier: MIT */
/* The Error object: see api/error.h for the contract. */
#include "api/error.h"

#include <stdarg.h>

#include "api/text.h"

void error_done(Error *e) {
        free(e->type);
        free(e->message);
        free(e->hint);
        json_decref(e->details);
        *e = ERROR_INIT;
}

/* A message may quote what was asked for, what a program wrote or how a file is called, none of
 * which need be UTF-8; everybody who is told of it expects that. */
_printf_(1, 0) static char *say(const char *format, va_list ap) {
        _cleanup_free_ char *text = NULL;

        if (vasprintf(&text, format, ap) < 0) {
                text = NULL;
                return NULL;
        }
        return utf8_clean(text, strlen(text));
}

int error_set(Error *reterr, int err, const char *type, const char *format, ...) {
        _cleanup_free_ char *message = NULL;
        va_list ap;

        if (!reterr)
                return -err;

        /* The new message may quote the old one, so it is made before the old one goes. */
        va_start(ap, format);
        message = say(format, ap);
        va_end(ap);

        error_done(reterr);
        reterr->err = err;
        reterr->type = type ? strdup(type) : NULL;
        reterr->message = TAKE(message);
        return -err;
}

void error_hint(Error *reterr, const char *format, ...) {
        char *hint;
        va_list ap;

        if (!reterr)
                return;

        va_start(ap, format);
        hint = say(format, ap);
        va_end(ap);

        free(reterr->hint);
        reterr->hint = hint;
}

void error_detail(Error *reterr, const char *key, json_t *value) {
        json_auto_t *owned = value;

        if (!reterr || !owned)
                return;
        if (!reterr->details)
                reterr->details = json_object();
        if (reterr->details)
                (void) json_object_set(reterr->details, key, owned);
}

int error_oom(Error *reterr) {
        return error_set(reterr, ENOMEM, "out-of-memory", "Out of memory");
}

void error_move(Error *to, Error *from) {
        if (to == from)
                return;
        if (to) {
                error_done(to);
                *to = *from;
                *from = ERROR_INIT;
        } else
                error_done(from);
}
