# SPDX-License-Identifier: MIT
"""
State folders of other versions: an older database is migrated after a copy of it was kept, and its
jobs go on; a newer one, and one of another program, are refused and left as they are. And what each
run of updd leaves for the next to tell.
"""
import hashlib
import shutil
import sqlite3
import subprocess

import pytest

import old_state
from daemon import BUILD, Daemon

SCHEMA = 3


@pytest.fixture
def asleep(built, tmp_path):
    """A daemon that has not been started."""
    d = Daemon(tmp_path / "updd")
    try:
        yield d
    finally:
        d.close()


def refused(updd):
    """Starts updd where it must refuse to; what it says."""
    done = subprocess.run(
        [str(BUILD / "daemon/updd"), "--state-dir", str(updd.state), "--socket", str(updd.socket),
         "--step-program", str(updd.step_program)], capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL)
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert not updd.socket.exists(), "it served"
    return done.stderr


def bytes_of(folder):
    """What is in a folder, file by file; locks are nothing."""
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "lock"}


def query(file, sql, how="mode=ro"):
    with sqlite3.connect(f"file:{file}?{how}", uri=True) as db:
        found = db.execute(sql).fetchall()
    db.close()
    return found


def dump(file, how=""):
    with sqlite3.connect(f"file:{file}{how}", uri=True) as db:
        text = "\n".join(db.iterdump())
    db.close()
    return text


def change(updd, *statements):
    with sqlite3.connect(updd.state / "updd.db") as db:
        for sql in statements:
            db.execute(sql)
    db.close()


# ---- older ------------------------------------------------------------------------------------


@pytest.fixture(params=range(1, SCHEMA))
def older(request, asleep, tiny):
    """Every job of the fixture by its name, in a state folder of that schema."""
    return request.param, old_state.put(asleep, tiny, request.param)


def test_jobs_of_an_older_updd_go_on_in_this_one(asleep, tiny, older):
    _, number = older
    tiny.touch("go-r")
    updd = asleep.start()
    for name, end in old_state.JOBS.items():
        if end:
            updd.wait_for(number[name], end)
    gate = updd.wait_open(number["gate"], "gate")
    updd.post(number["gate"], "confirm", wait=gate["id"], all=True)
    tiny.touch("mended")
    held = updd.wait_open(number["held"], "retry-or-skip")
    updd.post(number["held"], "retry", wait=held["id"])
    updd.post(number["stuck"], "retry")
    assert (tiny.folder / "written").read_text() == "new\n"
    updd.post(number["open"], "rollback", strategy="full")
    for name, end in {"gate": "succeeded", "held": "succeeded", "stuck": "rolled_back",
                      "open": "rolled_back"}.items():
        updd.wait_for(number[name], end)
    for name in old_state.JOBS:
        updd.invariants(number[name])
    assert (tiny.folder / "written").read_text() == "old\n", "the undo record was not read"
    done = tiny.done()
    assert done.count("do-e") == 1 and done.count("do-r") == 2 and done.count("do-b2") == 1, done
    assert done.count("undo-b2") == done.count("undo-b") == 1, done
    assert done.count("undo-s") == 2, done  # it failed the first time
    again = updd.call("POST", "/v1/jobs", {"document": "{}", "inputs": {}},
                      {"Idempotency-Key": old_state.KEY})
    assert again.status == 422 and again.body["type"].endswith("idempotency-key-reused"), again
    assert [t["name"] for t in updd.api("GET", "/v1/tokens")["tokens"]] == ["board"]


def test_a_copy_of_an_older_database_is_kept_and_named(asleep, older):
    version, _ = older
    before = dump(asleep.state / "updd.db")
    asleep.start()
    copies = list(asleep.state.glob(f"updd.db.schema-{version}.*"))
    assert len(copies) == 1 and copies[0].stat().st_mode & 0o777 == 0o600, copies
    assert str(copies[0]) in asleep.said(), asleep.said()
    assert dump(copies[0], "?immutable=1") == before
    assert query(copies[0], "PRAGMA user_version", "immutable=1") == [(version,)]
    asleep.restart()
    assert list(asleep.state.glob("updd.db.schema-*")) == copies, "what is new was copied again"
    assert not list(asleep.state.glob("*.tmp"))


def test_what_the_log_of_an_older_database_holds_is_migrated_and_copied_too(asleep, tiny, older):
    version, number = older
    db = sqlite3.connect(asleep.state / "updd.db", isolation_level=None)
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("UPDATE job SET title = 'in the log' WHERE plan = 'gate'")
    for file in ("updd.db", "updd.db-wal"):
        shutil.copy(asleep.state / file, tiny.folder / file)
    db.close()
    for file in ("updd.db", "updd.db-wal"):
        shutil.copy(tiny.folder / file, asleep.state / file)
    asleep.start()
    copy = next(asleep.state.glob(f"updd.db.schema-{version}.*"))
    assert query(copy, "SELECT title FROM job WHERE plan = 'gate'") == [("in the log",)]
    shown = {j["id"]: j for j in asleep.api("GET", "/v1/jobs?limit=50")["jobs"]}
    assert number["gate"] in shown


