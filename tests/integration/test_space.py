# SPDX-License-Identifier: MIT
"""
The way back fits: what a plan keeps is measured before anything is touched, refused when it would
not fit, and held against every other program until the job has ended. On real small file systems.
"""
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from daemon import ENDED, Daemon

MIB = 1 << 20


@pytest.fixture
def small(tmp_path):
    """Makes file systems in memory of so many MiB."""
    if os.geteuid() != 0:
        assert not os.environ.get("CI"), "these tests mount file systems and need root"
        pytest.skip("mounting needs root")
    mounted = []

    def make(name, size):
        folder = tmp_path / name
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "none", folder], check=True)
        mounted.append(folder)
        return folder
    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def on(built, tmp_path):
    """A daemon whose state folder is there, its log elsewhere."""
    daemons = []

    def start(home):
        d = Daemon(home)
        d.stderr = tmp_path / "updd.log"
        daemons.append(d)
        return d.start()
    yield start
    for d in daemons:
        d.close()


def file_of(path, mib):
    path.write_bytes(os.urandom(mib * MIB))
    return path


def database(path, mib):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, text BLOB)")
    db.executemany("INSERT INTO row (text) VALUES (?)", [(os.urandom(65536),)] * (mib * 16))
    db.commit()
    db.close()
    return path


def rows(path):
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT count(*) FROM row").fetchone()[0]
    finally:
        db.close()


def room_in(folder):
    fs = os.statvfs(folder)
    return fs.f_bavail * fs.f_frsize


def fill(folder, leave=0):
    """Takes what is free, as a log that runs wild does."""
    with open(folder / "filler", "ab", buffering=0) as f:
        for size in (65536, 4096):
            try:
                while room_in(folder) - size >= leave:
                    f.write(b"x" * size)
            except OSError:
                pass


def outcome(updd, job):
    checks = updd.step(job, "@checks")["checks"]
    return next(c for c in checks if c["check"] == "way-back")


def space(updd, job, path):
    found = [f for f in outcome(updd, job)["space"]["filesystems"] if f["path"] == str(path)]
    assert len(found) == 1, outcome(updd, job)
    return found[0]


def left_over(updd, *folders):
    """What is still reserved, wherever."""
    found = [str(p) for p in (updd.state / "jobs").glob("*/reserve")]
    for folder in folders:
        found += [str(p) for p in folder.rglob(".updd-reserve-*")]
    return found


def nothing_left(updd, *folders):
    """And whoever gave it back has ended."""
    updd.until(lambda: not left_over(updd, *folders) and not updd.attempt_processes(), 20,
               lambda: left_over(updd, *folders))
    for job in updd.api("GET", "/v1/jobs")["jobs"]:
        updd.until(lambda: not any(s["id"] == "@release" and "running" in s["attempt"]
                                   for s in updd.job(job["id"])["steps"]), 20, "never released")


def refused(updd, job, *words):
    now = updd.wait_for(job, "failed")
    for word in words:
        assert word in now["failure"]["message"], now["failure"]["message"]
    assert {s["state"] for s in now["steps"] if s["phase"] == "main"} == {"pending"}
    nothing_left(updd)
    updd.invariants(job)
    return now


# ---- refused ------------------------------------------------------------------------------------


def test_a_backup_that_does_not_fit_where_it_goes_is_refused_with_the_other_checks(
        updd, tiny, small):
    to = small("backups", 8)
    database(tiny.folder / "a.db", 12)
    job = updd.begin(tiny.plan(
        {"id": "save", "backup": {"db": "a", "to": str(to)}}, tiny.act("b"),
        checks=[{"run": ["false"], "name": "another check"}],
        databases={"a": {"url": "sqlite:a.db"}}))
    now = refused(updd, job, "another check", "way back does not fit", str(to), "8.0M free",
                  "save 12.", "to keep")
    assert "--override way-back" in now["failure"]["hint"]
    assert list(to.iterdir()) == [] and tiny.done() == []
    told = space(updd, job, to)
    assert not told["fits"] and told["needed"] > 12 * MIB and told["free"] == 8 * MIB


