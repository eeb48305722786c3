# SPDX-License-Identifier: MIT
"""
Small jobs that together go along every arc of the state tables, and the person who answers them: what
the crash harnesses (test_boundaries.py, tests/soak.d/kills.py) put their faults into.

Each is small because a fault is tried at each of its calls, and every try runs all of it.
"""
import os

from daemon import ENDED

SECRET = "only-for-this-job"
RETRY = ("retry", {})
FULL = ("rollback", {"strategy": "full"})
CANCEL = ("cancel", {"reason": "enough"})
SKIP = ("skip", {"reason": "seen to it"})
ANSWER = ("answer", {"text": "blue"})


def seen(name):
    """A person who only looks: a step goes on when the file is there."""
    return ("touch", name)


def once(name):
    """Fails the first time, and never again."""
    return f"test -e {name} || {{ touch {name}; exit 1; }}"


def until(name, also="true"):
    """Waits for a file, and fails when what must be so meanwhile is not."""
    return f"while ! test -e {name}; do {also} || exit 9; sleep 0.02; done"


# Kills its own supervisor, as a machine without memory would.
DIE = ("kill -9 $(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' "
       "\"$UPDD_RECORD/$(ls $UPDD_RECORD | grep -x '[0-9]*' | sort -n | tail -n 1)/claim\"); "
       "sleep 60")


def dies_once(name):
    return f"test -e {name} || {{ touch {name}; {DIE}; }}"


def asks(name, then="", undo="none"):
    script = f"printf 'Colour? '; {then or 'read c; echo got-$c >>told'}"
    return {"id": name, "run": {"argv": ["sh", "-c", script], "answers": []}, "undo": undo}


READS = "cat </dev/tty >/dev/null & :"  # by which a question is known
READER_LIVES = "kill -0 $! 2>/dev/null"


# ---- forward ------------------------------------------------------------------------------------


def line(tiny):
    """Checks, an action that speaks, a parallel group, a retry, finalise."""
    return tiny.plan(
        tiny.say("a", 20),
        {"id": "par", "parallel": [tiny.act("p0"), tiny.act("p1")]},
        tiny.act("again", once("tried"), retry={"tries": 2, "first": "10ms"}),
        checks=[{"path": str(tiny.folder)}], finalise=[{"id": "fin", **tiny.tell("do-fin")}])


def gated(tiny):
    """A gate that nobody comes to, and one that is ticked in two goes."""
    return tiny.plan(
        tiny.gate("missed", within="100ms", on_timeout="continue"),
        {"id": "w", "write": {"to": "written", "text": "x"}},
        tiny.gate("accept", items=["one", "two"]),
        tiny.act("z"))


def asked(tiny):
    """A question, which nothing else goes on beside."""
    return tiny.plan(asks("ask"), tiny.act("b"))


def finals(tiny):
    """Its finalise steps ask, fail and are tried again, fail and are skipped."""
    return tiny.plan(
        tiny.act("a"), finalise=[asks("f-asks"), {"id": "f-once", **tiny.tell("do-f", once("f"))},
                                 {"id": "f-never", **tiny.tell("do-never", "exit 1")}])


def refused(tiny):
    """Its checks fail, and nothing is touched."""
    return tiny.plan(tiny.act("a"), checks=[{"path": str(tiny.folder / "absent")}])


def wanting(tiny):
    """A secret is missing until somebody gives it; a step is passed over; it is cancelled at a gate."""
    return tiny.plan(
        tiny.act("a"), tiny.act("b", when="in.go == 'yes'"), tiny.gate(),
        inputs={"go": {"type": "string", "default": "no"}}, secrets=missing(tiny))


def withdrawn(tiny):
    """A secret is missing, and it is cancelled for that."""
    return tiny.plan(tiny.act("a"), secrets=missing(tiny))


def missing(tiny):
    return {"token": {"file": str(tiny.folder / "none")}}


def checking(tiny):
    """Is cancelled while its checks are looked at."""
    return tiny.plan(tiny.act("a"), checks=[
        {"run": ["sh", "-c", f"cd {tiny.folder}; touch began; sleep 60"], "timeout": "2m"}])


