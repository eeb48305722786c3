# SPDX-License-Identifier: MIT
"""
Nothing is lost when a process dies: updd in the middle of each step of kimi-proxy-v2, and
updd-step itself under each of the four `on_crash` policies.
"""
import json
import os
import pathlib
import re
import signal
import threading
import time

import pytest
import yaml

from daemon import ROOT, SLOW
import kimi
import rules

# Appends one line, durably, before it says that it did: a step that ran twice has two lines.
COUNTER = """\
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
os.write(fd, (sys.argv[2] + "\\n").encode())
os.fsync(fd)
"""


# ---- the daemon dies during each step of kimi-proxy-v2 ----------------------------------------


def counted(plan, counter, file, slow=0.0):
    """The plan with every step counting its executions: actions in `verify`, looks in themselves.
    A count is taken after the step's own work and before its end, and holds it there for `slow`
    seconds, so that a kill always finds it running."""
    def check(step):
        return {"name": "count", "timeout": "60s",
                "run": ["sh", "-c", f"python3 {counter} {file} {step} && sleep {slow}"]}

    def walk(steps):
        for step in steps:
            for key in ("group", "parallel"):
                if key in step:
                    walk(step[key] if isinstance(step[key], list) else step[key]["steps"])
                    break
            else:
                if "check" in step:
                    step["check"].append(check(step["id"]))
                elif not {"confirm", "observe"} & set(step) and set(step) - {"id", "title", "undo"}:
                    step.setdefault("verify", []).append(check(step["id"]))
    walk(plan["steps"])
    return plan


class Killer(threading.Thread):
    """Kills updd with SIGKILL as soon as an attempt's folder has appeared, and starts it again:
    once for each attempt that the job ever makes, in both directions."""

    def __init__(self, updd, job):
        super().__init__(daemon=True)
        self.updd, self.job = updd, job
        self.kills, self.ending = [], threading.Event()
        self.lock = threading.Lock()

    def run(self):
        seen = set()
        while not self.ending.is_set():
            new = [f for f in self.updd.attempt_folders(self.job)
                   if f not in seen and "@hook" not in str(f)]
            for folder in new:
                seen.add(folder)
                if (folder / "result.json").exists():
                    continue
                with self.lock:
                    self.updd.kill9()
                    self.kills.append(f"{folder.parent.name}/{folder.name}")
                    self.updd.start()
            time.sleep(0.005)

    def end(self):
        self.ending.set()
        self.join()


class Patient:
    """The same daemon, asked only while the killer lets it live."""

    def __init__(self, updd, killer):
        self.updd, self.killer = updd, killer

    def __call__(self, look, timeout=180):
        end = time.monotonic() + timeout * SLOW
        while time.monotonic() < end:
            with self.killer.lock:
                got = look()
            if got:
                return got
            time.sleep(0.05)
        raise AssertionError(self.updd.tell(self.killer.job))


@pytest.fixture
def app(tmp_path, venv):
    installed = kimi.Kimi(tmp_path / "kimi", venv).install()
    yield installed
    installed.remove()


def start_counted(updd, app, tmp_path, **inputs):
    counter, file = tmp_path / "count.py", tmp_path / "counts"
    counter.write_text(COUNTER)
    plan = counted(yaml.safe_load((ROOT / "plans/kimi-proxy-v2.yaml").read_text()), counter, file,
                   slow=0.3)
    job = updd.begin(plan, app.inputs(**inputs))
    return job, file


def counts(file):
    lines = file.read_text().split()
    return {step: lines.count(step) for step in lines}


