/* SPDX-License-Identifier: MIT */
/*
 * A target that carries out tasks must not carry them out on this machine. From confine() on this
 * process writes nowhere but below its own folder (and where its fuzzer keeps its inputs), lists no
 * other folder, makes no file large, changes no owner or mode elsewhere, connects to nothing and
 * signals nobody. It needs Landlock (Linux 5.13); without it nothing is tried.
 */
#pragma once

#include "fuzz.h"

/* False: this kernel cannot do it. */
_must_check_ bool confine(int argc, char **argv);