def unstarted(tiny):
    """No updd-step comes to its work, so nothing of it has begun when it is cancelled."""
    return tiny.plan(tiny.act("a", retry={"tries": 3, "first": "1h", "max": "1h"}))


def dry(tiny):
    """A dry run whose check fails."""
    return tiny.plan(tiny.act("a"), tiny.act("b", dry_run=[{"run": ["false"]}]))


# ---- back ---------------------------------------------------------------------------------------

# What leaves the attempt's session and would outlive it; what is said then is a boundary beside it.
LEAVES = "setsid env -i sleep 300 </dev/null >/dev/null 2>&1 & echo left; sleep 0.05; echo it"


def held(tiny):
    """Fails, is held, fails again, and goes back."""
    return tiny.plan(
        tiny.say("a", 20),
        {"id": "w", "write": {"to": "written", "text": "x"}},
        tiny.fail("c"), on_failure={"c": "hold"})


def sticky(tiny):
    """An undo fails once, and another one always."""
    return tiny.plan(tiny.act("b", undo_then=once("stuck-b")), tiny.act("s", undo_then="exit 1"),
                     tiny.fail("c"))


def grouped(tiny):
    """A group that has left something running is undone, member by member."""
    return tiny.plan({"id": "g", "group": [tiny.act("g0", LEAVES), tiny.act("g1")]}, tiny.fail("c"))


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


def regretted(tiny):
    """Succeeds, and is rolled back after that."""
    return tiny.plan(tiny.act("a"), tiny.look("b"), {"id": "c", "group": [tiny.act("d")]})


def beside(tiny):
    """A question while another step runs."""
    return tiny.plan({"id": "par", "parallel": [asks("q", "read c; touch answered"),
                                                tiny.act("p", until("answered"))]})


def passed(tiny):
    """Failures that a person skips; rolled back while a step runs."""
    return tiny.plan(
        tiny.fail("f"), tiny.look("l", "false"),
        tiny.act("m", "touch began; sleep 60"), on_failure={"default": "hold"})


def undo_asks(tiny):
    """An undo that asks a question."""
    return tiny.plan({**tiny.act("u"), "undo": {"run": asks("x")["run"]}}, tiny.fail("f"))


def unheard(tiny):
    """Steps that ask and do not wait for the answer: one goes on, and one fails."""
    return tiny.plan(asks("q", f"{READS}; {until('heard', READER_LIVES)}"),
                     asks("r", f"{READS}; {until('heard-r', READER_LIVES)}; exit 1"))


def paused(tiny):
    """Is cancelled while its steps wait for their next try."""
    later = {"tries": 2, "first": "1h", "max": "1h"}
    return tiny.plan({"id": "par", "parallel": [tiny.fail("a", retry=later),
                                                tiny.look("b", "false", retry=later)]})


def senseless(tiny):
    """A step whose values cannot be made fails before it begins."""
    return tiny.plan(tiny.act("a"), tiny.act("b", timeout="${in.long}"),
                     inputs={"long": {"type": "string", "default": "for ages"}})


def windowed(tiny):
    """Its window closes while a step runs, and it goes back."""
    return tiny.plan(tiny.act("a"), tiny.act("b", "sleep 60"), tiny.act("never"),
                     window={"at_end": "rollback"})


# ---- long ones, for faults that are tried at some of their places -------------------------------


def forth(tiny):
    """Goes through: checks, actions, a parallel group, a question, a retry, gates, finalise."""
    return tiny.plan(
        tiny.say("a", 20),
        {"id": "w", "write": {"to": "written", "text": "x"}},
        {"id": "par", "parallel": [tiny.act("p0"), tiny.act("p1")]},
        asks("ask"),
        tiny.act("again", once("tried"), retry={"tries": 2, "first": "10ms"}),
        tiny.gate("missed", within="100ms", on_timeout="continue"),
        tiny.gate("accept", items=["one", "two"]),
        tiny.act("z"),
        checks=[{"path": str(tiny.folder)}], finalise=[{"id": "fin", **tiny.tell("do-fin")}])


