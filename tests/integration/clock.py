# SPDX-License-Identifier: MIT
"""
A daemon whose clocks a test sets: the wall clock, a suspend, another boot (tests/preload/clock.c).

Not shifted are poll(2) and what CLOCK_MONOTONIC counts: while a machine sleeps, both stand still.
"""
import mmap
import os
import signal
import struct
import time
import uuid

from daemon import BUILD, Daemon

LIBRARY = BUILD / "tests/preload/clock.so"
WALL, BOOT, MONO = range(3)  # the Control of clock.c
SECOND, MINUTE, HOUR, DAY = 1, 60, 3600, 86400


class ClockDaemon(Daemon):
    """updd and updd-step with clocks of their own."""

    def __init__(self, home):
        super().__init__(home)
        control, self.boot_id = self.home / "clock", self.home / "boot_id"
        control.write_bytes(bytes(24))
        with open(control, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)
        self.boot_id.write_text(f"{uuid.uuid4()}\n")
        sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.environment = {"LD_PRELOAD": str(LIBRARY), "UPDD_CLOCK_CONTROL": str(control),
                            "UPDD_CLOCK_BOOT_ID": str(self.boot_id),
                            "ASAN_OPTIONS": sanitizer.lstrip(":")}
        # The daemon hands on nothing of its environment.
        script = self.home / "updd-step"
        script.write_text("#!/bin/sh\n" + "".join(
            f"export {name}='{value}'\n" for name, value in self.environment.items()) +
            f"exec '{self.step_program}' \"$@\"\n")
        script.chmod(0o755)
        self.step_program = script

    def start(self, **environment):
        return super().start(**self.environment, **environment)

    def shift(self, clock, seconds):
        """At once: a reader sees the whole number or the one before."""
        before = struct.unpack_from("=q", self.map, clock * 8)[0]
        struct.pack_into("=q", self.map, clock * 8, before + round(seconds * 10**9))

    def now(self):
        """The wall clock as the programs see it, in seconds."""
        return time.time() + struct.unpack_from("=q", self.map, WALL * 8)[0] / 10**9

    def set_wall(self, seconds):
        self.shift(WALL, seconds)

    def sleep(self, seconds):
        """The machine is suspended for so long."""
        self.shift(WALL, seconds)
        self.shift(BOOT, seconds)

    def power_off(self):
        """The daemon and every process of an attempt are gone in one moment."""
        self.kill9()
        for pid in self.attempt_processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def boot(self, off=0, uptime=5, wall=0):
        """Starts again: `off` seconds later, updd begins `uptime` seconds after the kernel, and the
        wall clock is wrong by `wall`."""
        self.boot_id.write_text(f"{uuid.uuid4()}\n")
        for clock in (BOOT, MONO):
            real = time.clock_gettime(time.CLOCK_BOOTTIME if clock == BOOT else time.CLOCK_MONOTONIC)
            struct.pack_into("=q", self.map, clock * 8, round((uptime - real) * 10**9))
        self.shift(WALL, off + wall)
        return self.start()