def test_a_snapshot_that_does_not_fit_beside_the_state_is_refused(on, tiny, small):
    updd = on(small("state", 24))
    (tiny.folder / "app" / "sub").mkdir(parents=True)
    for n in range(3):
        file_of(tiny.folder / "app" / "sub" / str(n), 8)
    os.link(tiny.folder / "app" / "sub" / "0", tiny.folder / "app" / "hard")
    job = updd.begin(tiny.plan({"id": "shot", "snapshot": ["app"]}, tiny.act("b")))
    refused(updd, job, str(updd.home), "shot 34.1M to keep", "updd's own records")


def test_what_is_put_back_must_fit_too(updd, tiny, small):
    data = small("data", 12)
    file_of(data / "big", 8)
    job = updd.begin(tiny.plan({"id": "change", "write": {"to": str(data / "big"), "text": "x"}},
                               tiny.act("b")))
    refused(updd, job, str(data), "change 8.", "to put back")
    assert (data / "big").stat().st_size == 8 * MIB


def test_too_few_inodes_are_refused_too(updd, tiny, tmp_path, small):
    data = small("data", 64)
    subprocess.run(["mount", "-o", "remount,nr_inodes=40", data], check=True)
    (tiny.folder / "app").mkdir()
    for n in range(60):
        (tiny.folder / "app" / str(n)).touch()
    job = updd.begin(tiny.plan({"id": "save", "backup": {"files": ["app"], "to": str(data),
                                                         "prove": "restore"}}))
    refused(updd, job, str(data), "files needed, room for")


# ---- by a hair ----------------------------------------------------------------------------------


@pytest.mark.parametrize("short", [0, 65536])
def test_it_begins_with_exactly_what_is_needed_and_not_with_less(updd, tiny, small, short):
    to = small("backups", 32)
    database(tiny.folder / "a.db", 4)
    plan = tiny.plan({"id": "save", "backup": {"db": "a", "to": str(to)}}, tiny.act("b"),
                     databases={"a": {"url": "sqlite:a.db"}})
    job = updd.begin(plan, dry_run=True)
    updd.wait_for(job, "succeeded")
    needed = space(updd, job, to)["needed"]
    assert not left_over(updd, to), "a dry run reserves nothing"
    fill(to, leave=needed - short)
    assert room_in(to) == needed - short
    job = updd.begin(plan)
    if short:
        refused(updd, job, str(to))
        return
    updd.wait_for(job, "succeeded")
    nothing_left(updd, to)
    assert [p for p in to.iterdir() if (p / "backup.json").exists()]
    updd.invariants(job)


# ---- held ---------------------------------------------------------------------------------------


def upgrade(tiny, data, to, *more, **top):
    """Replaces a large file, backs a database up and changes it; then fails or asks."""
    return tiny.plan(
        {"id": "shot", "snapshot": [str(data / "app")]},
        {"id": "save", "backup": {"db": "a", "to": str(to)}},
        {"id": "risk", "undo": {"restore": "save"}},
        {"id": "big", "write": {"to": str(data / "big"), "text": "new"}},
        {"id": "change", "sql": {"db": "a", "exec": "DELETE FROM row"}, "undo": "none"},
        {"id": "gone", "run": ["sh", "-c", f"rm -r {data}/app"], "undo": "none"},
        *more, databases={"a": {"url": f"sqlite:{data}/a.db"}}, on_failure={"default": "full"}, **top)


def before(data):
    (data / "app").mkdir(parents=True)
    file_of(data / "app" / "one", 3)
    file_of(data / "big", 3)
    database(data / "a.db", 3)
    return (data / "app" / "one").read_bytes(), (data / "big").read_bytes(), rows(data / "a.db")


def after(data):
    return (data / "app" / "one").read_bytes(), (data / "big").read_bytes(), rows(data / "a.db")


