/* SPDX-License-Identifier: MIT */
/* Transient services: the calls of bus.h that are about one unit. */
#include "daemon/bus/internal.h"

#define LOG_BURST 1000000U /* lines in 30 s: more than the step program lets through */
#define AFTER "multi-user.target"
#define DISCARD_MODE "inactive-or-failed" /* what ended leaves no unit behind; files tell of it */

/* ---- the properties, one kind of value each ---- */

static int put_text(sd_bus_message *m, const char *name, const char *value) {
        return sd_bus_message_append(m, "(sv)", name, "s", value);
}

static int put_bool(sd_bus_message *m, const char *name, bool value) {
        return sd_bus_message_append(m, "(sv)", name, "b", (int) value);
}

static int put_number(sd_bus_message *m, const char *name, uint64_t value) {
        return value == 0 ? 0 : sd_bus_message_append(m, "(sv)", name, "t", value);
}

static int open_property(sd_bus_message *m, const char *name, const char *type) {
        int r = sd_bus_message_open_container(m, 'r', "sv");

        if (r >= 0)
                r = sd_bus_message_append(m, "s", name);
        return r < 0 ? r : sd_bus_message_open_container(m, 'v', type);
}

static int close_property(sd_bus_message *m) {
        int r = sd_bus_message_close_container(m);

        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int put_texts(sd_bus_message *m, const char *name, char *const *values) {
        int r = open_property(m, name, "as");

        if (r >= 0)
                r = sd_bus_message_append_strv(m, (char **) values);
        return r < 0 ? r : close_property(m);
}

/* aay: texts that may be any bytes. */
static int put_fields(sd_bus_message *m, char *const *fields) {
        int r = open_property(m, "LogExtraFields", "aay");

        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "ay");
        for (size_t i = 0; r >= 0 && fields && fields[i]; i++)
                r = sd_bus_message_append_array(m, 'y', fields[i], strlen(fields[i]));
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : close_property(m);
}

/* a(sasb): one command, whose failure counts. */
static int put_command(sd_bus_message *m, char *const *argv) {
        int r = open_property(m, "ExecStart", "a(sasb)");

        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sasb)");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'r', "sasb");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", argv[0]);
        if (r >= 0)
                r = sd_bus_message_append_strv(m, (char **) argv);
        if (r >= 0)
                r = sd_bus_message_append(m, "b", 0);
        for (int i = 0; r >= 0 && i < 2; i++)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : close_property(m);
}

static int put_io(sd_bus_message *m, const BusService *s) {
        static const char *const names[] = {"IOReadBandwidthMax", "IOWriteBandwidthMax"};
        int r = 0;

        for (size_t i = 0; s->io > 0 && r >= 0 && i < ELEMENTSOF(names); i++)
                r = sd_bus_message_append(m, "(sv)", names[i], "a(st)", 1, s->io_device, s->io);
        return r;
}

static int put_limits(sd_bus_message *m, const BusService *s) {
        int r = put_number(m, "MemoryMax", s->memory);

        if (r >= 0)
                r = put_number(m, "CPUQuotaPerSecUSec", s->cpu_us);
        if (r >= 0)
                r = put_number(m, "TasksMax", s->tasks);
        return r < 0 ? r : put_io(m, s);
}

/* How it is ended: its main process is told and tells the others; what is left then is killed. */
static int put_ending(sd_bus_message *m, const BusService *s) {
        int r = put_text(m, "KillMode", "mixed");

        if (r >= 0)
                r = put_bool(m, "SendSIGHUP", false);
        if (r >= 0)
                r = put_text(m, "OOMPolicy", "continue");
        if (r >= 0)
                r = put_text(m, "CollectMode", DISCARD_MODE);
        return r < 0 ? r : put_number(m, "TimeoutStopUSec", s->stop_us);
}

static int put_place(sd_bus_message *m, const BusService *s) {
        static char *const after[] = {(char *) AFTER, NULL};
        int r = put_text(m, "Description", s->description);

        if (r >= 0)
                r = put_text(m, "Type", "exec");
        if (r >= 0)
                r = put_text(m, "Slice", s->slice);
        if (r >= 0)
                r = put_texts(m, "After", after);
        if (r >= 0 && s->environment)
                r = put_texts(m, "Environment", s->environment);
        return r;
}

static int put_streams(sd_bus_message *m, const BusService *s) {
        int r = sd_bus_message_append(m, "(sv)", "StandardInputFileDescriptor", "h", s->in);

        if (r >= 0)
                r = put_text(m, "StandardOutput", "journal");
        if (r >= 0)
                r = put_text(m, "StandardError", "journal");
        /* An interval of 0 is taken for none given (systemd 252). */
        if (r >= 0)
                r = sd_bus_message_append(m, "(sv)", "LogRateLimitBurst", "u", LOG_BURST);
        return r < 0 ? r : put_fields(m, s->fields);
}

static int put_service(sd_bus_message *m, const BusService *s) {
        int r = sd_bus_message_open_container(m, 'a', "(sv)");

        if (r >= 0)
                r = put_place(m, s);
        if (r >= 0)
                r = put_streams(m, s);
        if (r >= 0)
                r = put_ending(m, s);
        if (r >= 0)
                r = put_limits(m, s);
        if (r >= 0)
                r = put_command(m, s->argv);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* ---- the calls ---- */

int bus_service_start(Bus *bus, const BusService *service, BusAnswer answer, void *userdata,
                      sd_bus_slot **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        int r = bus_call_new(bus, "StartTransientUnit", &call);

        if (r >= 0)
                r = sd_bus_message_append(call, "ss", service->unit, "fail");
        if (r >= 0)
                r = put_service(call, service);
        if (r >= 0)
                r = sd_bus_message_append(call, "a(sa(sv))", 0);
        return r < 0 ? r : bus_call_send(bus, call, NULL, answer, userdata, ret);
}

static int count_processes(sd_bus_message *reply) {
        int r = sd_bus_message_enter_container(reply, 'a', "(sus)"), n = 0;
        const char *cgroup, *argv;
        uint32_t pid;

        while (r >= 0 && (r = sd_bus_message_read(reply, "(sus)", &cgroup, &pid, &argv)) > 0)
                n++;
        return r < 0 ? r : n;
}

int bus_unit_processes(Bus *bus, const char *unit, BusAnswer answer, void *userdata,
                       sd_bus_slot **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        int r = bus_call_new(bus, "GetUnitProcesses", &call);

        if (r >= 0)
                r = sd_bus_message_append(call, "s", unit);
        return r < 0 ? r : bus_call_send(bus, call, count_processes, answer, userdata, ret);
}

int bus_unit_kill(Bus *bus, const char *unit, int number, BusAnswer answer, void *userdata,
                  sd_bus_slot **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        int r = bus_call_new(bus, "KillUnit", &call);

        if (r >= 0)
                r = sd_bus_message_append(call, "ssi", unit, "all", (int32_t) number);
        return r < 0 ? r : bus_call_send(bus, call, NULL, answer, userdata, ret);
}
