# SPDX-License-Identifier: MIT
"""
Maintenance windows and reminders: what a job is given, what is refused beforehand, that no step
begins outside of a window, what happens at its end, and who is told, whatever the clocks do and
however often updd and the machine are started again.
"""
import datetime
import json
import os
import random
import signal
import time

import pytest

from clock import DAY, HOUR, MINUTE, ClockDaemon
from daemon import ENDED


@pytest.fixture
def updd(built, tmp_path):
    d = ClockDaemon(tmp_path / "updd")
    try:
        yield d.start()
    finally:
        d.close()


def at(updd, seconds, zone=0):
    """RFC 3339, so many seconds from the programs' now, as it is written `zone` hours from UTC."""
    place = datetime.timezone(datetime.timedelta(hours=zone))
    return datetime.datetime.fromtimestamp(updd.now() + seconds, place).isoformat()


def seconds_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def document(plan, **more):
    return {"document": json.dumps(plan), **more}


def kinds(updd, job):
    return [e["type"] for e in updd.events(job)]


# ---- what a job is given ------------------------------------------------------------------------


@pytest.mark.parametrize("window, member", [
    ({}, "window"),
    ({"ends": "2099-01-01T00:00:00Z", "length": "2h"}, "window"),
    ({"begins": "2099-01-01T00:00:00Z"}, "window"),
    ({"length": "2"}, "window.length"),
    ({"length": "0s"}, "window.length"),
    ({"ends": "tomorrow"}, "window.ends"),
    ({"ends": "2099-01-01T00:00:00"}, "window.ends"),
    ({"begins": "2099-01-01T00:00:00+1:00", "length": "2h"}, "window.begins"),
    ({"begins": "2099-01-02T00:00:00Z", "ends": "2099-01-01T00:00:00Z"}, "window.ends"),
    ({"ends": "2001-01-01T00:00:00Z"}, "window.ends"),
    ({"begins": "2001-01-01T00:00:00Z", "length": "2h"}, "window.begins"),
    ({"lenght": "2h"}, "window.lenght"),
])
def test_a_window_that_cannot_be_is_refused_with_its_place(updd, tiny, window, member):
    said = updd.refuse(422, "bad-window", "POST", "/v1/jobs",
                       document(tiny.plan(tiny.act("a")), window=window))
    assert said["member"] == member and member in said["detail"], said
    assert updd.api("GET", "/v1/jobs")["jobs"] == []


def test_a_window_of_another_form_is_no_request(updd, tiny):
    for window in ("2h", {"length": 2}, ["2h"]):
        said = updd.refuse(400, "bad-request", "POST", "/v1/jobs",
                           document(tiny.plan(tiny.act("a")), window=window))
        assert said["member"] == "window"


def test_a_window_is_kept_and_shown(updd, tiny):
    begins = at(updd, HOUR, zone=-5)
    job = updd.begin(tiny.plan(tiny.act("a")), window={"begins": begins, "length": "1h30m"})

    def shown():
        window = updd.job(job)["window"]
        assert abs(seconds_of(window["begins"]) - seconds_of(begins)) < 0.01
        assert seconds_of(window["ends"]) - seconds_of(window["begins"]) == 90 * MINUTE
        assert window["length"] == "1h30m" and window["at_end"] == "hold"
        return window
    shown()
    assert updd.events(job)[0]["data"]["window"]["length"] == "1h30m"
    assert "window" in updd.ctl("status", job).stdout
    assert updd.api("GET", f"/v1/jobs/{job}/report")["window"] == shown()
    assert "Window" in updd.call("GET", f"/v1/jobs/{job}/report?format=markdown").text
    updd.kill9()
    updd.start()
    shown()


def test_updctl_gives_a_window(updd, tiny):
    (updd.plans / "w.yaml").write_text(json.dumps(tiny.plan(tiny.act("a"), plan="w")))
    begins = at(updd, HOUR, zone=2)
    said = updd.ctl("start", "w", "--detach", "--window", "soon", check=1)
    assert "window.length" in said.stderr
    said = updd.ctl("start", "w", "--detach", "--window-begins", begins, check=2)
    assert "--window" in said.stderr
    updd.ctl("start", "w", "--detach", "--window", "2h", "--window-begins", begins, check=0)
    window = updd.job(1)["window"]
    assert abs(seconds_of(window["begins"]) - seconds_of(begins)) < 0.01
    assert window["length"] == "2h"


