/* SPDX-License-Identifier: MIT */
/* What a unit is found to be: its properties in one answer, and what they mean for a service. */
#include "daemon/step/held.h"
#include "daemon/step/services_unit.h"

#include <signal.h>

#define ALIAS "alias" /* held.h: the unit that the plan names so */
#define UNIT_PATHS "/org/freedesktop/systemd1/unit"
#define SETTLED_US (10 * 1000 * 1000) /* a restarted unit that runs so long has come to stay */
#define YOUNG_US (1000 * 1000)        /* running is all there is to see: let it run a little */
#define RESTARTS_MAX 3 /* so often it may be restarted before that counts as failed */

char *unit_full_name(const char *unit) {
        static const char *const kinds[] = {".service", ".socket", ".target",    ".timer",
                                            ".path",    ".mount",  ".automount", ".swap",
                                            ".device",  ".slice",  ".scope"};

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (endswith(unit, kinds[i]))
                        return strdup(unit);
        return strf("%s.service", unit);
}

/* ---- properties ---- */

static bool is_wanted(const char *property) {
        static const char *const wanted[] = {
                "Names",
                "LoadState",
                "ActiveState",
                "SubState",
                "UnitFileState",
                "Job",
                "FragmentPath",
                "InvocationID",
                "NeedDaemonReload",
                "NRestarts",
                "Result",
                "ActiveEnterTimestampMonotonic",
                "ExecMainCode",
                "ExecMainStatus",
                "ConditionResult",
                "WantedBy",
                "RequiredBy",
                "RequisiteOf",
                "BoundBy",
                "ConsistsOf",
                "UpheldBy",
                "Requires",
                "BindsTo",
                "TriggeredBy",
                "Triggers",
                "Id",
                "Type",
                "BusName",
                "OnFailureOf",
                "OnSuccessOf",
                "ConditionTimestampMonotonic",
                "AssertResult",
                "AssertTimestampMonotonic",
        };

        for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
                if (streq(property, wanted[i]))
                        return true;
        return false;
}

static int read_list(sd_bus_message *m, json_t **ret) {
        json_auto_t *list = json_array();
        const char *text;
        int r = sd_bus_message_enter_container(m, 'a', "s");

        while (r >= 0 && (r = sd_bus_message_read(m, "s", &text)) > 0)
                if (json_array_append_new(list, json_string(text)) < 0)
                        return -ENOMEM;
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r >= 0)
                *ret = TAKE(list);
        return r;
}

/* An id: empty when there is none. */
static int read_bytes(sd_bus_message *m, json_t **ret) {
        char hex[65] = "";
        const uint8_t *bytes;
        size_t n;
        int r = sd_bus_message_read_array(m, 'y', (const void **) &bytes, &n);

        if (r < 0)
                return r;
        for (size_t i = 0; i < MIN(n, (size_t) 32); i++)
                (void) snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
        *ret = json_string(strspn(hex, "0") == strlen(hex) ? "" : hex);
        return 0;
}

static int read_job(sd_bus_message *m, json_t **ret) {
        const char *path;
        uint32_t id;
        int r = sd_bus_message_read(m, "(uo)", &id, &path);

        if (r >= 0)
                *ret = json_string(id ? path : "");
        return r;
}

static int read_basic(sd_bus_message *m, char type, json_t **ret) {
        union {
                const char *s;
                uint32_t u;
                int32_t i;
                uint64_t t;
                int b;
        } value;
        int r = sd_bus_message_read_basic(m, type, &value);

        if (r < 0)
                return r;
        *ret = type == 's'   ? json_string(value.s)
               : type == 'u' ? json_integer(value.u)
               : type == 'i' ? json_integer(value.i)
               : type == 't' ? json_integer((json_int_t) value.t)
                             : json_boolean(value.b);
        return 0;
}

static int read_value(sd_bus_message *m, json_t **ret) {
        const char *type;
        int r = sd_bus_message_peek_type(m, NULL, &type);

        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'v', type);
        if (r < 0)
                return r;
        if (streq(type, "as"))
                r = read_list(m, ret);
        else if (streq(type, "ay"))
                r = read_bytes(m, ret);
        else if (streq(type, "(uo)"))
                r = read_job(m, ret);
        else if (strlen(type) == 1 && strchr("suitb", *type))
                r = read_basic(m, *type, ret);
        else
                r = sd_bus_message_skip(m, type);
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_property(sd_bus_message *m, json_t *all) {
        json_t *value = NULL;
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        if (r < 0)
                return r;
        if (!is_wanted(name))
                return sd_bus_message_skip(m, "v");
        r = read_value(m, &value);
        if (r >= 0 && value)
                return json_put(all, name, value);
        json_decref(value);
        return r;
}