@pytest.mark.timeout(900)
def test_killed_during_every_step_the_job_ends_as_it_would_have(updd, app, tmp_path):
    job, file = start_counted(updd, app, tmp_path, watch="2s")
    killer = Killer(updd, job)
    killer.start()
    ask = Patient(updd, killer)
    try:
        wait = ask(lambda: next((w for w in updd.job(job)["waits"] if w["kind"] == "gate"), None))
        with killer.lock:
            updd.post(job, "confirm", wait=wait["id"], all=True)
        ask(lambda: updd.job(job)["state"] == "succeeded")
    finally:
        killer.end()
    states, now = updd.states(job), updd.job(job)
    ran = [s for s, state in states.items() if state == "done"]
    killed = {k.split("/")[0] for k in killer.kills}
    with_attempts = {s["id"] for s in now["steps"] if s.get("attempts") and s["phase"] != "hook"}
    assert killed >= with_attempts - {"config"}, (killed, with_attempts)
    assert {s: n for s, n in counts(file).items() if n != 1} == {}, "a step ran twice"
    assert {s["id"]: s["attempts"] for s in now["steps"] if s.get("attempts", 0) > 1} == {}
    assert {"stop", "backup", "code", "start", "schema", "rows", "regression"} <= set(ran)
    # The log of what ran while nobody listened is whole.
    log = updd.log(job, "regression")
    assert [w for w in log.splitlines() if w in kimi.REGRESSION_LINES] == kimi.REGRESSION_LINES
    assert app.version() == "2" and app.lost() == set()
    updd.invariants(job)


@pytest.mark.timeout(900)
def test_killed_during_every_undo_the_way_back_ends_as_it_would_have(updd, app, tmp_path):
    app.break_version_2()
    before = app.fingerprint()
    job, file = start_counted(updd, app, tmp_path)
    killer = Killer(updd, job)
    killer.start()
    try:
        Patient(updd, killer)(lambda: updd.job(job)["state"] == "rolled_back")
    finally:
        killer.end()
    assert {s: n for s, n in counts(file).items() if n != 1} == {}, "a step ran twice"
    assert len(killer.kills) > 8, killer.kills
    assert app.version() == "1" and app.fingerprint() == before
    assert app.lost() == set()
    updd.invariants(job)


# ---- updd-step dies ---------------------------------------------------------------------------


def kill_step(updd, job, step, daemon_too=False):
    """Kills the processes of the attempt of `step` that runs now, its supervisor first."""
    def claim():
        for folder in sorted((updd.state / "jobs" / str(job) / step).glob("*/claim")):
            if not (folder.parent / "result.json").exists():
                return json.loads(folder.read_text())
        return None
    found = updd.until(claim, 20, f"{step} was never claimed")
    if daemon_too:
        updd.kill9()
    os.kill(found["pid"], signal.SIGKILL)
    if daemon_too:
        for pid in updd.attempt_processes(job):
            os.kill(pid, signal.SIGKILL)
        updd.start()


def crashing(tiny, **more):
    """A step that hangs the first time it runs and goes through the second time."""
    return tiny.act("a", "test -e again && exit 0; touch again; sleep 300", **more)


def begun(updd, tiny, *steps, **top):
    job = updd.begin(tiny.plan(*steps, **top))
    updd.until(lambda: tiny.exists("again"), 20, lambda: updd.tell(job))
    return job