def test_a_job_without_a_window_shows_none(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a")))
    assert "window" not in updd.wait_for(job, "succeeded")
    updd.refuse(400, "bad-request", "POST", "/v1/jobs",
                document(tiny.plan(tiny.act("a")), overrides=["window"]))


# ---- what is refused beforehand -----------------------------------------------------------------


def test_a_job_that_does_not_fit_is_refused_unless_somebody_says_so(updd, tiny):
    plan = tiny.plan(tiny.act("a"), window={"expected": "90m", "reserve": "30m"})
    said = updd.refuse(422, "window-too-short", "POST", "/v1/jobs",
                       document(plan, window={"length": "119m"}))
    assert "1h59m" in said["detail"] and "1h30m" in said["detail"] and "override" in said["hint"]
    updd.refuse(422, "window-too-short", "POST", "/v1/jobs",
                document(plan, window={"length": "119m"}, dry_run=True))
    assert tiny.done() == []
    job = updd.begin(plan, window={"length": "119m"}, overrides=["window"])
    assert updd.wait_for(job, "succeeded")["overrides"] == ["window"]
    told = [e for e in updd.events(job) if e["type"] == "override"]
    assert [e["data"]["name"] for e in told] == ["window"] and told[0]["by"]
    job = updd.begin(plan, window={"length": "2h"})
    updd.wait_for(job, "succeeded")
    assert "override" not in kinds(updd, job)


GATES = {
    "for ever": {}, "held": {"within": "10m"}, "too long": {"within": "3h", "on_timeout": "rollback"},
}


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES.keys())
def test_a_schedule_is_refused_a_gate_that_nobody_may_attend(updd, tiny, gate):
    plan = tiny.plan(tiny.act("a"), tiny.gate(**gate))
    start = document(plan, window={"begins": at(updd, HOUR), "length": "2h"},
                     labels={"schedule": "weekly"})
    said = updd.refuse(422, "unattended-gate", "POST", "/v1/jobs", start)
    assert said["step"] == "accept" and "within" in said["hint"], said
    job = updd.api("POST", "/v1/jobs", {**start, "overrides": ["gate"]})["id"]
    assert "gate" in [e["data"].get("name") for e in updd.events(job)]
    updd.post(job, "cancel")


@pytest.mark.parametrize("plan", [
    {"gate": {"within": "30m", "on_timeout": "rollback"}}, {"gate": {}, "at_end": "rollback"}])
def test_a_schedule_may_have_a_gate_that_ends_inside_its_window(updd, tiny, plan):
    more = {"window": {"at_end": plan["at_end"]}} if "at_end" in plan else {}
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(**plan["gate"]), **more),
                     window={"length": "2h"}, labels={"schedule": "weekly"})
    updd.wait_open(job, "gate")


def test_lint_warns_of_a_gate_that_the_window_does_not_end(updd, tiny):
    for at_end, warned in (("hold", True), ("rollback", False)):
        plan = tiny.plan(tiny.act("a"), tiny.gate(), window={"at_end": at_end})
        faults = updd.api("POST", "/v1/plans:check", json.dumps(plan))["faults"]
        assert ("unattended-gate" in str(faults)) == warned, faults


def test_a_dry_run_is_held_up_by_no_window(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a")), dry_run=True,
                     window={"begins": at(updd, HOUR), "length": "1h"})
    assert "window" not in updd.wait_for(job, "succeeded") and tiny.done() == []


def test_who_starts_a_job_by_hand_attends_its_gates(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate()), window={"length": "2h"})
    updd.wait_open(job, "gate")
    assert "wait_opened" not in kinds(updd, job)[:kinds(updd, job).index("step_started")], \
        "a window that is open at once is not waited for"


# ---- it opens -----------------------------------------------------------------------------------


