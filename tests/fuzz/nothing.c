/* SPDX-License-Identifier: MIT */
/* For targets that have nothing to prepare: see fuzz.h. */
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        return 0;
}
