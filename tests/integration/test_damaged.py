# SPDX-License-Identifier: MIT
"""
State folders that are not whole: damaged databases, torn logs, rows that are too old for their
folders or make no sense, a claim that somebody removed. updd refuses to start with what to do, or
starts rightly; it never begins again what has begun, never writes into what is damaged, and `updd
--check-state` tells what it found and changes nothing.
"""
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

import rules
from daemon import BUILD, Daemon

SEED = int(os.environ.get("UPDD_DAMAGE_SEED", "1"))
ROUNDS = int(os.environ.get("UPDD_DAMAGE_ROUNDS", "12"))


def bytes_of(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "lock"}


def run_updd(updd, *args, timeout=60):
    return subprocess.run(
        [str(BUILD / "daemon/updd"), "--state-dir", str(updd.state), "--socket", str(updd.socket),
         "--step-program", str(updd.step_program), *args], capture_output=True, text=True,
        timeout=timeout, stdin=subprocess.DEVNULL)


def check_state(updd, expected):
    """What `updd --check-state` prints; nothing may have changed."""
    before = bytes_of(updd.state)
    done = run_updd(updd, "--check-state")
    assert done.returncode == expected, (done.returncode, done.stdout, done.stderr)
    assert bytes_of(updd.state) == before, "looking changed something"
    return done.stdout + done.stderr


def refused(updd):
    before = bytes_of(updd.state)
    done = run_updd(updd)
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert bytes_of(updd.state) == before, "what was refused was changed"
    return done.stderr


def edit(updd, *statements):
    with sqlite3.connect(updd.state / "updd.db") as db:
        for sql in statements:
            db.execute(sql)
    db.close()


def query(updd, sql):
    with sqlite3.connect(f"file:{updd.state}/updd.db?mode=ro", uri=True) as db:
        found = db.execute(sql).fetchall()
    db.close()
    return found


NAP = "touch began-{0}; while ! test -e go-{0}; do sleep 0.05; done"


@pytest.fixture
def busy(updd, tiny):
    """A daemon with a job at a gate, one with a running step, and a history."""
    for n in range(5):
        updd.wait_for(updd.begin(tiny.plan(tiny.act(f"h{n}"))), "succeeded")
    updd.gate = updd.begin(tiny.plan(tiny.act("g"), tiny.gate(), target="gated"))
    updd.wait_open(updd.gate, "gate")
    updd.runs = updd.begin(tiny.plan(tiny.act("a", NAP.format("a")), tiny.act("b"), target="run"))
    updd.until(lambda: tiny.exists("began-a"), 20, "never began")
    yield updd
    tiny.touch("go-a")


# ---- the file ---------------------------------------------------------------------------------


def leave_log(updd):
    """Kills the daemon: its log stays."""
    updd.kill9()
    assert (updd.state / "updd.db-wal").stat().st_size > 0


def no_database(file):
    file.write_bytes(b"this is a text, and no database at all\n" * 40)


