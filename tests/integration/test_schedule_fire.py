# SPDX-License-Identifier: MIT
"""
What a schedule's timer runs, `updctl schedule fire`, against a stand-in for the daemon: which elapse
it says that it is for, whom it waits for, and how it ends. And the options of `updctl schedule`.
"""
import json
import os
import subprocess
import threading
import time

import pytest

from daemon import BUILD, SLOW
from fake_updd import FakeUpdd, job

UPDCTL = BUILD / "client/updctl/updctl"
ELAPSE, FIRED = "2026-11-22T03:00:00.000Z", "2026-11-22T03:00:00.412Z"
FIRED_US = "1795316400412345"
LATER = "2099-01-01T00:00:00.000Z"


class Fake(FakeUpdd):
    """Of one schedule, `night`. What it answers to its start is a list; the last answer stays."""

    def __init__(self, path):
        super().__init__(path)
        self.schedule = {"name": "night", "state": "active", "next": None, "last": FIRED,
                         "elapse": ELAPSE}
        self.runs = [(201, job(7, "running"), {})]

    def answer(self, method, target, body, headers):
        if target == "/v1/schedules/night":
            return 200, self.schedule, {}
        if target == "/v1/schedules/night/run":
            return self.runs.pop(0) if len(self.runs) > 1 else self.runs[0]
        return super().answer(method, target, body, headers)


@pytest.fixture
def fake(tmp_path):
    assert UPDCTL.exists(), f"not built: {UPDCTL} (set UPDD_BUILD to the build directory)"
    server = Fake(tmp_path / "sock").start()
    yield server
    server.stop()


def ctl(fake, *words, by_timer=False):
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", "TZ": "UTC",
           "UPDD_SOCKET": fake.path}
    if by_timer:
        env["TRIGGER_TIMER_REALTIME_USEC"] = FIRED_US
    return subprocess.run([UPDCTL, "schedule", *words], capture_output=True, text=True, env=env,
                          stdin=subprocess.DEVNULL, timeout=60 * SLOW)


def fire(fake, code=0, by_timer=True):
    done = ctl(fake, "fire", "night", by_timer=by_timer)
    assert done.returncode == code, done
    return done


def test_an_elapse_is_the_moment_that_the_calendar_event_names(fake):
    assert "job 7" in fire(fake).stdout
    assert fake.posted("/run") == [{"elapse": ELAPSE, "at": FIRED}]
    key, = {h["Idempotency-Key"] for m, _, _, h in fake.requests if m == "POST"}
    assert key == f"schedule:night:{ELAPSE}:{FIRED}"


def test_once_the_timer_waits_again_it_is_known_by_when_it_fired(fake):
    fake.schedule["next"] = LATER
    del fake.schedule["elapse"]
    fire(fake)
    fire(fake, by_timer=False)
    assert fake.posted("/run") == 2 * [{"elapse": FIRED, "at": FIRED}]


def test_a_timer_that_has_not_elapsed_starts_nothing(fake):
    fake.schedule = {"name": "night", "state": "active", "next": LATER, "last": None}
    assert "has not elapsed yet" in fire(fake, code=1, by_timer=False).stderr
    assert fake.posted("/run") == []


@pytest.mark.parametrize("early", [(409, "not-now"), (503, "too-busy")])
def test_it_waits_for_a_schedule_that_is_not_set_yet_and_for_a_daemon_without_room(fake, early):
    status, kind = early
    fake.runs = 3 * [fake.problem(status, kind, "not yet")] + fake.runs
    done = fire(fake)
    assert "job 7" in done.stdout and done.stderr.count("waiting") == 1, done
    assert len(fake.posted("/run")) == 4


def test_it_waits_for_a_daemon_that_is_on_its_way_up(fake):
    fake.stop()
    starts = threading.Timer(2.5, fake.start)
    starts.start()
    try:
        assert "job 7" in fire(fake).stdout
    finally:
        starts.join()


def test_what_succeeds_at_the_last_try_has_succeeded(fake):
    """Not started by a timer it has patience for five seconds: the answer comes after them."""
    soon = fake.runs[0]

    def slowly(method, target, body, headers):
        if target.endswith("/run"):
            time.sleep(6)
            return soon
        return Fake.answer(fake, method, target, body, headers)
    fake.answer = slowly
    assert "job 7" in fire(fake, by_timer=False).stdout


def test_what_is_refused_is_not_asked_for_again(fake):
    fake.runs = [fake.problem(422, "bad-window", "the window is over")]
    assert "the window is over" in fire(fake, code=1).stderr
    assert len(fake.posted("/run")) == 1


def test_who_gives_up_says_for_what_so_that_the_service_begins_again(fake):
    fake.runs = [fake.problem(503, "too-busy", "no room")]
    assert "no room" in fire(fake, code=7, by_timer=False).stderr
    fake.runs = [fake.problem(409, "not-now", "not set yet")]
    assert "not set yet" in fire(fake, code=1, by_timer=False).stderr
    assert len(fake.posted("/run")) > 6
    fake.stop()
    fire(fake, code=7, by_timer=False)
    fake.start()


@pytest.mark.parametrize("words,said,hint", [
    (["list", "--plan", "x"], "schedule list takes no --plan", "schedule add does"),
    (["show", "night", "--reason", "x"], "schedule show takes no --reason", "schedule run-now does"),
    (["remove", "night", "--window", "2h"], "schedule remove takes no --window", "schedule add does"),
    (["run-now", "night", "-i", "a=b"], "schedule run-now takes no --input", "schedule add does"),
    (["add", "night", "--plan", "x", "--on", "daily", "-f"], "schedule add takes no --follow",
     "schedule run-now does"),
    (["fire", "night", "--missed", "run"], "schedule fire takes no --missed", "schedule add does")],
    ids=lambda v: v[0] if isinstance(v, list) else None)
def test_an_option_of_another_subverb_is_refused_and_told_whose_it_is(fake, words, said, hint):
    done = ctl(fake, *words)
    assert done.returncode == 2 and said in done.stderr and f"hint: {hint}" in done.stderr, done
    assert fake.requests == []


def test_the_options_of_a_subverb_are_taken(fake):
    assert json.loads(ctl(fake, "show", "night", "--json").stdout) == fake.schedule
    done = ctl(fake, "run-now", "night", "--reason", "it is time")
    assert done.returncode == 0 and fake.posted("/run") == [{"reason": "it is time"}], done
