# SPDX-License-Identifier: MIT
"""
Power cuts, for tests: a job is run once while each change that it makes to the disk is written down
(tests/recorder). For points of that record the disks are rebuilt that a power cut there may leave
(disk.py); updd is started on each in another boot, the job is led to its end by the same person, who
asks again what was not answered, and the rules are checked that hold after any fault (rules.py).
"""
import contextlib
import itertools
import json
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import uuid

import disk
import rules
from crashjobs import FULL, LONG, MORE, RETRY, SECRET, UNSTARTABLE, steer
from crashjobs import JOBS as SMALL
from daemon import BUILD, Daemon, Refused
from tiny import Tiny

RECORDER = BUILD / "tests/recorder/recorder"
BOOT_ID = "/proc/sys/kernel/random/boot_id"


# ---- the jobs -----------------------------------------------------------------------------------


def crashes(tiny):
    """Steps under each policy of a crash, each of which counts itself."""
    seen = {"run": ["sh", "-c", "grep -qx do-probed told"]}
    return tiny.plan(
        tiny.act("rerun", on_crash="rerun"), tiny.act("asks", on_crash="ask"),
        tiny.act("probed", on_crash="probe", probe=[seen]), tiny.act("undone", on_crash="undo"),
        tiny.look("looked"),
        {"id": "watch", "observe": {"for": "60ms", "every": "20ms",
                                    "checks": [{"path": str(tiny.told)}]}},
        tiny.gate())


def git(folder, *args):
    subprocess.run(["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@example.org",
                    *args], check=True, capture_output=True)


def keeps(tiny):
    """Changes files, a database and a checkout, and brings all of it back."""
    folder = tiny.folder
    for name in ("conf/deep", "v1", "v2", "code"):
        (folder / name).mkdir(parents=True)
    for name in ("conf/a", "conf/b", "conf/deep/c", "old/x", "v1/file"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"the first {name}\n" * 50)
    (folder / "current").symlink_to("v1")
    with contextlib.closing(sqlite3.connect(folder / "sessions.db")) as c:
        c.executescript("CREATE TABLE sessions (id INTEGER PRIMARY KEY, text TEXT)")
        c.executemany("INSERT INTO sessions (text) VALUES (?)", [(f"row {n}",) for n in range(200)])
        c.commit()
    git(folder / "code", "init", "--quiet", "--initial-branch=main")
    for version in ("one", "two"):
        (folder / "code" / "file").write_text(version * 100)
        (folder / "code" / version).write_text(version)
        git(folder / "code", "add", ".")
        git(folder / "code", "commit", "--quiet", "-m", version)
        git(folder / "code", "tag", version)
    git(folder / "code", "checkout", "--quiet", "one")
    (folder / "code" / "file").write_text("mine")
    git(folder / "code", "commit", "--quiet", "-am", "mine")
    return tiny.plan(
        {"id": "backup", "backup": {"db": "sessions", "files": ["v1"], "to": "backups/here"}},
        {"id": "data", "undo": {"restore": "backup"}},
        {"id": "empty", "sql": {"db": "sessions", "exec": "DELETE FROM sessions WHERE id > 3"},
         "undo": "none"},
        {"id": "spoil", "run": ["sh", "-c", "echo spoilt >v1/file"], "undo": "none"},
        {"id": "keep", "snapshot": ["conf"]},
        {"id": "spoil2", "run": ["sh", "-c", "echo spoilt >conf/deep/c"], "undo": "none"},
        {"id": "more", "append": {"to": "conf/a", "text": "more"}},
        {"id": "gone", "remove": ["old", "conf/b"]},
        {"id": "deep", "write": {"to": "new/and/deep", "text": "x"}},
        {"id": "twin", "copy": {"from": "conf", "to": "twin"}},
        {"id": "live", "switch": {"path": "current", "to": "v2"}},
        {"id": "code", "git": {"dir": "code", "checkout": "two"}},
        {"id": "tree", "git": {"dir": "code", "checkout": "two", "worktree": "work"}},
        tiny.gate(),
        databases={"sessions": {"url": "sqlite:sessions.db"}})


