# SPDX-License-Identifier: MIT
"""plans/sesame-v2.yaml (rows S1-S9) on a real Docker engine, there and back again."""
import contextlib
import hashlib
import os
import pathlib
import threading
import time

import pytest

import sesame

TOKEN = "sesame-admin-8f3a61c0d94e27b5"
PHRASE = "a-phrase-that-nobody-may-read-77"
ITEMS = ["The interface opens and a person can log in", "The workflows run",
         "The lifecycles of the identities are at O"]


@pytest.fixture
def installed(tmp_path, docker_host):
    """Makes a healthy Sesame Alpha; whatever is left of it is removed afterwards."""
    with contextlib.ExitStack() as stack:
        def install(**more):
            app = sesame.Sesame(tmp_path, docker_host, TOKEN, **more)
            stack.callback(app.remove)
            return app.install()
        yield install


class ArgvWatch(threading.Thread):
    """Reads every process's command line over and over, looking for what must never be in one."""

    def __init__(self, *secrets):
        super().__init__(daemon=True)
        self.secrets = [s.encode() for s in secrets]
        self.seen, self.looks, self.ending = set(), 0, threading.Event()

    def run(self):
        while not self.ending.is_set():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    argv = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                except OSError:
                    continue
                if any(s in argv for s in self.secrets):
                    self.seen.add(argv)
            self.looks += 1
            time.sleep(0.02)

    def end(self):
        self.ending.set()
        self.join()
        return self.seen


def answer_the_script(updd, job):
    """The upgrade script's four prompts, each as the question of the job that it becomes."""
    for k, (part, echo, text) in enumerate([
            ("Have all services been stopped?", True, "y"),
            ("Host name", True, "sesame.example.org"),
            ("Passphrase", False, PHRASE),
            ("Rewrite docker-compose.yml for sesame.example.org?", True, "y")], 1):
        wait = updd.wait_open(job, "question", "upgrade", k=k, timeout=60)
        assert part in wait["prompt"], wait
        assert wait.get("echo", True) is echo, wait
        updd.post(job, "answer", wait=wait["id"], text=text)


def confirm_business(updd, job):
    wait = updd.wait_open(job, "gate", "business", timeout=90)
    assert [i["text"] for i in wait["items"]] == ITEMS
    assert any("2 identities set to O" in t
               for s in wait["show"] for t in s["tail"]), wait["show"]
    updd.post(job, "confirm", wait=wait["id"], ticks=ITEMS)


def kept_images(updd, job):
    """What the engine was asked to keep until the way back is closed."""
    return list((updd.state / "jobs" / str(job) / ".held").glob("image-*"))


def is_back(app, databases):
    """Row S9: version 1's file byte for byte, its containers healthy, the database never touched."""
    assert (app.root / "docker-compose.yml").read_bytes() == app.v1_text
    assert not (app.root / "docker-compose.yml.v1.backup").exists()
    assert not (app.root / "configs/sesame-v2.env").exists()
    app.until_healthy(*sesame.V1)
    found = app.containers()
    assert set(found) == set(sesame.DATABASES) | set(sesame.V1), set(found)
    assert {c["version"] for c in found.values()} == {"1"}
    assert {found[n]["restart"] for n in sesame.V1} == {"unless-stopped"}
    assert app.databases() == databases


def test_the_upgrade_succeeds_with_both_gates_confirmed_and_its_token_stays_secret(updd, installed):
    app = installed()
    databases = app.databases()
    watch = ArgvWatch(TOKEN, PHRASE)
    watch.start()
    given = [f"-i{k}={v}" for k, v in app.inputs().items()]
    started = updd.ctl("start", "sesame-v2", "--detach", "--yes", "--json", *given,
                       env={"SESAME_API_TOKEN": TOKEN}, check=0)
    job = updd.api("GET", "/v1/jobs?limit=1")["jobs"][0]["id"]
    assert TOKEN not in started.stdout + started.stderr

    answer_the_script(updd, job)
    confirm_business(updd, job)
    # The answer to the first gate can never pass the second.
    last = updd.wait_open(job, "gate", "validate")
    assert (app.root / "docker-compose.yml.v1.backup").read_bytes() == app.v1_text
    updd.post(job, "confirm", wait=last["id"], reason="validated by the test")
    now = updd.wait_for(job, "succeeded")
    assert watch.end() == set() and watch.looks > 10

    assert app.healthy() == set(sesame.V2) | set(sesame.DATABASES)
    assert app.containers()["sesame-orchestrator"]["version"] == "2"
    assert app.databases() == databases
    assert set(app.api.lifecycles.values()) == {"O"}
    assert app.api.calls.index(("GET", "identities")) < app.api.calls.index(("PATCH", "ada"))
    assert now["way_back"]["open"] is True
    # The script had the token, and the answers; nothing that updd wrote or said has them.
    assert (app.root / "seen-token.sha256").read_text() == hashlib.sha256(TOKEN.encode()).hexdigest()
    assert hashlib.sha256(PHRASE.encode()).hexdigest() in (
        app.root / "configs/sesame-v2.env").read_text()
    assert "calling" in updd.log(job, "cleanup")
    for step in ("upgrade", "rehearse", "cleanup"):
        updd.log(job, step)
    updd.events(job)
    for verb in (["status", job], ["events", job], ["log", job, "cleanup"]):
        said = updd.ctl(*verb)
        assert TOKEN not in said.stdout + said.stderr and PHRASE not in said.stdout + said.stderr
    assert updd.leaks(PHRASE) == []
    # The job may be rolled back for a day yet, so it keeps the token until then, in one place.
    assert {pathlib.Path(p).parent.name for p in updd.leaks(TOKEN)} <= {"secrets"}
    scripts = app.root / "scripts"
    assert (scripts / "sesame-upgrade-to-v2.py").stat().st_mode & 0o777 == 0o755

    assert kept_images(updd, job)
    updd.post(job, "finalise")
    updd.until(lambda: not updd.job(job)["way_back"]["open"] and
               updd.step(job, "v1-compose")["state"] == "done", 20, lambda: updd.tell(job))
    assert not (app.root / "docker-compose.yml.v1.backup").exists()
    assert (scripts / "sesame-upgrade-to-v2.py").exists() and \
        updd.step(job, "scripts")["state"] == "skipped"
    updd.until(lambda: updd.leaks(TOKEN) == [], 20, "the token outlives the way back")
    assert kept_images(updd, job) == []
    updd.invariants(job)


