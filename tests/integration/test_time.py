# SPDX-License-Identifier: MIT
"""
Time: what becomes of every deadline and limit when the wall clock is set, the machine sleeps, updd
restarts, or the machine starts again with a clock that is right or wrong. The table of what is to
happen stands in updd(8), TIME.
"""
import datetime
import json
import os
import pathlib
import time
import uuid

import pytest

from clock import DAY, HOUR, MINUTE, ClockDaemon
from daemon import SLOW, Daemon

WITHIN = "1h"  # every deadline of these tests
SET = pytest.mark.parametrize("by", [DAY, -DAY], ids=["forward", "back"])


@pytest.fixture
def updd(built, tmp_path):
    d = ClockDaemon(tmp_path / "updd")
    try:
        yield d.start()
    finally:
        d.close()


# ---- the three deadlines of updd's own ------------------------------------------------------------
# Each is begun, then asked whether it has come. What is undone or done then is told by the job.


class Gate:
    def __init__(self, updd, tiny):
        self.updd, self.tiny = updd, tiny
        self.job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(within=WITHIN,
                                                                 on_timeout="rollback")))
        updd.wait_open(self.job, "gate")

    def shown(self):
        return self.updd.wait_open(self.job, "gate")["deadline"]

    def is_open(self):
        return self.updd.job(self.job)["state"] == "waiting"

    def comes(self):
        self.updd.wait_for(self.job, "rolled_back")
        assert "deadline_missed" in [e["type"] for e in self.updd.events(self.job)]


class Pause:
    """Between a failed try and the next."""

    def __init__(self, updd, tiny):
        self.updd, self.tiny = updd, tiny
        self.job = updd.begin(tiny.plan(
            tiny.act("a", "test -e again || { touch again; exit 1; }",
                     retry={"tries": 2, "first": WITHIN, "max": WITHIN})))
        updd.until(self.is_open, 20, lambda: updd.tell(self.job))

    shown = None

    def is_open(self):
        return (self.updd.step(self.job, "a")["state"] == "pending" and self.tiny.exists("again"))

    def comes(self):
        self.updd.wait_for(self.job, "succeeded")
        assert self.tiny.done() == ["do-a", "do-a"]


class WayBack:
    def __init__(self, updd, tiny):
        self.updd, self.tiny = updd, tiny
        self.job = updd.begin(tiny.plan(tiny.act("a"), way_back=WITHIN,
                                        finalise=[{"id": "f", **tiny.tell("finalised")}]))
        updd.wait_for(self.job, "succeeded")

    def shown(self):
        return self.updd.job(self.job)["way_back"]["until"]

    def is_open(self):
        return self.updd.job(self.job)["way_back"]["open"]

    def comes(self):
        self.updd.until(lambda: "finalise_done" in [e["type"] for e in self.updd.events(self.job)],
                        20, lambda: self.updd.tell(self.job))
        assert self.tiny.done() == ["do-a", "finalised"] and not self.is_open()


KINDS = pytest.mark.parametrize("kind", [Gate, Pause, WayBack])


