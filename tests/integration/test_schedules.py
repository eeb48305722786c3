# SPDX-License-Identifier: MIT
"""
Schedules where there is no systemd: every call says why it cannot be, and nothing else is touched.
"""
import json
import sqlite3

import pytest

SCHEDULE = {"plan": "night", "on": "Sun *-*-* 03:00 Europe/Paris", "window": "2h"}
CALLS = [("GET", "/v1/schedules", None), ("GET", "/v1/schedules/night", None),
         ("PUT", "/v1/schedules/night", SCHEDULE), ("DELETE", "/v1/schedules/night", None),
         ("POST", "/v1/schedules/night/run", {})]


@pytest.mark.parametrize("method,path,body", CALLS, ids=[f"{m}-{p}" for m, p, _ in CALLS])
def test_without_systemd_schedules_say_why_they_cannot_be(updd, method, path, body):
    answer = updd.call(method, path, body)
    assert answer.status == 409, answer
    assert answer.body["type"] == "urn:updd:problem:no-schedules"
    assert "systemd" in answer.body["detail"] and "updctl start" in answer.body["hint"]


@pytest.mark.parametrize("words", [
    ["list"], ["show", "night"], ["remove", "night"], ["run-now", "night"], ["fire", "night"],
    ["add", "night", "--plan", "night", "--on", "daily"]], ids=lambda w: w[0])
def test_updctl_tells_it(updd, words):
    done = updd.ctl("schedule", *words)
    assert done.returncode == 1 and done.stdout == "", done
    assert "Schedules are timers of systemd" in done.stderr and "hint: let cron" in done.stderr


@pytest.mark.parametrize("words,said", [
    (["add", "night"], "--plan NAME and --on"), (["add", "night", "--plan", "x"], "--on"),
    (["ad", "night"], "did you mean 'add'?"), (["list", "night"], "schedule takes"),
    (["show"], "schedule takes"), (["run-nwo", "night"], "did you mean 'run-now'?")],
    ids=lambda v: "-".join(v) if isinstance(v, list) else None)
def test_a_wrong_command_line_is_told_before_anything_is_asked(updd, words, said):
    done = updd.ctl("schedule", *words)
    assert done.returncode == 2 and said in done.stderr, done


def test_a_body_is_checked_before_it_is_refused(updd):
    for body, member in (({"on": "daily"}, "plan"), ({"plan": "x"}, "on"),
                         ({**SCHEDULE, "inputs": []}, "inputs"),
                         ({**SCHEDULE, "windwo": "2h"}, "windwo")):
        answer = updd.call("PUT", "/v1/schedules/night", body)
        assert answer.status == 400 and f"'{member}'" in answer.body["detail"], answer


def test_everything_else_works(updd, tiny):
    updd.call("PUT", "/v1/schedules/night", SCHEDULE)
    updd.wait_for(updd.begin(tiny.plan(tiny.act("a"))), "succeeded")
    updd.stop()
    with sqlite3.connect(updd.state / "updd.db") as db:
        assert db.execute("SELECT count(*) FROM schedule").fetchone() == (0,)


def test_a_plan_cannot_use_what_only_schedules_may(updd, tiny):
    """Neither the step that sets timers nor the form of updd's own plans is for people's plans."""
    plan = tiny.plan({"id": "t", "timer": {"name": "x", "on": "daily"}})
    answer = updd.call("POST", "/v1/jobs", {"document": json.dumps(plan), "inputs": {}})
    assert answer.status == 422 and answer.body["type"].endswith("bad-plan"), answer
    own = {"internal": "schedule", "plan": "updd-schedule", "target": "schedule:x", "title": "x",
           "name": "x", "on": "daily"}
    answer = updd.call("POST", "/v1/jobs", {"document": json.dumps(own), "inputs": {}})
    assert answer.status == 422 and answer.body["type"].endswith("bad-plan"), answer
