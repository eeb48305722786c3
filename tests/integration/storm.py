# SPDX-License-Identifier: MIT
"""
A storm of kills: jobs of all kinds (crashjobs.py) side by side under one daemon, people who answer
them, and somebody who kills updd, updd-step and what it runs, at moments that nobody chose. Every
request that was acknowledged, and every job, is then held against the rules.

A storm is made of its seed: what is killed when, and which jobs there are. What the kills hit depends
on the machine's pace, so a seed leads near a fault and not surely to it.
"""
import glob
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import threading
import time

import rules
from crashjobs import JOBS, MORE, SECRET, Person, look_at
from daemon import ENDED, SLOW, Daemon, Refused
from tiny import Tiny

# Not here: what needs a broken updd-step, and people who wait for steps that a kill has silenced.
KINDS = [name for name in JOBS if name not in ("unstarted", "crashed-asking")]
AT_ONCE = 4
BLOWS = ["daemon", "daemon", "starting", "supervisor", "worker", "child", "both", "all"]


class Stormy(Daemon):
    """A daemon that others kill and start again meanwhile: a call that it leaves unanswered is made
    again with the same key, as updctl does."""

    def __init__(self, home):
        super().__init__(home)
        self.acknowledged = []

    def launch(self, **environment):
        # A search for leaks whose helper is killed as a child of the step waits for it for ever.
        options = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        return super().launch(ASAN_OPTIONS=options.lstrip(":"), **environment)

    def call(self, method, path, body=None, headers=None, timeout=30):
        end = time.monotonic() + 30 * SLOW
        while True:
            try:
                answer = super().call(method, path, body, headers, timeout)
            except (OSError, http.client.HTTPException):
                if path == "/v1/health" or time.monotonic() > end:
                    raise
                time.sleep(0.01)
                continue
            if method == "POST" and answer.status < 400:
                self.acknowledged.append((path, body, headers, answer))
            return answer