def test_a_disk_that_another_program_fills_meanwhile_does_not_stop_the_way_back(on, tiny, small):
    disk = small("disk", 64)
    updd = on(disk / "updd")
    data, to = disk / "data", disk / "backups"
    was = before(data)
    job = updd.begin(upgrade(
        tiny, data, to, tiny.act("wait", "touch began; while ! test -e go; do sleep 0.05; done"),
        {"id": "more", "run": ["dd", "if=/dev/zero", f"of={data}/new", "bs=1M", "count=8"],
         "undo": {"remove": [str(data / "new")]}}))
    updd.until(lambda: tiny.exists("began"), 30, lambda: updd.tell(job))
    assert rows(data / "a.db") == 0 and not (data / "app").exists()
    fill(disk)
    assert room_in(disk) < 65536
    tiny.touch("go")
    now = updd.wait_for(job, "rolled_back", timeout=60)
    assert "No space left" in json.dumps(now["failure"]), now["failure"]
    assert after(data) == was
    nothing_left(updd, disk)
    updd.invariants(job)


def test_the_room_of_the_other_file_systems_is_held_too_and_given_back(updd, tiny, small):
    data, to = small("data", 32), small("backups", 16)
    was = before(data)
    job = updd.begin(upgrade(tiny, data, to, tiny.gate(), tiny.fail("late")))
    wait = updd.wait_open(job, "gate")
    assert left_over(updd, data) and left_over(updd, to) and left_over(updd)
    fill(data)
    fill(to)
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "rolled_back")
    assert after(data) == was
    nothing_left(updd, data, to)
    updd.invariants(job)
    assert any(e["type"] == "hook_done" and e["step"] == "@release" for e in updd.events(job))


@pytest.mark.parametrize("end", ["succeeded", "cancelled", "abandoned"])
def test_whatever_the_end_nothing_stays_reserved(updd, tiny, small, end):
    data = small("data", 32)
    file_of(data / "big", 2)
    steps = [{"id": "big", "write": {"to": str(data / "big"), "text": "new"}},
             tiny.act("b", undo_then="exit 1"), tiny.gate()]
    job = updd.begin(tiny.plan(*steps))
    wait = updd.wait_open(job, "gate")
    assert left_over(updd, data)
    if end == "succeeded":
        updd.post(job, "confirm", wait=wait["id"])
    elif end == "cancelled":
        updd.post(job, "cancel")
        updd.wait_for(job, "stuck")
        assert left_over(updd, data), "the way back is not over"
        updd.post(job, "skip", reason="b does not matter")
        end = "rolled_back"
    else:
        updd.post(job, "rollback")
        updd.wait_for(job, "stuck")
        updd.post(job, "abandon", reason="mended by hand")
    updd.wait_for(job, end)
    nothing_left(updd, data)
    assert not (updd.state / "jobs" / str(job) / "reserve.json").exists()
    if end == "succeeded":
        updd.post(job, "rollback")
        updd.wait_for(job, "stuck")
    updd.invariants(job)


# ---- a plan that is changed ----------------------------------------------------------------------


def changed(updd, tiny, plan, steps):
    """The job, held at its first step, goes on with other steps behind it."""
    job = updd.begin(plan)
    wait = updd.wait_open(job, "retry-or-skip")
    (tiny.folder / "ready").touch()
    updd.post(job, "retry", wait=wait["id"], document=json.dumps({**plan, "steps": steps}))
    return job


FIRST = {"id": "a", "run": ["test", "-e", "ready"], "undo": "none"}