def cut_short(file):
    os.truncate(file, file.stat().st_size * 6 // 10 // 4096 * 4096 + 100)


def emptied(file):
    os.truncate(file, 0)


def checkpointed(updd):
    """Nothing is left in the log."""
    updd.stop()
    assert not (updd.state / "updd.db-wal").exists()


@pytest.mark.parametrize("harm", [no_database, cut_short])
def test_a_damaged_database_is_refused_with_what_to_do(busy, tiny, harm):
    tiny.touch("go-a")
    busy.wait_for(busy.runs, "succeeded")
    checkpointed(busy)
    harm(busy.state / "updd.db")
    said = refused(busy)
    assert "damaged" in said and "--check-state" in said and "backup" in said, said
    told = check_state(busy, 3)
    assert "damaged" in told, told


def test_an_empty_database_beside_a_log_is_refused(busy):
    leave_log(busy)
    emptied(busy.state / "updd.db")
    assert "is empty, and its write-ahead log is not" in refused(busy)


@pytest.mark.timeout(300)
def test_bytes_flipped_anywhere_are_noticed_or_harm_nobody(busy, tiny, tmp_path):
    """By seed: pages of the file and of its log. updd starts or refuses, and either way no step that
    has begun is begun again and nothing crashes."""
    leave_log(busy)
    tiny.touch("go-a")
    busy.until(lambda: not busy.attempt_processes(), 20, "a never ended")
    keeps = [tmp_path / "in-its-log", tmp_path / "in-the-file"]
    shutil.copytree(busy.state, keeps[0])
    busy.start()
    busy.wait_for(busy.runs, "succeeded")
    checkpointed(busy)
    shutil.copytree(busy.state, keeps[1])
    outcomes = []
    for n in range(ROUNDS):
        rng = random.Random(SEED * 1000 + n)
        shutil.rmtree(busy.state)
        shutil.copytree(keeps[n % 2], busy.state)
        file = rng.choice(sorted(busy.state.glob("updd.db*")))
        content = bytearray(file.read_bytes())
        for _ in range(rng.choice([1, 20, 400])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)
        check = run_updd(busy, "--check-state")
        assert check.returncode in (0, 1, 3), (n, check)
        try:
            busy.start()
        except AssertionError:
            assert busy.process.returncode == 1, (n, busy.said()[-3000:])
            outcomes.append("refused")
            continue
        time.sleep(0.2)
        for page in ("/v1/jobs?limit=50", "/v1/events?limit=1000", f"/v1/jobs/{busy.gate}"):
            assert busy.call("GET", page).status in (200, 404, 500, 503), (n, page)
        assert busy.process.poll() is None, (n, busy.said()[-3000:])
        outcomes.append("started")
        busy.stop()
        assert [w for w in tiny.done() if w == "do-a"] == ["do-a"], (n, tiny.done())
    print(outcomes)
    assert set(outcomes) == {"refused", "started"} or ROUNDS < 8, outcomes
    shutil.rmtree(busy.state)
    shutil.copytree(keeps[0], busy.state)
    busy.start()
    busy.wait_for(busy.runs, "succeeded")


def test_damage_that_is_met_while_it_runs_ends_all_writing(busy, tiny):
    tiny.touch("go-a")
    busy.wait_for(busy.runs, "succeeded")
    busy.stop()
    file = busy.state / "updd.db"
    page = query(busy, "SELECT rootpage FROM sqlite_master WHERE name = 'event_by_job'")[0][0]
    with open(file, "r+b") as f:
        f.seek((page - 1) * 4096)
        f.write(b"\xff" * 200)
    busy.start()
    before = file.read_bytes()
    problem = busy.refuse(503, "store-damaged", "POST", f"/v1/jobs/{busy.gate}/cancel", {})
    assert "--check-state" in problem["hint"], problem
    health = busy.call("GET", "/v1/health")
    assert health.status == 503 and health.body["state"] == "damaged", health
    assert busy.call("GET", f"/v1/jobs/{busy.gate}").body["state"] == "waiting"
    busy.refuse(503, "store-damaged", "POST", "/v1/tokens", {"name": "x", "role": "view"})
    busy.stop()
    assert file.read_bytes() == before, "it wrote into what is damaged"
    assert (busy.state / "damaged").exists()
    said = refused(busy)
    assert "damage was met" in said and "--check-state" in said, said
    assert "damaged" in check_state(busy, 3)


def test_what_was_put_back_after_damage_is_read_whole_and_then_served(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate()))
    updd.wait_open(job, "gate")
    updd.stop()
    (updd.state / "damaged").write_text("it was")
    updd.start()
    assert "damage was met" in updd.said() and not (updd.state / "damaged").exists()
    assert updd.job(job)["state"] == "waiting"


# ---- --check-state ------------------------------------------------------------------------------