def tells(*events):
    """Hooks that write down that they ran, and for what."""
    return {e: [{"run": ["sh", "-c", f"echo hook-{e} >>told"]}] for e in events}


def stays(updd, job, state, seconds=0.4):
    """Also when the daemon had the time to think about it."""
    seen = updd.job(job)["version"]
    answer = updd.call("GET", f"/v1/jobs/{job}",
                       headers={"If-None-Match": f'"{seen}"', "Prefer": "wait=1"})
    assert answer.status == 304 or answer.body["state"] == state, updd.tell(job)
    assert updd.job(job)["state"] == state, updd.tell(job)


def ahead(updd, tiny, *steps, hours=2, length="1h", **top):
    """A job that waits for its window."""
    plan = tiny.plan(*(steps or [tiny.act("a")]),
                     checks=[{"run": ["sh", "-c", f"cd {tiny.folder}; echo checked >>told"]}], **top)
    job = updd.begin(plan, window={"begins": at(updd, hours * HOUR), "length": length})
    updd.wait_open(job, "window")
    updd.wait_for(job, "waiting")
    return job


def test_nothing_begins_before_the_window_opens(updd, tiny):
    job = ahead(updd, tiny, hooks=tells("waiting", "started"))
    now = updd.job(job)
    wait, = now["waits"]
    assert wait["deadline"] == now["window"]["begins"] and now["window"]["state"] == "ahead"
    updd.sleep(2 * HOUR - 2 * MINUTE)
    stays(updd, job, "waiting")
    assert tiny.done() == []
    updd.sleep(3 * MINUTE)
    now = updd.wait_for(job, "succeeded")
    updd.until(lambda: "hook-started" in tiny.done(), 20, lambda: updd.tell(job))
    assert [w for w in tiny.done() if "hook" not in w] == ["checked", "do-a"]
    assert "hook-waiting" not in tiny.done(), "somebody was called for a window that is to open"
    assert now["window"]["state"] == "open"
    assert kinds(updd, job).count("window_opened") == 1
    updd.invariants(job)


def test_a_window_opens_by_the_wall_clock(updd, tiny):
    job = ahead(updd, tiny, hours=24)
    updd.set_wall(-DAY)
    stays(updd, job, "waiting")
    updd.sleep(DAY + MINUTE)
    stays(updd, job, "waiting")
    updd.set_wall(DAY)
    updd.wait_for(job, "succeeded")
    updd.invariants(job)


def test_daylight_saving_moves_no_window(built, tmp_path, tiny):
    """On 2026-10-25 Paris has the hour from two to three twice."""
    updd = ClockDaemon(tmp_path / "updd")
    try:
        updd.set_wall(seconds_of("2026-10-25T01:00:00+02:00") - updd.now())
        updd.start(TZ="Europe/Paris")
        job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(), tiny.act("b")),
                         window={"begins": "2026-10-25T02:30:00+02:00", "length": "1h"})
        window = updd.job(job)["window"]
        assert seconds_of(window["ends"]) == seconds_of("2026-10-25T02:30:00+01:00")
        updd.sleep(HOUR)
        stays(updd, job, "waiting")
        assert tiny.done() == []
        updd.sleep(HOUR)
        updd.wait_open(job, "gate")
        assert updd.job(job)["window"]["state"] == "open"
        updd.sleep(HOUR)
        updd.until(lambda: updd.job(job)["window"]["state"] == "closed", 20,
                   lambda: updd.tell(job))
    finally:
        updd.close()


def test_a_person_may_have_it_begin_before_its_window_and_says_why(updd, tiny):
    job = ahead(updd, tiny)
    wait, = updd.job(job)["waits"]
    updd.refuse(422, "reason-missing", "POST", f"/v1/jobs/{job}/retry", {"wait": wait["id"]})
    assert tiny.done() == []
    updd.ctl("retry", job, "--reason", "the shop is closed", check=0)
    now = updd.wait_for(job, "succeeded")
    assert now["window"]["state"] == "lifted"
    assert "outside of the window: the shop is closed" in str(updd.events(job))
    updd.invariants(job)