def back(tiny):
    """Fails, is held, fails again, goes back, sticks twice, and is rolled back."""
    return tiny.plan(
        tiny.say("a", 20),
        {"id": "w", "write": {"to": "written", "text": "x"}},
        tiny.act("b", undo_then=once("stuck-b")),
        tiny.act("s", undo_then="exit 1"),
        {"id": "g", "group": [tiny.act("g0", LEAVES), tiny.act("g1")]},
        tiny.fail("c"),
        on_failure={"c": "hold"})


# ---- crashes ------------------------------------------------------------------------------------


def crashed_rerun(tiny):
    """A supervisor is killed; what it ran may be run again."""
    return tiny.plan(tiny.act("r", dies_once("r1"), on_crash="rerun"))


def crashed_retry(tiny):
    """A supervisor is killed, a person is asked and has it tried again."""
    return tiny.plan(tiny.act("q", dies_once("q1"), on_crash="ask"))


def crashed_skip(tiny):
    """A supervisor is killed, a person skips it; what came later is undone before it."""
    return tiny.plan(tiny.act("s", DIE, on_crash="ask"), tiny.act("b"), tiny.fail("c"))


def crashed_after(tiny):
    """A supervisor is killed after its change, which the probe finds."""
    return tiny.plan(tiny.act("p", f"touch p1; {DIE}", on_crash="probe", probe=[{"path": "p1"}]))


def crashed_before(tiny):
    """A supervisor is killed before its change: the probe does not find it, and it is done."""
    return tiny.plan(tiny.act("n", f"{dies_once('n1')}; touch n2", on_crash="probe",
                              probe=[{"path": "n2"}]))


def crashed_undo(tiny):
    """A supervisor is killed, and the job goes back for it."""
    return tiny.plan(tiny.act("a"), tiny.act("u", DIE, on_crash="undo"))


def crashed_asking(tiny):
    """Supervisors are killed, one while its question is open; a person goes back from there."""
    return tiny.plan({"id": "par", "parallel": [
        {**asks("q", f"{READS}; {until('heard', READER_LIVES)}; {DIE}", tiny.tell("undo-q")),
         "on_crash": "ask"},
        tiny.look("l", f"{until('heard')}; {DIE}", on_crash="ask"),
        tiny.act("t", f"{until('heard')}; {DIE}", on_crash="ask")]})


# ---- what steps do to files ---------------------------------------------------------------------


def world(tiny):
    """Files that steps will change, and what an undo must bring back to the byte."""
    folder = tiny.folder / "world"
    (folder / "tree/deep").mkdir(parents=True)
    for name in ("over", "longer", "gone", "tree/one", "tree/deep/two"):
        (folder / name).write_text(f"the old {name}\n" * 50)
    (folder / "v1").mkdir()
    (folder / "now").symlink_to("v1")
    return folder


def look_at(folder):
    """{path: what it is} of all that is below."""
    return {str(p.relative_to(folder)): os.readlink(p) if p.is_symlink() else
            p.read_text() if p.is_file() else "a folder" for p in sorted(folder.rglob("*"))}


def deeds(tiny):
    """Changes files in all the ways there are, fails, and brings everything back."""
    world(tiny)
    return tiny.plan(
        {"id": "w", "write": {"to": "made", "text": "new\n" * 100}},
        {"id": "o", "write": {"to": "over", "text": "new\n" * 100}},
        {"id": "ap", "append": {"to": "longer", "text": "one line more\n"}},
        {"id": "cp", "copy": {"from": "tree", "to": "other"}},
        {"id": "rm", "remove": ["gone", "tree"]},
        {"id": "sw", "switch": {"path": "now", "to": "v2"}},
        tiny.fail("z"), cwd=str(tiny.folder / "world"))


def worked(tiny):
    """The same with verbs of the larger program."""
    folder = world(tiny)
    return tiny.plan(
        {"id": "bk", "backup": {"files": ["world"], "to": "backups", "keep": 1}},
        {"id": "get", "fetch": {"url": f"file://{folder}/over", "to": "world/longer"}},
        tiny.fail("z"))


# ---- secrets ------------------------------------------------------------------------------------


