/* SPDX-License-Identifier: MIT */
/* The field tables as a page for people. */
#include "daemon/plan/table.h"

int plan_reference(char **ret) {
        return -ENOTSUP;
}