def test_a_job_is_cancelled_before_its_window(updd, tiny):
    job = ahead(updd, tiny)
    updd.post(job, "cancel")
    updd.wait_for(job, "cancelled")
    updd.sleep(4 * HOUR)
    stays(updd, job, "cancelled")
    assert tiny.done() == []


# ---- it closes ----------------------------------------------------------------------------------


def running(updd, tiny, *more, at_end="hold", length="1h", reserve=None, **top):
    """A job with a step that is done and one that runs until told, in its window."""
    window = {"at_end": at_end, **({"reserve": reserve} if reserve else {})}
    job = updd.begin(tiny.plan(
        tiny.act("a"), tiny.act("b", "touch began; while ! test -e go; do sleep 0.02; done"),
        *more, window=window, **top), window={"length": length})
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    return job


def closed(updd, job):
    updd.until(lambda: updd.job(job)["window"]["state"] == "closed", 20, lambda: updd.tell(job))


def test_no_step_begins_after_the_end_and_what_runs_ends(updd, tiny):
    job = running(updd, tiny, tiny.act("c"), hooks=tells("waiting"))
    updd.sleep(HOUR + MINUTE)
    closed(updd, job)
    assert updd.step(job, "b")["state"] == "running"
    tiny.touch("go")
    wait = updd.wait_open(job, "window")
    updd.wait_for(job, "waiting")
    updd.until(lambda: "hook-waiting" in tiny.done(), 20, lambda: updd.tell(job))
    assert wait["overdue"] and updd.step(job, "c")["state"] == "pending"
    assert "its window is over" in updd.ctl("status", job).stdout
    updd.refuse(422, "reason-missing", "POST", f"/v1/jobs/{job}/retry", {"wait": wait["id"]})
    updd.post(job, "retry", wait=wait["id"], reason="nobody is here")
    assert updd.wait_for(job, "succeeded")["window"]["state"] == "lifted"
    assert [w for w in tiny.done() if "hook" not in w] == ["do-a", "do-b", "do-c"]
    updd.invariants(job)


def test_a_held_job_goes_back_when_somebody_says_so(updd, tiny):
    job = running(updd, tiny, tiny.act("c"))
    updd.sleep(HOUR + MINUTE)
    tiny.touch("go")
    updd.wait_open(job, "window")
    updd.post(job, "rollback", reason="next week then")
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "do-b", "undo-b", "undo-a"]
    updd.invariants(job)


def test_at_the_end_a_job_goes_back(updd, tiny):
    job = running(updd, tiny, tiny.act("c"), at_end="rollback")
    updd.sleep(HOUR - MINUTE)
    stays(updd, job, "running")
    updd.sleep(2 * MINUTE)
    now = updd.wait_for(job, "rolled_back")
    assert "the window has closed" in now["decided"], now
    assert tiny.done() == ["do-a", "do-b", "undo-b", "undo-a"]
    assert "c" not in [e.get("step") for e in updd.events(job)]
    updd.invariants(job)


def test_the_way_back_is_held_by_no_window(updd, tiny):
    job = running(updd, tiny, at_end="rollback")
    updd.sleep(DAY)
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "do-b", "undo-b", "undo-a"]
    updd.invariants(job)


@pytest.mark.parametrize("at_end, state", [("rollback", "rolled_back"), ("hold", "waiting")])
def test_the_reserve_is_kept_for_the_way_back(updd, tiny, at_end, state):
    job = running(updd, tiny, tiny.act("c"), at_end=at_end, reserve="20m")
    updd.sleep(39 * MINUTE)
    stays(updd, job, "running")
    updd.sleep(2 * MINUTE)
    closed(updd, job)
    tiny.touch("go")
    updd.wait_for(job, state)
    assert "do-c" not in tiny.done()
    updd.invariants(job)


@pytest.mark.parametrize("at_end", ["rollback", "hold"])
def test_a_job_past_its_last_gate_goes_on_to_its_end(updd, tiny, at_end):
    job = updd.begin(tiny.plan(
        tiny.gate(), tiny.act("b", "touch began; while ! test -e go; do sleep 0.02; done"),
        tiny.act("c"), window={"at_end": at_end}), window={"length": "1h"})
    updd.post(job, "confirm", wait=updd.wait_open(job, "gate")["id"])
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    updd.sleep(2 * HOUR)
    stays(updd, job, "running")
    tiny.touch("go")
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-b", "do-c"]
    updd.invariants(job)


