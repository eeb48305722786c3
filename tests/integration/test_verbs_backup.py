# SPDX-License-Identifier: MIT
"""backup, restore and sql: sets that are whole, and databases and files that come back from them."""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time

import pytest

from verbtool import failed, ok, state, steps, tree  # noqa: F401


@pytest.fixture
def db(steps):  # noqa: F811
    """sessions.db in the working folder, known to the plan as `sessions`."""
    path = steps.cwd / "sessions.db"
    with contextlib.closing(sqlite3.connect(path)) as c:
        c.execute("PRAGMA journal_mode=WAL")
        c.execute("CREATE TABLE sessions (id INTEGER PRIMARY KEY, text TEXT)")
        c.execute("CREATE TABLE metrics (id INTEGER PRIMARY KEY)")
        c.executemany("INSERT INTO sessions (text) VALUES (?)", [(f"row {n}",) for n in range(500)])
        c.commit()
    path.chmod(0o640)
    steps.context["databases"]["sessions"] = {"url": "sqlite:sessions.db"}
    return path


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as c:
        return c.execute("SELECT * FROM sessions ORDER BY id").fetchall()


def run_sql(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as c:
        for statement in statements:
            c.execute(statement)
        c.commit()


def manifest(result):
    with open(os.path.join(result["outputs"]["path"], "backup.json")) as f:
        return json.load(f)


# ---- sql ----


def test_sql_asks_and_changes(steps, db):  # noqa: F811
    out = ok(steps.do("q", "sql", {"db": "sessions", "query": "SELECT count(*) AS n, 'x' AS word, NULL AS none FROM sessions"}))
    assert out["outputs"] == {"n": 500, "word": "x", "none": None}
    out = ok(steps.do("c", "sql", {"db": "sessions", "count": ["sessions", "metrics"]}))
    assert out["outputs"] == {"sessions": 500, "metrics": 0}
    out = ok(steps.do("e", "sql", {"db": "sessions", "exec": "INSERT INTO metrics VALUES (1), (2); DELETE FROM sessions WHERE id > 490;"}))
    assert out["outputs"]["rows"] == 12
    (steps.cwd / "more.sql").write_text("BEGIN;\nINSERT INTO metrics VALUES (3);\nCOMMIT;\n")
    assert ok(steps.do("f", "sql", {"db": "sessions", "file": "more.sql"}))["outputs"]["rows"] == 1


def test_a_script_that_fails_has_changed_nothing(steps, db):  # noqa: F811
    before = rows(db)
    message = failed(steps.do("e", "sql", {"db": "sessions", "exec": "DELETE FROM sessions; INSERT INTO gone VALUES (1)"}))
    assert "gone" in message
    assert rows(db) == before
    failed(steps.do("q", "sql", {"db": "sessions", "query": "DELETE FROM sessions"}))
    assert rows(db) == before
    assert "nix" in failed(steps.do("n", "sql", {"db": "nix", "query": "SELECT 1"}))


def test_a_database_that_stays_locked_is_told(steps, db):  # noqa: F811
    with contextlib.closing(sqlite3.connect(db, isolation_level=None)) as c:
        c.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        assert "locked" in failed(steps.do("e", "sql", {"db": "sessions", "exec": "DELETE FROM metrics"}))
        assert time.monotonic() - started > 8


# ---- backup ----


def test_a_backup_has_everything_and_says_what(steps, db):  # noqa: F811
    source = tree(steps.cwd / "conf")
    args = {"db": "sessions", "files": ["conf", "*.txt"], "to": "backups", "prove": "restore"}
    (steps.cwd / "one.txt").write_text("1")
    result = ok(steps.do("backup", "backup", args))
    path = result["outputs"]["path"]
    assert path == str(steps.cwd / "backups/test-plan-backup-20260131-123456")
    about = manifest(result)
    assert about["id"] == result["outputs"]["id"] == os.path.basename(path)
    assert about["job"] == 42 and about["step"] == "backup"
    assert about["size"] == result["outputs"]["size"] == sum(p["size"] for p in about["parts"])
    whole = open(os.path.join(path, "backup.json"), "rb").read()
    assert result["outputs"]["sha256"] == hashlib.sha256(whole).hexdigest()
    parts = {p["name"]: p for p in about["parts"]}
    assert parts["sessions"]["counts"] == {"sessions": 500, "metrics": 0}
    assert parts["sessions"]["source"] == str(db)
    assert rows(os.path.join(path, parts["sessions"]["path"])) == rows(db)
    # The archive is one that tar itself reads, with owners, links and modes.
    listing = subprocess.run(
        ["tar", "--zstd", "--numeric-owner", "-tvf", os.path.join(path, "files.tar.zst")],
        capture_output=True, text=True, check=True,
    ).stdout
    assert "one.txt" in listing and "sub/link -> ../a.txt" in listing
    if os.geteuid() == 0:
        assert "1234/2345" in listing
    assert sorted(os.listdir(steps.cwd / "backups")) == [os.path.basename(path)]
    assert oct(os.stat(path).st_mode & 0o777) == "0o700"
    assert source.exists()


def test_a_backup_of_a_live_database_is_consistent(steps, db):  # noqa: F811
    for mode in ("wal", "delete"):
        with contextlib.closing(sqlite3.connect(db)) as c:
            c.execute(f"PRAGMA journal_mode={mode}")
            c.execute("DROP TABLE IF EXISTS pairs")
            c.execute("CREATE TABLE pairs (a INTEGER, b INTEGER, pad TEXT)")
            c.executemany("INSERT INTO pairs VALUES (?, ?, ?)", [(n, n, "x" * 500) for n in range(20000)])
            c.commit()
        # Each transaction keeps every pair equal; a torn copy would show unequal ones.
        writer = subprocess.Popen(
            [sys.executable, "-c",
             "import sqlite3, sys, time\n"
             "c = sqlite3.connect(sys.argv[1], timeout=30)\n"
             "n = 0\n"
             "while True:\n"
             "    n += 1\n"
             "    c.execute('UPDATE pairs SET a = ? WHERE rowid % 7 = ?', (n, n % 7))\n"
             "    c.execute('UPDATE pairs SET b = ? WHERE rowid % 7 = ?', (n, n % 7))\n"
             "    c.execute('INSERT INTO pairs VALUES (?, ?, ?)', (-n, -n, 'new'))\n"
             "    c.commit()\n"
             "    print(n, flush=True)\n"
             "    time.sleep(0.005)\n",
             str(db)],
            stdout=subprocess.PIPE, text=True,
        )
        try:
            writer.stdout.readline()
            result = ok(steps.do(f"b-{mode}", "backup", {"db": "sessions"}))
            first = int(writer.stdout.readline())
            assert writer.poll() is None and first > 0
        finally:
            writer.kill()
            writer.wait()
            writer.stdout.close()
        about = manifest(result)
        copy = os.path.join(result["outputs"]["path"], about["parts"][0]["path"])
        with contextlib.closing(sqlite3.connect(f"file:{copy}?immutable=1", uri=True)) as c:
            assert c.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert c.execute("SELECT count(*) FROM pairs WHERE a != b").fetchone() == (0,)
            assert c.execute("SELECT count(*) FROM pairs").fetchone()[0] >= 20000
        with contextlib.closing(sqlite3.connect(db)) as c:
            assert c.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_keep_removes_older_sets_of_the_same_step_and_no_others(steps, db):  # noqa: F811
    args = {"db": "sessions", "to": "backups", "keep": 2}
    names = []
    for n in range(4):
        steps.job = 100 + n
        steps.scope["job"]["stamp"] = f"2026010{n}-000000"
        if n == 1:
            ok(steps.do("other", "backup", {"db": "sessions", "to": "backups"}))
        names.append(ok(steps.do("backup", "backup", args))["outputs"]["id"])
        time.sleep(0.01)
    left = sorted(os.listdir(steps.cwd / "backups"))
    assert left == sorted([names[2], names[3], "test-plan-other-20260101-000000"])
    # A job's own sets are pinned, however few are to be kept.
    for _ in range(3):
        ok(steps.do("backup", "backup", {**args, "keep": 1}))
    mine = [n for n in os.listdir(steps.cwd / "backups") if n.startswith("test-plan-backup-")]
    assert len(mine) == 4 and names[2] not in mine


def test_what_a_program_makes_is_kept_and_restored_by_its_program(steps):  # noqa: F811
    (steps.cwd / "data").write_text("precious\n")
    printed = ok(steps.do("p", "backup", {
        "run": ["cat", "data"], "stdout": "dump.txt", "restore": ["sh", "-c", "cat >data"]}))
    filled = ok(steps.do("d", "backup", {
        "run": ["sh", "-c", 'mkdir -p dump && cp data "$UPDD_BACKUP_DIR/x"'], "dir": "dump",
        "restore": ["sh", "-c", 'cp "$UPDD_BACKUP_DIR/x" data']}))
    for step in ("p", "d"):
        (steps.cwd / "data").write_text("lost\n")
        shutil.rmtree(steps.cwd / "dump", ignore_errors=True)
        ok(steps.do("r-" + step, "restore", {"from": step}))
        assert (steps.cwd / "data").read_text() == "precious\n"
    assert os.path.exists(os.path.join(printed["outputs"]["path"], "dump.txt"))
    assert manifest(filled)["parts"][0]["kind"] == "dir"
    message = failed(steps.do("f", "backup", {"run": ["sh", "-c", "echo half; exit 3"], "stdout": "x"}))
    assert "exit code 3" in message


def test_a_backup_that_fails_leaves_nothing_behind(steps, db):  # noqa: F811
    assert "gone" in failed(steps.do("b", "backup", {"db": "sessions", "files": ["gone"], "to": "backups"}))
    assert os.listdir(steps.cwd / "backups") == []
    os.truncate(db, 6000)
    failed(steps.do("c", "backup", {"db": "sessions", "to": "backups"}))
    assert os.listdir(steps.cwd / "backups") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a small file system of its own")
def test_a_full_disk_is_told_and_the_partial_backup_removed(steps, db):  # noqa: F811
    small = steps.tmp / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)]).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (steps.cwd / "big").write_bytes(os.urandom(3 << 20))
        result = steps.do("b", "backup", {"files": ["big"], "to": str(small)})
        assert "No space left" in failed(result)
        assert result["error"]["type"] == "disk-full" and "space" in result["error"]["hint"]
        run_sql(db, "CREATE TABLE big AS SELECT randomblob(3000000) AS b")
        result = steps.do("c", "backup", {"db": "sessions", "to": str(small)})
        failed(result)
        assert result["error"]["type"] == "disk-full", result["error"]
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_killed_backup_leaves_no_set_and_the_rerun_makes_one(steps, db):  # noqa: F811
    (steps.cwd / "big").write_bytes(os.urandom(1 << 20) * 200)
    running = steps.do("b", "backup", {"files": ["big"], "to": "backups"}, wait=False)
    running.until(lambda: list((steps.cwd / "backups").glob(".*partial/files.tar.zst")))
    running.kill()
    time.sleep(0.3)
    assert not [n for n in os.listdir(steps.cwd / "backups") if not n.startswith(".")]
    ok(steps.do("b", "backup", {"db": "sessions", "to": "backups"}))
    assert os.listdir(steps.cwd / "backups") == ["test-plan-b-20260131-123456"]