def kept_facts(tiny):
    """What must be as it was when `keeps` has gone back."""
    folder = tiny.folder
    with contextlib.closing(sqlite3.connect(folder / "sessions.db")) as c:
        rows = c.execute("SELECT * FROM sessions ORDER BY id").fetchall()

    def said(*args):
        return subprocess.run(["git", "-C", folder / "code", *args], capture_output=True,
                              text=True).stdout
    return {"rows": rows, "status": said("status", "--porcelain"), "head": said("rev-parse", "HEAD"),
            "fsck": said("fsck", "--strict"), "worktrees": said("worktree", "list").count("\n"),
            **{path: about[::2] for path, about in disk.snapshot(folder).items()
               if not path.startswith(("code/.git", "sessions.db", "backups", "told"))}}


def plain(tiny):
    """A command that does what commands do: it writes, and syncs nothing."""
    return tiny.plan(
        {"id": "plain", "run": ["sh", "-c", "mkdir deep; echo new >deep/x; mv deep plain"],
         "undo": {"run": ["rm", "-rf", "deep", "plain"]}},
        tiny.act("b"), tiny.gate())


JOBS = {
    "plain": (plain, "succeeded", {("gate", "accept"): [("confirm", {"all": True})]}),
    **LONG, **{name: SMALL[name] for name in ("stop", "told", "missed", "given-up")},
    "crashes": (crashes, "rolled_back", {
        ("gate", "accept"): [FULL], ("retry-or-skip", "asks"): [RETRY] * 3}),
    "keeps": (keeps, "rolled_back", {("gate", "accept"): [FULL]}),
}
# All that can be recorded: what the person of the tests touches is no change of updd's.
EVERY_JOB = {**JOBS, **{name: job for name, job in SMALL.items() if name not in UNSTARTABLE
                        and "touch" not in [verb for what in job[2].values() for verb, _ in what]}}


# ---- who asks, and of whom ----------------------------------------------------------------------


class Person(Daemon):
    """A daemon, and the one who asks it: the same request goes out under the same key, also when it
    is asked again after a cut."""

    def __init__(self, home, state):
        super().__init__(home)
        self.state = state
        self.calls = []       # (method, path, body, headers, Answer), of each answer, in order
        self.asked = {}       # how often each request was made
        self.log, self.environment = None, {}

    def api(self, method, path, body=None, key=None):
        if method == "POST":
            what = asked(path, body)
            self.asked[what] = self.asked.get(what, 0) + 1
            key = key or str(uuid.uuid5(uuid.NAMESPACE_URL, f"{what} {self.asked[what]}"))
        try:
            return super().api(method, path, body, key)
        except Refused as e:
            # The same decision at another wait than the one that the cut swallowed.
            if not e.answer.body["type"].endswith(":idempotency-key-reused"):
                raise
            return super().api(method, path, body, uuid.uuid4().hex)

    def call(self, method, path, body=None, headers=None, timeout=30):
        answer = super().call(method, path, body, headers, timeout)
        self.calls.append((method, path, body, headers, answer))
        return answer

    def start(self, **environment):
        return super().start(**self.environment, **environment)

    def record(self, root):
        """Everything that it and its steps do below a folder is written down."""
        self.log = self.home / "record"
        self.through = [RECORDER, self.log, root, *self.through]
        # No sanitizer looks for leaks in a process that is traced.
        options = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        self.environment = {"ASAN_OPTIONS": options.lstrip(":")}
        script = self.home / "updd-step"
        script.write_text(f"#!/bin/sh\nexport ASAN_OPTIONS='{self.environment['ASAN_OPTIONS']}'\n"
                          f"exec '{self.step_program}' \"$@\"\n")
        script.chmod(0o755)
        self.step_program = script
        return self

    def reboot(self):
        """The daemon and all that it starts see another boot than any before."""
        boot = self.home / "boot_id"
        boot.write_text(f"{uuid.uuid4()}\n")
        self.through = ["unshare", "--mount", "sh", "-c",
                        f'mount --bind "$0" {BOOT_ID} && exec "$@"', boot]
        return self

    def stop(self):
        """The recorder takes all that it watches with it."""
        super().stop()
        if self.log:
            self.until(lambda: not self.attempt_processes(), 10, "a process outlives the recorder")