def test_a_gate_that_nobody_attends_goes_back_with_the_window(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(), window={"at_end": "rollback"}),
                     window={"length": "1h"})
    wait = updd.wait_open(job, "gate")
    updd.sleep(HOUR + MINUTE)
    updd.refuse(409, "wait-closed", "POST", f"/v1/jobs/{job}/confirm", {"wait": wait["id"]})
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "undo-a"]
    updd.invariants(job)


def test_a_gate_stays_open_beyond_the_window_that_holds(updd, tiny):
    """The last one accepts the job, whenever that is; after another one the window holds it still."""
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate("first"), tiny.act("b"), tiny.gate("last"),
                               tiny.act("c"), hooks=tells("waiting")), window={"length": "1h"})
    first = updd.wait_open(job, "gate", "first")
    updd.sleep(HOUR + MINUTE)
    closed(updd, job)
    updd.until(lambda: tiny.done().count("hook-waiting") == 2, 20, lambda: updd.tell(job))
    updd.post(job, "confirm", wait=first["id"])
    wait = updd.wait_open(job, "window")
    assert "do-b" not in tiny.done()
    updd.post(job, "retry", wait=wait["id"], reason="we are here now")
    updd.post(job, "confirm", wait=updd.wait_open(job, "gate", "last")["id"])
    updd.wait_for(job, "succeeded")
    updd.invariants(job)


def test_the_last_gate_is_confirmed_after_the_window(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(), tiny.act("c")), window={"length": "1h"})
    wait = updd.wait_open(job, "gate")
    updd.sleep(HOUR + MINUTE)
    closed(updd, job)
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-c"]
    updd.invariants(job)


def test_no_next_try_begins_after_the_end(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "exit 1", retry={"tries": 3, "first": "2h", "max": "2h"})),
                     window={"length": "1h"})
    updd.until(lambda: "step_retry" in kinds(updd, job), 20, lambda: updd.tell(job))
    updd.sleep(3 * HOUR)
    updd.wait_open(job, "window")
    updd.wait_for(job, "waiting")
    assert tiny.done() == ["do-a"]


def test_no_member_begins_after_the_end(updd, tiny):
    wait = "touch began; while ! test -e go; do sleep 0.02; done"
    job = updd.begin(tiny.plan({"id": "p", "parallel": [
        tiny.act("x", wait), {"id": "g", "group": [tiny.act("y", wait), tiny.act("z")]}]}),
        window={"length": "1h"})
    updd.until(lambda: sorted(tiny.done()) == ["do-x", "do-y"], 20, lambda: updd.tell(job))
    updd.sleep(HOUR + MINUTE)
    closed(updd, job)
    tiny.touch("go")
    wait = updd.wait_open(job, "window")
    updd.wait_for(job, "waiting")
    assert len(updd.job(job)["waits"]) == 1
    updd.post(job, "retry", wait=wait["id"], reason="go on")
    updd.wait_for(job, "succeeded")
    assert sorted(tiny.done()) == ["do-x", "do-y", "do-z"]
    updd.invariants(job)


def test_a_failure_beside_a_member_that_waits_for_a_window_goes_back(updd, tiny):
    wait = "touch began; while ! test -e {}; do sleep 0.02; done"
    job = updd.begin(tiny.plan({"id": "p", "parallel": [
        tiny.act("x", wait.format("later") + "; exit 1"),
        {"id": "g", "group": [tiny.act("y", wait.format("go")), tiny.act("z")]}]}),
        window={"length": "1h"})
    updd.until(lambda: sorted(tiny.done()) == ["do-x", "do-y"], 20, lambda: updd.tell(job))
    updd.sleep(HOUR + MINUTE)
    closed(updd, job)
    tiny.touch("go")
    updd.wait_open(job, "window")
    tiny.touch("later")
    updd.wait_for(job, "rolled_back")
    assert "do-z" not in tiny.done() and {"undo-x", "undo-y"} <= set(tiny.done())
    updd.invariants(job)


