# SPDX-License-Identifier: MIT
"""
Nothing is lost wherever a process dies: updd, updd-step's supervisor, or both in one moment, are
killed at each call that changes the disk, starts a process or answers a client (tests/preload), in
turn, over jobs that go through the arcs of the state table.

What updd's death must not change is told by a run without a fault: the same end, the same steps
carried out as often and in the same order, the same facts in the journal. What a step's death may
change is told by rules.

`UPDD_BOUNDARIES=all` tries every boundary, before and after the call; else one of STRIDE, chosen by
`UPDD_BOUNDARIES_SEED`, which is printed.
"""
import http.client
import json
import mmap
import os
import shutil
import struct
import subprocess

import pytest

from daemon import BUILD, ENDED, SLOW, Daemon
from tiny import Tiny

STRIDE = round(7 * SLOW)
SEED = int(os.environ.get("UPDD_BOUNDARIES_SEED", "1"))
ALL = os.environ.get("UPDD_BOUNDARIES") == "all"
LIBRARY = BUILD / "tests/preload/boundary.so"
COUNT, KILL_AT, AFTER, ANSWERS, OTHER = range(5)  # the Control of boundary.c
CALLS_MAX, NAME_SIZE = 4096, 16
IN_ROWS = ("pwrite64", "mkdir")


class Control:
    """What the test shares with the processes that count, and one of which is to die."""

    def __init__(self, file, kill_at=0, after=False):
        self.file = file
        file.write_bytes(bytes(20 + CALLS_MAX * NAME_SIZE))
        with open(file, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)
        self[KILL_AT], self[AFTER] = kill_at, after

    def __getitem__(self, field):
        return struct.unpack_from("=I", self.map, field * 4)[0]

    def __setitem__(self, field, value):
        struct.pack_into("=I", self.map, field * 4, int(value))

    @property
    def fired(self):
        return 0 < self[KILL_AT] <= self[COUNT]


def name_of_call(file, n):
    at = 20 + (n - 1) * NAME_SIZE
    return file.read_bytes()[at:at + NAME_SIZE].rstrip(b"\0").decode()


class Survivor(Daemon):
    """A daemon that is started again whenever it died as planned, and asked again what it then left
    unanswered, with the same key, as updctl does. It remembers what it acknowledged."""

    def __init__(self, home, control, program, both, again):
        super().__init__(home)
        self.control, self.both, self.again = control, both, again
        self.acknowledged, self.deaths = [], 0
        # A sanitizer's library need not be the first: this one hides nothing from it.
        sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.environment = {"LD_PRELOAD": str(LIBRARY), "UPDD_BOUNDARY_PROGRAM": program,
                            "UPDD_BOUNDARY_CONTROL": str(control.file),
                            "ASAN_OPTIONS": sanitizer.lstrip(":")}
        if program == "updd-step":
            self.step_program = self.loaded_step()

    def loaded_step(self):
        """updd-step with the library in it: the daemon hands on nothing of its environment."""
        script = self.home / "updd-step"
        script.write_text("#!/bin/sh\n" + "".join(
            f"export {name}='{value}'\n" for name, value in self.environment.items()) +
            f"exec '{self.step_program}' \"$@\"\n")
        script.chmod(0o755)
        self.environment = {}
        return script

    def start(self, **environment):
        while True:
            try:
                super().start(**self.environment, **environment)
                break
            except AssertionError:
                self.died(self.process.poll())
        self.control[OTHER] = self.process.pid if self.both and not self.control.fired else 0
        return self

    def died(self, ended):
        """It died as planned, once; `again`: and that many calls later once more."""
        planned = self.control.fired and self.deaths <= (self.again > 0)
        assert ended == -9 and planned, (ended, self.deaths, self.said())
        self.deaths += 1
        if self.again and self.deaths == 1:
            self.control[KILL_AT] = self.control[COUNT] + self.again

    def revive(self):
        try:
            self.died(self.process.wait(2))
        except subprocess.TimeoutExpired:
            return False
        self.start()
        return True

    def call(self, method, path, body=None, headers=None, timeout=30):
        if path == "/v1/health":
            return super().call(method, path, body, headers, timeout)
        while True:
            try:
                self.control[ANSWERS] = method == "POST"
                answer = super().call(method, path, body, headers, timeout)
            except (OSError, http.client.HTTPException):
                if not self.revive():
                    raise
                continue
            finally:
                self.control[ANSWERS] = 0
            if method == "POST" and answer.status < 400:
                self.acknowledged.append((path, body, headers, answer))
            return answer

    def repeat_all(self):
        """Whatever was acknowledged is there: asked again, it is known, and not done again."""
        for path, body, headers, first in list(self.acknowledged):
            again = self.call("POST", path, body, headers)
            assert again.headers.get("idempotency-replayed") == "true", (path, again)
            assert (again.status, again.body["id"]) == (first.status, first.body["id"]), path