def test_a_whole_folder_is_said_to_be_whole(busy, tiny):
    done = run_updd(busy, "--check-state")
    assert done.returncode == 1 and "serves the state folder" in done.stderr, done
    leave_log(busy)
    told = check_state(busy, 0)
    assert "is whole" in told and "jobs for the next start to take up" in told, told
    assert "did not end, it died" in told, told
    busy.start()
    busy.stop()
    assert "ended by itself" in check_state(busy, 0)


@pytest.mark.parametrize("sql, word", [
    ("DELETE FROM event WHERE job = 3 AND seq = 2", "the journal of job 3 has a gap"),
    ("UPDATE job SET version = 99 WHERE id = 2", "job 2 and its journal are not of one time"),
    ("DELETE FROM job WHERE id = 1", "there are steps of job 1, and no such job"),
    ("DELETE FROM document", "the plan of job"),
    ("UPDATE job SET live = 0 WHERE state = 'waiting'", "has not ended, and no daemon takes it up"),
    ("UPDATE step SET data = '{' WHERE id = 'g'", "cannot be read, and is held"),
])
def test_rows_that_no_daemon_wrote_are_told(busy, tiny, sql, word):
    leave_log(busy)
    edit(busy, sql)
    assert word in check_state(busy, 3)


def test_folders_that_do_not_fit_are_told(busy):
    leave_log(busy)
    folder = busy.state / "jobs" / str(busy.runs) / "a/1"
    claim = json.loads((folder / "claim").read_text())
    (folder / "claim").write_text(json.dumps({**claim, "id": "0" * 32}))
    assert "another attempt's" in check_state(busy, 3)
    (folder / "claim").unlink()
    assert "its claim is gone" in check_state(busy, 3)


# ---- jobs that cannot be carried on -----------------------------------------------------------


def held(updd, job, target, word):
    """It is shown as stuck with the reason, keeps its target, and can do nothing but be abandoned."""
    now = updd.job(job)
    assert now["state"] == "stuck" and now["actions"] == ["abandon"], now
    assert word in now["failure"]["message"], now["failure"]
    assert updd.api("GET", "/v1/health")["jobs"]["stuck"] == 1
    plan = {"format": 1, "plan": "next", "target": target, "steps": [
        {"id": "a", "run": ["true"], "undo": "none"}]}
    problem = updd.refuse(409, "target-busy", "POST", "/v1/jobs",
                          {"document": json.dumps(plan), "inputs": {}})
    assert problem["job"] == job and "updctl abandon" in problem["hint"], problem
    for verb in ("cancel", "retry", "rollback"):
        updd.refuse(409, "not-now", "POST", f"/v1/jobs/{job}/{verb}", {})
    return plan


def given_up(updd, job, plan):
    """Abandoned with a reason it frees its target, for good."""
    updd.refuse(422, "reason-missing", "POST", f"/v1/jobs/{job}/abandon", {})
    assert updd.post(job, "abandon", reason="seen to it")["state"] == "abandoned"
    assert updd.events(job)[-1]["data"]["to"] == "abandoned"
    assert "seen to it" in updd.events(job)[-2]["data"]["decided"]
    other = updd.begin(plan)
    updd.wait_for(other, "succeeded")
    updd.restart()
    assert updd.job(job)["state"] == "abandoned"
    assert updd.api("GET", "/v1/health")["jobs"]["stuck"] == 0


@pytest.mark.parametrize("sql, word", [
    ("UPDATE job SET data = '{}' WHERE target = 'gated'", "cannot be read"),
    ("UPDATE job SET state = 'nonsense' WHERE target = 'gated'", "cannot be read"),
    ("UPDATE step SET data = '{' WHERE id = 'g'", "cannot be read"),
    ("DELETE FROM document", "is not in the store")])