def test_a_gate_that_nobody_confirmed_ends_no_window(updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("a"), {**tiny.gate(), "confirm": {"ask": "well?", "within": "30m",
                                                   "on_timeout": "continue"}},
        tiny.act("b", "touch began; while ! test -e go; do sleep 0.02; done"), tiny.act("c")),
        window={"length": "1h"})
    updd.wait_open(job, "gate")
    updd.sleep(31 * MINUTE)
    updd.until(lambda: "do-b" in tiny.done(), 20, lambda: updd.tell(job))
    updd.sleep(30 * MINUTE)
    closed(updd, job)
    tiny.touch("go")
    wait = updd.wait_open(job, "window")
    assert "do-c" not in tiny.done()
    updd.post(job, "retry", wait=wait["id"], reason="go on")
    updd.wait_for(job, "succeeded")
    updd.invariants(job)


def test_no_window_goes_back_by_itself_where_that_loses_data(updd, tiny):
    job = running(updd, tiny, tiny.act("c"), at_end="rollback",
                  rollbacks={"full": {"loses": "the orders of the night"}})
    updd.sleep(HOUR + MINUTE)
    closed(updd, job)
    assert "lose data" in updd.job(job)["decided"]
    tiny.touch("go")
    updd.wait_open(job, "window")
    assert "undo-a" not in tiny.done()
    updd.post(job, "rollback", strategy="full", reason="it is worth it")
    updd.wait_for(job, "rolled_back")
    updd.invariants(job)


@pytest.mark.parametrize("at_end, state", [("rollback", "cancelled"), ("hold", "waiting")])
def test_a_window_that_is_slept_through_touches_nothing(updd, tiny, at_end, state):
    job = ahead(updd, tiny, window={"at_end": at_end})
    updd.sleep(DAY)
    closed(updd, job)
    updd.wait_for(job, state)
    assert tiny.done() == []
    assert "window_opened" not in kinds(updd, job)
    if state == "waiting":
        updd.post(job, "retry", wait=updd.wait_open(job, "window")["id"], reason="better late")
        updd.wait_for(job, "succeeded")
    updd.invariants(job)


@pytest.mark.parametrize("at_end, state", [("rollback", "cancelled"), ("hold", "waiting")])
def test_a_window_that_closes_on_the_checks_lets_nothing_begin(updd, tiny, at_end, state):
    looks = f"cd {tiny.folder}; touch looks; while ! test -e go; do sleep 0.02; done"
    job = updd.begin(tiny.plan(tiny.act("a"), window={"at_end": at_end},
                               checks=[{"run": ["sh", "-c", looks], "timeout": "1m"}]),
                     window={"length": "1h"})
    updd.until(lambda: tiny.exists("looks"), 20, lambda: updd.tell(job))
    updd.sleep(HOUR + MINUTE)
    closed(updd, job)
    tiny.touch("go")
    updd.wait_for(job, state)
    assert tiny.done() == []
    if state == "waiting":
        updd.post(job, "retry", wait=updd.wait_open(job, "window")["id"], reason="it is seen to")
        updd.wait_for(job, "succeeded")
    updd.invariants(job)


@pytest.mark.parametrize("at_end, state", [("rollback", "cancelled"), ("hold", "waiting")])
def test_a_window_closes_on_a_job_that_wants_a_secret(updd, tiny, at_end, state):
    job = updd.begin(tiny.plan(tiny.act("a"), window={"at_end": at_end},
                               secrets={"token": {"file": str(tiny.folder / "none")}}),
                     window={"length": "1h"})
    wait = updd.wait_open(job, "missing-secret")
    updd.sleep(HOUR + MINUTE)
    closed(updd, job)
    updd.wait_for(job, state)
    if state == "waiting":
        updd.post(job, "retry", wait=wait["id"], secrets={"token": "it"})
        updd.post(job, "retry", wait=updd.wait_open(job, "window")["id"], reason="go on")
        updd.wait_for(job, "succeeded")
    updd.invariants(job)


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