@pytest.mark.parametrize("daemon_too", [False, True], ids=["step", "step-and-daemon"])
class TestInterrupted:
    def test_undo_is_the_default_of_a_run(self, updd, tiny, daemon_too):
        job = begun(updd, tiny, tiny.act("first"), crashing(tiny))
        kill_step(updd, job, "a", daemon_too)
        now = updd.wait_for(job, "rolled_back")
        assert tiny.done() == ["do-first", "do-a", "undo-a", "undo-first"]
        assert now["failure"]["interrupted"] is True and now["failure"]["step"] == "a"
        assert "step_interrupted" in [e["type"] for e in updd.events(job)]
        updd.invariants(job)

    def test_rerun_runs_it_again(self, updd, tiny, daemon_too):
        job = begun(updd, tiny, crashing(tiny, on_crash="rerun"), tiny.act("b"))
        kill_step(updd, job, "a", daemon_too)
        updd.wait_for(job, "succeeded")
        assert tiny.done() == ["do-a", "do-a", "do-b"]
        assert updd.step(job, "a")["attempts"] == 2
        updd.invariants(job)

    def test_ask_asks_a_person(self, updd, tiny, daemon_too):
        job = begun(updd, tiny, crashing(tiny, on_crash="ask"), tiny.act("b"))
        kill_step(updd, job, "a", daemon_too)
        wait = updd.wait_open(job, "retry-or-skip", "a")
        assert updd.job(job)["state"] == "waiting" and tiny.done() == ["do-a"]
        updd.post(job, "retry", wait=wait["id"])
        updd.wait_for(job, "succeeded")
        assert tiny.done() == ["do-a", "do-a", "do-b"]
        updd.invariants(job)

    def test_probe_finds_that_it_happened(self, updd, tiny, daemon_too):
        job = begun(updd, tiny, crashing(tiny, on_crash="probe", probe=[{"path": "again"}]),
                    tiny.act("b"))
        kill_step(updd, job, "a", daemon_too)
        updd.wait_for(job, "succeeded")
        assert tiny.done() == ["do-a", "do-b"]
        updd.invariants(job)

    def test_probe_finds_that_it_did_not_happen(self, updd, tiny, daemon_too):
        job = begun(updd, tiny, crashing(tiny, on_crash="probe", probe=[{"path": "absent"}]),
                    tiny.act("b"))
        kill_step(updd, job, "a", daemon_too)
        updd.until(lambda: updd.job(job)["state"] in ("succeeded", "rolled_back"), 30,
                   lambda: updd.tell(job))
        assert tiny.done() in (["do-a", "do-a", "do-b"], ["do-a", "undo-a"])
        updd.invariants(job)


# ---- what outlives updd-step --------------------------------------------------------------------

# A process that nothing leads to: twice forked, in a session of its own, with no environment.
LOST = "setsid env -i sh -c 'sleep 300 & exec sleep 300' >/dev/null 2>&1 & touch again; sleep 300"


@pytest.mark.parametrize("daemon_too", [False, True], ids=["step", "step-and-daemon"])
def test_what_cleared_its_environment_and_left_the_session_ends_with_its_step(updd, tiny,
                                                                              daemon_too):
    job = begun(updd, tiny, tiny.act("a", LOST))
    updd.until(lambda: len(rules.processes_in(tiny.folder)) >= 4, 20, "it never began")
    kill_step(updd, job, "a", daemon_too)
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "undo-a"]
    updd.invariants(job, words=tiny.done(), place=tiny.folder)


def test_a_service_lives_on_when_the_step_that_started_it_is_killed(updd, tiny):
    started = tiny.folder / "server.pid"
    job = updd.begin(tiny.plan(
        {"id": "up", "start": ["server"], "on_crash": "ask",
         "verify": [{"run": ["sh", "-c", "touch again; sleep 300"], "timeout": "10m"}]},
        services={"server": {"command": {"start": ["sleep", "300"], "pid_file": str(started)}}}))
    updd.until(lambda: tiny.exists("again"), 20, lambda: updd.tell(job))
    server = int(started.read_text())
    try:
        kill_step(updd, job, "up")
        wait = updd.wait_open(job, "retry-or-skip", "up")
        assert rules.processes_in(tiny.folder) == [server]
        updd.post(job, "skip", wait=wait["id"], reason="it runs")
        updd.wait_for(job, "succeeded")
        assert rules.processes_in(tiny.folder) == [server]
        limits = pathlib.Path(f"/proc/{server}/limits").read_text()
        assert re.search(r"Max realtime timeout +unlimited", limits), "it carries the mark"
    finally:
        os.kill(server, signal.SIGKILL)