def told(tiny):
    """Is given a secret, which a step and a hook use, and which is gone when it is rolled back."""
    def use(file):
        return {"run": ["sh", "-c", f"echo $${{#TOKEN}} >>{file}; sync {file}"]}
    token = {"env": {"TOKEN": "${secret.token}"}}
    return tiny.plan(
        {"id": "use", **use("told"), **token, "undo": tiny.tell("undo-use")}, tiny.gate(),
        secrets=missing(tiny),
        hooks={"rolled_back": [{"run": {"argv": use("hooked")["run"]}, **token}]})


GIVEN = {"secrets": {"token": SECRET}}
# A job's plan, how it ends, and what a person does at each place, in turn. A place is a wait's kind
# and step; "stuck" and the step; a state that the job has ended in; a file that a step made; steps that
# wait for their next try; or steps that are all held ("all").
JOBS = {
    "line": (line, "succeeded", {("ended", "succeeded"): [("finalise", {})]}),
    "gated": (gated, "succeeded", {
        ("gate", "accept"): [("confirm", {"ticks": ["one"]}), ("confirm", {"all": True})]}),
    "asked": (asked, "succeeded", {("question", "ask"): [ANSWER]}),
    "finals": (finals, "succeeded", {
        ("ended", "succeeded"): [("finalise", {})], ("question", "f-asks"): [ANSWER],
        ("retry-or-skip", "f-once"): [RETRY], ("retry-or-skip", "f-never"): [SKIP]}),
    "refused": (refused, "failed", {}),
    "wanting": (wanting, "rolled_back", {
        ("missing-secret", None): [("retry", GIVEN)], ("gate", "accept"): [CANCEL]}),
    "withdrawn": (withdrawn, "cancelled", {("missing-secret", None): [CANCEL]}),
    "checking": (checking, "cancelled", {("file", "began"): [CANCEL]}),
    "unstarted": (unstarted, "cancelled", {("paused", "a"): [CANCEL]}),
    "dry": (dry, "failed", {}),
    "held": (held, "rolled_back", {("retry-or-skip", "c"): [RETRY, FULL]}),
    "sticky": (sticky, "rolled_back", {("stuck", "s"): [SKIP], ("stuck", "b"): [RETRY]}),
    "grouped": (grouped, "rolled_back", {}),
    "stop": (stop, "rolled_back", {("file", "began"): [CANCEL]}),
    "missed": (missed, "rolled_back", {}),
    "given-up": (given_up, "abandoned", {
        ("stuck", "b"): [RETRY, ("abandon", {"reason": "no more"})]}),
    "regretted": (regretted, "rolled_back", {("ended", "succeeded"): [FULL]}),
    "beside": (beside, "succeeded", {("question", "q"): [ANSWER]}),
    "passed": (passed, "rolled_back", {
        ("retry-or-skip", "f"): [SKIP], ("retry-or-skip", "l"): [SKIP], ("file", "began"): [FULL]}),
    "undo-asks": (undo_asks, "rolled_back", {("question", "u"): [ANSWER]}),
    "unheard": (unheard, "rolled_back", {
        ("question", "q"): [seen("heard")], ("question", "r"): [seen("heard-r")]}),
    "paused": (paused, "rolled_back", {("paused", "a b"): [CANCEL]}),
    "senseless": (senseless, "rolled_back", {}),
    "crashed-rerun": (crashed_rerun, "succeeded", {}),
    "crashed-retry": (crashed_retry, "succeeded", {("retry-or-skip", "q"): [RETRY]}),
    "crashed-skip": (crashed_skip, "rolled_back", {("retry-or-skip", "s"): [SKIP]}),
    "crashed-after": (crashed_after, "succeeded", {}),
    "crashed-before": (crashed_before, "succeeded", {}),
    "crashed-undo": (crashed_undo, "rolled_back", {}),
    "crashed-asking": (crashed_asking, "rolled_back", {
        ("question", "q"): [seen("heard")], ("all", "q l t"): [FULL]}),
    "told": (told, "rolled_back", {("gate", "accept"): [FULL]}),
    "deeds": (deeds, "rolled_back", {}),
    "worked": (worked, "rolled_back", {}),
}
LONG = {
    "forth": (forth, "succeeded", {
        ("question", "ask"): [ANSWER],
        ("gate", "accept"): [("confirm", {"ticks": ["one"]}), ("confirm", {"all": True})],
        ("ended", "succeeded"): [("finalise", {})]}),
    "back": (back, "rolled_back", {
        ("retry-or-skip", "c"): [RETRY, FULL],
        ("stuck", "s"): [SKIP], ("stuck", "b"): [RETRY]}),
}
TIMED = {"windowed": (windowed, "rolled_back", {})}  # they take the time that the clock takes
# Of what starts the job. A fault must not take as long as the window does.
MORE = {"dry": {"dry_run": True}, "told": GIVEN, "windowed": {"window": {"length": "4s"}}}
UNSTARTABLE = ("unstarted",)  # a job whose updd-step ends at once
# What a person does where only the death of a step led.
AFTER_A_DEATH = {"gate": ("confirm", {"all": True}), "question": ANSWER, "retry-or-skip": FULL,
                 "stuck": RETRY, "missing-secret": ("retry", GIVEN)}