# ---- who is told --------------------------------------------------------------------------------


def heard(tiny, event):
    """What the hooks of the event were told, in order."""
    return [json.loads(line) for line in tiny.folder.joinpath(event).read_text().splitlines()] \
        if tiny.exists(event) else []


def hears(*events):
    """Hooks that write down what they are told."""
    return {e: [{"run": ["sh", "-c", f"cat >>{e}; echo >>{e}"]}] for e in events}


def hears_of(updd, tiny, job, event, times):
    """What they were told last, the `times`-th time; each run is on record."""
    def ran():
        done = [e for e in updd.events(job)
                if e["type"] == "hook_done" and e["step"].startswith(f"@hook.{event}.")]
        return len(done) >= times
    updd.until(ran, 20, lambda: updd.tell(job))
    assert len(heard(tiny, event)) == times, heard(tiny, event)
    return heard(tiny, event)[-1]


def test_the_notice_goes_out_once_before_the_window(updd, tiny):
    job = ahead(updd, tiny, hours=6, hooks=hears("notice"), window={"notify_before": "2h"})
    updd.sleep(4 * HOUR - 2 * MINUTE)
    stays(updd, job, "waiting")
    assert heard(tiny, "notice") == []
    updd.sleep(3 * MINUTE)
    told = hears_of(updd, tiny, job, "notice", 1)
    assert told["window"]["begins"] == updd.job(job)["window"]["begins"]
    assert told["type"] == "notice" and told["state"] == "waiting" and told["seq"] > 1
    updd.kill9()
    updd.start()
    updd.sleep(2 * HOUR)
    updd.wait_for(job, "succeeded")
    hears_of(updd, tiny, job, "notice", 1)
    assert kinds(updd, job).count("notice") == 1


def test_a_notice_survives_a_boot(updd, tiny):
    job = ahead(updd, tiny, hours=6, hooks=hears("notice"), window={"notify_before": "2h"})
    updd.power_off()
    updd.boot(off=5 * HOUR)
    hears_of(updd, tiny, job, "notice", 1)
    assert updd.job(job)["window"]["state"] == "ahead"


def test_a_notice_that_was_missed_goes_out_when_the_window_opens(updd, tiny):
    job = ahead(updd, tiny, hours=6, hooks=hears("notice"), window={"notify_before": "2h"})
    updd.power_off()
    updd.boot(off=6 * HOUR + MINUTE)
    updd.wait_for(job, "succeeded")
    hears_of(updd, tiny, job, "notice", 1)


def test_without_a_time_the_notice_goes_out_at_once(updd, tiny):
    job = ahead(updd, tiny, hooks=hears("notice"))
    hears_of(updd, tiny, job, "notice", 1)


def test_a_window_that_is_open_at_once_has_no_notice(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), hooks=hears("notice", "ended"),
                               window={"notify_before": "2h"}), window={"length": "1h"})
    updd.wait_for(job, "succeeded")
    hears_of(updd, tiny, job, "ended", 1)
    assert heard(tiny, "notice") == []


def test_who_is_waited_for_is_reminded_ever_more_rarely(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate(), hooks=hears("waiting")))
    updd.wait_open(job, "gate")
    assert "reminder" not in hears_of(updd, tiny, job, "waiting", 1)
    sent = 1
    for hours in (1, 2, 4, 8, 16, 24, 24):
        updd.sleep(hours * HOUR - 2 * MINUTE)
        stays(updd, job, "waiting")
        assert len(heard(tiny, "waiting")) == sent
        updd.sleep(3 * MINUTE)
        sent += 1
        assert hears_of(updd, tiny, job, "waiting", sent)["reminder"] == sent - 1
    updd.post(job, "confirm", wait=updd.wait_open(job, "gate")["id"])
    updd.wait_for(job, "succeeded")
    updd.sleep(3 * DAY)
    stays(updd, job, "succeeded")
    hears_of(updd, tiny, job, "waiting", sent)
    updd.invariants(job)