def test_an_interrupted_undo_that_the_plan_wrote_is_stuck_until_a_person_decides(updd, tiny):
    job = begun(updd, tiny, tiny.act("a", undo_then="test -e again || { touch again; sleep 300; }"),
                tiny.fail("b"))
    kill_step(updd, job, "a")
    updd.wait_for(job, "stuck")
    updd.post(job, "retry")
    updd.wait_for(job, "rolled_back")
    updd.invariants(job)


def test_an_interrupted_undo_of_a_verb_is_run_again(updd, tiny):
    (tiny.folder / "kept").write_text("precious")
    # A fifo for the copy's place would block for ever; a big tree gives the kill its time.
    for n in range(300):
        (tiny.folder / f"tree/{n}").mkdir(parents=True)
        (tiny.folder / f"tree/{n}/file").write_bytes(os.urandom(20000))
    job = updd.begin(tiny.plan({"id": "drop", "remove": ["tree", "kept"]}, tiny.gate()))
    updd.wait_open(job, "gate")
    assert not tiny.exists("tree") and not tiny.exists("kept")
    updd.post(job, "rollback", strategy="full")
    kill_newest(updd, job, "drop", 2)
    updd.wait_for(job, "rolled_back")
    assert (tiny.folder / "kept").read_text() == "precious"
    assert len(list((tiny.folder / "tree").glob("*/file"))) == 300
    updd.invariants(job)


def kill_newest(updd, job, step, n):
    """Kills attempt `n` of a step the moment it is claimed (it may be over already: then not)."""
    folder = updd.state / "jobs" / str(job) / step / str(n)
    updd.until(lambda: (folder / "claim").exists(), 20, "never claimed")
    try:
        os.kill(json.loads((folder / "claim").read_text())["pid"], signal.SIGKILL)
    except ProcessLookupError:
        pass


def test_a_step_that_ends_while_the_daemon_is_down_is_taken_as_it_ended(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "touch began; sleep 1; echo the-last-line"),
                               tiny.act("b")))
    updd.until(lambda: tiny.exists("began"), 20, "a never began")
    updd.kill9()
    result = updd.state / "jobs" / str(job) / "a" / "1" / "result.json"
    updd.until(result.exists, 20, "updd-step did not outlive updd")
    updd.start()
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b"] and "the-last-line" in updd.log(job, "a")
    updd.invariants(job)


def test_a_time_limit_holds_while_the_daemon_is_down(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "touch began; sleep 300", timeout="2s")))
    updd.until(lambda: tiny.exists("began"), 20, "a never began")
    updd.kill9()
    result = updd.state / "jobs" / str(job) / "a" / "1" / "result.json"
    updd.until(result.exists, 20, "the limit did not hold")
    assert json.loads(result.read_text())["reason"] == "timeout"
    updd.start()
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "undo-a"]
    updd.invariants(job)


def test_a_question_and_its_answer_survive_a_crash_of_the_daemon(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "ask", "run": {"argv": ["sh", "-c", "printf 'Colour? '; read c; echo got-$c >>told"],
                              "answers": []}, "undo": "none"}))
    wait = updd.wait_open(job, "question", "ask")
    updd.kill9()
    updd.start()
    assert updd.wait_open(job, "question", "ask")["id"] == wait["id"]
    updd.post(job, "answer", wait=wait["id"], text="blue")
    updd.kill9()
    updd.start()
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["got-blue"]
    updd.invariants(job)


def test_a_rain_of_kills_loses_no_job_and_repeats_no_step(updd, tiny):
    jobs = [updd.begin(tiny.plan(*[tiny.act(f"j{n}s{s}", "sleep 0.2") for s in range(4)]))
            for n in range(4)]
    for _ in range(6):
        time.sleep(0.15)
        updd.kill9()
        updd.start()
    for job in jobs:
        updd.wait_for(job, "succeeded", timeout=60)
        updd.invariants(job)
    done = tiny.done()
    assert sorted(done) == sorted(f"do-j{n}s{s}" for n in range(4) for s in range(4))
