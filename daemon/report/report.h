/* SPDX-License-Identifier: MIT */
/*
 * A job's report for people, made from the one JSON document that the engine gives (api/openapi.yaml,
 * Report): as Markdown and as one self-contained HTML page without scripts. Nothing that a step
 * printed or a person typed can become markup there. This room does no I/O and knows nothing but
 * that document.
 */
#pragma once

#include "api/util.h"

/* 0 or -ENOMEM. The caller frees. */
_must_check_ int report_markdown(const json_t *report, char **ret);
_must_check_ int report_html(const json_t *report, char **ret);
