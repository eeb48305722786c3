/* SPDX-License-Identifier: MIT */
/* A report as Markdown and as HTML: nothing that came from a plan, a step or a person is markup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/report/writer.h"

/* A report in which every text is `text`; the places that are no texts are filled in a usual way. */
static json_t *report_of(const char *text) {
        static const char form[] =
                "{\"id\":7,\"version\":3,\"plan\":T,\"title\":T,\"about\":T,\"target\":T,"
                "\"state\":T,\"by\":T,\"reason\":T,\"sha256\":T,\"decided\":T,\"strategy\":T,"
                "\"created\":M,\"started\":M,\"took_ms\":12345,\"overrides\":[T],"
                "\"labels\":{K:T},\"inputs\":{K:T},\"secrets\":[T],"
                "\"choices\":[{\"command\":T,\"does\":T}],"
                "\"waits\":[{\"kind\":T,\"step\":T,\"ask\":T,\"since\":M}],"
                "\"failure\":{\"step\":T,\"direction\":\"undo\",\"message\":T,\"hint\":T,"
                "\"tail\":[T,T],\"services\":{K:[T]},\"running\":[T],"
                "\"list\":{\"done\":1,\"of\":3,\"failed\":T},"
                "\"cause\":{\"step\":T,\"message\":T,\"hint\":T,\"tail\":[T]}},"
                "\"back\":{\"strategy\":T,\"undone\":[{\"step\":T,\"title\":T}],"
                "\"left\":[{\"step\":T,\"why\":T}],\"pending\":[{\"step\":T,\"what\":T}]},"
                "\"decisions\":[{\"time\":M,\"by\":T,\"step\":T,\"says\":T}],"
                "\"history\":[{\"time\":M,\"step\":T,\"says\":T}],\"history_left_out\":4,"
                "\"backups\":[{\"step\":T,\"id\":T,\"path\":T,\"size\":5,\"sha256\":T}],"
                "\"steps\":[{\"id\":T,\"phase\":\"main\",\"state\":T,\"title\":T,\"verb\":T,"
                "\"undo\":T,\"parent\":T,\"outputs\":{K:T,\"x\":{K:[T]}},\"left\":T,"
                "\"would\":{K:T},\"gate\":{\"ask\":T,\"by\":T,\"reason\":T,"
                "\"items\":[{\"text\":T,\"ticked\":{\"by\":T,\"at\":M}}]},"
                "\"attempts_left_out\":2,\"attempts\":[{\"n\":1,\"direction\":T,\"state\":T,"
                "\"error\":{\"message\":T},\"hint\":T,\"tail\":[T],\"log_dropped\":9,"
                "\"checks\":[{\"name\":T,\"ok\":false,\"message\":T}]}]},"
                "{\"id\":T,\"phase\":\"main\",\"state\":T,\"attempts\":[],"
                "\"skipped\":{\"by\":T,\"reason\":T}}]}";
        json_auto_t *value = json_string(text);
        _cleanup_free_ char *quoted = json_dumps(value, JSON_ENCODE_ANY), *spelled = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&spelled, &size);
        json_t *report;

        assert_non_null(quoted);
        for (const char *p = form; *p; p++)
                if (*p == 'T' || *p == 'K')
                        (void) fputs(quoted, f);
                else if (*p == 'M')
                        (void) fputs("\"2026-01-31T12:34:56.789Z\"", f);
                else
                        (void) fputc(*p, f);
        assert_int_equal(fclose(f), 0);
        report = json_loads(spelled, 0, NULL);
        assert_non_null(report);
        return report;
}

static char *as_markdown(const char *text) {
        json_auto_t *report = report_of(text);
        char *out = NULL;

        assert_int_equal(report_markdown(report, &out), 0);
        return out;
}

static char *as_html(const char *text) {
        json_auto_t *report = report_of(text);
        char *out = NULL;

        assert_int_equal(report_html(report, &out), 0);
        return out;
}

