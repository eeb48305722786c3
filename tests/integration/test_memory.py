# SPDX-License-Identifier: MIT
"""
Memory that runs out in updd: at a sample of the allocations of each kind of request, and of a plan's
reading, one allocation fails, or all from one on until the answer (tests/preload/alloc.c: those of
jansson, SQLite, libyaml and libmicrohttpd too). updd answers 503, closes the connection or succeeds;
the next call works, nothing is half done, and nothing is forgotten to be freed.

`UPDD_MEMORY=all` tries every allocation, else SAMPLE of each kind's.
"""
import http.client
import json
import mmap
import os
import pathlib
import random
import signal
import struct
import subprocess
import time
import uuid

import pytest

import rules
from daemon import BUILD, Daemon

# A sanitizer brings an allocator of its own: beside such a build, one without it is named.
PLAIN = pathlib.Path(os.environ.get("UPDD_PLAIN_BUILD") or BUILD)
LIBRARY = PLAIN / "tests/preload/alloc.so"
ARMED, COUNT, FAIL_AT, LASTING, FAILED, LIVE = range(6)  # the Control of alloc.c
SAMPLE = 40
SEED = int(os.environ.get("UPDD_MEMORY_SEED", "1"))
ALL = os.environ.get("UPDD_MEMORY") == "all"
NEVER = 10**9  # the number of an allocation that does not come
# Allocations a round that may stay: those of buffers; and of SQLite's cache where something is written.
LEAKED_READING, LEAKED_WRITING = 2, 12


def is_sanitized():
    linked = subprocess.run(["ldd", str(PLAIN / "daemon/updd")], capture_output=True, text=True)
    return "libasan" in linked.stdout or b"__asan_init" in (PLAIN / "daemon/updd").read_bytes()


class Control:
    def __init__(self, file):
        self.file = file
        file.write_bytes(bytes(24))
        with open(file, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)

    def __getitem__(self, field):
        return struct.unpack_from("=i" if field == LIVE else "=I", self.map, field * 4)[0]

    def __setitem__(self, field, value):
        struct.pack_into("=I", self.map, field * 4, int(value))


class Forgetful(Daemon):
    """A daemon whose memory runs out in one call."""

    def __init__(self, home):
        super().__init__(home)
        self.program = PLAIN / "daemon/updd"
        self.step_program = PLAIN / "daemon/step/updd-step"
        self.control = Control(self.home / "control")

    def start(self, **environment):
        return super().start(LD_PRELOAD=str(LIBRARY), UPDD_ALLOC_PROGRAM="updd",
                             UPDD_ALLOC_CONTROL=str(self.control.file), **environment)

    def without(self, at, lasting, request):
        """The answer, or None: it closed the connection. And whether an allocation failed."""
        control = self.control
        control[COUNT], control[FAILED] = 0, 0
        control[FAIL_AT], control[LASTING] = at, lasting
        control[ARMED] = 1
        try:
            answer = self.call(*request)
        except (OSError, http.client.HTTPException):
            answer = None
        finally:
            control[ARMED] = 0
        assert self.process.poll() is None, f"updd ended at allocation {at}: {self.said()[-2000:]}"
        return answer, control[FAILED] > 0


@pytest.fixture
def plan(tmp_path):
    return PLAN.replace("@CWD@", str(tmp_path))


@pytest.fixture
def forgetful(built, tmp_path):
    if is_sanitized():
        pytest.skip("a sanitizer brings its own allocator: name a build without in UPDD_PLAIN_BUILD")
    d = Forgetful(tmp_path / "updd")
    try:
        yield d.start()
    finally:
        d.control[ARMED] = 0
        d.close()


PLAN = """format: 1
plan: whole
title: "Version ${in.version}"
target: whole
cwd: @CWD@
inputs:
  version: {type: string, default: "2", match: "^[0-9]+$"}
checks:
  - {path: {path: /tmp, state: dir}, hint: it should be there}
steps:
  - {id: accept, confirm: {ask: "Go on?", items: [one, two], within: 1h}}
  - id: page
    write: {to: page.html, text: "Version ${in.version}"}
    verify: [{path: {path: page.html, has: Version}}]
  - id: both
    parallel:
      - {id: left, run: [sh, -c, "true"], undo: none}
      - {id: right, run: [sh, -c, "true"], undo: {run: ["true"]}}
rollbacks:
  code: {keep: [page], loses: nothing}
on_failure: {default: full, page: code}
"""


def key():
    return {"Idempotency-Key": uuid.uuid4().hex, "Content-Type": "application/json"}