static int read_properties(sd_bus_message *m, json_t *all) {
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_property(m, all);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

int unit_show(Step *s, Service *v, const char *unit, json_t **ret, Error *reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ char *name = unit_full_name(unit), *path = NULL;
        json_auto_t *all = json_object();
        int r;

        if (!all || !name || sd_bus_path_encode(UNIT_PATHS, name, &path) < 0)
                return error_oom(reterr);
        /* Of all interfaces, in one look: they belong together. */
        r = unit_call(s, v, &reply, reterr, path, "org.freedesktop.DBus.Properties", "GetAll", "s",
                      "");
        if (r < 0)
                return r;
        r = read_properties(reply, all);
        if (r == -ENOMEM)
                return error_oom(reterr);
        if (r < 0)
                return error_set(reterr, EREMOTEIO, "systemd", "systemd told nothing about %s: %s",
                                 name, strerror(-r));
        *ret = TAKE(all);
        return 0;
}

int unit_find(Step *s, Service *v, char **ret_unit, json_t **ret, Error *reterr) {
        _cleanup_free_ char *name = unit_full_name(unit_of(v)), *unit = NULL;
        json_auto_t *p = NULL, *alias_of = NULL;
        int r = name ? unit_show(s, v, name, &p, reterr) : error_oom(reterr);

        if (r >= 0 && !unit_is_known(p))
                r = held_read(s, ALIAS, name, &alias_of, reterr);
        if (r >= 0 && json_is_string(alias_of)) {
                json_decref(TAKE(p));
                r = unit_show(s, v, json_string_value(alias_of), &p, reterr);
        }
        if (r < 0)
                return r;
        unit = strdup(args_text(p, "Id", name));
        if (!unit)
                return error_oom(reterr);
        *ret_unit = TAKE(unit);
        *ret = TAKE(p);
        return 0;
}

int unit_note_alias(Step *s, Service *v, const char *unit, Error *reterr) {
        _cleanup_free_ char *name = unit_full_name(unit_of(v));

        if (!name)
                return error_oom(reterr);
        return streq(name, unit) ? 0 : held_note(s, ALIAS, name, json_string(unit), reterr);
}

/* ---- what they mean ---- */

bool unit_is_known(const json_t *p) {
        return !streq(args_text(p, "LoadState", ""), "not-found");
}

static int64_t number(const json_t *p, const char *name) {
        return json_integer_value(json_object_get(p, name));
}

bool unit_is_active(const json_t *p) {
        const char *state = args_text(p, "ActiveState", "");

        return streq(state, "active") || streq(state, "reloading");
}

bool unit_runs(const json_t *p) {
        const char *state = args_text(p, "ActiveState", "");

        return !streq(state, "inactive") && !streq(state, "failed") && !streq(state, "");
}

bool unit_is_back(const json_t *p) {
        return unit_runs(p) || (streq(args_text(p, "Type", ""), "oneshot") &&
                                streq(args_text(p, "ActiveState", ""), "inactive") &&
                                streq(args_text(p, "Result", ""), "success"));
}

bool unit_is_asked(const json_t *p) {
        return *args_text(p, "Job", "") != '\0';
}

static int64_t active_us(const json_t *p) {
        return now_mono_us() - number(p, "ActiveEnterTimestampMonotonic");
}

bool unit_is_looping(const json_t *p) {
        return number(p, "NRestarts") > 0 &&
               (unit_is_active(p) ? active_us(p) < SETTLED_US
                                  : startswith(args_text(p, "SubState", ""), "auto-restart"));
}

/* How its main process ended. */
static char *describe_end(const json_t *p) {
        int64_t code = number(p, "ExecMainCode"), status = number(p, "ExecMainStatus");

        if (code == CLD_EXITED)
                return strf(", its main process ended with code %lld", (long long) status);
        if (code == CLD_KILLED || code == CLD_DUMPED)
                return strf(", its main process was killed by signal %lld", (long long) status);
        return strdup("");
}

/* One that was never asked to start has met no condition either. */
static bool is_unmet(const json_t *p, const char *met, const char *looked) {
        return json_is_false(json_object_get(p, met)) && number(p, looked) > 0;
}

static const char *describe_refusal(const json_t *p) {
        if (!streq(args_text(p, "ActiveState", ""), "inactive"))
                return "";
        if (is_unmet(p, "AssertResult", "AssertTimestampMonotonic"))
                return ", since an assertion of its files does not hold";
        return is_unmet(p, "ConditionResult", "ConditionTimestampMonotonic")
                       ? ", since a condition of its files does not hold"
                       : "";
}

char *unit_describe(const json_t *p) {
        const char *result = args_text(p, "Result", "success");
        const char *state = args_text(p, "ActiveState", "?"), *sub = args_text(p, "SubState", "?");
        _cleanup_free_ char *end = NULL;

        if (streq(result, "success"))
                return strf("it is %s (%s)%s", state, sub, describe_refusal(p));
        end = describe_end(p);
        return end ? strf("it is %s (%s): %s%s", state, sub, result, end) : NULL;
}

static ServiceState state_of(const json_t *p) {
        if (unit_is_looping(p))
                return number(p, "NRestarts") >= RESTARTS_MAX ? SERVICE_FAILED : SERVICE_COMING;
        if (unit_is_active(p))
                return active_us(p) < YOUNG_US ? SERVICE_COMING : SERVICE_UP;
        if (unit_runs(p) || unit_is_asked(p))
                return SERVICE_COMING;
        return streq(args_text(p, "ActiveState", ""), "failed") ? SERVICE_FAILED : SERVICE_DOWN;
}

int unit_judge(const json_t *p, const char *unit, ServiceLook *ret) {
        _cleanup_free_ char *end = NULL;

        ret->runs = unit_runs(p);
        ret->alive = unit_is_active(p) && !unit_is_looping(p);
        ret->state = state_of(p);
        if (ret->state == SERVICE_UP)
                return 0;
        if (unit_is_looping(p)) {
                end = describe_end(p);
                ret->why = strf("it is restarted again and again (%lld times)%s",
                                (long long) number(p, "NRestarts"), end ? end : "");
        } else if (unit_is_active(p))
                ret->why = strdup("it has only just begun");
        else if (!unit_is_known(p))
                ret->why = strf("there is no unit %s", unit);
        else
                ret->why = unit_describe(p);
        return ret->why ? 0 : -ENOMEM;
}
