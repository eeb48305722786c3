/* SPDX-License-Identifier: MIT */
/*
 * libxml2 behind one function: see xpath.h. It is a library because HTML as it is found in the wild
 * is nothing to parse by oneself. It never opens a file or a connection (NONET, no external
 * entities).
 */
#include "daemon/step/xpath.h"

#include <libxml/HTMLparser.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>

DEFINE_CLEANUP(xmlDocPtr, xmlFreeDoc)
DEFINE_CLEANUP(xmlXPathContextPtr, xmlXPathFreeContext)
DEFINE_CLEANUP(xmlXPathObjectPtr, xmlXPathFreeObject)

static void be_silent(void *userdata, const char *format, ...) {
        (void) userdata;
        (void) format;
}

static char *trimmed(const char *text) {
        static const char *const space = " \t\r\n\f";
        size_t n;

        text += strspn(text, space);
        for (n = strlen(text); n > 0 && strchr(space, text[n - 1]);)
                n--;
        return strndup(text, n);
}

static xmlDocPtr parse(const char *text, size_t size, bool xml) {
        if (xml)
                return xmlReadMemory(text, (int) size, "document.xml", NULL,
                                     XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
        return htmlReadMemory(text, (int) size, "document.html", NULL,
                              HTML_PARSE_NONET | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING |
                                      HTML_PARSE_RECOVER);
}

static int take_text(xmlXPathObjectPtr found, char **ret) {
        xmlChar *text;

        if (found->type == XPATH_NODESET && xmlXPathNodeSetIsEmpty(found->nodesetval))
                return 0;
        text = found->type == XPATH_NODESET ? xmlNodeGetContent(found->nodesetval->nodeTab[0])
                                            : xmlXPathCastToString(found);
        *ret = text ? trimmed((const char *) text) : NULL;
        xmlFree(text);
        return *ret ? 1 : -ENOMEM;
}

int xpath_text(const char *text, size_t size, bool xml, const char *path, char **ret,
               Error *reterr) {
        _cleanup_(xmlFreeDocp) xmlDocPtr doc = NULL;
        _cleanup_(xmlXPathFreeContextp) xmlXPathContextPtr context = NULL;
        _cleanup_(xmlXPathFreeObjectp) xmlXPathObjectPtr found = NULL;
        int r;

        if (size > INT32_MAX)
                return error_set(reterr, EFBIG, "bad-document", "The document is too large");
        xmlSetGenericErrorFunc(NULL, be_silent);
        doc = parse(text, size, xml);
        if (!doc)
                return error_set(reterr, EBADMSG, "bad-document", "This is no %s",
                                 xml ? "XML" : "HTML");
        context = xmlXPathNewContext(doc);
        if (!context)
                return error_oom(reterr);
        found = xmlXPathEvalExpression((const xmlChar *) path, context);
        if (!found)
                return error_set(reterr, EINVAL, "bad-xpath", "'%s' is no XPath expression", path);
        r = take_text(found, ret);
        return r == -ENOMEM ? error_oom(reterr) : r;
}