def test_a_step_that_a_retry_adds_is_refused_before_it_begins_when_it_does_not_fit(
        updd, tiny, small):
    to = small("backups", 8)
    database(tiny.folder / "a.db", 12)
    plan = tiny.plan(FIRST, tiny.act("b"), databases={"a": {"url": "sqlite:a.db"}},
                     on_failure={"a": "hold", "b": "full", "default": "full"})
    save = {"id": "save", "backup": {"db": "a", "to": str(to)}}
    job = changed(updd, tiny, plan, [FIRST, tiny.act("b"), save, tiny.act("c")])
    updd.wait_for(job, "rolled_back")
    failure = updd.job(job)["failure"]
    assert failure["step"] == "save" and "12.9M needed, 8.0M free" in failure["message"], failure
    assert "override" not in failure["hint"] and list(to.iterdir()) == []
    assert tiny.done() == ["do-b", "undo-b"]
    updd.invariants(job)


@pytest.mark.parametrize("end", ["succeeded", "rolled_back"])
def test_what_a_changed_step_keeps_is_held_from_then_on_and_given_back(updd, tiny, small, end):
    data, other, to = small("data", 32), small("other", 64), small("backups", 16)
    file_of(data / "big", 2)
    file_of(other / "big", 20)
    last = tiny.act("z") if end == "succeeded" else tiny.fail("z")
    write = {"id": "w", "write": {"to": str(data / "big"), "text": "new"}}
    plan = tiny.plan(FIRST, write, tiny.gate(), last,
                     on_failure={"a": "hold", "w": "full", "default": "full"})
    elsewhere = {"id": "w", "write": {"to": str(other / "big"), "text": "new"}}
    job = changed(updd, tiny, plan, [FIRST, elsewhere, tiny.gate(), last])
    wait = updd.wait_open(job, "gate")
    held = [p for p in other.rglob(".updd-reserve-*/w.back")]
    assert [p.stat().st_size for p in held] == [pytest.approx(20 * MIB, rel=0.1)]
    assert not list(data.rglob(".updd-reserve-*/w.*")), "held for what does not happen any more"
    fill(other)
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, end)
    assert (other / "big").stat().st_size == (3 if end == "succeeded" else 20 * MIB)
    nothing_left(updd, data, other, to)
    updd.invariants(job)


def test_a_plan_that_kept_nothing_gives_back_what_a_retry_made_it_reserve(updd, tiny, small):
    data = small("data", 32)
    file_of(data / "big", 2)
    plan = tiny.plan(FIRST, tiny.gate(), on_failure={"a": "hold", "default": "full"})
    write = {"id": "w", "write": {"to": str(data / "big"), "text": "new"}}
    job = changed(updd, tiny, plan, [FIRST, write, tiny.gate()])
    wait = updd.wait_open(job, "gate")
    assert left_over(updd, data)
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    nothing_left(updd, data)
    updd.invariants(job)


@pytest.mark.parametrize("checks", [[], [{"that": "1 == 1"}]], ids=["no-checks", "checks"])
@pytest.mark.parametrize("again", [False, True], ids=["", "restarted"])
def test_a_retry_that_keeps_nothing_any_more_gives_back_what_was_reserved(
        updd, tiny, small, checks, again):
    data = small("data", 32)
    file_of(data / "big", 2)
    write = {"id": "w", "write": {"to": str(data / "big"), "text": "new"}}
    plan = tiny.plan(FIRST, write, on_failure={"a": "hold"}, **({"checks": checks} if checks else {}))
    job = changed(updd, tiny, plan, [FIRST, tiny.gate()])
    wait = updd.wait_open(job, "gate")
    if again:
        updd.kill9()
        updd.start()
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    nothing_left(updd, data)
    updd.invariants(job)


# ---- crashes ------------------------------------------------------------------------------------


def kill_attempts(updd):
    for pid in updd.attempt_processes():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_any_time_nothing_stays_reserved_and_the_undo_works(updd, tiny, small, seed):
    chance = random.Random(seed)
    data, to = small("data", 32), small("backups", 16)
    was = before(data)
    job = updd.begin(upgrade(tiny, data, to, tiny.fail("late")))
    for _ in range(2):
        time.sleep(chance.random() * 0.35)
        updd.kill9()
        if chance.random() < 0.7:
            kill_attempts(updd)
        updd.start()
    now = updd.until(lambda: updd.job(job) if updd.job(job)["state"] in ENDED + ("stuck",) else None,
                     60, lambda: updd.tell(job))
    assert now["state"] == "rolled_back", updd.tell(job)
    assert after(data) == was
    nothing_left(updd, data, to)
    updd.invariants(job)


