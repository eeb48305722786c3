# SPDX-License-Identifier: MIT
"""
What must hold when the worst comes: processes killed at any moment, a disk that is full, descriptors
that have run out, files and rows that somebody meddled with, and people who all ask at once.
"""
import json
import os
import resource
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

from daemon import SLOW, Daemon
from storm import storm

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


def test_an_updd_step_that_hangs_before_its_claim_is_withdrawn(updd, tiny):
    updd.stop()
    hung = tiny.folder / "hung"
    hung.write_text("#!/bin/sh\nexec sleep 300\n")
    hung.chmod(0o755)
    there, updd.step_program = updd.step_program, hung
    updd.start()
    job = updd.begin(tiny.plan(tiny.act("a")))
    updd.wait_for(job, "rolled_back", timeout=60)  # it has 30 s
    assert updd.job(job)["failure"]["message"] == "updd-step could not be started"
    assert tiny.done() == []
    updd.step_program = there


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
    named = {"id": "n", "run": ["true"], "undo": {"id": "n-back", "run": ["true"]}}

    def plan(*steps):
        return tiny.plan(*steps, plan="odd", on_failure={"default": "hold"})
    job = updd.begin(plan(a, b, c))
    wait = updd.wait_open(job, "retry-or-skip", "b")
    version = updd.job(job)["version"]
    for steps in ((b, a, c), (b, c), (c, a, b), (tiny.act("new"), a, b, c), (a, tiny.act("n"), b, c),
                  ({**a, "undo": "none"}, b, c), (named, a, b, c), (a, tiny.look("b"), c), (a, c)):
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


# ---- no room, no folder, no sense -----------------------------------------------------------------


@pytest.fixture
def small(built, tmp_path):
    """A daemon whose state folder is a file system of 6 MiB."""
    home = tmp_path / "small"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", home], check=True)
    d = Daemon(home)
    d.stderr = tmp_path / "updd.log"
    try:
        yield d.start()
    finally:
        try:
            d.close()
        finally:
            subprocess.run(["umount", "-l", home], check=True)


def fill(folder):
    with open(folder / "filler", "ab", buffering=0) as f:
        for size in (65536, 4096, 1):
            try:
                while True:
                    f.write(b"x" * size)
            except OSError:
                pass


def test_a_full_disk_refuses_changes_serves_reads_and_loses_nothing(small, tiny):
    job = small.begin(tiny.plan(
        tiny.act("a", "touch began; while ! test -e go; do sleep 0.05; done"), tiny.act("b")))
    gated = small.begin(tiny.plan(tiny.gate(), tiny.act("c")))
    wait = small.wait_open(gated, "gate")
    small.until(lambda: tiny.exists("began"), 20, "never began")
    fill(small.home)
    pages = (f"/v1/jobs/{job}", "/v1/jobs", f"/v1/jobs/{job}/events", f"/v1/jobs/{job}/steps/a/log")
    for n in range(60):
        # What is left of the write-ahead log may take a few; each is kept or refused, never both.
        answer = small.call("POST", "/v1/jobs", {
            "document": json.dumps(tiny.plan(tiny.gate(), plan=f"more-{n}")), "inputs": {}})
        assert answer.status in (201, 507), answer
    assert answer.status == 507 and answer.body["type"] == "urn:updd:problem:disk-full", answer
    tiny.touch("go")
    for _ in range(10):
        assert [small.call("GET", p).status for p in pages] == [200] * len(pages)
        time.sleep(0.1)
    small.kill9()
    (small.home / "filler").unlink()
    small.start()
    small.wait_for(job, "succeeded", timeout=40)
    small.post(gated, "confirm", wait=wait["id"])
    small.wait_for(gated, "succeeded", timeout=40)
    assert sorted(tiny.done()) == ["do-a", "do-b", "do-c"]
    small.invariants(job)


def test_what_a_step_says_while_the_disk_is_full_stands_in_its_log_when_there_is_room(small, tiny):
    job = small.begin(tiny.plan(tiny.act(
        "a", "echo before; touch began; while ! test -e full; do sleep 0.05; done; "
        "for i in $(seq 1000); do echo line $i; done; touch said; "
        "while ! test -e go; do sleep 0.05; done; echo after")))
    small.until(lambda: tiny.exists("began"), 20, "never began")
    fill(small.home)
    tiny.touch("full")
    small.until(lambda: tiny.exists("said"), 20, "it said nothing")
    time.sleep(0.3)
    (small.home / "filler").unlink()
    tiny.touch("go")
    small.wait_for(job, "succeeded", timeout=40)
    told = small.log(job, "a").split("\n")
    assert told == ["before", *(f"line {i}" for i in range(1, 1001)), "after", ""], told[:20]