# ---- the jobs -----------------------------------------------------------------------------------

SECRET = "only-for-this-job"
RETRY = ("retry", {})
FULL = ("rollback", {"strategy": "full"})


def once(name):
    """Fails the first time, and never again."""
    return f"test -e {name} || {{ touch {name}; exit 1; }}"


def forth(tiny):
    """Goes through: checks, actions, a parallel group, a question, a retry, gates, finalise."""
    return tiny.plan(
        tiny.act("a"),
        {"id": "w", "write": {"to": "written", "text": "x"}},
        {"id": "par", "parallel": [tiny.act("p0"), tiny.act("p1")]},
        {"id": "ask", "run": {"argv": ["sh", "-c", "printf 'Colour? '; read c; echo got-$c >>told"],
                              "answers": []}, "undo": "none"},
        tiny.act("again", once("tried"), retry={"tries": 2, "first": "10ms"}),
        tiny.gate("missed", within="100ms", on_timeout="continue"),
        tiny.gate("accept", items=["one", "two"]),
        tiny.act("z"),
        checks=[{"path": str(tiny.folder)}], finalise=[{"id": "fin", **tiny.tell("do-fin")}])


# What leaves the attempt's session and would outlive it; what is said then is a boundary beside it.
LEAVES = "setsid env -i sleep 300 </dev/null >/dev/null 2>&1 & echo left; sleep 0.05; echo it"


def back(tiny):
    """Fails, is held, fails again, goes back, sticks twice, and is rolled back."""
    return tiny.plan(
        tiny.act("a"),
        {"id": "w", "write": {"to": "written", "text": "x"}},
        tiny.act("b", undo_then=once("stuck-b")),
        tiny.act("s", undo_then="exit 1"),
        {"id": "g", "group": [tiny.act("g0", LEAVES), tiny.act("g1")]},
        tiny.fail("c"),
        on_failure={"c": "hold"})


def stop(tiny):
    """Is cancelled while a step runs."""
    return tiny.plan(tiny.act("a"), tiny.act("b", "touch began; sleep 60"), tiny.act("never"))


def missed(tiny):
    """A deadline passes, and the job goes back; the failure is nobody's."""
    return tiny.plan(tiny.act("a"), {"id": "w", "write": {"to": "written", "text": "x"}},
                     tiny.gate("accept", within="200ms", on_timeout="rollback"))


def given_up(tiny):
    """Sticks and is abandoned."""
    return tiny.plan(tiny.act("a"), tiny.act("b", undo_then="exit 1"), tiny.fail("c"))


def told(tiny):
    """Is given a secret, which a step and a hook use, and which is gone when it is rolled back."""
    def use(file):
        return {"run": ["sh", "-c", f"echo $${{#TOKEN}} >>{file}; sync {file}"]}
    token = {"env": {"TOKEN": "${secret.token}"}}
    return tiny.plan(
        {"id": "use", **use("told"), **token, "undo": tiny.tell("undo-use")}, tiny.gate(),
        secrets={"token": {"file": str(tiny.folder / "none")}},
        hooks={"rolled_back": [{"run": {"argv": use("hooked")["run"]}, **token}]})


# A job's plan, how it ends, and what a person does at each of its waits, in turn.
JOBS = {
    "forth": (forth, "succeeded", {
        ("question", "ask"): [("answer", {"text": "blue"})],
        ("gate", "accept"): [("confirm", {"ticks": ["one"]}), ("confirm", {"all": True})],
        ("succeeded", None): [("finalise", {})]}),
    "back": (back, "rolled_back", {
        ("retry-or-skip", "c"): [RETRY, FULL],
        ("stuck", "s"): [("skip", {"reason": "seen to it"})], ("stuck", "b"): [RETRY]}),
    "stop": (stop, "rolled_back", {("began", None): [("cancel", {"reason": "enough"})]}),
    "told": (told, "rolled_back", {("gate", "accept"): [FULL]}),
    "missed": (missed, "rolled_back", {}),
    "given-up": (given_up, "abandoned", {
        ("stuck", "b"): [RETRY, ("abandon", {"reason": "no more"})]}),
}
# What a person does where only the death of a step led.
AFTER_A_DEATH = {"gate": ("confirm", {"all": True}), "question": ("answer", {"text": "blue"}),
                 "retry-or-skip": FULL, "stuck": RETRY,
                 "finalise": ("skip", {"reason": "seen to it"})}