def test_an_unhealthy_version_2_goes_back_by_itself(updd, installed):
    app = installed(broken=["sesame-app"])
    token_file = app.root / "configs/sesame-taiga-crawler/.env"
    token_file.write_text(f"SESAME_API_TOKEN={TOKEN}\n")
    databases = app.databases()
    job = updd.begin("sesame-v2", app.inputs())
    answer_the_script(updd, job)
    now = updd.wait_for(job, "rolled_back", timeout=120)
    is_back(app, databases)
    assert now["failure"]["step"] == "start"
    said = "\n".join(line for lines in now["failure"]["services"].values() for line in lines)
    assert "sesame-app cannot reach its settings" in said, now["failure"]
    assert updd.states(job)["cleanup"] == "pending"
    assert app.api.lifecycles["ada"] == "I"
    # The user keeps it in a file below configs/, whose former state `before` remembers byte for
    # byte; besides that it is nowhere.
    assert [p for p in updd.leaks(TOKEN) if "/before/kept/" not in p] == []
    updd.invariants(job)
    told = updd.ctl("status", job)
    assert "start" in told.stdout and "sesame-app" in told.stdout


def test_a_person_rolls_back_at_the_last_gate(updd, installed):
    app = installed()
    databases = app.databases()
    job = updd.begin("sesame-v2", app.inputs(), secrets={"token": TOKEN})
    answer_the_script(updd, job)
    confirm_business(updd, job)
    updd.wait_open(job, "gate", "validate")
    assert app.healthy() == set(sesame.V2) | set(sesame.DATABASES)
    updd.ctl("rollback", job, "--strategy", "full", "--yes", "--reason", "a workflow fails")
    updd.wait_for(job, "rolled_back", timeout=120)
    is_back(app, databases)
    updd.until(lambda: updd.leaks(TOKEN) == [], 20, "the token outlives the job")
    assert updd.leaks(PHRASE) == []
    updd.invariants(job)


def test_a_missed_deadline_of_the_last_gate_goes_back(updd, installed):
    app = installed()
    databases = app.databases()
    job = updd.begin("sesame-v2", app.inputs(validate_within="2s"), secrets={"token": TOKEN})
    answer_the_script(updd, job)
    confirm_business(updd, job)
    now = updd.wait_for(job, "rolled_back", timeout=120)
    assert [e for e in updd.events(job) if e["type"] == "deadline_missed"]
    assert "deadline" in now["decided"] or "validate" in now["decided"], now["decided"]
    is_back(app, databases)
    updd.invariants(job)


def test_a_missing_token_is_waited_for_before_anything_is_touched(updd, installed):
    app = installed()
    before = app.containers()
    job = updd.begin("sesame-v2", app.inputs())
    wait = updd.wait_open(job, "missing-secret")
    assert wait["secrets"] == ["token"]
    assert app.containers() == before
    updd.post(job, "cancel", reason="no token today")
    updd.wait_for(job, "cancelled")
    assert app.containers() == before
    updd.invariants(job)


def test_all_checks_that_fail_are_told_together_and_nothing_is_touched(updd, installed):
    app = installed()
    before = app.containers()
    for p in app.backups.iterdir():
        os.utime(p, (time.time() - 3 * 86400,) * 2)
    (app.root / "certificates/sesame.pem").unlink()
    (app.root / "certificates").rmdir()
    job = updd.begin("sesame-v2", app.inputs(), secrets={"token": TOKEN})
    now = updd.wait_for(job, "failed")
    bad = {c["name"] for s in now["steps"] for c in s.get("checks") or []
           if not c["ok"] and not c.get("warn")}
    assert {"backup of the database", "backup of the applications' volumes"} <= bad
    assert len(bad) == 3, bad
    assert app.containers() == before
    # The age may be overridden by name, and that is recorded; the missing folder may not.
    (app.root / "certificates").mkdir()
    job = updd.begin("sesame-v2", app.inputs(), secrets={"token": TOKEN}, overrides=["old-backup"],
                     dry_run=True)
    updd.wait_for(job, "succeeded", timeout=60)
    assert [e for e in updd.events(job) if e["type"] == "override"]
    assert app.containers() == before and not (app.root / "scripts").exists()
    updd.invariants(job)