def test_what_could_never_be_found_again_is_not_acknowledged(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate()))
    updd.wait_open(job, "gate")
    for name in ("updd.db", "updd.db-wal"):
        (updd.state / name).rename(updd.state / f"{name}.away")
    updd.refuse(503, "store-failed", "POST", "/v1/jobs",
                {"document": json.dumps(tiny.plan(tiny.act("b"))), "inputs": {}})
    assert updd.job(job)["state"] == "waiting"
    assert not (updd.state / "updd.db").exists(), "an empty database says that there were no jobs"
    for name in ("updd.db", "updd.db-wal"):
        if (updd.state / f"{name}.away").exists():
            (updd.state / f"{name}.away").rename(updd.state / name)
    updd.until(lambda: updd.call("GET", "/v1/health").status == 200, 20, "it never got well again")
    updd.post(job, "cancel")
    updd.wait_for(job, "rolled_back")


def test_too_few_descriptors_are_no_reason_to_give_a_running_step_up(updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("a", "touch began; while ! test -e go; do sleep 0.05; done"), tiny.act("b")))
    updd.until(lambda: tiny.exists("began"), 20, "never began")
    pid, limit = updd.process.pid, resource.RLIMIT_NOFILE
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (3, before[1]))
    tiny.touch("go")
    result = updd.state / "jobs" / str(job) / "a" / "1" / "result.json"
    updd.until(result.exists, 20, "a never ended")
    time.sleep(0.5)
    resource.prlimit(pid, limit, before)
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b"]
    updd.invariants(job)


@pytest.mark.parametrize("sql", [
    "UPDATE job SET data = '{}' WHERE id = 1", "UPDATE job SET state = 'nonsense' WHERE id = 1",
    "UPDATE step SET state = 'pending' WHERE job = 1", "DELETE FROM step WHERE job = 1",
    "UPDATE step SET data = json_set(data, '$.dir', 99, '$.id', 'z') WHERE job = 1"])
def test_rows_that_make_no_sense_hold_up_no_other_job_and_repeat_no_step(updd, tiny, sql):
    job = updd.begin(tiny.plan(
        tiny.act("a", "touch began; while ! test -e go; do sleep 0.05; done")))
    other = updd.begin(tiny.plan(tiny.gate(), tiny.act("z")))
    wait = updd.wait_open(other, "gate")
    updd.until(lambda: tiny.exists("began"), 20, "never began")
    updd.kill9()
    edit(updd, (sql,))
    updd.start()
    tiny.touch("go")
    updd.post(other, "confirm", wait=wait["id"])
    updd.wait_for(other, "succeeded")
    assert job == 1 and tiny.done().count("do-a") == 1
    updd.invariants(other)


def test_a_job_number_is_not_given_again_after_an_older_database_was_put_back(updd, tiny):
    first = updd.begin(tiny.plan(tiny.act("a")))
    updd.wait_for(first, "succeeded")
    updd.stop()
    for file in updd.state.glob("updd.db*"):
        file.unlink()
    updd.start()
    assert updd.begin(tiny.plan(tiny.act("b"))) == first + 1
    assert (updd.state / "jobs" / str(first) / "a").is_dir()


# ---- all at once ----------------------------------------------------------------------------------


def at_once(calls):
    answers = [None] * len(calls)

    def run(i):
        answers[i] = calls[i]()
    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return [a.status for a in answers]


def test_of_many_that_ask_at_once_one_is_heard(updd, tiny):
    plan = json.dumps(tiny.plan(tiny.gate("g1"), tiny.act("a", "sleep 0.5"), tiny.gate("g2")))

    def post(path, body):
        return lambda: updd.call("POST", path, body)
    heard = at_once([post("/v1/jobs", {"document": plan, "inputs": {}})] * 20)
    assert sorted(set(heard)) == [201, 409] and heard.count(201) == 1, heard
    wait = updd.wait_open(1, "gate", "g1")
    heard = at_once([post("/v1/jobs/1/confirm", {"wait": wait["id"]})] * 20)
    assert sorted(set(heard)) == [200, 409] and heard.count(200) == 1, heard
    updd.wait_open(1, "gate", "g2")
    heard = at_once([post("/v1/jobs/1/cancel", {})] * 20)
    assert sorted(set(heard)) == [200, 409] and heard.count(200) == 1, heard
    updd.wait_for(1, "rolled_back")
    assert tiny.done() == ["do-a", "undo-a"]
    updd.invariants(1)


@pytest.mark.parametrize("path", ["/v1/jobs/%ff", "/v1/jobs/by-name/%ff%fe", "/v1/plans/%ff"])
def test_a_name_that_is_no_text_is_answered(updd, path):
    answer = updd.call("GET", path)
    assert answer.status == 404 and "\ufffd" in answer.body["detail"], answer


# ---- the storm ------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(1, 11))
def test_a_storm_of_kills_breaks_no_rule(built, tmp_path, seed):
    figures, wrong = storm(tmp_path / "storm", seed, round(30 / SLOW))
    print(f"seed {seed}: {figures}")
    assert not wrong, "\n".join(wrong)
    assert figures["kills"] and figures["jobs"], figures