def seconds_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def stays(deadline, seconds=0.3):
    """It is still to come, also after the daemon had the time to think about it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert deadline.is_open(), deadline.updd.tell(deadline.job)
        time.sleep(0.05)


def shows(deadline, left):
    """What people are shown is `left` seconds ahead of the clock that they see."""
    def true():
        return not deadline.shown or \
            abs(seconds_of(deadline.shown()) - deadline.updd.now() - left) < 20 * SLOW
    deadline.updd.until(true, 10, lambda: f"{deadline.shown()} at {deadline.updd.now()}")


@SET
@KINDS
def test_a_deadline_comes_when_it_would_have_come_though_the_clock_is_set(updd, tiny, kind, by):
    deadline = kind(updd, tiny)
    updd.set_wall(by)
    stays(deadline)
    shows(deadline, HOUR)
    updd.sleep(HOUR - 2 * MINUTE)
    stays(deadline)
    updd.sleep(3 * MINUTE)
    deadline.comes()
    updd.invariants(deadline.job)


@SET
@KINDS
def test_a_deadline_heeds_no_clock_that_is_set_while_updd_is_down(updd, tiny, kind, by):
    deadline = kind(updd, tiny)
    updd.stop()
    updd.set_wall(by)
    updd.start()
    stays(deadline)
    shows(deadline, HOUR)
    updd.kill9()
    updd.sleep(2 * HOUR)
    updd.start()
    deadline.comes()
    updd.invariants(deadline.job)


@KINDS
def test_after_a_reboot_the_wall_clock_tells_what_has_passed(updd, tiny, kind):
    deadline = kind(updd, tiny)
    updd.power_off()
    updd.boot(off=30 * MINUTE)
    stays(deadline)
    shows(deadline, 30 * MINUTE)
    updd.set_wall(DAY)  # from here on this boot's own clock decides
    stays(deadline)
    updd.sleep(31 * MINUTE)
    deadline.comes()
    updd.invariants(deadline.job)


@KINDS
def test_a_reboot_with_a_clock_that_is_ahead_brings_the_deadline(updd, tiny, kind):
    deadline = kind(updd, tiny)
    updd.power_off()
    updd.boot(off=MINUTE, wall=DAY)
    deadline.comes()
    updd.invariants(deadline.job)


@KINDS
def test_a_reboot_with_a_clock_that_is_behind_never_makes_a_deadline_longer(updd, tiny, kind):
    deadline = kind(updd, tiny)
    updd.power_off()
    # A flat battery: each boot begins a day back. What each had run when updd read the deadline is
    # known to have passed.
    updd.boot(uptime=20 * MINUTE, wall=-DAY)
    stays(deadline)
    shows(deadline, 40 * MINUTE)
    updd.power_off()
    updd.boot(uptime=19 * MINUTE, wall=-DAY)
    stays(deadline)
    shows(deadline, 21 * MINUTE)
    updd.sleep(22 * MINUTE)
    deadline.comes()
    updd.invariants(deadline.job)


@KINDS
def test_a_clock_that_was_set_back_before_a_reboot_makes_no_deadline_longer(updd, tiny, kind):
    deadline = kind(updd, tiny)
    updd.set_wall(-DAY)
    shows(deadline, HOUR)
    time.sleep(0.1)
    updd.power_off()
    updd.boot(off=50 * MINUTE)
    stays(deadline)
    shows(deadline, 10 * MINUTE)
    updd.sleep(11 * MINUTE)
    deadline.comes()


def test_a_clock_that_was_set_forward_before_a_reboot_brings_no_deadline(updd, tiny):
    """A machine without a clock of its own hears of the time late: what it had promised before
    stays promised."""
    deadline = Gate(updd, tiny)
    updd.set_wall(20000 * DAY)
    shows(deadline, HOUR)
    updd.power_off()
    updd.boot(off=MINUTE)
    stays(deadline)
    shows(deadline, 59 * MINUTE)


@pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="needs root")
def test_another_boot_by_the_kernels_own_word(built, tiny, tmp_path):
    """No library: a time namespace whose boot clock begins anew, and another boot id."""
    updd = Daemon(tmp_path / "updd")
    boot_id = tmp_path / "boot_id"
    boot_id.write_text(f"{uuid.uuid4()}\n")
    uptime = int(time.clock_gettime(time.CLOCK_BOOTTIME))
    try:
        updd.start()
        deadline = Gate(updd, tiny)
        late = updd.begin(tiny.plan(tiny.gate(within="3s"), target="late"))
        updd.wait_open(late, "gate")
        updd.stop()
        updd.through = ["unshare", "--mount", "--time", f"--boottime=-{uptime - 5}", "sh", "-c",
                        f"mount --bind {boot_id} /proc/sys/kernel/random/boot_id && exec \"$@\"",
                        "sh"]
        updd.start()
        seen = pathlib.Path(f"/proc/{updd.process.pid}/timens_offsets").read_text()
        assert f"-{uptime - 5}" in seen, seen
        updd.until(lambda: updd.job(late)["waits"][0].get("overdue"), 10, lambda: updd.tell(late))
        stays(deadline)
        assert abs(seconds_of(deadline.shown()) - time.time() - HOUR) < 20 * SLOW
    finally:
        updd.close()


# ---- a decision at the deadline -------------------------------------------------------------------


def test_a_deadline_that_passed_while_updd_was_down_beats_a_confirm(updd, tiny):
    deadline = Gate(updd, tiny)
    wait = updd.wait_open(deadline.job, "gate")["id"]
    updd.kill9()
    updd.sleep(2 * HOUR)
    updd.start()
    answer = updd.call("POST", f"/v1/jobs/{deadline.job}/confirm", {"wait": wait},
                       {"Idempotency-Key": "late"})
    assert answer.status == 409, answer
    deadline.comes()
    assert tiny.done() == ["do-a", "undo-a"]


def test_a_way_back_that_is_over_beats_a_rollback(updd, tiny):
    """Asked for in the moment in which its time is up: before the daemon has looked at its clock."""
    for _ in range(5):
        back = WayBack(updd, tiny)
        updd.sleep(DAY)
        updd.refuse(409, "not-now", "POST", f"/v1/jobs/{back.job}/rollback", {})
    assert "undo-a" not in tiny.done()


# ---- what updd-step counts: the time that the machine is awake --------------------------------------


def running(updd, tiny, then, **more):
    job = updd.begin(tiny.plan(tiny.act("a", f"touch began; {then}", **more)))
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    return job


def everything_happens(updd, pause=0.2):
    for change in (updd.sleep, updd.set_wall):
        change(DAY)
        time.sleep(pause)
    updd.set_wall(-3 * DAY)
    time.sleep(pause)


def test_a_time_limit_counts_neither_sleep_nor_what_is_done_to_the_clock(updd, tiny):
    job = running(updd, tiny, "until test -e go; do sleep 0.05; done", timeout="1m")
    everything_happens(updd)
    tiny.touch("go")
    updd.wait_for(job, "succeeded")
    updd.invariants(job)


def test_a_time_limit_is_kept_though_the_clock_is_set_back(updd, tiny):
    job = running(updd, tiny, "sleep 300", timeout="2s")
    updd.set_wall(-DAY)
    begun = time.monotonic()
    updd.wait_for(job, "rolled_back")
    assert time.monotonic() - begun < 15 * SLOW
    assert updd.job(job)["failure"]["message"].startswith("Did not end within"), updd.tell(job)
    updd.invariants(job)


@pytest.mark.parametrize("verb, end", [
    ({"wait": {"for": "1500ms"}}, "succeeded"),
    ({"observe": {"for": "1500ms", "every": "200ms", "checks": [{"run": ["true"]}]}}, "succeeded"),
    ({"wait": {"within": "1500ms", "every": "100ms", "until": [{"run": ["false"]}]}}, "rolled_back"),
], ids=["wait", "observe", "until"])
def test_a_wait_lasts_as_long_as_it_says_whatever_the_clock_does(updd, tiny, verb, end):
    begun = time.monotonic()
    job = updd.begin(tiny.plan({"id": "a", **verb}))
    updd.wait_step(job, "a", "running")
    everything_happens(updd)
    updd.wait_for(job, end)
    assert 1.5 <= time.monotonic() - begun < 10 * SLOW
    updd.invariants(job)


def test_a_service_has_its_time_to_come_up_whatever_the_clock_does(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "up", "start": {"services": ["s"]}, "timeout": "1m"},
        services={"s": {"command": {"start": ["sh", "-c", "exec sleep 300"]},
                        "health": [{"path": {"path": "healthy", "state": "file"}}]}}))
    updd.wait_step(job, "up", "running")
    updd.until(lambda: "not up yet" in updd.log(job, "up"), 20, lambda: updd.tell(job))
    everything_happens(updd, pause=0.6)  # a look of the step's in between
    assert updd.step(job, "up")["state"] == "running", updd.tell(job)
    tiny.touch("healthy")
    updd.wait_for(job, "succeeded")
    (tiny.folder / "healthy").unlink()
    updd.post(job, "rollback", strategy="full", reason="the service is to end")
    updd.wait_for(job, "rolled_back")


def test_a_machine_that_sleeps_before_a_step_has_claimed_lets_it_begin(updd, tiny):
    slow = tiny.folder / "slow"
    slow.write_text(f"#!/bin/sh\ntouch '{tiny.folder}/spawned'\n"
                    f"until test -e '{tiny.folder}/go'; do sleep 0.05; done\n"
                    f"exec '{updd.step_program}' \"$@\"\n")
    slow.chmod(0o755)
    updd.stop()
    updd.step_program = slow
    updd.start()
    job = updd.begin(tiny.plan(tiny.act("a")))
    updd.until(lambda: tiny.exists("spawned"), 20, lambda: updd.tell(job))
    updd.sleep(HOUR)
    time.sleep(0.3)
    tiny.touch("go")
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a"]
    updd.invariants(job)


# ---- the journal ------------------------------------------------------------------------------------


@SET
def test_the_journal_tells_that_the_clock_was_set_and_its_times_stay_in_order(updd, tiny, by):
    deadline = Gate(updd, tiny)
    updd.set_wall(by)
    updd.until(lambda: "clock_set" in [e["type"] for e in updd.events(deadline.job)], 5,
               lambda: updd.tell(deadline.job))
    updd.post(deadline.job, "confirm", wait=updd.wait_open(deadline.job, "gate")["id"])
    updd.wait_for(deadline.job, "succeeded")
    events = updd.events(deadline.job)
    told = [e for e in events if e["type"] == "clock_set"]
    assert len(told) == 1 and abs(told[0]["data"]["by_ms"] / 1000 - by) < 2, told
    assert abs(seconds_of(told[0]["data"]["to"]) - updd.now()) < 20 * SLOW
    times = [e["time"] for e in events]
    assert times == sorted(times)
    behind = [e for e in events if "clock" in (e.get("data") or {})]
    assert bool(behind) == (by < 0), behind
    for e in behind:
        assert e["data"]["clock"] < e["time"]
    job = updd.job(deadline.job)
    assert job["created"] <= job["started"] <= job["ended"]
    updd.invariants(deadline.job)


def test_the_journal_stays_in_order_over_a_reboot_with_a_clock_that_is_behind(updd, tiny):
    deadline = Gate(updd, tiny)
    updd.power_off()
    updd.boot(wall=-DAY)
    updd.post(deadline.job, "confirm", wait=updd.wait_open(deadline.job, "gate")["id"])
    updd.wait_for(deadline.job, "succeeded")
    told = [e for e in updd.events(deadline.job) if e["type"] == "clock_set"]
    assert len(told) == 1 and -DAY - 60 < told[0]["data"]["by_ms"] / 1000 < -DAY + 60, told
    updd.invariants(deadline.job)


# ---- what is kept for a time ------------------------------------------------------------------------


def test_a_clock_far_ahead_makes_nothing_old(updd, tiny):
    """Keys and logs are kept by their age, and a year that no battery counted is no age."""
    body = {"document": json.dumps(tiny.plan(tiny.act("a", "echo kept")))}
    first = updd.call("POST", "/v1/jobs", body, {"Idempotency-Key": "once"})
    updd.wait_for(first.body["id"], "succeeded")
    updd.api("POST", f"/v1/jobs/{first.body['id']}/finalise", {"reason": "out of memory it goes"})
    updd.stop()
    updd.set_wall(400 * DAY)
    updd.start()
    again = updd.call("POST", "/v1/jobs", body, {"Idempotency-Key": "once"})
    assert again.headers.get("idempotency-replayed") == "true", again
    assert again.body["id"] == first.body["id"]
    assert "kept" in updd.log(first.body["id"], "a")


def test_a_long_poll_lasts_as_long_as_it_says(updd, tiny):
    deadline = Gate(updd, tiny)
    answer = updd.call("GET", f"/v1/jobs/{deadline.job}")
    updd.set_wall(-DAY)
    updd.until(lambda: updd.call("GET", f"/v1/jobs/{deadline.job}").headers["etag"] !=
               answer.headers["etag"], 5, "the job never heard of the clock")
    etag = updd.call("GET", f"/v1/jobs/{deadline.job}").headers["etag"]
    begun = time.monotonic()
    answer = updd.call("GET", f"/v1/jobs/{deadline.job}", None,
                       {"Prefer": "wait=1", "If-None-Match": etag})
    assert answer.status == 304 and 0.9 < time.monotonic() - begun < 10 * SLOW