def test_the_next_wait_begins_its_own_reminders(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate("one"), tiny.gate("two"), hooks=hears("waiting")))
    wait = updd.wait_open(job, "gate", "one")
    hears_of(updd, tiny, job, "waiting", 1)
    updd.sleep(HOUR + MINUTE)
    hears_of(updd, tiny, job, "waiting", 2)
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_open(job, "gate", "two")
    assert "reminder" not in hears_of(updd, tiny, job, "waiting", 3)
    updd.sleep(HOUR + MINUTE)
    assert hears_of(updd, tiny, job, "waiting", 4)["reminder"] == 1


@pytest.mark.parametrize("again", ["restart", "kill9", "boot"])
def test_reminders_survive(updd, tiny, again):
    """And those that came meanwhile are one."""
    job = updd.begin(tiny.plan(tiny.gate(), hooks=hears("waiting")))
    hears_of(updd, tiny, job, "waiting", 1)
    updd.sleep(HOUR + MINUTE)
    hears_of(updd, tiny, job, "waiting", 2)
    if again == "boot":
        updd.power_off()
        updd.boot(off=HOUR)
    else:
        updd.stop() if again == "restart" else updd.kill9()
        updd.sleep(HOUR)
        updd.start()
    stays(updd, job, "waiting")
    assert len(heard(tiny, "waiting")) == 2
    updd.sleep(2 * DAY)
    assert hears_of(updd, tiny, job, "waiting", 3)["reminder"] == 2
    stays(updd, job, "waiting")
    assert len(heard(tiny, "waiting")) == 3


@pytest.mark.parametrize("within, lead, before", [("50m", 5 * MINUTE, 1), ("20h", 2 * HOUR, 2)])
def test_a_deadline_is_reminded_of_once(updd, tiny, within, lead, before):
    """A tenth of its time before it, and five minutes at least; `before` that it was told so often."""
    job = updd.begin(tiny.plan(tiny.gate(within=within, on_timeout="continue"),
                               hooks=hears("waiting")))
    deadline = seconds_of(updd.wait_open(job, "gate")["deadline"])
    hears_of(updd, tiny, job, "waiting", 1)
    updd.sleep(deadline - lead - updd.now() - MINUTE)
    hears_of(updd, tiny, job, "waiting", before)
    stays(updd, job, "waiting")
    assert len(heard(tiny, "waiting")) == before
    updd.sleep(2 * MINUTE)
    hears_of(updd, tiny, job, "waiting", before + 1)
    assert updd.events(job)[-1]["type"] in ("reminded", "hook_started", "hook_done")
    assert "a deadline is near" in str(updd.events(job))
    stays(updd, job, "waiting")
    assert len(heard(tiny, "waiting")) == before + 1
    updd.sleep(lead)
    updd.wait_for(job, "succeeded")
    updd.invariants(job)


def test_the_end_of_a_window_is_a_deadline_too(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate(), hooks=hears("waiting"), window={"at_end": "rollback"}),
                     window={"length": "50m"})
    updd.wait_open(job, "gate")
    hears_of(updd, tiny, job, "waiting", 1)
    updd.sleep(46 * MINUTE)
    hears_of(updd, tiny, job, "waiting", 2)
    stays(updd, job, "waiting")
    assert len(heard(tiny, "waiting")) == 2


def test_a_stuck_job_reminds(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", undo_then="exit 1"), tiny.fail("b"),
                               hooks=hears("stuck")))
    updd.wait_for(job, "stuck")
    hears_of(updd, tiny, job, "stuck", 1)
    updd.sleep(HOUR + MINUTE)
    assert hears_of(updd, tiny, job, "stuck", 2)["reminder"] == 1
    updd.post(job, "abandon", reason="enough")
    updd.wait_for(job, "abandoned")
    updd.sleep(DAY)
    stays(updd, job, "abandoned")
    hears_of(updd, tiny, job, "stuck", 2)


def test_a_job_without_hooks_wakes_nobody(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate()))
    updd.wait_open(job, "gate")
    updd.sleep(3 * DAY)
    stays(updd, job, "waiting")
    assert "reminded" not in kinds(updd, job)