# ---- the record and the cuts --------------------------------------------------------------------


class Playback:
    """What a daemon that was recorded did to the disk, and whom it answered, up to any point."""

    def __init__(self, updd, before):
        self.updd, self.disk, self.played = updd, before, 0
        self.records = disk.records(updd.log)
        self.answers = list(itertools.accumulate((r["op"] == "answer" for r in self.records),
                                                 initial=0))

    def points(self, count, rng):
        """Behind which records: in a row of writes to one file one is as good as the other."""
        telling = [n for n, (a, b) in enumerate(zip(self.records, self.records[1:]), 1)
                   if a["op"] != "write" or b["op"] != "write" or a["ino"] != b["ino"]
                   or rng.random() < 0.1] + [len(self.records)]
        return sorted(rng.choices(telling, k=count))

    def image(self, at, way, seed):
        """The disk that is left by a cut behind `at` records; never again for an earlier one."""
        for n in range(self.played, at):
            self.disk.play(n, self.records[n])
        assert at >= self.played
        self.played, rng = at, random.Random(seed)
        return self.disk.image(self.disk.lost(way, rng), rng)

    def acknowledged(self, at):
        """What was accepted by then, as the rules want it."""
        return [c[1:] for c in self.updd.calls[:self.answers[at]]
                if c[0] == "POST" and c[4].status < 400]

    def tell(self, at):
        return {k: v for k, v in self.records[at - 1].items() if k != "data"}


