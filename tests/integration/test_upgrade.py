# SPDX-License-Identifier: MIT
"""
Upgrading updd itself while jobs run: its files are replaced as a package manager does it, and a new
updd takes over what the old one began. (Older and newer databases: test_migration.py.)

The new version is the built one with another number in it, so that each says which one it is.
"""
import json
import shutil
import signal
import subprocess
import time

import pytest

from daemon import BUILD, SLOW, Daemon

VERSION = subprocess.run([BUILD / "daemon/updd", "--version"], capture_output=True, text=True,
                         check=False).stdout.split()[-1:]
OLD = VERSION[0] if VERSION else "0.0.0"
NEW = OLD[:-1] + ("8" if OLD[-1] == "9" else "9")


class Installed(Daemon):
    """A daemon that runs from an installation of its own."""

    def __init__(self, home):
        super().__init__(home)
        self.prefix = self.home / "prefix"
        self.libexec = self.prefix / "libexec/updd"
        self.program, self.step_program = self.prefix / "bin/updd", None
        self.put(OLD, *self.files(OLD))

    def worker(self, version):
        return self.libexec / f"updd-step-worker-{version}"

    def files(self, version):
        return self.program, self.libexec / "updd-step", self.worker(version)

    def put(self, version, *files):
        """Each beside its place, then over it; what was there lives on in whoever runs it."""
        for file in files:
            kind = file.name.replace(version, OLD)
            built = BUILD / ("daemon" if kind == "updd" else "daemon/step") / kind
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_name(file.name + ".dpkg-new")
            fresh.write_bytes(built.read_bytes().replace(OLD.encode() + b"\0",
                                                         version.encode() + b"\0"))
            shutil.copymode(built, fresh)
            fresh.rename(file)

    def upgrade(self):
        self.put(NEW, *self.files(NEW))
        self.worker(OLD).unlink()
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True,
                              check=True).stdout
        assert said == f"updd {NEW}\n"

    def claim(self, job, step, n=1):
        file = self.state / "jobs" / str(job) / step / str(n) / "claim"
        self.until(file.exists, 20, lambda: self.tell(job))
        return json.loads(file.read_text())


@pytest.fixture
def updd(built, tmp_path):
    d = Installed(tmp_path / "updd")
    try:
        yield d.start()
    finally:
        d.close()


def until_file(name):
    return f"until test -e {name}; do sleep 0.05; done"


def full(path):
    """A step that needs the whole worker: updd-step itself has no `http`."""
    return {"id": "full", "wait": {"within": "1m", "every": "100ms", "until": [
        {"value": {"file": str(path), "json": "/up", "equals": True}}]}}


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_jobs_go_on_under_the_new_version(updd, tiny, tmp_path, end):
    up = tmp_path / "up.json"
    up.write_text('{"up": false}')
    step = updd.begin(tiny.plan(tiny.act("a", f"touch began; {until_file('go')}"),
                                tiny.act("next"), target="step"))
    worker = updd.begin(tiny.plan(full(up), target="worker"))
    gate = updd.begin(tiny.plan(tiny.act("g"), tiny.gate(within="1h"), target="gate"))
    asks = updd.begin(tiny.plan({"id": "q", "undo": "none", "run": {
        "argv": ["sh", "-c", "printf 'Name? '; read x; echo \"told $x\""], "answers": []}},
        target="asks"))
    undo = updd.begin(tiny.plan(tiny.act("u", undo_then=f"touch undoing; {until_file('go')}"),
                                tiny.fail("broken"), target="undo"))
    hook = updd.begin(tiny.plan(tiny.act("h"), tiny.gate(), target="hook", hooks={"started": [
        {"run": ["sh", "-c", f"touch hooked; {until_file('go')}; touch hook-done"]}]}))
    for name in ("began", "undoing", "hooked"):
        updd.until(lambda: tiny.exists(name), 20, lambda: f"no {name}: {updd.said()}")
    updd.wait_step(worker, "full", "running")
    waits = {job: updd.wait_open(job, kind)["id"]
             for job, kind in ((gate, "gate"), (asks, "question"), (hook, "gate"))}
    pid = updd.claim(step, "a")["pid"]

    updd.upgrade()
    updd.process.send_signal(end)
    updd.process.wait(20 * SLOW)
    updd.start()

    about = updd.api("GET", "/v1")
    assert (about["version"], about["run"]["before"]["version"]) == (NEW, OLD)
    assert f"updd {NEW} follows updd {OLD}" in updd.said()
    assert updd.step(step, "a")["state"] == "running" and updd.step(undo, "u")["state"] == "undoing"
    tiny.touch("go")
    up.write_text('{"up": true}')
    updd.post(gate, "confirm", wait=waits[gate])
    updd.post(hook, "confirm", wait=waits[hook])
    updd.post(asks, "answer", wait=waits[asks], text="Eve")
    for job in (step, worker, gate, asks, hook):
        updd.wait_for(job, "succeeded")
    updd.wait_for(undo, "rolled_back")
    updd.until(lambda: tiny.exists("hook-done"), 20, "the hook never ended")
    assert "told Eve" in updd.log(asks, "q")
    assert updd.claim(step, "a") == {**updd.claim(step, "a"), "pid": pid, "version": OLD}
    assert updd.claim(step, "next")["version"] == NEW
    done = tiny.done()
    assert sorted(done) == sorted(set(done)), f"something ran twice: {done}"
    for job in (step, worker, gate, asks, undo):
        updd.invariants(job)


