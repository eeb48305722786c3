# SPDX-License-Identifier: MIT
"""
State folders as older versions of updd left them, one for each schema of the database, in
fixtures/: `schema-N.sql` is the database as text, `schema-N.json` the files around it. Each holds a
job in every situation that a newer updd has to take over; JOBS says which.

    put(daemon, tiny, 1)      makes that state folder for a daemon that has not been started
    old_state.py 1            makes the fixture anew, with the programs of $UPDD_BUILD; a fixture is
                              made once, with the last version of its schema, and never again
"""
import hashlib
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"
PLACES = ("@STATE@", "@TINY@")
KEY = "a-key-of-old"
TWO_YEARS_MS = 2 * 365 * 24 * 3600 * 1000

# What each job of a fixture is, and how it ends in a newer updd; None: it waits for a person.
JOBS = {
    "history": "succeeded",   # ended, finalised, not in memory
    "undone": "rolled_back",  # ended
    "ended": "succeeded",     # a step has written its result, and no daemon has read it
    "rerun": "succeeded",     # a step was killed; on_crash: rerun
    "back": "rolled_back",    # a step was killed; on_crash: undo
    "gate": None,             # a gate waits
    "held": None,             # a failure is held
    "stuck": None,            # an undo failed
    "keyed": "succeeded",     # a dry run, asked for with KEY
    "open": None,             # succeeded, and its way back is open for a hundred years
}


def put(daemon, tiny, version):
    """Makes the state folder of that version for `daemon`, and the world of its steps."""
    def placed(text):
        for name, path in zip(PLACES, (daemon.state, tiny.folder)):
            text = text.replace(name, str(path))
        return text
    sql = placed((FIXTURES / f"schema-{version}.sql").read_text())
    daemon.state.mkdir(mode=0o700)
    with sqlite3.connect(daemon.state / "updd.db") as db:
        db.executescript(sql)
        rename_documents(db)
        # Keys are forgotten by their age; these are of today.
        db.execute("UPDATE request SET time = ?", (int(time.time() * 1000),))
        db.commit()
        assert db.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    db.close()
    files = json.loads((FIXTURES / f"schema-{version}.json").read_text())
    for top, folder in (("state", daemon.state), ("tiny", tiny.folder)):
        for name, text in files[top].items():
            path = folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(placed(text))
            path.chmod(0o600)
    return number_of(daemon.state)


def rename_documents(db):
    """Documents are known by their hash, which the places in them have changed."""
    for old, text in db.execute("SELECT sha256, text FROM document").fetchall():
        new = hashlib.sha256(text.encode()).hexdigest()
        db.execute("UPDATE document SET sha256 = ? WHERE sha256 = ?", (new, old))
        db.execute("UPDATE job SET sha256 = ? WHERE sha256 = ?", (new, old))
        db.execute("UPDATE event SET data = replace(data, ?, ?)", (old, new))


def number_of(state):
    """Each job's number, by its name in JOBS."""
    with sqlite3.connect(f"file:{state}/updd.db?mode=ro", uri=True) as db:
        found = dict(db.execute("SELECT plan, id FROM job"))
    db.close()
    return found


# ---- making one -------------------------------------------------------------------------------