# ---- said ---------------------------------------------------------------------------------------


def test_what_cannot_be_estimated_is_said_and_a_former_backup_helps(updd, tiny):
    plan = tiny.plan(
        {"id": "dump", "backup": {"run": ["head", "-c", "3000000", "/dev/zero"], "stdout": "all",
                                  "to": "backups"}},
        {"id": "name", "run": ["echo", "page"], "undo": "none"},
        {"id": "later", "snapshot": ["${steps.name.stdout}"]},
        {"id": "never", "when": "in.no", "snapshot": ["${steps.name.stdout}"]},
        inputs={"no": {"type": "bool", "default": False}})
    job = updd.begin(plan, dry_run=True)
    updd.wait_for(job, "succeeded")
    told = {u["step"]: u["why"] for u in outcome(updd, job)["space"]["not_estimated"]}
    assert set(told) == {"dump", "later"} and "steps.name.stdout" in told["later"], told
    shown = updd.ctl("status", job, check=0).stdout
    assert "room" in shown and "not estimated: dump" in shown, shown
    updd.wait_for(updd.begin(plan), "succeeded")
    job = updd.begin(plan, dry_run=True)
    updd.wait_for(job, "succeeded")
    found = outcome(updd, job)["space"]
    assert {u["step"] for u in found["not_estimated"]} == {"later"}
    shares = [s for f in found["filesystems"] for s in f["shares"] if s["step"] == "dump"]
    assert shares and 3000000 < shares[0]["bytes"] < 5000000, found


def test_a_person_may_go_without_the_certainty(updd, tiny, small):
    to = small("backups", 8)
    (tiny.folder / "app").mkdir()
    (tiny.folder / "app" / "zeros").write_bytes(bytes(20 * MIB))
    plan = tiny.plan({"id": "save", "backup": {"files": ["app"], "to": str(to)}}, tiny.act("b"))
    updd.wait_for(updd.begin(plan), "failed")
    updd.refuse(400, "bad-request", "POST", "/v1/jobs", {
        "document": json.dumps(tiny.plan(tiny.act("a"))), "overrides": ["way-back"]})
    job = updd.begin(plan, overrides=["way-back"])
    updd.wait_for(job, "succeeded")
    assert outcome(updd, job)["overridden"] and tiny.done() == ["do-b"]
    assert [e for e in updd.events(job) if e["type"] == "override"]
    nothing_left(updd, to)


# ---- from before --------------------------------------------------------------------------------


def test_a_job_of_a_daemon_that_reserved_nothing_goes_on(updd, tiny):
    file_of(tiny.folder / "page", 1)
    was = (tiny.folder / "page").read_bytes()
    job = updd.begin(tiny.plan({"id": "w", "write": {"to": "page", "text": "new"}}, tiny.gate(),
                               tiny.fail("late")))
    updd.wait_open(job, "gate")
    updd.stop()
    db = sqlite3.connect(next(updd.state.glob("*.db")))
    with db:
        db.execute("DELETE FROM step WHERE id IN ('@checks', '@release')")
        for (idx,) in db.execute("SELECT idx FROM step ORDER BY idx").fetchall():
            db.execute("UPDATE step SET idx = ? WHERE idx = ?", (idx - 1, idx))
    db.close()
    for folder in ("@checks", "reserve"):
        shutil.rmtree(updd.state / "jobs" / str(job) / folder)
    updd.start()
    updd.post(job, "confirm", wait=updd.wait_open(job, "gate")["id"])
    updd.wait_for(job, "rolled_back")
    assert (tiny.folder / "page").read_bytes() == was
    updd.restart()
    assert updd.job(job)["state"] == "rolled_back"
