# SPDX-License-Identifier: MIT
"""
A disk that falls ill under updd or updd-step and gets well again: tests/preload/sick.c, told by a
control file, and a daemon that is watched meanwhile. A Doctor looks in while the disk is ill: reads
are answered, changes are refused with the reason or kept, and nothing has ended; then it cures it.
"""
import errno
import http.client
import json
import mmap
import os
import shutil
import struct
import threading
import time

import rules
from daemon import BUILD, SLOW, Daemon
from crashjobs import JOBS, LONG, steer
from tiny import Tiny

LIBRARY = BUILD / "tests/preload/sick.so"
COUNT, FROM, UNTIL, ERR, HALVES, FAILED = range(6)  # the Control of sick.c
CALLS_MAX, NAME_SIZE = 4096, 16
ILL_S = 0.5
# What a caller is told of each illness: status and problem type.
FULL, FAILED_SO = (507, "disk-full"), (503, "store-failed")
TOLD = {errno.ENOSPC: (FULL, FAILED_SO), errno.EDQUOT: (FULL, FAILED_SO),
        errno.EIO: (FAILED_SO,), errno.EROFS: (FAILED_SO,)}


class Control:
    """What the test shares with the processes whose disk it is."""

    def __init__(self, file):
        self.file = file
        file.write_bytes(bytes(24 + CALLS_MAX * NAME_SIZE))
        with open(file, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)

    def __getitem__(self, field):
        return struct.unpack_from("=I", self.map, field * 4)[0]

    def __setitem__(self, field, value):
        struct.pack_into("=I", self.map, field * 4, int(value))

    def fall_ill(self, err, at=1, halves=False):
        """From the `at`-th call from now on; `halves`: a first write is cut short."""
        self[FAILED], self[ERR], self[HALVES] = 0, err, halves
        self[FROM] = self[COUNT] + at

    def get_well(self):
        self[FROM] = 0

    def name(self, n):
        at = 24 + (n - 1) * NAME_SIZE
        return self.map[at:at + NAME_SIZE].rstrip(b"\0").decode()


class Patient(Daemon):
    """A daemon whose disk, or whose steps' disk, can fall ill. What is refused for that is asked
    again with the same key, as updctl's user would."""

    def __init__(self, home, control, programs="updd"):
        super().__init__(home)
        self.control, self.acknowledged, self.refused = control, [], 0
        sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.environment = {"LD_PRELOAD": str(LIBRARY), "UPDD_SICK_PROGRAM": programs,
                            "UPDD_SICK_FOLDER": str(self.state),
                            "UPDD_SICK_CONTROL": str(control.file),
                            "ASAN_OPTIONS": sanitizer.lstrip(":")}
        if programs != "updd":
            self.load_step()

    def load_step(self):
        """updd-step with the library in it: the daemon hands on nothing of its environment."""
        script = self.home / "updd-step"
        script.write_text("#!/bin/sh\n" + "".join(
            f"export {name}='{value}'\n" for name, value in self.environment.items()) +
            f"exec '{self.step_program}' \"$@\"\n")
        script.chmod(0o755)
        self.step_program = script

    def start(self, **environment):
        return super().start(**self.environment, **environment)

    def call(self, method, path, body=None, headers=None, timeout=30):
        end = time.monotonic() + 30 * SLOW
        while True:
            answer = super().call(method, path, body, headers, timeout)
            told = answer.status in (503, 507) and method == "POST"
            if not told or time.monotonic() > end:
                break
            self.is_a_reason(answer)
            self.refused += 1
            time.sleep(0.1)
        if method == "POST" and answer.status < 400 and "Idempotency-Key" in (headers or {}):
            self.acknowledged.append((path, body, headers, answer))
        return answer

    def is_a_reason(self, answer):
        expected = TOLD[self.control[ERR]]
        kind = (answer.body or {}).get("type", "").removeprefix("urn:updd:problem:")
        assert answer.headers["content-type"].startswith("application/problem+json"), answer
        assert (answer.status, kind) in expected and answer.body["detail"], (expected, answer)