class Blows(threading.Thread):
    """Kills `count` times. It ends early when it may not go on, and says why in `fault`."""

    def __init__(self, updd, rng, count):
        super().__init__(daemon=True)
        self.updd, self.rng, self.count = updd, rng, count
        self.kills, self.fault, self.over = 0, None, threading.Event()
        self.dead = set()  # claims of attempts that are over

    def run(self):
        try:
            while self.kills < self.count and not self.over.is_set():
                time.sleep(self.rng.uniform(0, 0.12))
                self.blow(self.rng.choice(BLOWS))
        except Exception as e:  # noqa: BLE001: told by the storm
            self.fault = e

    def blow(self, kind):
        alive = self.alive()
        ids, claimed = set(alive), list(alive.values())
        self.rng.shuffle(claimed)
        hit = {"supervisor": lambda: claimed[:1], "both": lambda: claimed[:1],
               "worker": lambda: self.children(claimed[:1]),
               "child": lambda: marked_with(ids)[-1:],
               "all": lambda: claimed + marked_with(ids)}.get(kind, list)()
        if kind in ("daemon", "starting", "both", "all"):
            self.updd.kill9()
            self.kills += 1
        for pid in hit:
            self.kills += self.kill(pid)
        if kind == "starting":
            self.updd.launch()
            time.sleep(self.rng.uniform(0, 0.05))
            self.updd.kill9()
            self.kills += 1
        if self.updd.process.poll() is not None:
            self.updd.start()

    def alive(self):
        """{attempt's id: its supervisor}"""
        found = {}
        # Unlike pathlib's, this one does not mind folders that go meanwhile.
        for claim in map(pathlib.Path, glob.glob(f"{self.updd.state}/jobs/*/*/*/claim")):
            if claim in self.dead:
                continue
            said = rules.read(claim)
            if said.get("by") != "daemon" and self.is_of(said.get("pid"), claim.parent):
                found[said["id"]] = said["pid"]
            else:
                self.dead.add(claim)
        return found

    @staticmethod
    def is_of(pid, folder):
        """The pid in a claim may be another's by now."""
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                return str(folder).encode() in f.read()
        except OSError:
            return False

    @staticmethod
    def children(pids):
        for pid in pids:
            try:
                with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                    return [int(p) for p in f.read().split()][:1]
            except OSError:
                pass
        return []

    @staticmethod
    def kill(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return 0
        return 1


def marked_with(ids):
    """Pids whose environment carries one of those attempts' ids."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                mark = re.search(rb"UPDD_ATTEMPT=(\w+)", f.read())
        except OSError:
            continue
        if mark and mark[1].decode() in ids:
            found.append(int(pid))
    return found


class Guest:
    """One job of the storm, with its folder and the person who sees to it."""

    def __init__(self, updd, folder, kind):
        plan, _, decisions = JOBS[kind]
        self.kind, self.tiny = kind, Tiny(folder)
        self.document = plan(self.tiny)
        self.world = look_at(self.tiny.folder / "world")
        self.job = updd.begin(self.document, **MORE.get(kind, {}))
        self.person = Person(updd, self.tiny, self.job, decisions)

    def has_ended(self):
        try:
            return self.person.look() is not None
        except Refused as e:
            # What was seen has changed meanwhile.
            if e.answer.status not in (400, 409):
                raise
            return False

    def check(self, updd):
        now, events = rules.check(updd, self.job, self.tiny.done(), self.document,
                                  self.tiny.folder, secrets=[SECRET])
        assert now["state"] in ENDED, now["state"]
        if now["state"] == "rolled_back":
            assert look_at(self.tiny.folder / "world") == self.world, "it was not brought back"
        return sum(e["type"] in ("step_started", "step_undoing") for e in events)


def storm(folder, seed, count):
    """`count` kills. {"kills", "jobs", "attempts"} and the violations, as a list of texts. The folder
    is removed when there is none."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    updd = Stormy(folder / "updd")
    blows, guests, figures = Blows(updd, rng, count), [], {"jobs": 0, "attempts": 0}
    wrong = []
    try:
        updd.start()
        blows.start()
        go_through(updd, folder, rng, blows, guests)
        wrong += look_back(updd, guests, figures)
    except Exception as e:  # noqa: BLE001: told with the others
        wrong.append(f"seed {seed}: {type(e).__name__}: {e}")
    finally:
        blows.over.set()
        blows.join()
        try:
            updd.close()
        except AssertionError as e:
            wrong.append(f"seed {seed}: {e}")
    if not wrong:
        shutil.rmtree(folder)
    return {"kills": blows.kills, **figures}, [f"{folder}: {w}" for w in wrong]


def go_through(updd, folder, rng, blows, guests):
    """Keeps jobs going until the last blow, and sees all of them to their ends."""
    active = []
    while blows.is_alive() or active:
        while blows.is_alive() and len(active) < AT_ONCE:
            active.append(Guest(updd, folder / f"job-{len(guests) + 1}", rng.choice(KINDS)))
            active[-1].until = time.monotonic() + 90 * SLOW
            guests.append(active[-1])
        for guest in list(active):
            if guest.has_ended():
                active.remove(guest)
            assert time.monotonic() < guest.until, f"no end: {updd.tell(guest.job)}"
        assert not blows.fault, f"{type(blows.fault).__name__}: {blows.fault}"
        time.sleep(0.04)


def look_back(updd, guests, figures):
    wrong = []
    known = [j["id"] for j in updd.api("GET", "/v1/jobs?limit=200")["jobs"]]
    if sorted(known) != sorted(g.job for g in guests):
        wrong.append(f"jobs {known} instead of {[g.job for g in guests]}")
    try:
        rules.acknowledged_is_there(updd, list(updd.acknowledged))
    except AssertionError as e:
        wrong.append(str(e))
    for guest in guests:
        try:
            figures["attempts"] += guest.check(updd)
            figures["jobs"] += 1
        except AssertionError as e:
            journal = "\n".join(json.dumps(x) for x in updd.events(guest.job))
            wrong.append(f"job {guest.job} ({guest.kind}): {e}\n{updd.tell(guest.job)}\n{journal}")
    return wrong
