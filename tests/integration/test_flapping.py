# SPDX-License-Identifier: MIT
"""Health that flaps: how much of it observe bears, and when a service counts as up."""
import os
import signal
import sys

import pytest


# Bad at the looks whose numbers are on its command line ("3,4"), or at every N-th ("/N").
FLAPS = """\
import sys
n = len(open("looks").read()) if __import__("os").path.exists("looks") else 0
open("looks", "a").write("x")
bad = sys.argv[1]
sys.exit(n % int(bad[1:]) == 0 if bad[0] == "/" else str(n) in bad.split(","))
"""


def flapping(tiny, bad):
    (tiny.folder / "flaps.py").write_text(FLAPS)
    return {"run": [sys.executable, "-S", "-E", "flaps.py", bad], "name": "health"}


@pytest.mark.parametrize("bad, tolerate, end", [
    ("3,4", 2, "succeeded"), ("3,4", 1, "rolled_back"), ("/2", 0, "rolled_back")])
def test_observe_bears_so_much_flapping_as_it_tolerates(updd, tiny, bad, tolerate, end):
    job = updd.begin(tiny.plan(tiny.act("a"), {
        "id": "watch", "observe": {"for": "1500ms", "every": "50ms", "tolerate": tolerate,
                                   "checks": [flapping(tiny, bad)]}}))
    updd.wait_for(job, end)
    assert tiny.done() == ["do-a"] + (["undo-a"] if end == "rolled_back" else [])
    updd.invariants(job)


def test_what_is_good_only_every_other_time_is_never_seen_long_enough(updd, tiny):
    """Each single bad look is tolerated, but what lies between two good ones does not count."""
    job = updd.begin(tiny.plan(tiny.act("a"), {
        "id": "watch", "timeout": "3s",
        "observe": {"for": "1s", "every": "50ms", "tolerate": 1, "checks": [flapping(tiny, "/2")]}}))
    updd.wait_for(job, "rolled_back")
    assert "time limit of 3s" in updd.job(job)["failure"]["message"]
    assert tiny.done() == ["do-a", "undo-a"]


def service_with(tiny, bad):
    check = flapping(tiny, bad)["run"]
    return {"web": {"command": {
        "start": ["sh", "-c", "echo $$ >web.pid; exec sleep 600"], "pid_file": "web.pid"}, "health": [
        {"run": ["sh", "-c", f"grep -q 600 /proc/$(cat web.pid)/cmdline && {' '.join(check)}"], "name": "health"}]}}


@pytest.fixture
def no_sleepers(tiny):
    yield
    pid = tiny.folder / "web.pid"
    if pid.exists():
        try:
            os.kill(int(pid.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_a_service_that_flaps_at_first_is_up_once_it_stays_up(updd, tiny, no_sleepers):
    job = updd.begin(tiny.plan(
        {"id": "up", "start": {"services": ["web"], "settle": "1200ms"}, "timeout": "1m"},
        tiny.act("a"), services=service_with(tiny, "0,2,4")))
    updd.wait_for(job, "succeeded", timeout=40)
    assert "did not stay up" in updd.log(job, "up")
    # After the last bad look there are those of 1.2 s, 0.4 s apart.
    assert len((tiny.folder / "looks").read_text()) >= 8


def test_a_service_that_never_stays_up_is_told_so_before_the_time_limit(updd, tiny, no_sleepers):
    job = updd.begin(tiny.plan(
        {"id": "up", "start": {"services": ["web"], "settle": "2s"}, "timeout": "8s"},
        tiny.act("a"), services=service_with(tiny, "/2")))
    updd.wait_for(job, "rolled_back", timeout=40)
    failure = updd.job(job)["failure"]
    assert "web" in failure["message"] and " up" in failure["message"], failure
    assert "time limit" not in failure["message"] and tiny.done() == []