# ---- restore ----


def test_a_database_comes_back_with_every_row(steps, db):  # noqa: F811
    before = rows(db)
    ok(steps.do("backup", "backup", {"db": "sessions"}))
    run_sql(db, "DELETE FROM sessions WHERE id % 2", "ALTER TABLE sessions ADD COLUMN model TEXT", "DROP TABLE metrics")
    result = ok(steps.do("r", "restore", {"from": "backup"}))
    assert result["outputs"]["counts"] == {"sessions": 500, "metrics": 0}
    assert rows(db) == before
    assert oct(db.stat().st_mode & 0o777) == "0o640"
    ok(steps.do("r", "restore", {"from": "backup"}))
    assert rows(db) == before
    # A write-ahead log of the lost version must not be played into the restored file.
    with contextlib.closing(sqlite3.connect(db)) as c:
        c.execute("PRAGMA journal_mode=WAL")
        c.execute("PRAGMA wal_autocheckpoint=0")
        c.execute("DELETE FROM sessions")
        c.commit()
        shutil.copy(f"{db}-wal", steps.tmp / "wal")
        shutil.copy(db, steps.tmp / "main")
    shutil.copy(steps.tmp / "main", db)
    shutil.copy(steps.tmp / "wal", f"{db}-wal")
    ok(steps.do("r", "restore", {"from": "backup"}))
    assert rows(db) == before


