/* SPDX-License-Identifier: MIT */
/*
 * A library for LD_PRELOAD in which memory runs out: while it is armed, the N-th allocation of the
 * program fails, once or from then on, whoever asks (jansson, SQLite, libmicrohttpd, the program).
 *   UPDD_ALLOC_PROGRAM   the one program it acts in, by its short name
 *   UPDD_ALLOC_CONTROL   a file of a Control, shared with the test
 * It also counts what is allocated and not freed: what a failure forgets to free is seen there. It
 * stands on the C library's own allocator, so it cannot be loaded beside a sanitizer's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/preload/wrap.h"

/* What test_memory.py maps too. */
typedef struct Control {
        _Atomic uint32_t armed;
        _Atomic uint32_t count;   /* allocations since it was armed */
        _Atomic uint32_t fail_at; /* the number of the one that fails; 0: none */
        _Atomic uint32_t lasting; /* 1: and all after it */
        _Atomic uint32_t failed;
        _Atomic int32_t live; /* allocated, and not freed */
} Control;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *p);

static Control own; /* until the shared one is there */
static Control *control = &own;
static pid_t self;

__attribute__((constructor)) static void alloc_init(void) {
        const char *program = getenv("UPDD_ALLOC_PROGRAM"), *file = getenv("UPDD_ALLOC_CONTROL");

        if (!program || !file || strcmp(program, program_invocation_short_name) != 0)
                return;
        self = getpid();
        control = control_of(file, sizeof(Control));
}

static bool fails(void) {
        uint32_t n, at;

        if (!atomic_load(&control->armed) || getpid() != self)
                return false;
        n = atomic_fetch_add(&control->count, 1) + 1;
        at = atomic_load(&control->fail_at);
        if (at == 0 || n < at || (n > at && !atomic_load(&control->lasting)))
                return false;
        (void) atomic_fetch_add(&control->failed, 1);
        errno = ENOMEM;
        return true;
}

static void *counted(void *p) {
        if (p)
                (void) atomic_fetch_add(&control->live, 1);
        return p;
}

EXPORT void *malloc(size_t size) {
        return fails() ? NULL : counted(__libc_malloc(size));
}

EXPORT void *calloc(size_t n, size_t size) {
        return fails() ? NULL : counted(__libc_calloc(n, size));
}

EXPORT void *realloc(void *p, size_t size) {
        if (size > 0 && fails())
                return NULL;
        if (!p)
                return counted(__libc_realloc(p, size));
        if (size == 0)
                (void) atomic_fetch_sub(&control->live, 1);
        return __libc_realloc(p, size);
}

EXPORT void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size) {
        return fails() ? NULL : counted(__libc_memalign(alignment, size));
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
        return memalign(alignment, size);
}

EXPORT int posix_memalign(void **ret, size_t alignment, size_t size) {
        void *p = memalign(alignment, size);

        if (!p)
                return ENOMEM;
        *ret = p;
        return 0;
}

EXPORT void free(void *p) {
        if (p)
                (void) atomic_fetch_sub(&control->live, 1);
        __libc_free(p);
}
