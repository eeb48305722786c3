/* SPDX-License-Identifier: MIT */
/* What the files of this room share. */
#pragma once

#include "daemon/bus/bus.h"

#define SYSTEMD_NAME "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER SYSTEMD_NAME ".Manager"

/* Makes an answer's number out of a reply; -errno when it is not what was expected. */
typedef int (*BusReader)(sd_bus_message *reply);

/* A call of an object of systemd's, on a bus that is open. The caller unrefs it. */
_must_check_ int bus_object_call_new(Bus *bus, const char *path, const char *interface,
                                     const char *method, sd_bus_message **ret);
/* Sends it; `userdata` is malloc()ed, and freed with the slot, or when it cannot be sent. */
_must_check_ int bus_send(Bus *bus, sd_bus_message *call, sd_bus_message_handler_t handler,
                          void *userdata, uint64_t timeout_us, sd_bus_slot **ret);
/* A call of the manager. */
_must_check_ int bus_call_new(Bus *bus, const char *method, sd_bus_message **ret);
_must_check_ int bus_call_send(Bus *bus, sd_bus_message *call, BusReader reader, BusAnswer answer,
                               void *userdata, sd_bus_slot **ret);