def test_a_job_that_cannot_be_read_keeps_its_target_until_it_is_abandoned(busy, tiny, sql, word):
    tiny.touch("go-a")
    busy.wait_for(busy.runs, "succeeded")
    busy.stop()
    if "document" in sql:
        edit(busy, "UPDATE job SET live = 0 WHERE target <> 'gated'")
    edit(busy, sql)
    busy.start()
    assert "cannot be carried on" in busy.said()
    given_up(busy, busy.gate, held(busy, busy.gate, "gated", word))


def test_a_running_step_of_a_job_that_cannot_be_read_is_told_and_waited_for(busy, tiny):
    busy.kill9()
    edit(busy, "UPDATE job SET data = '{}' WHERE target = 'run'")
    busy.start()
    plan = held(busy, busy.runs, "run", "cannot be read")
    assert "attempt 1 runs, and nobody watches it" in busy.said()
    problem = busy.refuse(409, "not-now", "POST", f"/v1/jobs/{busy.runs}/abandon", {"reason": "x"})
    assert problem["running"] == [{"step": "a", "attempt": 1}], problem
    tiny.touch("go-a")
    # Not by the processes: what /proc tells of one goes before the lock that says it lives.
    busy.until(lambda: not busy.refuse(409, "target-busy", "POST", "/v1/jobs", {
        "document": json.dumps(plan), "inputs": {}})["running"], 20, "a never ended")
    given_up(busy, busy.runs, plan)


def test_an_attempt_that_the_database_lost_holds_its_job(updd, tiny):
    """A log's torn tail is dropped without a word; the folders remember."""
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(), tiny.act("b"), target="torn"))
    wait = updd.wait_open(job, "gate")
    updd.kill9()
    keep = {f: f.read_bytes() for f in updd.state.glob("updd.db*")}
    updd.start()
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    updd.stop()
    for file in updd.state.glob("updd.db*"):
        file.unlink()
    for file, content in keep.items():
        file.write_bytes(content)
    assert "attempt 1 of step 'b', and the database knows of 0" in check_state(updd, 3)
    updd.start()
    given_up(updd, job, held(updd, job, "torn", "what was decided last is lost"))
    assert tiny.done() == ["do-a", "do-b"]


def test_a_job_that_the_database_lost_keeps_its_target(updd, tiny):
    first = updd.begin(tiny.plan(tiny.act("a")))
    updd.wait_for(first, "succeeded")
    updd.kill9()
    keep = {f: f.read_bytes() for f in updd.state.glob("updd.db*")}
    updd.start()
    lost = updd.begin(tiny.plan(tiny.act("b"), tiny.gate(), target="lost"))
    updd.wait_open(lost, "gate")
    updd.stop()
    for file in updd.state.glob("updd.db*"):
        file.unlink()
    for file, content in keep.items():
        file.write_bytes(content)
    updd.start()
    given_up(updd, lost, held(updd, lost, "lost", "no rows"))
    assert tiny.done() == ["do-a", "do-b"]


# ---- a claim that is gone -----------------------------------------------------------------------


@pytest.mark.parametrize("dead", [False, True], ids=["it-runs", "it-died"])
def test_a_step_whose_claim_somebody_removed_is_not_begun_again(updd, tiny, dead):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b", NAP.format("b"))))
    updd.until(lambda: tiny.exists("began-b"), 20, "never began")
    folder = updd.state / "jobs" / str(job) / "b/1"
    pid = json.loads((folder / "claim").read_text())["pid"]
    updd.kill9()
    (folder / "claim").unlink()
    if dead:
        os.kill(pid, signal.SIGKILL)
        updd.until(lambda: not updd.attempt_processes(job), 20, "it lives")
    updd.start()
    if not dead:
        tiny.touch("go-b")
    updd.wait_for(job, "rolled_back" if dead else "succeeded")
    assert tiny.done().count("do-b") == 1, tiny.done()
    if dead:
        assert "interrupted" in [e["type"].removeprefix("step_") for e in updd.events(job)]
        assert "its claim is gone" in updd.said()
    rules.journal_is_whole(updd.job(job), updd.events(job))
