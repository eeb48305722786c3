# SPDX-License-Identifier: MIT
"""
Maintenance windows: what a job is given, what is refused beforehand, that no step begins outside of
a window, and what happens at its end.
"""
import json

import pytest

from clock import DAY, HOUR, MINUTE, ClockDaemon
from windows import ahead, at, closed, document, kinds, running, seconds_of, stays, tells, updd


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
    "as long": {"within": "2h", "on_timeout": "rollback"},
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


# ---- the target's former job --------------------------------------------------------------------


def former(updd, tiny, **top):
    """A job that succeeded on the target, and can still go back."""
    job = updd.begin(tiny.plan(tiny.act("old"), target="same", **top))
    updd.wait_for(job, "succeeded")
    return job


def test_the_former_job_can_go_back_until_the_window_opens(updd, tiny):
    first = former(updd, tiny, finalise=[{"id": "drop", **tiny.tell("do-drop")}])
    job = ahead(updd, tiny, target="same")
    updd.kill9()
    updd.start()
    stays(updd, job, "waiting")
    assert updd.job(first)["way_back"]["open"] and "rollback" in updd.job(first)["actions"]
    updd.sleep(2 * HOUR + MINUTE)
    updd.wait_for(job, "succeeded")
    assert updd.job(first)["way_back"]["open"] is False
    told = tiny.done()
    assert told.index("do-drop") < told.index("checked") < told.index("do-a"), told
    assert kinds(updd, first).count("way_back_closed") == 1
    for each in (first, job):
        updd.invariants(each)


def test_a_former_job_that_goes_back_meanwhile_is_waited_for(updd, tiny):
    first = updd.begin(tiny.plan(tiny.act("old", undo_then="while ! test -e go; do sleep 0.02; done"),
                                 target="same"))
    updd.wait_for(first, "succeeded")
    job = ahead(updd, tiny, target="same")
    updd.post(first, "rollback", reason="it was not good")
    updd.until(lambda: "undo-old" in tiny.done(), 20, lambda: updd.tell(first))
    updd.sleep(2 * HOUR + MINUTE)
    updd.until(lambda: updd.job(job).get("after") == first, 20, lambda: updd.tell(job))
    stays(updd, job, "queued")
    updd.restart()
    stays(updd, job, "queued")
    assert f"job {first}, on the same target" in updd.ctl("status", job).stdout
    assert "checked" not in tiny.done()
    tiny.touch("go")
    updd.wait_for(first, "rolled_back")
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-old", "undo-old", "checked", "do-a"]
    for each in (first, job):
        updd.invariants(each)


def test_a_job_that_begins_before_its_window_ends_the_former_way_back(updd, tiny):
    first = former(updd, tiny)
    job = ahead(updd, tiny, target="same")
    updd.post(job, "retry", wait=updd.wait_open(job, "window")["id"], reason="now is better")
    updd.wait_for(job, "succeeded")
    assert updd.job(first)["way_back"]["open"] is False


def test_a_job_that_never_begins_takes_no_way_back(updd, tiny):
    first = former(updd, tiny)
    job = ahead(updd, tiny, target="same", window={"at_end": "rollback"})
    updd.sleep(DAY)
    updd.wait_for(job, "cancelled")
    assert updd.job(first)["way_back"]["open"]
    updd.post(first, "rollback", reason="it was not good")
    updd.wait_for(first, "rolled_back")
    assert tiny.done() == ["do-old", "undo-old"]


# ---- it closes ----------------------------------------------------------------------------------


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


def test_checks_that_refuse_after_the_window_leave_nothing_to_wait_for(updd, tiny):
    looks = f"cd {tiny.folder}; touch looks; while ! test -e go; do sleep 0.02; done; exit 1"
    job = updd.begin(tiny.plan(tiny.act("a"), checks=[{"run": ["sh", "-c", looks], "timeout": "1m"}]),
                     window={"length": "1h"})
    updd.until(lambda: tiny.exists("looks"), 20, lambda: updd.tell(job))
    updd.sleep(HOUR + MINUTE)
    updd.wait_open(job, "window")
    tiny.touch("go")
    now = updd.wait_for(job, "failed")
    assert now["waits"] == [] and tiny.done() == []
    updd.invariants(job)


def test_a_window_that_is_slept_through_calls_its_person_once(updd, tiny):
    job = ahead(updd, tiny, hooks=tells("waiting"))
    updd.sleep(DAY)
    closed(updd, job)
    updd.wait_open(job, "window")
    updd.wait_for(job, "waiting")
    updd.until(lambda: "hook-waiting" in tiny.done(), 20, lambda: updd.tell(job))
    stays(updd, job, "waiting")
    updd.post(job, "retry", wait=updd.wait_open(job, "window")["id"], reason="better late")
    updd.wait_for(job, "succeeded")
    assert tiny.done().count("hook-waiting") == 1


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