def begin_all(updd, tiny):
    """Brings a job into each of the situations."""
    def run(name, *steps, **top):
        return updd.begin(tiny.plan(*steps, plan=name, **top))
    nap = "touch began-%s; while ! test -e go-%s; do sleep 0.05; done"
    job = run("history", tiny.act("h"), finalise=[{"id": "fin", **tiny.tell("do-fin")}])
    updd.wait_for(job, "succeeded")
    updd.post(job, "finalise")
    updd.until(lambda: "do-fin" in tiny.done(), 20, "never finalised")
    updd.wait_for(run("undone", tiny.act("u"), tiny.fail("v")), "rolled_back")
    job = run("open", {"id": "w", "write": {"to": "written", "text": "new\n"}}, tiny.act("o"),
              way_back="36500d")
    updd.wait_for(job, "succeeded")
    run("ended", tiny.act("e", nap % ("e", "e")), tiny.act("e2"))
    run("rerun", tiny.act("r", nap % ("r", "r"), on_crash="rerun"), tiny.act("r2"))
    run("back", tiny.act("b"), tiny.act("b2", nap % ("b", "b")))
    updd.wait_open(run("gate", tiny.act("g"), tiny.gate(items=["one"]), tiny.act("g2")), "gate")
    updd.wait_open(run("held", tiny.act("d"), tiny.act("d2", "test -e mended"),
                       on_failure={"default": "hold"}), "retry-or-skip")
    job = run("stuck", tiny.act("s", undo_then="test -e mended"), tiny.fail("s2"))
    updd.until(lambda: updd.job(job)["state"] == "stuck", 20, "never stuck")
    updd.api("POST", "/v1/tokens", {"name": "board", "role": "view"})
    updd.api("POST", "/v1/jobs", {"document": json.dumps(tiny.plan(tiny.act("k"), plan="keyed")),
                                  "inputs": {}, "dry_run": True}, key=KEY)
    for name in ("e", "r", "b"):
        updd.until(lambda name=name: tiny.exists(f"began-{name}"), 20, "never began")


def end_all(updd, tiny):
    """The daemon dies first; then two steps die and one ends."""
    updd.kill9()
    for job, step in (("rerun", "r"), ("back", "b2")):
        folder = updd.state / "jobs" / str(number_of(updd.state)[job]) / step / "1"
        os.kill(json.loads((folder / "claim").read_text())["pid"], signal.SIGKILL)
    tiny.touch("go-e")
    result = updd.state / "jobs" / str(number_of(updd.state)["ended"]) / "e/1/result.json"
    updd.until(result.exists, 20, "never ended")
    updd.until(lambda: not [p for p in updd.attempt_processes()
                            if "updd-step" in pathlib.Path(f"/proc/{p}/comm").read_text()],
               20, "updd-step goes on")
    for name in ("go-e", "began-e", "began-r", "began-b"):
        (tiny.folder / name).unlink()


def make(version):
    from daemon import Daemon
    from tiny import Tiny
    home = pathlib.Path(tempfile.mkdtemp(prefix="updd-old-"))
    updd, tiny = Daemon(home / "updd"), Tiny(home / "tiny")
    try:
        updd.start()
        tiny.folder.joinpath("written").write_text("old\n")
        begin_all(updd, tiny)
        end_all(updd, tiny)
    finally:
        updd.close()

    def places(text):
        text = text.replace(str(updd.state), PLACES[0]).replace(str(tiny.folder), PLACES[1])
        # Two years ago: whoever loads it may have a clock that is behind this one's.
        return re.sub(r"\b1[78]\d{11}\b", lambda m: str(int(m[0]) - TWO_YEARS_MS), text)

    def texts(folder, but=()):
        return {str(p.relative_to(folder)): places(p.read_text())
                for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in but}
    with sqlite3.connect(updd.state / "updd.db") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,), "another schema"
        number = db.execute("PRAGMA application_id").fetchone()[0]
        sql = [f"PRAGMA user_version = {version};", f"PRAGMA application_id = {number};",
               *db.iterdump()]
    db.close()
    (FIXTURES / f"schema-{version}.sql").write_text(places("\n".join(sql)) + "\n")
    files = {"state": texts(updd.state, ("updd.db", "updd.db-wal", "lock", "result.tmp")),
             "tiny": texts(tiny.folder)}
    (FIXTURES / f"schema-{version}.json").write_text(json.dumps(files, indent=1) + "\n")
    subprocess.run(["rm", "-r", str(home)], check=True)


if __name__ == "__main__":
    make(int(sys.argv[1]))