/* The outline of a page: every "<...>" in it, and nothing of its text. */
static char *tags_of(const char *html) {
        char *out = malloc(strlen(html) + 1), *o = out;

        for (const char *p = strchr(html, '<'); p; p = strchr(p, '<')) {
                size_t n = strcspn(p, ">") + 1;

                memcpy(o, p, n);
                o += n;
                p += n;
        }
        *o = '\0';
        return out;
}

static const char *const nasty[] = {
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</td></tr></table><h1>x",
        "</pre><b>",
        "&lt;b&gt; &#60;",
        "-->]]><!--",
        "</title><script>",
        "</style><script>",
};

static void html_keeps_its_outline_whatever_is_in_it(void **state) {
        _cleanup_free_ char *plain = as_html("plain"), *expected = tags_of(plain);

        for (size_t i = 0; i < ELEMENTSOF(nasty); i++) {
                _cleanup_free_ char *html = as_html(nasty[i]), *tags = tags_of(html);

                assert_string_equal(tags, expected);
                assert_null(strstr(html, nasty[i]));
        }
        assert_null(strstr(plain, "<script"));
        assert_null(strstr(plain, "http:"));
        assert_null(strstr(plain, "src="));
        assert_non_null(strstr(plain, "Content-Security-Policy"));
}

/* The lines of a page without what stands between code fences. */
static char *without_code(const char *markdown) {
        char *out = calloc(1, strlen(markdown) + 1), *o = out;
        size_t fence = 0;

        for (const char *p = markdown; *p;) {
                size_t n = strcspn(p, "\n") + 1, ticks = strspn(p, "`");

                if (fence == 0 && ticks >= 3)
                        fence = ticks;
                else if (fence > 0 && ticks >= fence && ticks == n - 1)
                        fence = 0;
                else if (fence == 0) {
                        memcpy(o, p, n);
                        o += n;
                }
                p += n;
        }
        assert_int_equal(fence, 0);
        return out;
}

/* Counts `c` where no backslash takes its meaning. */
static unsigned bare(const char *text, char c) {
        unsigned n = 0;

        for (const char *p = text; *p; p++) {
                if (*p == '\\' && p[1])
                        p++;
                else
                        n += *p == c;
        }
        return n;
}

static void markdown_has_no_markup_but_its_own(void **state) {
        static const char *const texts[] = {
                "<script>alert(1)</script>",
                "[me](http://x/)",
                "![i](http://x/i.png)",
                "*a* __b__ ~~c~~",
                "`code` ``more``",
                "a | b | c",
                "&lt;script&gt;",
                "a\\",
                "\\| \\",
                "# heading\n## more",
                "- item\n+ item",
                "1. one\n2) two",
                "    code\n\n    more",
                "a\n\n---\nb\n===",
                "> quote\n\n<b>",
                "```\n# out\n```\n",
                "``` x\n~~~\n",
                "[x]: http://x 'y'",
                "http://x www.x.org",
                "$a$ $$b$$ ^c^",
                "@team #12 ==m==",
        };
        _cleanup_free_ char *plain = as_markdown("plain"), *own = without_code(plain);

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_free_ char *all = as_markdown(texts[i]), *text = without_code(all);

                for (const char *c = "<>[]`&~$!@^="; *c; c++)
                        if (bare(text, *c) != bare(own, *c))
                                fail_msg("'%s' brings a bare %c:\n%s", texts[i], *c, text);
                for (const char *c = "|*#\n"; *c; c++)
                        if (bare(text, *c) != bare(own, *c))
                                fail_msg("'%s' changes the number of %c:\n%s", texts[i], *c, text);
                assert_null(strstr(text, "\n    "));
                assert_null(strstr(text, "http://"));
                assert_null(strstr(text, "www."));
        }
}

static void a_fence_is_longer_than_any_run_of_backticks(void **state) {
        json_auto_t *report = json_pack("{s:{s:s, s:[s,s]}}", "failure", "message", "m", "tail",
                                        "``````", "a \033[31m``` ```");
        _cleanup_free_ char *out = NULL;

        assert_int_equal(report_markdown(report, &out), 0);
        assert_non_null(strstr(out, "\n```````\n``````\na ``` ```\n```````\n"));
}