def test_a_database_that_is_missing_or_damaged_comes_back(steps, db):  # noqa: F811
    before = rows(db)
    ok(steps.do("backup", "backup", {"db": "sessions"}))
    db.write_bytes(b"this is no database at all" * 100)
    ok(steps.do("r", "restore", {"from": "backup"}))
    assert rows(db) == before
    db.unlink()
    ok(steps.do("r", "restore", {"from": "backup"}))
    assert rows(db) == before
    assert oct(db.stat().st_mode & 0o777) == "0o640"


def test_restoring_is_refused_while_somebody_is_connected(steps, db):  # noqa: F811
    ok(steps.do("backup", "backup", {"db": "sessions"}))
    run_sql(db, "DELETE FROM sessions")
    user = subprocess.Popen(
        [sys.executable, "-c",
         "import sqlite3, sys, time\n"
         "c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM metrics').fetchall()\n"
         "print('connected', flush=True); time.sleep(60)", str(db)],
        stdout=subprocess.PIPE, text=True,
    )
    try:
        assert user.stdout.readline()
        message = failed(steps.do("r", "restore", {"from": "backup"}))
        assert f"pid {user.pid}" in message and "python" in message
        assert rows(db) == []
    finally:
        user.kill()
        user.wait()
        user.stdout.close()
    ok(steps.do("r", "restore", {"from": "backup"}))
    assert len(rows(db)) == 500