def steer(updd, tiny, job, decisions):
    """Sees the job to its end, doing at each wait what is to be done there."""
    left = {k: list(v) for k, v in decisions.items()}

    def look():
        now = updd.job(job)
        if now["state"] in ENDED and not left.get((now["state"], None)) and not now.get("waits"):
            return settled(now)
        if now["state"] == "stuck":
            bad = [s["id"] for s in now["steps"] if s["state"] == "undo_failed"]
            return decide("stuck", bad[0], {})
        if now["state"] == "succeeded":
            waits = now.get("waits")
            return decide("finalise" if waits else "succeeded", None,
                          {"wait": waits[0]["id"]} if waits else {})
        if tiny.exists("began") and left.get(("began", None)) and now["state"] == "running":
            return decide("began", None, {})
        for wait in now.get("waits") or []:
            if wait.get("on_timeout") not in ("continue", "rollback"):
                return decide(wait["kind"], wait.get("step"), {"wait": wait["id"]})
        return None

    def settled(now):
        moving = {s["state"] for s in now["steps"]} & {"running", "undoing"}
        finalise = [s["state"] for s in now["steps"] if s.get("phase") == "finalise"]
        if moving or now["state"] == "succeeded" and set(finalise) - {"done", "skipped"}:
            return None
        return now

    def decide(kind, step, wait):
        planned = left.get((kind, step))
        verb, body = planned.pop(0) if planned else AFTER_A_DEATH[kind]
        updd.post(job, verb, **body, **({} if verb == "rollback" else wait))

    return updd.until(look, 40, lambda: f"no end: {updd.tell(job)}")


# ---- one run, with one fault or none ------------------------------------------------------------


class Run:
    """A job from its start to its end, in a folder of its own."""

    def __init__(self, folder, name, program, kill_at=0, after=False, both=False, again=0):
        folder.mkdir()
        self.control = Control(folder / "control", kill_at, after)
        self.updd = Survivor(folder / "updd", self.control, program, both, again)
        self.tiny = Tiny(folder / "tiny")
        self.folder = folder
        plan, self.end, decisions = JOBS[name]
        try:
            self.updd.start()
            self.document = {**plan(self.tiny), "plan": name}
            secrets = {"token": SECRET} if name == "told" else {}
            self.job = self.updd.begin(self.document, secrets=secrets)
            self.now = steer(self.updd, self.tiny, self.job, decisions)
            self.look_back()
        finally:
            self.updd.close()

    def look_back(self):
        updd, job = self.updd, self.job
        if "hooks" in self.document:
            updd.until(lambda: self.tiny.exists("hooked"), 20, lambda: "no hook: " + updd.tell(job))
            assert (self.tiny.folder / "hooked").read_text().split()[0] == str(len(SECRET))
        updd.until(lambda: not updd.leaks(SECRET), 5, lambda: f"it is kept in {updd.leaks(SECRET)}")
        self.calls, self.fired = self.control[COUNT], self.control.fired
        self.control[KILL_AT] = self.control[KILL_AT] if self.fired else 0
        assert [j["id"] for j in updd.api("GET", "/v1/jobs")["jobs"]] == [job], "a job came twice"
        updd.repeat_all()
        updd.invariants(job)
        self.done = self.tiny.done()
        self.events = [(e["type"], e.get("step") or "", (e.get("data") or {}).get("message") or "")
                       for e in updd.events(job)]
        self.states = updd.states(job)

    def facts(self):
        """What is the same in each run: members of a parallel group may change places."""
        def settle(words):
            pair = sorted(w for w in words if w.endswith(("p0", "p1")))
            return [w if not w.endswith(("p0", "p1")) else pair.pop(0) for w in words]
        return {"state": self.now["state"], "done": settle(self.done), "steps": self.states,
                "journal": sorted(self.events)}


def boundaries(sane):
    """(number, after) of each call at which a run dies. In a sample a row of writes to the
    write-ahead log counts once: until they are committed, nobody sees a difference."""
    calls = range(1, sane.calls + 1)
    if ALL:
        return [(n, after) for n in calls for after in (False, True)]
    names = [name_of_call(sane.control.file, n) for n in calls]
    telling = [n for n in calls if n == 1 or names[n - 1] not in IN_ROWS or
               names[n - 1] != names[n - 2]]
    return [(n, (i + SEED) % 2 == 1) for i, n in enumerate(telling[SEED % STRIDE::STRIDE])]