def test_without_room_for_the_copy_nothing_is_migrated(built, tmp_path, tiny):
    home = tmp_path / "small"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", home], check=True)
    updd = Daemon(home)
    try:
        old_state.put(updd, tiny, 1)
        (updd.state / "lock").touch()
        before = bytes_of(updd.state)
        with open(home / "filler", "wb", buffering=0) as f:
            while True:
                try:
                    f.write(bytes(4096))
                except OSError:
                    break
        said = refused(updd)
        assert "copy" in said and "nothing was changed" in said, said
        assert bytes_of(updd.state) == before
        (home / "filler").unlink()
        updd.start()
        assert list(updd.state.glob("updd.db.schema-1.*"))
    finally:
        updd.close()
        subprocess.run(["umount", "-l", home], check=True)


def test_a_damaged_older_database_is_not_migrated(asleep, tiny):
    old_state.put(asleep, tiny, 1)
    file = asleep.state / "updd.db"
    page = query(file, "SELECT rootpage FROM sqlite_master WHERE name = 'request_by_time'")[0][0]
    with open(file, "r+b") as f:
        f.seek((page - 1) * 4096)
        f.write(b"\xff" * 64)
    before = bytes_of(asleep.state)
    said = refused(asleep)
    assert "damaged" in said and "--check-state" in said, said
    assert bytes_of(asleep.state) == before


def test_a_migration_that_fails_leaves_the_older_database_as_it_was(asleep, tiny):
    old_state.put(asleep, tiny, 1)
    change(asleep, "CREATE TABLE run (in_the_way TEXT)")
    before = dump(asleep.state / "updd.db")
    said = refused(asleep)
    assert "run" in said, said
    assert dump(asleep.state / "updd.db") == before
    assert query(asleep.state / "updd.db", "PRAGMA user_version") == [(1,)]
    assert query(asleep.state / "updd.db", "PRAGMA application_id") == [(0,)]


# ---- newer, and others' -----------------------------------------------------------------------


def leave(updd, tiny, *statements, wal=True):
    """A database that was changed so, as a daemon leaves it that was killed: with its log."""
    updd.start()
    updd.wait_open(updd.begin(tiny.plan(tiny.gate())), "gate")
    updd.stop()
    keep = tiny.folder / "keep"
    keep.mkdir()
    db = sqlite3.connect(updd.state / "updd.db", isolation_level=None)
    db.execute("PRAGMA wal_autocheckpoint = 0")
    for sql in statements:
        db.execute(sql)
    if not wal:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for file in updd.state.glob("updd.db*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, keep)
    db.close()
    for file in updd.state.glob("updd.db*"):
        file.unlink()
    for file in keep.iterdir():
        shutil.copy(file, updd.state)


@pytest.mark.parametrize("wal", [False, True], ids=["in-the-file", "in-its-log"])
@pytest.mark.parametrize("sql, word", [
    (f"PRAGMA user_version = {SCHEMA + 1}", "newer"), ("PRAGMA user_version = 2147483647", "newer"),
    ("PRAGMA application_id = 1234", "another program")])
def test_a_database_that_is_not_this_updds_is_left_as_it_is(asleep, tiny, sql, word, wal):
    leave(asleep, tiny, sql, wal=wal)
    before = bytes_of(asleep.state)
    assert word in refused(asleep)
    assert bytes_of(asleep.state) == before


def test_a_database_of_another_program_is_not_made_updds(asleep):
    asleep.state.mkdir()
    with sqlite3.connect(asleep.state / "updd.db") as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()
    before = bytes_of(asleep.state)
    assert "another program" in refused(asleep)
    assert bytes_of(asleep.state) == before


# ---- when updd ran ----------------------------------------------------------------------------


def before(updd):
    return updd.api("GET", "/v1")["run"]["before"]


def test_each_run_is_told_of_by_the_next(updd):
    assert "before" not in updd.api("GET", "/v1")["run"]
    version = updd.api("GET", "/v1")["version"]
    updd.restart()
    assert before(updd) == {**before(updd), "n": 1, "version": version, "ended": True}
    assert "it died" not in updd.said()
    updd.kill9()
    updd.start()
    assert before(updd) == {**before(updd), "n": 2, "ended": False}
    assert f"updd {version} did not end, it died; its last sign is of" in updd.said()
    assert updd.api("GET", "/v1")["run"]["n"] == 3


def test_the_last_event_is_a_sign_of_life(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a")))
    updd.wait_for(job, "succeeded")
    last = updd.events(job)[-1]["time"]
    updd.kill9()
    updd.start()
    assert before(updd)["seen"] == last and before(updd)["started"] < last


def test_another_version_is_told_of(updd):
    updd.stop()
    change(updd, "UPDATE run SET version = '0.0.9'")
    updd.start()
    assert "follows updd 0.0.9" in updd.said() and before(updd)["version"] == "0.0.9"
