# SPDX-License-Identifier: MIT
"""
One run of a job of crashjobs.py in which a program dies at one boundary (tests/preload/boundary.c),
or none does, held against the rules; and what shows that a fault has changed nothing.
"""
import http.client
import mmap
import os
import struct
import subprocess

import rules
import states
from crashjobs import JOBS, LONG, MORE, SECRET, TIMED, UNSTARTABLE, Person, look_at
from daemon import BUILD, Daemon
from tiny import Tiny

LIBRARY = BUILD / "tests/preload/boundary.so"
COUNT, KILL_AT, AFTER, ANSWERS, OTHER = range(5)  # the Control of boundary.c
CALLS_MAX, NAME_SIZE = 4096, 16
# A row of these counts once: until a row of writes to the write-ahead log is committed nobody sees a
# difference, and of the folders on the way to one only the last may be missing.
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

    def names(self):
        """Of all calls, in their order."""
        found = []
        for n in range(min(self[COUNT], CALLS_MAX)):
            at = 20 + n * NAME_SIZE
            found.append(self.map[at:at + NAME_SIZE].rstrip(b"\0").decode())
        return found


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
        if program == "worker":  # the part of updd-step that does the work, in a process of its own
            self.environment |= {"UPDD_BOUNDARY_PROGRAM": "updd-step", "UPDD_BOUNDARY_FORKED": "1"}
        if program != "updd":
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


class Run:
    """A job from its start to its end, in a folder of its own."""

    def __init__(self, folder, name, program, kill_at=0, after=False, both=False, again=0):
        folder.mkdir()
        self.folder = folder
        self.control = Control(folder / "control", kill_at, after)
        self.updd = Survivor(folder / "updd", self.control, program, both, again)
        self.tiny = Tiny(folder / "tiny")
        plan, self.end, decisions = {**JOBS, **LONG, **TIMED}[name]
        if name in UNSTARTABLE:
            self.updd.step_program = "/bin/false"
        try:
            self.updd.start()
            self.document = {**plan(self.tiny), "plan": name}
            self.world = look_at(self.tiny.folder / "world")
            self.job = self.updd.begin(self.document, **MORE.get(name, {}))
            self.now = Person(self.updd, self.tiny, self.job, decisions).until_the_end()
            self.look_back()
        finally:
            self.updd.close()

    def look_back(self):
        updd, job = self.updd, self.job
        if "hooks" in self.document:
            updd.until(lambda: self.tiny.exists("hooked"), 20, lambda: "no hook: " + updd.tell(job))
            assert (self.tiny.folder / "hooked").read_text().split()[0] == str(len(SECRET))
        # Asked each time, for it may have died beside its last commit.
        updd.until(lambda: updd.job(job) and not updd.leaks(SECRET), 5,
                   lambda: f"it is kept in {updd.leaks(SECRET)}")
        self.calls, self.fired = self.control[COUNT], self.control.fired
        names = self.control.names()
        # The first boundary that is this job's own: it has been taken, and that was answered.
        self.first = names.index("sendmsg") + 2 if "sendmsg" in names else 1
        self.control[KILL_AT] = self.control[KILL_AT] if self.fired else 0
        assert [j["id"] for j in updd.api("GET", "/v1/jobs")["jobs"]] == [job], "a job came twice"
        self.done = self.tiny.done()
        acknowledged = list(updd.acknowledged)
        self.now, events = rules.check(updd, job, self.done, self.document, self.tiny.folder,
                                       acknowledged, [SECRET])
        self.arcs = states.arcs_of(self.now, events)
        self.journal = [(e["type"], e.get("step") or "",
                         ((e.get("data") or {}).get("message") or "").replace(str(self.folder), "."))
                        for e in events]
        self.states = updd.states(job)

    def facts(self):
        """What is the same in each run: members of a parallel group may change places."""
        places = {}
        for step in self.now["steps"]:
            if "parent" in step:
                places[step["id"]] = step["parent"]

        def settle(words):
            """Words of members of one group, in one order."""
            groups = [places.get(w.partition("-")[2]) if "-" in w else None for w in words]
            pool = {g: sorted(w for w, h in zip(words, groups) if h == g) for g in set(groups) if g}
            return [w if not g else pool[g].pop(0) for w, g in zip(words, groups)]
        return {"state": self.now["state"], "done": settle(self.done), "steps": self.states,
                "journal": sorted(self.journal)}


def telling(run, rows=False):
    """The numbers of the boundaries of a run; `rows`: each call of a row too."""
    names = run.control.names()
    return [n for n in range(1, run.calls + 1) if n == 1 or rows or names[n - 1] not in IN_ROWS
            or names[n - 1] != names[n - 2]]