def test_files_come_back_exactly_and_new_ones_stay(steps):  # noqa: F811
    tree(steps.cwd / "conf")
    (steps.cwd / "compose.yml").write_text("v: 1\n")
    before = state(steps.cwd)
    ok(steps.do("backup", "backup", {"files": ["conf", "compose.yml"]}))
    (steps.cwd / "compose.yml").write_text("v: 2\n")
    shutil.rmtree(steps.cwd / "conf/sub")
    (steps.cwd / "conf/sub").symlink_to("/tmp")
    (steps.cwd / "conf/a.txt").unlink()
    (steps.cwd / "conf/a.txt").mkdir()
    (steps.cwd / "conf/a.txt/x").write_text("in the way")
    (steps.cwd / "conf/dangling").unlink()
    (steps.cwd / "conf/dangling").symlink_to("elsewhere")
    (steps.cwd / "conf/new.yml").write_text("of version 2")
    result = ok(steps.do("r", "restore", {"from": "backup"}))
    assert (steps.cwd / "conf/new.yml").read_text() == "of version 2"
    assert "conf/new.yml" in result["log"]
    (steps.cwd / "conf/new.yml").unlink()
    assert state(steps.cwd) == before
    ok(steps.do("r", "restore", {"from": "backup"}))
    assert state(steps.cwd) == before


def test_files_never_come_back_through_a_symlink(steps):  # noqa: F811
    (steps.cwd / "a/b").mkdir(parents=True)
    (steps.cwd / "a/b/f").write_text("1")
    ok(steps.do("backup", "backup", {"files": ["a/b/f"]}))
    (steps.tmp / "other").mkdir()
    shutil.rmtree(steps.cwd / "a/b")
    (steps.cwd / "a/b").symlink_to(steps.tmp / "other")
    failed(steps.do("r", "restore", {"from": "backup"}))
    assert os.listdir(steps.tmp / "other") == []