def test_a_step_that_begins_between_two_renames_waits_for_its_other_half(updd, tiny, tmp_path):
    """The old updd starts the new updd-step; the worker of that one is not there yet."""
    up = tmp_path / "up.json"
    up.write_text('{"up": true}')
    updd.put(NEW, updd.libexec / "updd-step")
    job = updd.begin(tiny.plan(full(up)))
    updd.wait_step(job, "full", "running")
    time.sleep(0.5)
    assert not (updd.state / "jobs" / str(job) / "full/1/claim").exists(), "it began by halves"
    updd.put(NEW, updd.worker(NEW))
    updd.wait_for(job, "succeeded")
    assert updd.claim(job, "full")["version"] == NEW
    updd.invariants(job)


def test_a_worker_that_is_never_there_is_named_and_nothing_was_done(updd, tiny, tmp_path):
    updd.worker(OLD).unlink()
    job = updd.begin(tiny.plan(full(tmp_path / "up.json")))
    updd.wait_for(job, "rolled_back", timeout=40)
    assert updd.job(job)["failure"]["message"] == "updd-step could not be started"
    assert f"updd-step-worker {OLD} cannot be opened" in updd.said()
    updd.invariants(job)


# ---- what another version wrote ---------------------------------------------------------------------


def test_a_result_of_an_unknown_format_is_told_and_settled_as_an_interruption(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", f"touch began; {until_file('go')}", on_crash="ask")))
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    updd.kill9()
    tiny.touch("go")
    file = updd.state / "jobs" / str(job) / "a/1/result.json"
    updd.until(file.exists, 20, "the step never ended")
    result = json.loads(file.read_text())
    assert result["format"] == 1
    file.write_text(json.dumps({**result, "format": 2, "state": ["of", "another", "shape"]}))
    updd.start()
    wait = updd.wait_open(job, "retry-or-skip")["id"]
    assert updd.step(job, "a")["error"]["type"] == "unknown-format", updd.tell(job)
    updd.post(job, "skip", wait=wait, reason="it was done")
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a"]
    updd.invariants(job)


def test_a_task_of_an_unknown_format_is_refused_before_anything_is_done(updd, tmp_path):
    folder, attempt = tmp_path / "attempt", "0123456789abcdef" * 2
    folder.mkdir()
    (folder / "task.json").write_text(json.dumps({"format": 2, "id": attempt}))
    done = subprocess.run([updd.libexec / "updd-step", "--dir", folder, "--id", attempt],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)
    assert done.returncode != 0 and "format" in done.stderr, done
    assert [p.name for p in folder.iterdir()] == ["task.json"]


# ---- locks ------------------------------------------------------------------------------------------


def test_an_attempt_whose_lock_file_was_replaced_is_not_taken_for_dead(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", f"touch began; {until_file('go')}")))
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    updd.kill9()
    lock = updd.state / "jobs" / str(job) / "a/1/lock"
    lock.unlink()
    lock.touch()
    updd.start()
    time.sleep(0.5)
    assert updd.step(job, "a")["state"] == "running", updd.tell(job)
    tiny.touch("go")
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a"]
    updd.invariants(job)


def test_such_an_attempt_can_be_stopped(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "touch began; sleep 300")))
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    updd.kill9()
    (updd.state / "jobs" / str(job) / "a/1/lock").unlink()
    updd.start()
    updd.post(job, "cancel", reason="enough")
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "undo-a"]


def second(updd):
    argv = [updd.program, "--state-dir", updd.state, "--socket", updd.home / "second"]
    return subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.parametrize("lock, why", [("there", "Another updd has the state folder"),
                                       ("removed", "updd.db is in use by another process")])
def test_a_second_updd_refuses_and_the_first_goes_on(updd, tiny, lock, why):
    if lock == "removed":
        (updd.state / "lock").unlink()
    other = second(updd)
    _, said = other.communicate(timeout=30 * SLOW)
    assert other.returncode == 1, said
    assert why in said
    job = updd.begin(tiny.plan(tiny.act("a")))
    updd.wait_for(job, "succeeded")
    updd.invariants(job)


def test_a_second_updd_that_comes_while_the_first_ends_takes_over(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate()))
    wait = updd.wait_open(job, "gate")["id"]
    first = updd.process
    updd.launch()  # it waits a little for the first to end
    time.sleep(0.3)
    assert updd.process.poll() is None, updd.said()
    first.terminate()
    assert first.wait(20 * SLOW) == 0
    updd.until(lambda: updd.socket.exists() and updd.answers_calls(), 20, updd.said)
    updd.post(job, "confirm", wait=wait)
    updd.wait_for(job, "succeeded")
    updd.invariants(job)
