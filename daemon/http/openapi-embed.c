/* SPDX-License-Identifier: MIT */
/*
 * A program of the build: reads api/openapi.yaml and writes it as JSON in a C array. The YAML is
 * read with its core types (a plain true, null or number is one), anchors are not used.
 *   openapi-embed IN.yaml OUT.c
 */
#include <yaml.h>

#include "api/error.h"

typedef struct Reader {
        yaml_parser_t parser;
        const char *file;
} Reader;

static void die(const Reader *r, const char *why, const yaml_mark_t *mark) {
        (void) fprintf(stderr, "%s:%zu:%zu: %s\n", r->file, mark ? mark->line + 1 : 0,
                       mark ? mark->column + 1 : 0, why);
        exit(EXIT_FAILURE);
}

static void next_event(Reader *r, yaml_event_t *ret) {
        if (!yaml_parser_parse(&r->parser, ret))
                die(r, r->parser.problem ? r->parser.problem : "cannot be read",
                    &r->parser.problem_mark);
}

static json_t *plain_scalar(const char *text) {
        json_error_t fault;
        json_t *value;

        if (streq(text, "") || streq(text, "~"))
                return json_null();
        /* JSON's own words and numbers are YAML's; everything else is text. */
        value = json_loads(text, JSON_DECODE_ANY, &fault);
        if (value && !json_is_object(value) && !json_is_array(value) && !json_is_string(value))
                return value;
        json_decref(value);
        return json_string(text);
}

static json_t *read_value(Reader *r, const yaml_event_t *event);

static json_t *read_list(Reader *r) {
        json_t *list = json_array();

        for (;;) {
                yaml_event_t event;

                next_event(r, &event);
                if (event.type == YAML_SEQUENCE_END_EVENT) {
                        yaml_event_delete(&event);
                        return list;
                }
                (void) json_array_append_new(list, read_value(r, &event));
                yaml_event_delete(&event);
        }
}

static json_t *read_object(Reader *r) {
        json_t *object = json_object();

        for (;;) {
                yaml_event_t key, value;

                next_event(r, &key);
                if (key.type == YAML_MAPPING_END_EVENT) {
                        yaml_event_delete(&key);
                        return object;
                }
                if (key.type != YAML_SCALAR_EVENT)
                        die(r, "a key must be a text", &key.start_mark);
                if (json_object_get(object, (char *) key.data.scalar.value))
                        die(r, "this key is there twice", &key.start_mark);
                next_event(r, &value);
                if (json_object_set_new(object, (char *) key.data.scalar.value,
                                        read_value(r, &value)) < 0)
                        die(r, "cannot be taken over", &value.start_mark);
                yaml_event_delete(&value);
                yaml_event_delete(&key);
        }
}

static json_t *read_value(Reader *r, const yaml_event_t *event) {
        switch (event->type) {
        case YAML_SCALAR_EVENT:
                if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
                        return plain_scalar((char *) event->data.scalar.value);
                return json_string((char *) event->data.scalar.value);
        case YAML_SEQUENCE_START_EVENT: return read_list(r);
        case YAML_MAPPING_START_EVENT: return read_object(r);
        default: die(r, "only texts, lists and objects are understood", &event->start_mark);
        }
        return NULL;
}

static json_t *read_document(Reader *r) {
        json_t *document = NULL;

        for (bool more = true; more;) {
                yaml_event_t event;

                next_event(r, &event);
                if (event.type == YAML_STREAM_END_EVENT)
                        more = false;
                else if (event.type == YAML_MAPPING_START_EVENT && !document)
                        document = read_object(r);
                yaml_event_delete(&event);
        }
        return document;
}

static int write_array(const char *path, const char *text) {
        _cleanup_fclose_ FILE *f = fopen(path, "we");

        if (!f)
                return -errno;
        (void) fprintf(f, "/* Made from api/openapi.yaml; do not edit. */\n"
                          "extern const char openapi_json[];\nconst char openapi_json[] = {");
        for (size_t i = 0; text[i]; i++)
                (void) fprintf(f, "%s%d,", i % 24 == 0 ? "\n" : "", text[i]);
        (void) fprintf(f, "\n0};\n");
        return fflush(f) == 0 ? 0 : -errno;
}

int main(int argc, char *argv[]) {
        _cleanup_fclose_ FILE *in = NULL;
        _cleanup_free_ char *text = NULL;
        json_auto_t *document = NULL;
        Reader r = {0};

        if (argc != 3)
                return EXIT_FAILURE;
        r.file = argv[1];
        in = fopen(r.file, "re");
        if (!in || !yaml_parser_initialize(&r.parser))
                die(&r, "cannot be opened", NULL);
        yaml_parser_set_input_file(&r.parser, in);
        document = read_document(&r);
        yaml_parser_delete(&r.parser);
        if (!document)
                die(&r, "there is no document", NULL);
        text = json_dumps(document, JSON_COMPACT);
        return text && write_array(argv[2], text) >= 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
