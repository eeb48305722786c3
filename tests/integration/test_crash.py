# SPDX-License-Identifier: MIT
"""
What must hold when the worst comes: processes killed at any moment, a disk that is full, descriptors
that have run out, files and rows that somebody meddled with, and people who all ask at once.
"""
import json
import os
import pathlib
import resource
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

from daemon import Daemon

# ---- helpers ----------------------------------------------------------------------------------


def claim_of(updd, job, step, n=1):
    """The claim of an attempt that runs."""
    file = updd.state / "jobs" / str(job) / step / str(n) / "claim"
    updd.until(file.exists, 20, lambda: updd.tell(job))
    return json.loads(file.read_text())


def types(updd, job, step=None):
    return [e["type"] for e in updd.events(job) if step is None or e.get("step") == step]


def edit(updd, *statements):
    """Changes rows while no daemon runs."""
    with sqlite3.connect(updd.state / "updd.db") as db:
        for sql, *values in statements:
            db.execute(sql, values)
    db.close()


# ---- a stop reaches its step, whoever dies in between -------------------------------------------


def test_a_stop_that_was_committed_but_not_sent_is_sent_by_the_next_daemon(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "touch began; sleep 300")))
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    updd.kill9()
    # What a daemon leaves that dies between its commit and the signal.
    edit(updd, ("UPDATE step SET data = json_set(data, '$.stop', json('true')) WHERE id = 'a'",),
         ("UPDATE job SET state = 'rolling_back', data = json_set(data, '$.waits', json('[]'))",))
    updd.start()
    updd.wait_for(job, "rolled_back", timeout=20)
    assert tiny.done() == ["do-a", "undo-a"]
    assert not updd.attempt_processes(job)


def test_what_never_began_is_not_undone(updd, tiny):
    there = updd.step_program
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(), tiny.act("b")))
    wait = updd.wait_open(job, "gate")
    updd.stop()
    updd.step_program = tiny.folder / "missing"
    updd.start()
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "stuck", timeout=30)  # a's undo cannot be started either
    assert tiny.done() == ["do-a"]
    updd.stop()
    updd.step_program = there
    updd.start()
    updd.post(job, "retry")
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "undo-a"]  # and no undo-b: b never began
    updd.invariants(job)


# ---- two waits, two decisions ---------------------------------------------------------------------


def interrupt(updd, job, *steps):
    for step in steps:
        os.kill(claim_of(updd, job, step)["pid"], signal.SIGKILL)


@pytest.mark.parametrize("verb", ["skip", "retry"])
def test_an_answer_to_one_interrupted_step_does_not_rerun_another(updd, tiny, verb):
    def member(name):
        return tiny.act(name, f"test -e {name}-again && exit 0; touch {name}-again; sleep 300",
                        on_crash="ask")
    job = updd.begin(tiny.plan({"id": "g", "parallel": [member("p0"), member("p1")]}))
    updd.until(lambda: tiny.exists("p0-again") and tiny.exists("p1-again"), 20, "never began")
    interrupt(updd, job, "p0", "p1")
    first = updd.wait_open(job, "retry-or-skip", "p0")
    second = updd.wait_open(job, "retry-or-skip", "p1")
    updd.wait_for(job, "waiting")
    updd.post(job, verb, wait=first["id"], reason="seen to it")
    if verb == "retry":
        updd.wait_step(job, "p0", "done")
    updd.wait_for(job, "waiting")
    assert updd.step(job, "p1")["state"] == "interrupted"
    assert tiny.done().count("do-p1") == 1, "p1 ran again and nobody said so"
    updd.post(job, "skip", wait=second["id"], reason="seen to it")
    updd.wait_for(job, "succeeded")
    assert tiny.done().count("do-p1") == 1
    assert tiny.done().count("do-p0") == (2 if verb == "retry" else 1)
    updd.invariants(job)


def test_a_failed_member_is_held_although_another_was_about_to_be_tried_again(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "g", "parallel": [
            tiny.act("p0", "test -e mended", retry={"tries": 5, "first": "1h", "max": "1h"}),
            tiny.act("p1", "sleep 0.5; test -e mended")]}, on_failure={"default": "hold"}))
    wait = updd.wait_open(job, "retry-or-skip", "p1")
    updd.wait_for(job, "waiting", timeout=10)
    tiny.touch("mended")
    updd.post(job, "retry", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    updd.invariants(job)


# ---- retry with changes ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["input", "plan", "group"])
def test_what_has_begun_keeps_its_folder_so_that_its_undo_finds_it(updd, tiny, how):
    other = tiny.folder / "other"
    other.mkdir()

    def plan(cwd, group_cwd=None):
        a = {"id": "g", "group": [{"id": "a", "write": {"to": "made", "text": "x"}},
                                  tiny.fail("b")]}
        return tiny.plan({**a, **({"cwd": group_cwd} if group_cwd else {})}, plan="moved", cwd=cwd,
                         inputs={"root": {"type": "path", "default": str(tiny.folder)}},
                         on_failure={"default": "hold"})
    first = {"input": plan("${in.root}"), "plan": plan(str(tiny.folder)),
             "group": plan(str(tiny.folder), str(tiny.folder))}[how]
    change = {"input": {"inputs": {"root": str(other)}},
              "plan": {"document": json.dumps(plan(str(other)))},
              "group": {"document": json.dumps(plan(str(tiny.folder), str(other)))}}[how]
    job = updd.begin(first)
    wait = updd.wait_open(job, "retry-or-skip", "b")
    problem = updd.refuse(409, "plan-changed-begun", "POST", f"/v1/jobs/{job}/retry",
                          {"wait": wait["id"], **change})
    assert "a" in [f["step"] for f in problem["faults"]], problem
    updd.post(job, "rollback", strategy="full")
    updd.wait_for(job, "rolled_back")
    assert not tiny.exists("made")
    updd.invariants(job)


def test_odd_changes_of_the_plan_are_refused_and_change_nothing(updd, tiny):
    a, b, c = tiny.act("a"), tiny.fail("b"), tiny.act("c")

    def plan(*steps):
        return tiny.plan(*steps, plan="odd", on_failure={"default": "hold"})
    job = updd.begin(plan(a, b, c))
    wait = updd.wait_open(job, "retry-or-skip", "b")
    version = updd.job(job)["version"]
    for steps in ((b, a, c), (b, c), (c, a, b), (tiny.act("new"), a, b, c), (a, tiny.act("n"), b, c),
                  ({**a, "undo": "none"}, b, c), (a, tiny.look("b"), c), (a, c)):
        updd.refuse(409, "plan-changed-begun", "POST", f"/v1/jobs/{job}/retry",
                    {"wait": wait["id"], "document": json.dumps(plan(*steps))})
    assert updd.job(job)["version"] == version
    updd.kill9()
    updd.start()
    updd.post(job, "retry", wait=wait["id"],
              document=json.dumps(plan(a, tiny.act("b"), tiny.act("d"), c)))
    updd.kill9()
    updd.start()
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b", "do-b", "do-d", "do-c"]
    updd.invariants(job)
