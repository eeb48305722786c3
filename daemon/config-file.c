/* SPDX-License-Identifier: MIT */
/*
 * The config file: a YAML mapping from option names to texts or lists of texts. Whatever is not
 * understood is an error with its place; a daemon that runs with half of its options is worse than
 * one that says why it does not start.
 */
#include <fcntl.h>
#include <yaml.h>

#include "daemon/config.h"

#define CONFIG_FILE_MAX (256 * 1024)

typedef struct File {
        yaml_parser_t parser;
        const char *path;
        Config *config;
        Error *reterr;
} File;

static void parser_done(File *f) {
        yaml_parser_delete(&f->parser);
}

static int fault(const File *f, const yaml_mark_t *mark, const char *message) {
        return error_set(f->reterr, EBADMSG, "bad-config", "%s:%zu:%zu: %s", f->path,
                         mark->line + 1, mark->column + 1, message);
}

static int next_event(File *f, yaml_event_t *ret) {
        if (yaml_parser_parse(&f->parser, ret))
                return 0;
        return fault(f, &f->parser.problem_mark,
                     f->parser.problem ? f->parser.problem : "this is not YAML");
}

/* Takes one scalar as the option's value, or as one of its values. */
static int take_value(File *f, const Option *option, const yaml_event_t *event) {
        _cleanup_free_ char *message = NULL;
        int r;

        if (event->type == YAML_SCALAR_EVENT) {
                r = config_option_set(f->config, option, (char *) event->data.scalar.value);
                if (r == 0)
                        return 0;
                message = strf("'%s' is there twice", option->name);
        } else
                message = strf("'%s' takes a text%s", option->name,
                               option->kind == OPTION_PATHS || option->kind == OPTION_TEXTS
                                       ? ", or a list of them"
                                       : "");
        return message ? fault(f, &event->start_mark, message) : error_oom(f->reterr);
}

static int take_list(File *f, const Option *option) {
        for (;;) {
                _cleanup_(yaml_event_delete) yaml_event_t event = {0};
                int r = next_event(f, &event);

                if (r < 0 || event.type == YAML_SEQUENCE_END_EVENT)
                        return r;
                r = take_value(f, option, &event);
                if (r < 0)
                        return r;
        }
}

static int unknown_key(File *f, const yaml_event_t *key, Error *why) {
        int r = fault(f, &key->start_mark, why->message);

        if (why->hint)
                error_hint(f->reterr, "%s", why->hint);
        return r;
}

static int take_key(File *f, const yaml_event_t *key) {
        _cleanup_(yaml_event_delete) yaml_event_t value = {0};
        _cleanup_error_ Error why = ERROR_INIT;
        const Option *option;
        int r;

        if (key->type != YAML_SCALAR_EVENT)
                return fault(f, &key->start_mark, "a name of an option is expected here");
        option = config_option_find((char *) key->data.scalar.value, true, &why);
        if (!option)
                return unknown_key(f, key, &why);
        if (config_option_is_set(f->config, option))
                return fault(f, &key->start_mark, "this option is there twice");
        r = next_event(f, &value);
        if (r < 0)
                return r;
        if (value.type == YAML_SEQUENCE_START_EVENT &&
            (option->kind == OPTION_PATHS || option->kind == OPTION_TEXTS))
                return take_list(f, option);
        return take_value(f, option, &value);
}

static int take_mapping(File *f) {
        for (;;) {
                _cleanup_(yaml_event_delete) yaml_event_t key = {0};
                int r = next_event(f, &key);

                if (r < 0 || key.type == YAML_MAPPING_END_EVENT)
                        return r;
                r = take_key(f, &key);
                if (r < 0)
                        return r;
        }
}

/* An empty file has a document that is an empty scalar, or none at all. */
static bool is_empty_scalar(const yaml_event_t *event) {
        return event->type == YAML_SCALAR_EVENT && event->data.scalar.length == 0;
}

int config_read_text(const char *path, const char *text, size_t size, Config *config,
                     Error *reterr) {
        _cleanup_(parser_done) File f = {.path = path, .config = config, .reterr = reterr};
        bool seen = false;
        int r = 0;

        if (!yaml_parser_initialize(&f.parser))
                return error_oom(reterr);
        yaml_parser_set_input_string(&f.parser, (const unsigned char *) text, size);
        while (r >= 0) {
                _cleanup_(yaml_event_delete) yaml_event_t event = {0};

                r = next_event(&f, &event);
                if (r < 0 || event.type == YAML_STREAM_END_EVENT)
                        break;
                if (event.type == YAML_STREAM_START_EVENT ||
                    event.type == YAML_DOCUMENT_END_EVENT || is_empty_scalar(&event))
                        continue;
                if (event.type == YAML_DOCUMENT_START_EVENT && !seen)
                        seen = true;
                else if (event.type == YAML_MAPPING_START_EVENT)
                        r = take_mapping(&f);
                else
                        r = fault(&f, &event.start_mark,
                                  "one mapping of option names to values is expected");
        }
        return r;
}

int config_read_file(const char *path, Config *config, Error *reterr) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = file_read(AT_FDCWD, path, CONFIG_FILE_MAX, &text, &size);
        if (r < 0)
                return error_set(reterr, -r, "bad-config", "cannot read %s: %s", path,
                                 strerror(-r));
        return config_read_text(path, text, size, config, reterr);
}
