# SPDX-License-Identifier: MIT
"""
Maintenance windows whatever the clocks do, and however often updd and the machine are started
again.
"""
import errno
import json
import os
import random
import signal
import time

import pytest

import sick
from clock import DAY, HOUR, MINUTE
from daemon import ENDED
from windows import ahead, at, kinds, running, seconds_of, stays, updd


# ---- clocks, restarts, boots --------------------------------------------------------------------


def test_a_length_of_time_heeds_no_clock_that_is_set(updd, tiny):
    job = running(updd, tiny, tiny.act("c"), at_end="rollback")
    for by in (DAY, -2 * DAY):
        updd.set_wall(by)
        stays(updd, job, "running")
    shown = seconds_of(updd.job(job)["window"]["ends"]) - updd.now()
    assert abs(shown - HOUR) < 60, shown
    updd.sleep(HOUR + MINUTE)
    updd.wait_for(job, "rolled_back")
    updd.invariants(job)


def absolute(updd, tiny, **more):
    """A running job, half an hour before the end of a window that names its hours."""
    job = updd.begin(tiny.plan(
        tiny.act("a"), tiny.act("b", "touch began; sleep 60"), window={"at_end": "rollback"}),
        window={"begins": at(updd, -HOUR / 2), "ends": at(updd, HOUR / 2)}, **more)
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    return job


def test_a_window_closes_by_the_wall_clock(updd, tiny):
    job = absolute(updd, tiny)
    updd.set_wall(HOUR)
    updd.wait_for(job, "rolled_back")
    updd.invariants(job)


def test_no_window_is_longer_than_it_was_given(updd, tiny):
    job = absolute(updd, tiny)
    updd.set_wall(-DAY)
    stays(updd, job, "running")
    updd.sleep(HOUR)
    updd.wait_for(job, "rolled_back")
    updd.invariants(job)


@pytest.mark.parametrize("again", ["at once", "kill9", "boot"])
def test_an_open_window_that_the_clock_puts_ahead_again_lets_nothing_begin(updd, tiny, again):
    job = updd.begin(tiny.plan(
        tiny.act("a", "touch began; while ! test -e go; do sleep 0.02; done", on_crash="rerun"),
        tiny.act("b")), window={"begins": at(updd, -MINUTE), "length": "3h"})
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    if again == "boot":
        updd.power_off()
        updd.boot(wall=-HOUR)
    else:
        if again == "kill9":
            updd.kill9()
        updd.set_wall(-HOUR)
        if again == "kill9":
            updd.start()
    updd.until(lambda: updd.job(job)["window"]["state"] == "ahead", 20, lambda: updd.tell(job))
    tiny.touch("go")
    wait = updd.wait_open(job, "window")
    assert not wait.get("overdue") and wait["deadline"] == updd.job(job)["window"]["begins"]
    updd.wait_for(job, "waiting")
    stays(updd, job, "waiting")
    assert "do-b" not in tiny.done()
    assert "the window is ahead again" in updd.call(
        "GET", f"/v1/jobs/{job}/report?format=markdown").text
    updd.set_wall(HOUR)
    updd.wait_for(job, "succeeded")
    assert kinds(updd, job).count("window_opened") == 2
    updd.invariants(job)


def test_a_window_that_is_ahead_again_ends_by_itself(updd, tiny):
    """Its time runs on, and it never opens again where the clock stays behind."""
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate("one"), tiny.act("b"), tiny.gate("two"),
                               window={"at_end": "rollback"}),
                     window={"begins": at(updd, -MINUTE), "length": "1h"})
    wait = updd.wait_open(job, "gate", "one")
    updd.set_wall(-DAY)
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_open(job, "window")
    updd.sleep(HOUR)
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "undo-a"]
    updd.invariants(job)


def test_a_window_that_is_ahead_again_and_then_past_closes(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate()),
                     window={"begins": at(updd, -MINUTE), "length": "1h"})
    updd.wait_open(job, "gate")
    updd.set_wall(-HOUR)
    updd.until(lambda: updd.job(job)["window"]["state"] == "ahead", 20, lambda: updd.tell(job))
    updd.set_wall(3 * HOUR)
    updd.until(lambda: updd.job(job)["window"]["state"] == "closed", 20, lambda: updd.tell(job))
    assert kinds(updd, job).count("window_opened") == 1
    updd.invariants(job)


def test_a_clock_that_is_set_a_little_leaves_a_window_open(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate()),
                     window={"begins": at(updd, -0.2), "length": "1h"})
    updd.wait_open(job, "gate")
    updd.set_wall(-1)
    stays(updd, job, "waiting")
    assert updd.job(job)["window"]["state"] == "open"


@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_a_window_survives_a_restart_of_updd(updd, tiny, end):
    job = ahead(updd, tiny, tiny.act("a", "touch began; sleep 60"), window={"at_end": "rollback"})
    getattr(updd, end)()
    updd.start()
    stays(updd, job, "waiting")
    assert tiny.done() == []
    getattr(updd, end)()
    updd.sleep(2 * HOUR + MINUTE)
    updd.start()
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    getattr(updd, end)()
    updd.sleep(2 * HOUR)
    updd.start()
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["checked", "do-a", "undo-a"]
    assert kinds(updd, job).count("window_opened") == 1
    updd.invariants(job)


