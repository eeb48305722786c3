/* SPDX-License-Identifier: MIT */
/*
 * The field tables as JSON Schema 2020-12: editors complete and judge plans with it. It is a little
 * wider than the decoder (what `${…}` may stand for cannot be told), never narrower.
 */
#include "api/args.h"
#include "daemon/plan/table.h"

#define ID_PATTERN "^[a-z][a-z0-9_-]{0,62}$"
#define OUTPUT_PATTERN "^[A-Za-z][A-Za-z0-9_-]{0,62}$"
#define DURATION_PATTERN "^([0-9]+(d|h|m|s|ms))+$|[$][{]"
#define SIZE_PATTERN "^(0|[0-9]+[KMGT])$|[$][{]"

static json_t *schema_type(const char *type) {
        return json_pack("{s:s}", "type", type);
}

static json_t *schema_pattern(const char *pattern) {
        return json_pack("{s:s, s:s}", "type", "string", "pattern", pattern);
}

static json_t *schema_ref(const char *kind, const char *name) {
        _cleanup_free_ char *ref = strf("#/$defs/%s%s%s", kind, *name ? "-" : "", name);

        return ref ? json_pack("{s:s}", "$ref", ref) : NULL;
}

static json_t *schema_list(json_t *item) {
        return json_pack("{s:s, s:o}", "type", "array", "items", item);
}

static json_t *schema_map(json_t *value) {
        return json_pack("{s:s, s:o}", "type", "object", "additionalProperties", value);
}

static json_t *schema_either(json_t *a, json_t *b) {
        return json_pack("{s:[o, o]}", "anyOf", a, b);
}

/* Text that is written without quotes may be a number to the editor's YAML. */
static json_t *schema_text(void) {
        return json_pack("{s:[s, s, s]}", "type", "string", "number", "boolean");
}

static json_t *schema_one_or_list(json_t *item) {
        return schema_either(json_incref(item), schema_list(item));
}

static json_t *schema_words(const char *const *words) {
        json_auto_t *list = json_array();

        for (; *words; words++)
                (void) json_array_append_new(list, json_string(*words));
        return json_pack("{s:O}", "enum", list);
}

static json_t *schema_enum(const FieldInfo *f) {
        if (f->flags & FIELD_LITERAL)
                return schema_words(f->values);
        return schema_either(schema_words(f->values), schema_pattern("[$][{]"));
}

static json_t *schema_hooks(const FieldInfo *f) {
        json_auto_t *properties = json_object();

        for (const char *const *v = f->values; *v; v++)
                (void) json_object_set_new(properties, *v, schema_ref("steps", ""));
        return json_pack("{s:s, s:O, s:b}", "type", "object", "properties", properties,
                         "additionalProperties", 0);
}

static json_t *schema_named(const FieldInfo *f) {
        return json_pack("{s:s, s:o, s:o}", "type", "object", "propertyNames",
                         schema_pattern(streq(f->name, "save") ? OUTPUT_PATTERN : ID_PATTERN),
                         "additionalProperties", schema_ref("map", f->spec->name));
}

/* Composed types; the single values are in schema_value. */
static json_t *schema_composed(const FieldInfo *f) {
        switch (f->type) {
        case TYPE_PATHS:
        case TYPE_REGEXES:
        case TYPE_TEXTS:
        case TYPE_SERVICES:
        case TYPE_STEP_LIST: return schema_one_or_list(schema_text());
        case TYPE_ARGV: return schema_list(schema_text());
        case TYPE_TEXT_MAP:
        case TYPE_PATH_MAP:
        case TYPE_REGEX_MAP:
        case TYPE_ON_FAILURE: return schema_map(schema_text());
        case TYPE_TEXTS_MAP: return schema_map(schema_one_or_list(schema_text()));
        case TYPE_EXPECTATION: return schema_either(schema_text(), schema_map(schema_text()));
        case TYPE_STEPS: return schema_ref("steps", "");
        case TYPE_CHECKS: return schema_ref("checks", "");
        case TYPE_UNDO:
                return schema_either(json_pack("{s:s}", "const", "none"), schema_ref("steps", ""));
        case TYPE_RETRY: return schema_either(schema_type("integer"), schema_ref("map", "retry"));
        case TYPE_OBJECT: return schema_ref("map", f->spec->name);
        case TYPE_OBJECTS: return schema_list(schema_ref("map", f->spec->name));
        case TYPE_OBJECT_MAP: return schema_named(f);
        case TYPE_STEPS_MAP:
                return schema_map(schema_either(json_pack("{s:s}", "const", "none"),
                                                schema_ref("steps", "")));
        case TYPE_HOOKS: return schema_hooks(f);
        default: return NULL;
        }
}

static json_t *schema_int(const FieldInfo *f) {
        if (f->flags & FIELD_LITERAL)
                return schema_type("integer");
        return schema_either(schema_type("integer"), schema_pattern("^-?[0-9]+$|[$][{]"));
}

static json_t *schema_value(const FieldInfo *f) {
        switch (f->type) {
        case TYPE_JSON: return json_object();
        case TYPE_ID: return schema_pattern(ID_PATTERN);
        case TYPE_DURATION: return schema_pattern(DURATION_PATTERN);
        case TYPE_SIZE:
                return schema_either(json_pack("{s:i}", "const", 0), schema_pattern(SIZE_PATTERN));
        case TYPE_SHARE: return schema_pattern("^[1-9][0-9]*%$|[$][{]");
        case TYPE_INT: return schema_int(f);
        case TYPE_EXITS: return schema_one_or_list(schema_int(f));
        case TYPE_STATUS: return schema_one_or_list(schema_text());
        case TYPE_BOOL:
                return schema_either(schema_type("boolean"),
                                     schema_pattern("^(yes|no|true|false|on|off)$|[$][{]"));
        case TYPE_ENUM: return schema_enum(f);
        default: return schema_text();
        }
}