def try_all(tmp_path, name, program, rules, again=lambda n: 0, **how):
    """Kills `program` at each boundary in turn; every violation is told, not only the first."""
    sane = Run(tmp_path / "sane", name, program)
    assert sane.now["state"] == sane.end, sane.facts()
    assert sane.calls > 20, "nothing was counted"
    wrong, reached, tried = [], 0, boundaries(sane)
    for n, after in tried:
        folder = tmp_path / f"at-{n}-{'after' if after else 'before'}"
        try:
            run = Run(folder, name, program, n, after, again=again(n), **how)
            reached += run.fired
            rules(run, sane)
        except Exception as e:  # noqa: BLE001: a run's fault must not hide another's
            call = name_of_call(folder / "control", n)
            wrong.append(f"{folder.name} {call} ({folder}):\n{type(e).__name__}: {e}")
        else:
            shutil.rmtree(folder)
    print(f"{name}: {program} killed at {reached} of {sane.calls} boundaries, "
          f"seed {SEED}, {len(wrong)} violations")
    assert not wrong, "\n\n".join(wrong)
    # The calls of two runs differ by a few: the last ones may not come.
    assert reached >= 0.8 * len(tried), (reached, len(tried))


# ---- what must hold -----------------------------------------------------------------------------


def nothing_changed(run, sane):
    assert run.updd.deaths <= 2 and run.updd.deaths >= run.fired, "updd did not die as planned"
    assert run.facts() == sane.facts(), json.dumps([run.facts(), sane.facts()], indent=1)


@pytest.mark.timeout(3600 if ALL else 300)
@pytest.mark.parametrize("name", JOBS)
def test_a_daemon_that_dies_at_any_boundary_changes_nothing(built, tmp_path, name):
    try_all(tmp_path, name, "updd", nothing_changed)


@pytest.mark.timeout(3600 if ALL else 300)
@pytest.mark.parametrize("name", ["back", "stop"])
def test_a_daemon_that_dies_again_while_it_starts_again_changes_nothing(built, tmp_path, name):
    try_all(tmp_path, name, "updd", nothing_changed, again=lambda n: 1 + n % 40)


def began(run, step):
    """Did an updd-step ever claim an attempt to do it?"""
    for claim in (run.updd.state / "jobs" / str(run.job) / step).glob("*/claim"):
        task = json.loads((claim.parent / "task.json").read_text())
        if task["direction"] == "do" and json.loads(claim.read_text()).get("by") != "daemon":
            return True
    return False


def last_places(words, prefix):
    """The steps of those words, in the order in which each was told of last."""
    steps = [w.removeprefix(prefix) for w in words if w.startswith(prefix)]
    return sorted(set(steps), key=lambda s: max(i for i, w in enumerate(steps) if w == s))


def nothing_is_lost(run, sane):
    assert run.now["state"] in ENDED, run.now["state"]
    does = [w.removeprefix("do-") for w in run.done if w.startswith("do-")]
    for step in set(does):
        allowed = max(1, sane.done.count(f"do-{step}"))
        assert does.count(step) <= allowed, f"{step} ran {does.count(step)} times: {run.done}"
    undone = last_places(run.done, "undo-")
    for step in undone:
        assert began(run, step), f"{step} was undone and never began: {run.done}"
    if run.now["state"] == "rolled_back":
        left = {x["step"] for x in (run.now.get("failure") or {}).get("left") or []} | {"s"}
        assert set(does) - set(undone) <= left, run.done
        assert not run.tiny.exists("written")
        standing = {s for s, state in run.states.items() if state in ("done", "running", "undoing")}
        assert standing <= {"ask", "missed", "accept", "@checks"}, run.states
    pair = {"p0", "p1"}
    order = [s for s in last_places(run.done, "do-") if s in undone and s not in pair]
    assert [s for s in undone if s not in pair and s in order] == order[::-1], run.done
    if run.now["state"] == "succeeded":
        assert run.tiny.exists("written") and does.count("z") == 1


@pytest.mark.timeout(3600 if ALL else 300)
@pytest.mark.parametrize("both", [False, True], ids=["step", "step-and-daemon"])
@pytest.mark.parametrize("name", ["forth", "back"])
def test_a_step_that_dies_at_any_boundary_is_lost_neither_way(built, tmp_path, name, both):
    try_all(tmp_path, name, "updd-step", nothing_is_lost, both=both)