def test_a_window_opens_after_a_boot(updd, tiny):
    job = ahead(updd, tiny)
    updd.power_off()
    updd.boot(off=HOUR)
    stays(updd, job, "waiting")
    updd.power_off()
    updd.boot(off=HOUR + 10 * MINUTE)
    updd.wait_for(job, "succeeded")
    updd.invariants(job)


@pytest.mark.parametrize("wall", [0, -2 * HOUR], ids=["right", "behind"])
def test_a_window_closes_after_a_boot(updd, tiny, wall):
    """With a clock that is behind it is open for no longer than was left."""
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(), window={"at_end": "rollback"}),
                     window={"begins": at(updd, -MINUTE), "length": "1h"})
    updd.wait_open(job, "gate")
    updd.power_off()
    updd.boot(off=10 * MINUTE, wall=wall)
    stays(updd, job, "waiting")
    updd.sleep(HOUR)
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "undo-a"]
    updd.invariants(job)


def test_what_a_boot_interrupted_is_not_run_again_outside_of_the_window(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "test -e began || { touch began; sleep 60; }",
                                        on_crash="rerun")), window={"length": "1h"})
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    # The power goes for all at once, so for the supervisor before it can write of a death.
    claim = json.loads((updd.state / f"jobs/{job}/a/1/claim").read_text())
    os.kill(claim["pid"], signal.SIGKILL)
    updd.power_off()
    updd.boot(off=DAY)
    wait = updd.wait_open(job, "window")
    assert tiny.done() == ["do-a"]
    updd.post(job, "retry", wait=wait["id"], reason="finish it")
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-a"]
    updd.invariants(job)


class Fate:
    """What may happen to a job in its window, one thing after another."""

    def __init__(self, updd, tiny, seed):
        self.updd, self.tiny, self.rng = updd, tiny, random.Random(seed)
        self.happened = []

    def plan(self):
        rng = self.rng
        window = {"at_end": rng.choice(["hold", "rollback"]), "reserve": rng.choice(["0s", "30m"])}
        slow = "sleep 0.3"
        return self.tiny.plan(
            self.tiny.act("a", slow, on_crash="rerun"), self.tiny.gate("one"),
            {"id": "p", "parallel": [self.tiny.act("x", slow), self.tiny.act("y")]},
            self.tiny.act("again", "test -e tried || { touch tried; exit 1; }",
                          retry={"tries": 2, "first": "20m", "max": "20m"}),
            self.tiny.gate("two"), self.tiny.act("z", slow), window=window,
            checks=[{"run": ["sh", "-c", f"echo checked >>{self.tiny.told}"]}])

    def window(self):
        begins = self.rng.choice([None, -HOUR / 2, HOUR, DAY])
        length = self.rng.choice(["1h", "3h"])
        if begins is None:
            return {"length": length}
        return {"begins": at(self.updd, begins), "length": length}

    def strike(self, job):
        updd, rng = self.updd, self.rng
        minutes = rng.choice([1, 15, 25, 70, 26 * 60]) * MINUTE
        what = rng.choice(["sleep", "sleep", "set", "kill", "boot", "person", "person", "person"])
        self.happened.append((what, minutes))
        if what == "sleep":
            updd.sleep(minutes)
        elif what == "set":
            updd.set_wall(rng.choice([-1, 1]) * minutes)
        elif what == "kill":
            updd.kill9()
            updd.sleep(minutes)
            updd.start()
        elif what == "boot":
            updd.power_off()
            updd.boot(off=minutes, wall=rng.choice([0, 0, -DAY]))
        else:
            self.answer(job, ("gate",))

    def answer(self, job, kinds_of_wait):
        """A person answers what is there; what was settled meanwhile is refused, and that is right."""
        for wait in self.updd.job(job)["waits"]:
            if wait["kind"] not in kinds_of_wait:
                continue
            verb = "confirm" if wait["kind"] == "gate" else "retry"
            said = self.updd.call("POST", f"/v1/jobs/{job}/{verb}",
                                  {"wait": wait["id"], "reason": "as it must be"})
            assert said.status in (200, 409), said

    def end(self, job):
        def look():
            now = self.updd.job(job)
            if now["state"] == "stuck" or now["state"] in ENDED:
                return now
            self.answer(job, ("gate", "window", "retry-or-skip"))
            self.updd.sleep(25 * MINUTE)
            return None
        return self.updd.until(look, 60, lambda: self.updd.tell(job))


@pytest.mark.parametrize("seed", range(int(os.environ.get("UPDD_WINDOWS", "8"))))
def test_whatever_happens_no_step_begins_outside_of_the_window(updd, tiny, seed):
    fate = Fate(updd, tiny, seed)
    job = updd.begin(fate.plan(), window=fate.window())
    for _ in range(10):
        fate.strike(job)
        time.sleep(fate.rng.choice([0, 0.1, 0.4]))
        if updd.job(job)["state"] in ENDED:
            break
    print(seed, fate.happened, fate.end(job)["state"])
    updd.invariants(job, words=[w for w in tiny.done() if w != "checked"])