static json_t *schema_field(const FieldInfo *f) {
        json_t *made = schema_composed(f);

        if (!made)
                made = schema_value(f);
        if (json_putf(made, "description", "%s%s%s", f->doc, f->def ? ". Default: " : "",
                      f->def ? f->def : "") < 0) {
                json_decref(made);
                return NULL;
        }
        return made;
}

/* Sets "properties" and "required" of `into`. */
static int put_fields(json_t *into, const Spec *spec) {
        json_t *properties = json_object_get(into, "properties"), *required = json_array();

        for (const FieldInfo *f = spec->fields; f->name; f++) {
                if (json_put(properties, f->name, schema_field(f)) < 0)
                        return -ENOMEM;
                if ((f->flags & FIELD_REQUIRED) &&
                    json_array_append_new(required, json_string(f->name)) < 0)
                        return -ENOMEM;
        }
        return json_put(into, "required", required);
}

static json_t *schema_spec(const Spec *spec) {
        json_auto_t *made = json_pack("{s:s, s:s, s:{}, s:b}", "type", "object", "description",
                                      spec->doc, "properties", "additionalProperties", 0);

        return put_fields(made, spec) < 0 ? NULL : TAKE(made);
}

/* A verb's or check's value: its map, or the field that stands alone. */
static json_t *schema_call(const Spec *spec) {
        const FieldInfo *alone = field_alone(spec);
        json_t *map = schema_spec(spec), *made;

        if (!alone)
                return map;
        made = schema_either(schema_field(alone), map);
        if (json_put(made, "description", json_string(spec->doc)) < 0) {
                json_decref(made);
                return NULL;
        }
        return made;
}

static int put_nested(json_t *defs, const Spec *spec) {
        for (const FieldInfo *f = spec->fields; f->name; f++) {
                _cleanup_free_ char *name = f->spec ? strf("map-%s", f->spec->name) : NULL;

                if (!name || json_object_get(defs, name))
                        continue;
                if (json_put(defs, name, schema_spec(f->spec)) < 0)
                        return -ENOMEM;
                if (put_nested(defs, f->spec) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* "required": one of the names that stand for what is done. */
static json_t *schema_one_of(json_t *names) {
        json_auto_t *list = json_array(), *owned = names;
        json_t *name;
        size_t i;

        json_array_foreach (owned, i, name)
                (void) json_array_append_new(list, json_pack("{s:[O]}", "required", name));
        return TAKE(list);
}

static int put_call(json_t *defs, json_t *into, json_t *names, const char *kind, const Spec *spec) {
        _cleanup_free_ char *name = strf("%s-%s", kind, spec->name);

        if (!name || json_put(defs, name, schema_call(spec)) < 0 ||
            json_put(json_object_get(into, "properties"), spec->name,
                     schema_ref(kind, spec->name)) < 0 ||
            json_array_append_new(names, json_string(spec->name)) < 0)
                return -ENOMEM;
        return put_nested(defs, spec);
}

static int put_step(json_t *defs) {
        json_auto_t *step = schema_spec(&step_spec), *names = json_array();
        json_t *any;

        for (const VerbInfo *v = plan_verbs; v->spec.name; v++)
                if (put_call(defs, step, names, "verb", &v->spec) < 0)
                        return -ENOMEM;
        /* A step of only `undo:` names no verb. */
        any = json_pack("{s:{s:o}, s:[s]}", "not", "anyOf", schema_one_of(json_deep_copy(names)),
                        "required", "undo");
        if (!any || json_put(step, "oneOf", schema_one_of(json_incref(names))) < 0 ||
            json_array_append_new(json_object_get(step, "oneOf"), any) < 0 ||
            json_put(defs, "step", json_incref(step)) < 0)
                return -ENOMEM;
        return put_nested(defs, &step_spec);
}

static int put_check(json_t *defs) {
        json_auto_t *check = schema_spec(&check_spec), *names = json_array();

        for (const CheckInfo *c = plan_checks; c->spec.name; c++)
                if (put_call(defs, check, names, "check", &c->spec) < 0)
                        return -ENOMEM;
        if (json_put(check, "oneOf", schema_one_of(json_incref(names))) < 0)
                return -ENOMEM;
        return json_put(defs, "check", json_incref(check));
}

int plan_schema(json_t **ret) {
        json_auto_t *made = NULL, *top = schema_spec(&plan_spec), *defs = json_object();

        if (put_step(defs) < 0 || put_check(defs) < 0 || put_nested(defs, &plan_spec) < 0 ||
            json_put(defs, "steps",
                     schema_either(schema_ref("step", ""), schema_list(schema_ref("step", "")))) <
                    0 ||
            json_put(defs, "checks",
                     schema_either(schema_ref("check", ""), schema_list(schema_ref("check", "")))) <
                    0)
                return -ENOMEM;
        made = json_pack("{s:s, s:s, s:s}", "$schema",
                         "https://json-schema.org/draft/2020-12/schema", "$id",
                         "urn:updd:plan.schema.json", "title", "A plan of updd, format 1");
        if (!made || json_object_update(made, top) < 0 ||
            json_put(made, "patternProperties", json_pack("{s:{}}", "^x-")) < 0 ||
            json_put(made, "$defs", TAKE(defs)) < 0)
                return -ENOMEM;
        *ret = TAKE(made);
        return 0;
}