def body(**members):
    return json.dumps(members).encode()


def numbers(updd, request):
    """Which allocations of a request fail in turn."""
    updd.without(0, False, request())
    n = updd.control[COUNT]
    assert n > 5, "nothing was counted"
    if ALL:
        return range(1, n + 1)
    rng = random.Random(SEED)
    return sorted({1, 2, 3, n, *(rng.randint(1, n) for _ in range(SAMPLE - 4))})


def settle(updd):
    """Until it is well again after a turn that failed."""
    updd.until(lambda: updd.call("GET", "/v1/health").status == 200, 20, "it never got well")


def rounds(updd, request, judge, chosen):
    """Each of the allocations fails once; how many did, and what each left allocated on average. What
    ends leaves memory in a later turn."""
    settle(updd)
    before, tried = updd.control[LIVE], 0
    for i, at in enumerate(chosen):
        asked = request()
        answer, failed = updd.without(at, i % 3 == 2, asked)
        tried += failed
        assert answer is None or answer.status in (200, 201, 204, 404, 409, 422, 503), (at, answer)
        if answer is not None and answer.status == 503:
            assert answer.text == "" or "memory" in answer.text, (at, answer)
        judge(answer, asked)
    settle(updd)
    time.sleep(0.2)
    return tried, (updd.control[LIVE] - before) / len(chosen)


def try_each(updd, request, judge, leaked=LEAKED_WRITING):
    chosen = numbers(updd, request)
    rounds(updd, request, judge, [NEVER] * 3)
    tried, left = rounds(updd, request, judge, chosen)
    assert tried >= 5
    # SQLite's cache grows by some pages a job until it is full.
    _, usual = rounds(updd, request, judge, [NEVER] * min(len(chosen), SAMPLE))
    assert left <= usual + leaked, (left, usual)


@pytest.mark.parametrize("path", ["", "?limit=5&plan=whole", "/1", "/1/events", "/1/steps/page/log"])
def test_memory_that_runs_out_while_reading_is_survived(forgetful, plan, path):
    updd = forgetful
    job = updd.begin(plan)
    wait = updd.wait_open(job, "gate")
    updd.post(job, "confirm", wait=wait["id"], all=True)
    updd.wait_for(job, "succeeded")
    updd.restart()
    right = updd.call("GET", f"/v1/jobs{path}").text

    def judge(answer, _):
        if answer is not None and answer.status == 200:
            assert answer.text == right
        assert updd.call("GET", f"/v1/jobs{path}").text == right
    try_each(updd, lambda: ("GET", f"/v1/jobs{path}"), judge, LEAKED_READING)


def test_memory_that_runs_out_over_a_plan_that_is_checked_is_survived(forgetful, plan):
    updd = forgetful
    send = {"Content-Type": "application/yaml"}
    right = updd.call("POST", "/v1/plans:check", plan, send).text

    def judge(answer, _):
        if answer is not None and answer.status == 200:
            assert answer.text == right, "half a plan was judged"
        assert updd.call("POST", "/v1/plans:check", plan, send).text == right
    try_each(updd, lambda: ("POST", "/v1/plans:check", plan, send), judge, LEAKED_READING)


def test_memory_that_runs_out_over_a_start_leaves_no_half_a_job(forgetful, plan):
    updd = forgetful
    seen = []

    def request():
        return ("POST", "/v1/jobs", body(document=plan, inputs={}), key())

    def judge(answer, asked):
        again = updd.call(*asked)
        assert again.status == 201, (answer, again)
        if answer is not None and answer.status == 201:
            assert again.body["id"] == answer.body["id"]
            assert again.headers.get("idempotency-replayed") == "true"
        end(again.body["id"])

    def end(job):
        seen.append(job)
        updd.post(job, "cancel")
        updd.wait_for(job, "cancelled", "rolled_back")
        updd.until(lambda: rules.settled(updd.job(job)), 20, lambda: updd.tell(job))
        updd.invariants(job)
    first = updd.call(*request())
    end(first.body["id"])
    # The request that counts the allocations begins a job too.
    original = updd.without

    def without(at, lasting, asked):
        answer, failed = original(at, lasting, asked)
        if at == 0:
            end(answer.body["id"])
        return answer, failed
    updd.without = without
    try_each(updd, request, judge)
    listed = [j["id"] for j in updd.api("GET", "/v1/jobs?limit=200")["jobs"]]
    assert sorted(listed) == sorted(set(seen)) and len(seen) == len(set(seen))