def dies_with_the_step(updd, file):
    """From now on updd-step kills the daemon that starts it, and ends: the attempt is on record, and
    nobody claims it. Once, when there is the file."""
    words = updd.step_program.read_text().replace(
        "#!/bin/sh\n", f"#!/bin/sh\nif rm {file} 2>/dev/null; then kill -9 $PPID; exit; fi\n")
    updd.step_program.write_text(words)
    return file


def dead(updd):
    updd.until(lambda: updd.process.poll() is not None, 20, "the daemon lives")


@pytest.mark.parametrize("boot", [False, True], ids=["restart", "boot"])
@pytest.mark.parametrize("at_end, state", [("rollback", "rolled_back"), ("hold", "waiting")])
def test_what_was_recorded_and_never_began_does_not_begin_after_the_end(updd, tiny, at_end, state,
                                                                       boot):
    die = dies_with_the_step(updd, tiny.folder / "die")
    job = updd.begin(tiny.plan(tiny.act("a", f"touch {die}"), tiny.act("b"), tiny.act("c"),
                               window={"at_end": at_end}), window={"length": "1h"})
    dead(updd)
    if boot:
        updd.boot(off=2 * HOUR)
    else:
        updd.sleep(2 * HOUR)
        updd.start()
    updd.wait_for(job, state)
    assert "nothing of it has run" in str(updd.events(job))
    if state == "waiting":
        assert updd.step(job, "b")["state"] == "pending"
        assert updd.step(job, "b")["error"]["type"] == "window-closed"
        updd.post(job, "retry", wait=updd.wait_open(job, "window")["id"], reason="finish it")
        updd.wait_for(job, "succeeded")
        assert tiny.done() == ["do-a", "do-b", "do-c"]
    else:
        assert tiny.done() == ["do-a", "undo-a"]
    updd.invariants(job)


@pytest.mark.parametrize("at_end, state", [("rollback", "cancelled"), ("hold", "waiting")])
@pytest.mark.parametrize("checks", [True, False], ids=["checks", "steps"])
def test_a_job_whose_very_first_attempt_was_never_begun_is_untouched(updd, tiny, at_end, state,
                                                                    checks):
    dies_with_the_step(updd, tiny.folder / "die").touch()
    look = {"checks": [{"run": ["sh", "-c", f"echo checked >>{tiny.told}"]}]} if checks else {}
    job = updd.begin(tiny.plan(tiny.act("a"), window={"at_end": at_end}, **look),
                     window={"length": "1h"})
    dead(updd)
    updd.sleep(2 * HOUR)
    updd.start()
    updd.wait_for(job, state)
    assert tiny.done() == []
    if state == "waiting":
        updd.post(job, "retry", wait=updd.wait_open(job, "window")["id"], reason="finish it")
        updd.wait_for(job, "succeeded")
    updd.invariants(job, words=[w for w in tiny.done() if w != "checked"])


@pytest.mark.parametrize("again", [False, True], ids=["closed", "open again"])
def test_what_a_former_daemon_withdrew_with_the_window_is_not_failed(updd, tiny, again):
    """It died before that was on record: the claim tells why."""
    die = dies_with_the_step(updd, tiny.folder / "die")
    job = updd.begin(tiny.plan(tiny.act("a", f"touch {die}"), tiny.act("b")),
                     window={"length": "1h", "begins": at(updd, -MINUTE)})
    dead(updd)
    (updd.set_wall if again else updd.sleep)(2 * HOUR)
    disk = sick.Control(updd.home / "sick")
    disk.fall_ill(errno.EIO)  # what becomes of the attempt can be written, and the store cannot
    updd.launch(**{**updd.environment, "UPDD_SICK_PROGRAM": "updd",
                   "UPDD_SICK_CONTROL": str(disk.file),
                   "UPDD_SICK_FOLDER": str(updd.state / "updd.db-wal"),
                   "LD_PRELOAD": f"{updd.environment['LD_PRELOAD']}:{sick.LIBRARY}"})
    claim = updd.state / "jobs" / str(job) / "b" / "1" / "claim"
    updd.until(lambda: claim.exists() and disk[sick.FAILED] > 0, 20, updd.said)
    updd.kill9()
    assert json.loads(claim.read_text())["by"] == "daemon"
    if again:
        updd.set_wall(-2 * HOUR)
    updd.start()
    if not again:
        wait = updd.wait_open(job, "window")
        assert updd.step(job, "b")["error"]["type"] == "window-closed"
        updd.post(job, "retry", wait=wait["id"], reason="finish it")
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b"] and "nothing of it has run" in str(updd.events(job))
    updd.invariants(job)


def test_what_was_recorded_and_never_began_begins_within_its_window(updd, tiny):
    dies_with_the_step(updd, tiny.folder / "die").touch()
    job = updd.begin(tiny.plan(tiny.act("a")), window={"length": "1h"})
    dead(updd)
    updd.sleep(HOUR / 2)
    updd.start()
    updd.wait_for(job, "succeeded")
    updd.invariants(job)
