/* SPDX-License-Identifier: MIT */
/* Reading one value out of Prometheus' text format. */
#pragma once

#include "api/error.h"

/* `metric` is a name, with labels that must be there if it likes: up{job="api"}. 1 and the value,
 * 0 none, -EINVAL for a metric that makes no sense, -EBADE when several samples fit. */
_must_check_ int metric_find(const char *text, const char *metric, double *ret, Error *reterr);