class Doctor(threading.Thread):
    """Looks in as long as the disk is ill, cures it after ILL_S, and tells what it found wrong."""

    def __init__(self, updd, plan):
        super().__init__()
        self.updd, self.plan, self.wrong, self.healths = updd, plan, None, []
        self.over = False
        self.start()

    def run(self):
        try:
            control = self.updd.control
            while not self.over:
                if control[FROM] and control[FAILED]:
                    end = time.monotonic() + ILL_S * SLOW
                    while time.monotonic() < end:
                        self.look_in()
                        time.sleep(0.1)
                    control.get_well()
                time.sleep(0.01)
        except Exception as e:  # noqa: BLE001: told by the test's own thread
            self.wrong = e
            self.updd.control.get_well()

    def look_in(self):
        for page in ("/v1/jobs", "/v1/events?limit=5", "/v1"):
            answer = Daemon.call(self.updd, "GET", page)
            assert answer.status == 200, (page, answer)
        for job in Daemon.call(self.updd, "GET", "/v1/jobs").body["jobs"]:
            answer = Daemon.call(self.updd, "GET", f"/v1/jobs/{job['id']}")
            assert answer.status == 200, answer
        headers = {"Idempotency-Key": f"doctor-{time.monotonic_ns()}"}
        body = json.dumps({"document": json.dumps(self.plan), "inputs": {}}).encode()
        send = {**headers, "Content-Type": "application/json"}
        answer = Daemon.call(self.updd, "POST", "/v1/jobs", body, send)
        if answer.status in (503, 507):
            self.updd.is_a_reason(answer)
            health = Daemon.call(self.updd, "GET", "/v1/health")
            if self.updd.control[FROM]:
                assert health.status == 503 and health.body["state"] == "degraded", health
                assert health.body["since"] and health.body["store"] != "ok", health
            self.healths.append(health.body["state"])
        else:
            assert answer.status in (201, 409), answer
            if answer.status == 201:
                self.updd.acknowledged.append(("/v1/jobs", body, send, answer))

    def done(self):
        self.over = True
        self.join()
        if self.wrong:
            raise self.wrong


class Run:
    """A job of test_boundaries from its start to its end on a disk that falls ill once."""

    def __init__(self, folder, name, programs="updd", at=0, err=errno.EIO, halves=False):
        folder.mkdir()
        self.folder, self.tiny = folder, Tiny(folder / "tiny")
        self.control = Control(folder / "control")
        self.updd = Patient(folder / "updd", self.control, programs)
        plan, self.end, decisions = {**JOBS, **LONG}[name]
        doctor = None
        try:
            self.updd.start()
            before = self.control[COUNT]
            pid = self.updd.process.pid
            if at:
                self.control.fall_ill(err, at, halves)
            doctor = Doctor(self.updd, self.tiny.plan(self.tiny.gate(), plan="doctor"))
            self.document = {**plan(self.tiny), "plan": name}
            secrets = {"token": "only-for-this-job"} if name == "told" else {}
            self.job = self.updd.begin(self.document, secrets=secrets)
            self.now = steer(self.updd, self.tiny, self.job, decisions)
            self.calls = self.control[COUNT] - before
            self.first = before + 1
            self.failed = self.control[FAILED]
            self.control.get_well()
            doctor.done()
            assert self.updd.process.pid == pid and self.updd.process.poll() is None
            self.look_back()
        finally:
            self.control.get_well()
            if doctor:
                doctor.over = True
                doctor.join()
            self.updd.close()

    def look_back(self):
        updd, job = self.updd, self.job
        updd.until(lambda: updd.call("GET", "/v1/health").status == 200, 10, "it is never well")
        rules.check(updd, job, words=self.tiny.done(), plan=self.document,
                    acknowledged=tuple(updd.acknowledged))
        self.done = self.tiny.done()
        self.events = [(e["type"], e.get("step") or "", (e.get("data") or {}).get("message") or "")
                       for e in updd.events(job)]
        self.states = updd.states(job)
        self.tiny_written = self.tiny.exists("written")

    def facts(self):
        """What is the same in each run: members of a parallel group may change places."""
        def settle(words):
            pair = sorted(w for w in words if w.endswith(("p0", "p1")))
            return [w if not w.endswith(("p0", "p1")) else pair.pop(0) for w in words]
        return {"state": self.now["state"], "done": settle(self.done), "steps": self.states,
                "journal": sorted(self.events)}


def try_each(folder, name, programs, cases, judge):
    """cases(sane): (at, err, halves); judge(run, sane) raises when a rule was broken. The folders of
    runs that broke none are removed. Gives how many fell ill, and what was wrong."""
    sane = Run(folder / "sane", name, programs)
    assert sane.now["state"] == sane.end and sane.calls > 20, sane.facts()
    wrong, ill = [], 0
    for at, err, halves in cases(sane):
        place = folder / f"{at}{errno.errorcode[err]}{'half' if halves else ''}"
        call = sane.control.name(sane.first + at - 1)
        try:
            run = Run(place, name, programs, at, err, halves)
            ill += run.failed > 0
            judge(run, sane)
        except (Exception, http.client.HTTPException) as e:  # noqa: BLE001: one must not hide others
            wrong.append(f"{place} {call}:\n{type(e).__name__}: {e}")
        else:
            shutil.rmtree(place)
    shutil.rmtree(folder / "sane")
    print(f"{name}: the disk of {programs} fell ill {ill} times, {len(wrong)} violations")
    return ill, wrong
