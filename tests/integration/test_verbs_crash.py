# SPDX-License-Identifier: MIT
"""Verbs that are killed at any moment: afterwards both ways are open, on and back."""

import json
import os
import random
import shutil
import signal
import sqlite3
import time

import pytest

from test_verbs_git import CONFIG, commit, git, tree_state
from verbtool import ok, state, steps, tree  # noqa: F401

KILLS = int(os.environ.get("UPDD_TEST_KILLS", "6"))


def kill_somewhere(running, delay):
    """Kills the supervisor `delay` seconds after its claim, and what is left as the daemon does."""
    running.until(lambda: (running.dir / "claim").exists() or running.process.poll() is not None)
    time.sleep(delay)
    running.kill()
    attempt = json.loads((running.dir / "task.json").read_text())["id"]
    quiet, end = 0, time.monotonic() + 10
    while quiet < 3:
        alive = processes_of(running.dir, attempt)
        quiet = 0 if alive else quiet + 1
        assert time.monotonic() < end, alive
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def processes_of(folder, attempt):
    """The pids that belong to an attempt: by its id in their environment, or its folder as argument."""
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                mine = f"UPDD_ATTEMPT={attempt}".encode() in f.read()
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                mine = mine or str(folder).encode() in f.read()
        except OSError:
            continue
        if mine and int(pid) != os.getpid():
            pids.append(int(pid))
    return pids


def scene_write(steps):  # noqa: F811
    tree(steps.cwd / "t")
    return "write", {"to": "t/a.txt", "text": "new\n" * 50000}, lambda: state(steps.cwd)


def scene_append(steps):  # noqa: F811
    (steps.cwd / "log").write_text("old\n" * 100000)
    return "append", {"to": "log", "text": "new\n"}, lambda: state(steps.cwd)


def scene_copy(steps):  # noqa: F811
    for n in range(60):
        tree(steps.cwd / f"from/{n}")
    return "copy", {"from": "from", "to": "a/b/c"}, lambda: state(steps.cwd)


def scene_remove(steps):  # noqa: F811
    for n in range(20):
        tree(steps.cwd / f"dir-{n}")
    return "remove", {"paths": ["dir-*"]}, lambda: state(steps.cwd)


def scene_snapshot(steps):  # noqa: F811
    for n in range(40):
        tree(steps.cwd / f"conf/{n}")
    return "snapshot", {"paths": ["conf", "absent"]}, lambda: state(steps.cwd)


def scene_switch(steps):  # noqa: F811
    (steps.cwd / "v1").mkdir()
    (steps.cwd / "v2").mkdir()
    (steps.cwd / "current").symlink_to("v1")
    args = {"path": "current", "to": "v2", "test": ["test", "-d", "current"], "reload": ["true"]}
    return "switch", args, lambda: state(steps.cwd)


def scene_fetch(steps):  # noqa: F811
    import tarfile

    tree(steps.tmp / "src")
    with tarfile.open(steps.tmp / "src.tar.xz", "w:xz") as t:
        t.add(steps.tmp / "src", "app")
    (steps.cwd / "code/app").mkdir(parents=True)
    (steps.cwd / "code/app/a.txt").write_text("older\n")
    url = f"file://{steps.tmp}/src.tar.xz"
    return "fetch", {"url": url, "to": "a.tar.xz", "unpack": "code"}, lambda: state(steps.cwd)


def scene_git(steps):  # noqa: F811
    app = steps.cwd / "app"
    app.mkdir()
    git(app, "init", "-q", "-b", "main")
    commit(app, {"main.py": "one\n", "config.toml": CONFIG}, "v1.0")
    commit(app, {f"src/{n}.py": f"{n}\n" for n in range(40)}, "v2.0")
    git(app, "reset", "-q", "--hard", "v1.0")
    (app / "config.toml").write_text(CONFIG.replace("line 7\n", "line seven\n"))
    args = {"dir": "app", "checkout": "v2.0", "dirty": "keep"}
    return "git", args, lambda: (tree_state(app), git(app, "status", "--porcelain"))


SCENES = [
    scene_write, scene_append, scene_copy, scene_remove, scene_snapshot, scene_switch, scene_fetch,
    scene_git,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda s: s.__name__[6:])
def test_a_verb_that_is_killed_can_be_undone_and_can_be_run_again(steps, scene):  # noqa: F811
    verb, args, look = scene(steps)
    before = look()
    started = time.monotonic()
    ok(steps.do("measure", verb, args))
    length = time.monotonic() - started
    after = look()
    ok(steps.undo("measure", verb, args))
    assert look() == before
    dice = random.Random(verb)
    for k in range(KILLS):
        step = f"k{k}"
        kill_somewhere(steps.do(step, verb, args, wait=False), dice.uniform(0, length))
        if k % 2:
            ok(steps.do(step, verb, args))
            assert without_times(look()) == without_times(after)
        # An undo that is killed too may be repeated.
        kill_somewhere(steps.undo(step, verb, args, wait=False), dice.uniform(0, length))
        ok(steps.undo(step, verb, args))
        assert look() == before, (verb, k)
        left = [p for p in steps.cwd.rglob(".*updd-*")]
        assert not left, left


def without_times(value):
    """When something was written differs from run to run."""
    if isinstance(value, tuple):
        return tuple(
            without_times(v) for i, v in enumerate(value)
            if not (i == 4 and isinstance(v, int) and v > 10**15)
        )
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items()}
    return value


def test_a_restore_that_is_killed_is_completed_by_its_rerun(steps):  # noqa: F811
    db = steps.cwd / "s.db"
    tree(steps.cwd / "conf")
    steps.context["databases"]["s"] = {"url": "sqlite:s.db"}

    def sql(statement):
        c = sqlite3.connect(db)
        try:
            got = c.execute(statement).fetchall()
            c.commit()
            return got
        finally:
            c.close()

    sql("PRAGMA journal_mode=WAL")
    sql("CREATE TABLE rows (id INTEGER PRIMARY KEY, pad TEXT)")
    sql("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000) "
        "INSERT INTO rows SELECT x, hex(randomblob(100)) FROM n")
    want, conf = sql("SELECT * FROM rows"), state(steps.cwd / "conf")
    ok(steps.do("backup", "backup", {"db": "s", "files": ["conf"]}))
    started = time.monotonic()
    ok(steps.do("r", "restore", {"from": "backup"}))
    length = time.monotonic() - started
    dice = random.Random(1)
    for k in range(KILLS):
        sql("DELETE FROM rows WHERE id % 3 = 0")
        shutil.rmtree(steps.cwd / "conf/sub")
        kill_somewhere(steps.do("r", "restore", {"from": "backup"}, wait=False),
                       dice.uniform(0, length))
        ok(steps.do("r", "restore", {"from": "backup"}))
        assert sql("SELECT * FROM rows") == want
        assert state(steps.cwd / "conf") == conf