class Person:
    """Sees one job to its end, doing at each place what is to be done there."""

    def __init__(self, updd, tiny, job, decisions):
        self.updd, self.tiny, self.job = updd, tiny, job
        self.left = {place: list(what) for place, what in decisions.items()}

    def until_the_end(self, timeout=40):
        return self.updd.until(self.look, timeout, lambda: f"no end: {self.updd.tell(self.job)}")

    def look(self):
        now = self.updd.job(self.job)
        if now["state"] == "stuck":
            bad = [s["id"] for s in now["steps"] if s["state"] == "undo_failed"]
            return self.decide(now, ("stuck", bad[0]), {})
        for place in [p for p, what in self.left.items() if what]:
            if self.is_there(now, place):
                return self.decide(now, place, {})
        for wait in now.get("waits") or []:
            if wait.get("on_timeout") not in ("continue", "rollback") and not self.belongs(wait):
                return self.decide(now, (wait["kind"], wait.get("step")), {"wait": wait["id"]})
        return now if now["state"] in ENDED and self.is_settled(now) else None

    def belongs(self, wait):
        """It is decided about together with others, which are not all there yet."""
        return wait["kind"] == "retry-or-skip" and any(
            kind == "all" and what and wait["step"] in name.split()
            for (kind, name), what in self.left.items())

    def is_there(self, now, place):
        kind, name = place
        if kind == "all":
            held = {w.get("step") for w in now.get("waits") or [] if w["kind"] == "retry-or-skip"}
            return held == set(name.split())
        if kind == "ended":
            return now["state"] == name and not now.get("waits")
        if kind == "file":
            return self.tiny.exists(name) and now["state"] in ("queued", "running")
        if kind == "paused":
            steps = [s for s in now["steps"] if s["id"] in name.split()]
            return now["state"] == "running" and all(
                s["state"] == "pending" and s["attempts"] > 0 for s in steps)
        return False

    @staticmethod
    def is_settled(now):
        moving = {s["state"] for s in now["steps"]} & {"running", "undoing"}
        finalise = {s["state"] for s in now["steps"] if s["phase"] == "finalise"}
        return not moving and (now["state"] != "succeeded" or finalise <= {"done", "skipped"})

    def decide(self, now, place, wait):
        planned = self.left.get(place)
        verb, body = planned[0] if planned else AFTER_A_DEATH[place[0]]
        if verb == "touch":
            return self.tiny.touch(body)  # the wait closes by itself
        if not planned and now["state"] == "succeeded" and place[0] == "retry-or-skip":
            verb, body = SKIP  # a finalise step: the way back is closed
        if planned:
            planned.pop(0)
        named = verb not in ("rollback", "cancel")
        return self.updd.post(self.job, verb, **body, **(wait if named else {})) and None


def steer(updd, tiny, job, decisions):
    """The job, once a person has seen it to its end."""
    return Person(updd, tiny, job, decisions).until_the_end()