def test_a_damaged_backup_is_found_out_before_anything_is_touched(steps, db):  # noqa: F811
    tree(steps.cwd / "conf")
    result = ok(steps.do("backup", "backup", {"db": "sessions", "files": ["conf"]}))
    run_sql(db, "DELETE FROM sessions")
    before = state(steps.cwd)
    path = os.path.join(result["outputs"]["path"], "files.tar.zst")
    data = bytearray(open(path, "rb").read())
    data[len(data) // 2] ^= 1
    open(path, "wb").write(data)
    assert "SHA-256" in failed(steps.do("r", "restore", {"from": "backup"}))
    assert state(steps.cwd) == before
    # The other part is whole.
    ok(steps.do("r2", "restore", {"from": "backup", "parts": ["sessions"]}))
    assert len(rows(db)) == 500


def test_parts_and_places_are_as_asked(steps, db):  # noqa: F811
    tree(steps.cwd / "conf")
    conf = state(steps.cwd / "conf")
    ok(steps.do("backup", "backup", {"db": "sessions", "files": ["conf"]}))
    run_sql(db, "DELETE FROM sessions")
    args = {"from": "backup", "to": {"sessions": "copy.db", "files": "aside"}}
    ok(steps.do("r", "restore", args))
    assert rows(db) == [] and len(rows(steps.cwd / "copy.db")) == 500
    assert state(str(steps.cwd / "aside") + str(steps.cwd / "conf")) == conf
    assert "nix" in failed(steps.do("n", "restore", {"from": "backup", "parts": ["nix"]}))
    assert "nix" in failed(steps.do("o", "restore", {"from": "backup", "to": {"nix": "x"}}))


def test_a_backup_is_found_by_step_id_and_path(steps, db):  # noqa: F811
    outputs = ok(steps.do("backup", "backup", {"db": "sessions"}))["outputs"]
    for name in ("backup", outputs["id"], outputs["path"]):
        run_sql(db, "DELETE FROM sessions")
        ok(steps.do("r", "restore", {"from": name}))
        assert len(rows(db)) == 500
    assert "no backup" in failed(steps.do("n", "restore", {"from": "no-such-thing"}))


# ---- reading other people's backups through ----


def look(steps, path):  # noqa: F811
    return steps.check("backup", {"newest": str(path)})


def test_foreign_backups_are_read_through(steps, db):  # noqa: F811
    tree(steps.cwd / "conf")
    for mode in ("gz", "xz", "bz2", ""):
        with tarfile.open(steps.cwd / f"b.tar.{mode}", f"w:{mode}") as t:
            t.add(steps.cwd / "conf", "conf")
        ok(look(steps, f"b.tar.{mode}"))
    subprocess.run(["gzip", "-k", str(steps.cwd / "conf/sub/b.bin")], check=True)
    good = steps.cwd / "conf/sub/b.bin.gz"
    ok(look(steps, good))
    whole = good.read_bytes()
    for broken in (whole[:-20], whole[:1000] + bytes([whole[1000] ^ 255]) + whole[1001:], b""):
        good.write_bytes(broken)
        failed(look(steps, good))
    gz = steps.cwd / "b.tar.gz"
    gz.write_bytes(gz.read_bytes()[:-30])
    failed(look(steps, gz))
    run_sql(db, "PRAGMA journal_mode=DELETE")
    ok(look(steps, db))
    os.truncate(db, 8192)
    failed(look(steps, db))
    (steps.cwd / "plain.txt").write_text("not a backup")
    assert "no format" in failed(look(steps, "plain.txt"))


# ---- collect ----


def test_collect_gathers_what_is_there_and_notes_what_is_not(steps):  # noqa: F811
    (steps.cwd / "app.log").write_bytes(b"started\npassword=hunter2-secret\n\xff\xfe\n")
    (steps.cwd / "conf").mkdir()
    result = ok(steps.do(
        "c", "collect", {"files": ["*.log", "gone.log", "conf"], "services": ["nix"], "to": "out/incident.log"},
        secrets={"pw": "hunter2-secret"},
    ))
    path = steps.cwd / "out/incident.log"
    assert result["outputs"]["path"] == str(path)
    text = path.read_text(errors="replace")
    assert "started" in text and "hunter2-secret" not in text and "********" in text
    assert "gone.log" in text and "not found" in text
    assert "service nix" in text
    ok(steps.do("c", "collect", {"files": ["*.log"], "to": "out/incident.log"}))