def test_memory_that_runs_out_over_a_tick_counts_it_once_or_not_at_all(forgetful, plan):
    updd = forgetful
    job = updd.begin(plan)
    wait = updd.wait_open(job, "gate")

    def ticked():
        return [i for i in updd.wait_open(job, "gate")["items"] if "ticked" in i]

    def judge(answer, asked):
        again = updd.call(*asked)
        assert again.status == 200, again
        assert len(ticked()) == 1
        updd.invariants(job)
    try_each(updd, lambda: ("POST", f"/v1/jobs/{job}/confirm",
                            body(wait=wait["id"], ticks=["one"]), key()), judge)
    assert len([e for e in updd.events(job) if e["type"] == "wait_ticked"]) == 1
    updd.post(job, "confirm", wait=wait["id"], all=True)
    updd.wait_for(job, "succeeded")


def test_memory_that_runs_out_over_a_token_makes_none_or_one(forgetful):
    updd, names = forgetful, []

    def request():
        names.append(f"t{len(names)}")
        return ("POST", "/v1/tokens", body(name=names[-1], role="view"), key())

    def judge(answer, asked):
        there = names[-1] in [t["name"] for t in updd.api("GET", "/v1/tokens")["tokens"]]
        if answer is not None:
            assert there == (answer.status == 201), answer
    try_each(updd, request, judge)


# ---- a reload -----------------------------------------------------------------------------------

class Reloading(Forgetful):
    """One whose options stand in a file, which is read anew while memory runs out."""

    def __init__(self, home):
        super().__init__(home)
        program, self.program = self.program, self.home / "updd-with-config"
        self.config = self.home / "updd.yaml"
        self.program.write_text(f'#!/bin/sh\nexec {program} --config {self.config} "$@"\n')
        self.program.chmod(0o755)
        self.plan_dirs = []
        for name in ("old", "new"):
            (self.home / name).mkdir()
            (self.home / name / f"{name}.yaml").write_text(
                f"format: 1\nplan: {name}\nsteps: [{{id: a, run: ['true'], undo: none}}]\n")

    def configure(self, name, others):
        self.config.write_text(f"plan-dir: [{self.home / name}]\nothers: {others}\n"
                               f"origins: ['https://{name}.example']\n")

    def pending(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("ShdPnd:")[1].split()[0], 16) & 1 << (signal.SIGHUP - 1)

    def reload(self, at):
        """How many allocations it took, of which one failed."""
        self.control[COUNT], self.control[FAILED] = 0, 0
        self.control[FAIL_AT], self.control[LASTING] = at, 0
        self.control[ARMED] = 1
        self.process.send_signal(signal.SIGHUP)
        self.until(lambda: not self.pending(), 20, "it does not hear")
        self.until(lambda: self.control[COUNT] > 0, 20, "it does nothing")
        taken = self.settled()
        self.control[ARMED] = 0
        return taken

    def settled(self):
        last = -1
        while last != self.control[COUNT]:
            last = self.control[COUNT]
            time.sleep(0.01)
        return last

    def in_force(self):
        """What each part of it goes by: the engine, and the HTTP server."""
        assert self.process.poll() is None, self.said()[-2000:]
        plans = [p["plan"] for p in self.api("GET", "/v1/plans")["plans"]]
        return plans, self.socket.stat().st_mode & 0o777


OLD, NEW = (["old"], 0o660), (["new"], 0o666)


@pytest.fixture
def reloading(built, tmp_path):
    if is_sanitized():
        pytest.skip("a sanitizer brings its own allocator: name a build without in UPDD_PLAIN_BUILD")
    d = Reloading(tmp_path / "updd")
    d.configure("old", "none")
    try:
        yield d.start()
    finally:
        d.control[ARMED] = 0
        d.close()


def test_memory_that_runs_out_over_a_reload_leaves_no_half_of_it_in_force(reloading):
    updd = reloading
    updd.configure("new", "view")
    n = updd.reload(NEVER)
    assert n > 20 and updd.in_force() == NEW
    seen = []
    # The last ones are where the parts take over.
    for at in range(1, n + 1) if ALL else range(max(1, n - SAMPLE), n + 1):
        updd.configure("old", "none")
        updd.reload(NEVER)
        assert updd.in_force() == OLD
        updd.configure("new", "view")
        updd.reload(at)
        seen.append(updd.in_force())
        assert updd.control[FAILED] and seen[-1] in (OLD, NEW), (at, seen[-1], updd.said()[-600:])
    assert OLD in seen and NEW in seen, "no reload was refused, or none went through"
