/* SPDX-License-Identifier: MIT */
/*
 * A report as one HTML page that needs nothing else: its style is in it, there are no scripts and
 * nothing is fetched, which its own policy says as well. It is made to be printed, too.
 */
#include "daemon/report/writer.h"

static const char style[] =
        ":root{color-scheme:light dark}"
        "body{font:15px/1.5 system-ui,sans-serif;max-width:68em;margin:2em auto;padding:0 1em}"
        "h1{font-size:1.6em;margin:0 0 .6em}h2{font-size:1.2em;margin:2em 0 .6em;"
        "border-bottom:1px solid #8886;padding-bottom:.2em}h3{font-size:1em;margin:1.6em 0 .4em}"
        "table{border-collapse:collapse;width:100%;margin:.6em 0}"
        "th,td{text-align:left;vertical-align:top;padding:.25em .8em .25em 0;"
        "border-bottom:1px solid #8883;white-space:pre-wrap;overflow-wrap:anywhere}"
        "th{white-space:nowrap;font-weight:600}td:first-child{overflow-wrap:normal}"
        "table.facts{width:auto}table.facts th{padding-right:2em;font-weight:500;opacity:.75}"
        "pre{background:#8881;border-left:3px solid #8886;padding:.5em .8em;margin:.4em 0;"
        "white-space:pre-wrap;overflow-wrap:anywhere;font-size:.9em}"
        "p{margin:.4em 0}.good{color:#187a2f;font-weight:600}.warn{color:#9a5b00;font-weight:600}"
        ".bad{color:#b3261e;font-weight:600}footer{margin-top:3em;opacity:.7;font-size:.9em}"
        "@media(prefers-color-scheme:dark){.good{color:#6fd08a}.warn{color:#f0b35a}"
        ".bad{color:#ff8a80}}"
        "@media print{body{max-width:none;margin:0;font-size:10pt}h2,h3{break-after:avoid}"
        "tr,pre{break-inside:avoid}}";

static void put(Writer *w, const char *raw) {
        _cleanup_free_ char *text = raw ? text_clean(raw) : NULL;

        for (const char *p = text; p && *p; p++)
                switch (*p) {
                case '&': (void) fputs("&amp;", w->f); break;
                case '<': (void) fputs("&lt;", w->f); break;
                case '>': (void) fputs("&gt;", w->f); break;
                case '"': (void) fputs("&quot;", w->f); break;
                case '\'': (void) fputs("&#39;", w->f); break;
                default: (void) fputc(*p, w->f);
                }
}

static void html_begin(Writer *w, const char *title) {
        (void) fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                     "style-src 'unsafe-inline'\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width\">\n<title>",
                     w->f);
        put(w, title);
        (void) fprintf(w->f, "</title>\n<style>%s</style>\n</head>\n<body>\n<h1>", style);
        put(w, title);
        (void) fputs("</h1>\n", w->f);
}

static void html_end(Writer *w, const char *words) {
        (void) fputs("<footer>", w->f);
        put(w, words);
        (void) fputs("</footer>\n</body>\n</html>\n", w->f);
}

static void html_heading(Writer *w, unsigned level, const char *text) {
        (void) fprintf(w->f, "<h%u>", level);
        put(w, text);
        (void) fprintf(w->f, "</h%u>\n", level);
}

static void html_paragraph(Writer *w, Tone tone, const char *text) {
        static const char *const classes[] = {"", " class=\"good\"", " class=\"warn\"",
                                              " class=\"bad\""};

        (void) fprintf(w->f, "<p%s>", classes[tone]);
        put(w, text);
        (void) fputs("</p>\n", w->f);
}

static void html_cells(Writer *w, const char *const *cells, const char *first, const char *other) {
        (void) fputs("<tr>", w->f);
        for (size_t i = 0; i < w->columns; i++) {
                const char *tag = i == 0 ? first : other;

                (void) fprintf(w->f, "<%s>", tag);
                put(w, cells[i]);
                (void) fprintf(w->f, "</%s>", tag);
        }
        (void) fputs("</tr>\n", w->f);
}

static void html_fact(Writer *w, const char *const *cells) {
        html_cells(w, cells, "th", "td");
}

static void html_row(Writer *w, const char *const *cells) {
        html_cells(w, cells, "td", "td");
}

static void html_table_begin(Writer *w, const char *const *heads, size_t n) {
        w->columns = n;
        w->row = heads ? html_row : html_fact;
        (void) fprintf(w->f, "<table%s>\n", heads ? "" : " class=\"facts\"");
        if (heads) {
                (void) fputs("<thead>", w->f);
                html_cells(w, heads, "th", "th");
                (void) fputs("</thead>\n", w->f);
        }
        (void) fputs("<tbody>\n", w->f);
}

static void html_table_end(Writer *w) {
        (void) fputs("</tbody>\n</table>\n", w->f);
}

static void html_lines(Writer *w, const json_t *lines) {
        json_t *line;
        size_t i;

        /* The first newline after <pre> is the parser's own. */
        (void) fputs("<pre>\n", w->f);
        json_array_foreach ((json_t *) lines, i, line) {
                put(w, json_string_value(line));
                (void) fputc('\n', w->f);
        }
        (void) fputs("</pre>\n", w->f);
}

int report_html(const json_t *report, char **ret) {
        Writer w = {
                .begin = html_begin,
                .end = html_end,
                .heading = html_heading,
                .paragraph = html_paragraph,
                .table_begin = html_table_begin,
                .row = html_row,
                .table_end = html_table_end,
                .lines = html_lines,
        };

        return writer_run(&w, report, ret);
}
