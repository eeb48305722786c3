# SPDX-License-Identifier: MIT
"""
The verb `reboot`: which boot it is decides whether it is done, each try is recorded before systemd is
asked, and an attempt that the shutdown ends is followed by one that knows. systemd is a stand-in.
"""
import json
import os
import signal
import sys
import time
import uuid

import pytest

import steptool
from daemon import ROOT, SLOW, Daemon
from tiny import Tiny
from verbtool import failed, ok, steps  # noqa: F401

sys.path.insert(0, str(ROOT / "tests/standins"))
from systemd1 import Systemd  # noqa: E402

BOOT_ID = "/proc/sys/kernel/random/boot_id"
ASKED = ("reboot.target", "replace-irreversibly")


class Machine:
    """A machine that systemd seems to run, and whose boots a test counts."""

    def __init__(self, folder):
        self.boot_id = folder / "boot_id"
        self.systemd = Systemd(folder / "bus")
        self.program = folder / "updd-step"
        self.program.write_text(
            "#!/bin/sh\n"
            f"export DBUS_SYSTEM_BUS_ADDRESS=unix:path={self.systemd.path}\n"
            f"exec unshare --mount sh -c 'mount -t tmpfs none /run && mkdir -p /run/systemd/system "
            f"&& mount --bind {self.boot_id} {BOOT_ID} && exec \"$0\" \"$@\"' "
            f"{steptool.step_program()} \"$@\"\n")
        self.program.chmod(0o755)
        self.boot()

    @property
    def asked(self):
        return self.systemd.asked

    def boot(self):
        self.boot_id.write_text(f"{uuid.uuid4()}\n")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    if os.geteuid() != 0 and os.environ.get("CI") != "true":
        pytest.skip("another /run is given by root only")
    m = Machine(tmp_path)
    monkeypatch.setenv("UPDD_STEP", str(m.program))
    yield m
    m.systemd.close()


def asks(steps, machine, args, n):  # noqa: F811
    """An attempt that has asked `n` times in all when it is looked at."""
    running = steps.do("boot", "reboot", args, wait=False)
    running.until(lambda: len(machine.asked) == n)
    return running


def told(running):
    """As the shutdown does it."""
    running.process.send_signal(signal.SIGTERM)
    result = running.wait()
    assert result["state"] == "interrupted", result
    return result


@pytest.mark.parametrize("how", ["told", "killed"])
def test_the_attempt_after_the_boot_finds_it_done(steps, machine, how):  # noqa: F811
    running = asks(steps, machine, {"reason": "new kernel", "tries": 1}, 1)
    assert machine.asked == [ASKED]
    assert len(steps.record("boot")) == 1, "what was asked for was recorded before"
    assert "1 of 1: new kernel" in running.log
    if how == "told":
        told(running)
    else:
        running.kill()
    machine.boot()
    assert "has booted anew" in ok(steps.do("boot", "reboot", {"tries": 1}))["log"]
    assert len(machine.asked) == 1


def test_while_tries_are_left_the_same_boot_is_asked_again(steps, machine):  # noqa: F811
    told(asks(steps, machine, {"tries": 3}, 1))
    told(asks(steps, machine, {"tries": 3}, 2))
    machine.boot()
    ok(steps.do("boot", "reboot", {"tries": 3}))
    assert len(machine.asked) == 2


def test_tries_that_are_used_up_fail(steps, machine):  # noqa: F811
    told(asks(steps, machine, {"tries": 1}, 1))
    result = steps.do("boot", "reboot", {"tries": 1})
    assert "asked to reboot 1 time and runs on" in failed(result)
    assert "list-jobs" in result["error"]["hint"] and len(machine.asked) == 1


def test_a_failure_closes_the_round_and_the_next_try_asks_anew(steps, machine):  # noqa: F811
    machine.systemd.refuses = "Not today"
    assert failed(steps.do("boot", "reboot", {})) == "systemd does not reboot: Not today"
    machine.systemd.refuses = None
    told(asks(steps, machine, {}, 2))
    machine.boot()
    ok(steps.do("boot", "reboot", {}))


def test_one_that_is_done_reboots_again_when_it_is_done_again(steps, machine):  # noqa: F811
    told(asks(steps, machine, {}, 1))
    machine.boot()
    ok(steps.do("boot", "reboot", {}))
    told(asks(steps, machine, {}, 2))
    machine.boot()
    ok(steps.do("boot", "reboot", {}))


def at_the_bus(steps, machine, args):  # noqa: F811
    """An attempt that has recorded its try, and waits for a bus that does not say hello."""
    machine.systemd.greets.clear()
    running = steps.do("boot", "reboot", args, wait=False)
    running.until(lambda: steps.record("boot"))
    return running


@pytest.mark.parametrize("how", ["told", "written"])
def test_no_reboot_is_asked_for_after_a_cancel(steps, machine, how):  # noqa: F811
    running = at_the_bus(steps, machine, {"tries": 3})
    (running.dir / "stop").touch()
    if how == "told":
        running.process.send_signal(signal.SIGTERM)
        running.until(lambda: "stopping, as asked" in running.log)
        time.sleep(0.5)
    machine.systemd.greets.set()
    time.sleep(1)
    assert machine.asked == []
    if how == "written":
        running.process.send_signal(signal.SIGTERM)
    result = running.wait()
    assert (result["error"]["type"], machine.asked) == ("stopped", []), result


def test_a_bus_that_hangs_holds_up_no_stop(steps, machine):  # noqa: F811
    running = at_the_bus(steps, machine, {})
    begin = time.monotonic()
    told(running)
    assert time.monotonic() - begin < 1.5 * SLOW and machine.asked == []
    machine.systemd.greets.set()


@pytest.mark.parametrize("broken", ["folder", "no JSON"])
def test_a_result_that_cannot_be_read_is_an_error_and_no_reason_to_reboot(steps, machine,  # noqa: F811
                                                                        broken):
    told(asks(steps, machine, {"tries": 2}, 1))
    result = next(steps.record_dir("boot").glob("1/result.json"))
    result.unlink()
    if broken == "folder":
        result.mkdir()
    else:
        result.write_text("half of a re")
    message = failed(steps.do("boot", "reboot", {"tries": 2}))
    assert "attempt 1 ended cannot be read: Is a directory" in message or "is not a result" in message
    assert len(machine.asked) == 1


def test_a_machine_without_systemd_is_not_rebooted(steps):  # noqa: F811
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd runs this machine")
    assert "not run by systemd" in failed(steps.do("boot", "reboot", {}))
    assert steps.record("boot") == []


def test_a_plan_with_a_reboot_is_refused_where_steps_do_not_run_in_systemd(built, tmp_path):
    updd = Daemon(tmp_path / "updd").start()
    tiny = Tiny(tmp_path / "tiny")
    try:
        plan = tiny.plan(tiny.act("a"), {"id": "boot", "reboot": {"reason": "new kernel"}})
        answer = updd.call("POST", "/v1/jobs", {"document": json.dumps(plan)})
        assert answer.status == 422 and ":not-carried" in answer.text, answer
        assert "a reboot goes through systemd" in answer.text
        assert tiny.done() == []
    finally:
        updd.close()