static void list_marks_are_escaped_only_where_they_would_be_lists(void **state) {
        _cleanup_free_ char *numbered = as_markdown("12. May"), *dash = as_markdown("- a - b"),
                            *date = as_markdown("2026-11-21 1.5");

        assert_non_null(strstr(numbered, "12\\. May"));
        assert_non_null(strstr(dash, "\\- a - b"));
        assert_non_null(strstr(date, "2026-11-21 1.5"));
}

static void what_a_terminal_or_a_reader_would_be_fooled_by_is_gone(void **state) {
        static const struct {
                const char *raw, *clean;
        } cases[] = {
                {"a\033[1;31mred\033[0mb", "aredb"},
                {"\033]0;title\ax\033]8;;http://x\033\\y", "xy"},
                {"a\033[", "a"},
                {"a\033", "a"},
                {"\033(B\033=z", "Bz"},
                {"a\x01\x7f"
                 "b",
                 "a\xef\xbf\xbd\xef\xbf\xbd"
                 "b"},
                {"\xc2\x9b"
                 "31m",
                 "\xef\xbf\xbd"
                 "31m"},
                {"\xe2\x80\xae"
                 "evil",
                 "\xef\xbf\xbd"
                 "evil"},
                {"\xe2\x81\xa6x\xe2\x80\xa8", "\xef\xbf\xbdx\xef\xbf\xbd"},
                {"tab\tand\rnewline\n", "tab and newline\n"},
                {"Gr\xc3\xbc\xc3\x9f"
                 "e \xe2\x82\xac",
                 "Gr\xc3\xbc\xc3\x9f"
                 "e \xe2\x82\xac"},
                {"", ""},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *clean = text_clean(cases[i].raw);

                assert_string_equal(clean, cases[i].clean);
        }
}

static void a_document_that_lacks_everything_is_no_crash(void **state) {
        static const char *const documents[] = {
                "{}",
                "[]",
                "null",
                "{\"steps\":[null,1,{}],\"failure\":{},\"back\":{}}",
                "{\"steps\":{\"a\":1},\"choices\":[1],\"waits\":[[]],\"decisions\":\"x\"}",
                "{\"failure\":{\"tail\":[1,null,{}],\"services\":[],\"cause\":{}}}",
                "{\"id\":\"x\",\"state\":5,\"title\":{},\"backups\":[{}],\"inputs\":{\"a\":null}}"};

        for (size_t i = 0; i < ELEMENTSOF(documents); i++) {
                json_auto_t *report = json_loads(documents[i], JSON_DECODE_ANY, NULL);
                _cleanup_free_ char *markdown = NULL, *html = NULL;

                assert_int_equal(report_markdown(report, &markdown), 0);
                assert_int_equal(report_html(report, &html), 0);
                assert_non_null(strstr(html, "</html>"));
        }
}

static void spans_are_told_as_people_tell_them(void **state) {
        static const struct {
                int64_t ms;
                const char *text;
        } cases[] = {
                {-1, ""},
                {0, "0 ms"},
                {350, "350 ms"},
                {12345, "12.3 s"},
                {185000, "3 min 05 s"},
                {7440000, "2 h 04 min"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *text = span_text(cases[i].ms);

                assert_string_equal(text, cases[i].text);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(html_keeps_its_outline_whatever_is_in_it),
                cmocka_unit_test(markdown_has_no_markup_but_its_own),
                cmocka_unit_test(a_fence_is_longer_than_any_run_of_backticks),
                cmocka_unit_test(list_marks_are_escaped_only_where_they_would_be_lists),
                cmocka_unit_test(what_a_terminal_or_a_reader_would_be_fooled_by_is_gone),
                cmocka_unit_test(a_document_that_lacks_everything_is_no_crash),
                cmocka_unit_test(spans_are_told_as_people_tell_them),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