class Record:
    """A job's run without a fault, written down, and what comes of it after a power cut."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        folder.mkdir(parents=True)
        self.root = folder / "disk"
        self.root.mkdir()
        self.tiny = Tiny(self.root / "tiny")
        plan, self.end, self.decisions = EVERY_JOB[name]
        self.document = {**plan(self.tiny), "plan": name}
        self.more = MORE.get(name, {})
        self.before = kept_facts(self.tiny) if name == "keeps" else None
        before = disk.Disk(self.root)
        self.first = Playback(self.run(), before)
        self.disks = 0

    def run(self):
        updd = Person(self.folder / "first", self.root / "state").record(self.root)
        try:
            updd.start()
            job = updd.begin(self.document, **self.more)
            now = steer(updd, self.tiny, job, self.decisions)
            assert now["state"] == self.end, updd.tell(job)
            self.settle(updd, job)
        finally:
            updd.close()
        return updd

    def settle(self, updd, job):
        if "hooks" in self.document:
            updd.until(lambda: self.tiny.exists("hooked"), 20, lambda: updd.tell(job))
        updd.until(lambda: not updd.leaks(SECRET), 5, lambda: f"it is kept in {updd.leaks(SECRET)}")

    # ---- the cuts ----

    def cuts(self, count, seed):
        """(point, way of loss, seed), in the order of the points."""
        rng = random.Random(f"{self.name} {seed}")
        return [(at, rng.choice(disk.WAYS), rng.randrange(10**6))
                for at in self.first.points(count, rng)]

    def try_all(self, cuts):
        """What each violation was: all are told, not only the first. One cut of five is followed by
        another, while updd makes up for the first."""
        wrong = []
        for at, way, seed in cuts:
            where = [f"UPDD_CUTS_AT={self.name}:{at}:{way}:{seed}", self.first.tell(at)]
            try:
                image = self.first.image(at, way, seed)
                acknowledged, rng = self.first.acknowledged(at), random.Random(seed)
                again = self.try_one(image, acknowledged, rng.random() < 0.2)
                if again:
                    self.try_again(again, acknowledged, rng, where)
            except Exception as e:  # noqa: BLE001: a disk's fault must not hide another's
                wrong.append("\n".join([*map(str, where), f"{type(e).__name__}: {e}"]))
                if os.environ.get("UPDD_TEST_FIRST") == "1":
                    break
        return wrong

    def try_one(self, image, acknowledged, recorded):
        """Carries on from a disk; `recorded`: gives what came then, for another cut."""
        shutil.rmtree(self.root)
        self.root.mkdir()
        disk.build(self.root, image)
        self.disks += 1
        before = disk.Disk(self.root) if recorded else None
        shutil.rmtree(self.folder / "then", ignore_errors=True)
        updd = Person(self.folder / "then", self.root / "state").reboot()
        if recorded:
            updd.record(self.root)
        try:
            updd.start()
            self.go_on(updd, acknowledged)
        finally:
            updd.close()
        return Playback(updd, before) if recorded else None

    def try_again(self, playback, acknowledged, rng, where):
        at, way, seed = playback.points(1, rng)[0], rng.choice(disk.WAYS), rng.randrange(10**6)
        where += [f"and again behind {at}, {way}", playback.tell(at)]
        known = {headers["Idempotency-Key"] for _, _, headers, _ in acknowledged}
        more = [a for a in playback.acknowledged(at) if a[2]["Idempotency-Key"] not in known]
        self.try_one(playback.image(at, way, seed), acknowledged + more, False)

    def go_on(self, updd, acknowledged):
        rules.acknowledged_is_there(updd, acknowledged)
        for path, body, _, _ in acknowledged:
            what = asked(path, body)
            updd.asked[what] = updd.asked.get(what, 0) + 1
        job = acknowledged[0][3].body["id"] if acknowledged else \
            updd.begin(self.document, **self.more)
        now = steer(updd, self.tiny, job, left_of(self.decisions, acknowledged))
        self.settle(updd, job)
        assert [j["id"] for j in updd.api("GET", "/v1/jobs")["jobs"]] == [job], "a job came twice"
        rules.check(updd, job, self.tiny.done(), self.document, self.tiny.folder, acknowledged,
                    [SECRET], power_cut=True)
        logs_are_whole(updd, job)
        self.is_as_told(now)

    def is_as_told(self, now):
        """What updd's own verbs say that they did is on the disk, and a policy did what it says."""
        words, there = self.tiny.done(), self.tiny.folder / "written"
        if "written" in json.dumps(self.document) and now["state"] in ("succeeded", "rolled_back"):
            assert there.exists() == (now["state"] == "succeeded"), now["state"]
            assert not there.exists() or there.read_text() == "x"
        if self.name == "plain" and now["state"] == "succeeded":
            assert (self.tiny.folder / "plain/x").read_text() == "new\n"
        if self.name == "crashes":
            assert words.count("do-probed") <= 1 and words.count("do-undone") <= 1, words
        if self.before:
            after = kept_facts(self.tiny)
            assert now["state"] == "rolled_back", now["state"]
            assert after == self.before, {k: (self.before.get(k), after.get(k)) for k in
                                          self.before.keys() | after.keys()
                                          if self.before.get(k) != after.get(k)}


def logs_are_whole(updd, job):
    """What a result tells of the log is in it: a log is on disk before the result is."""
    for folder, _ in rules.attempts(updd.state, job):
        result = rules.read(folder / "result.json")
        if "log_bytes" in result:
            log = folder / "log"
            text = log.read_bytes() if log.exists() else b""
            assert len(text) == result["log_bytes"] and b"\0" not in text, (folder, text)


def asked(path, body):
    """What a request wants, whichever wait it names."""
    return json.dumps([path, {k: v for k, v in (body or {}).items() if k != "wait"}])


def left_of(decisions, acknowledged):
    """What a person has still to decide."""
    left = {k: list(v) for k, v in decisions.items()}
    for path, body, _, _ in acknowledged[1:]:
        verb, said = path.rsplit("/", 1)[1], {k: v for k, v in body.items() if k != "wait"}
        for planned in left.values():
            if (verb, said) in planned:
                planned.remove((verb, said))
                break
    return left
