# SPDX-License-Identifier: MIT
"""
Too few descriptors and too many processes: updd lives, a step that cannot be started is not given up
and not begun twice, and all goes on when there is room again. And a disk that really can only be read.
"""
import mmap
import os
import resource
import socket
import struct
import subprocess
import time

import pytest

import rules
from daemon import BUILD, SLOW, Daemon, UnixConnection

LIBRARY = BUILD / "tests/preload/crowd.so"


def limit(updd, n):
    """Sets how many descriptors updd may have; gives what it was."""
    before = resource.prlimit(updd.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(updd.process.pid, resource.RLIMIT_NOFILE, (n, before[1]))
    return before


def used(updd):
    return len(os.listdir(f"/proc/{updd.process.pid}/fd"))


def cpu_seconds(updd):
    fields = open(f"/proc/{updd.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- descriptors --------------------------------------------------------------------------------


def test_clients_that_take_all_descriptors_end_nobody(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "touch began; while ! test -e go; do sleep 0.05; done"),
                               tiny.act("b")))
    updd.until(lambda: tiny.exists("began"), 20, "never began")
    before = limit(updd, used(updd) + 10)
    clients = []
    try:
        for _ in range(40):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.settimeout(1)
            s.connect(str(updd.socket))
            s.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n")  # and never the rest
            clients.append(s)
        time.sleep(0.5)
        busy = cpu_seconds(updd)
        time.sleep(1.5)
        assert cpu_seconds(updd) - busy < 1.0, "it turns in a circle"
        tiny.touch("go")
        time.sleep(0.5)
    finally:
        for s in clients:
            s.close()
    assert updd.process.poll() is None, updd.said()
    resource.prlimit(updd.process.pid, resource.RLIMIT_NOFILE, before)
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b"]
    rules.check(updd, job, words=tiny.done())


def test_a_step_is_not_failed_for_want_of_a_descriptor(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate(), tiny.act("a"), tiny.act("b")))
    wait = updd.wait_open(job, "gate")
    connection = UnixConnection(updd.socket, 20 * SLOW)
    connection.request("GET", "/v1/health")
    connection.getresponse().read()
    before = limit(updd, used(updd) - 1)
    try:
        # Over the connection that is there: a new one would need a descriptor.
        connection.request("POST", f"/v1/jobs/{job}/confirm", body=f'{{"wait": "{wait["id"]}"}}',
                           headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = answer.status, answer.read()
        time.sleep(2.5)
        assert tiny.done() == [] and updd.process.poll() is None
    finally:
        resource.prlimit(updd.process.pid, resource.RLIMIT_NOFILE, before)
    if told[0] != 200:
        assert told[0] == 503, told
        updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b"]
    rules.check(updd, job, words=tiny.done())


# ---- processes ----------------------------------------------------------------------------------


class Crowd:
    """Whether there are too many processes."""

    def __init__(self, file):
        self.file = file
        file.write_bytes(bytes(8))
        with open(file, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)

    def set(self, crowded):
        struct.pack_into("=II", self.map, 0, crowded, 0)

    @property
    def failed(self):
        return struct.unpack_from("=I", self.map, 4)[0]


@pytest.fixture
def crowd(built, tmp_path, request):
    updd = Daemon(tmp_path / "updd")
    updd.crowd = Crowd(updd.home / "control")
    sanitizer = (os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0").lstrip(":")
    environment = {"LD_PRELOAD": str(LIBRARY), "UPDD_CROWD_PROGRAM": request.param,
                   "UPDD_CROWD_CONTROL": str(updd.crowd.file), "ASAN_OPTIONS": sanitizer}
    if request.param != "updd":
        script = updd.home / "updd-step"
        script.write_text("#!/bin/sh\n" + "".join(
            f"export {k}='{v}'\n" for k, v in environment.items()) +
            f"exec '{updd.step_program}' \"$@\"\n")
        script.chmod(0o755)
        updd.step_program, environment = script, {}
    try:
        yield updd.start(**environment)
    finally:
        updd.crowd.set(0)
        updd.close()


@pytest.mark.parametrize("crowd", ["updd", "updd-step"], indirect=True)
def test_too_many_processes_are_waited_for_and_nothing_begins_by_half(crowd, tiny):
    updd = crowd
    job = updd.begin(tiny.plan(tiny.gate(), tiny.act("a"), tiny.act("b")))
    wait = updd.wait_open(job, "gate")
    updd.crowd.set(1)
    updd.post(job, "confirm", wait=wait["id"])
    updd.until(lambda: updd.crowd.failed >= 4, 30, "nothing was refused")
    now = updd.job(job)
    assert now["state"] == "running" and updd.step(job, "a")["state"] == "running", updd.tell(job)
    assert tiny.done() == [] and updd.call("GET", "/v1/health").status == 200
    updd.crowd.set(0)
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b"]
    assert [e["attempt"] for e in updd.events(job) if e["type"] == "step_started" and
            e.get("step") == "a"] == [1]
    rules.check(updd, job, words=tiny.done())


@pytest.mark.parametrize("crowd", ["updd", "updd-step"], indirect=True)
def test_what_waits_for_room_can_be_cancelled(crowd, tiny):
    updd = crowd
    job = updd.begin(tiny.plan(tiny.gate(), tiny.act("a")))
    wait = updd.wait_open(job, "gate")
    updd.crowd.set(1)
    updd.post(job, "confirm", wait=wait["id"])
    updd.until(lambda: updd.crowd.failed >= 2, 30, "nothing was refused")
    updd.post(job, "cancel")
    updd.until(lambda: updd.step(job, "a")["state"] not in ("running", "waiting"), 30,
               lambda: updd.tell(job))
    updd.crowd.set(0)
    updd.wait_for(job, "rolled_back")
    assert "do-a" not in tiny.done(), tiny.done()


# ---- a disk that can only be read ---------------------------------------------------------------


def remount(folder, how):
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)


@pytest.fixture
def mounted(built, tmp_path):
    home = tmp_path / "disk"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", home], check=True)
    d = Daemon(home)
    d.stderr = tmp_path / "updd.log"
    try:
        yield d.start()
    finally:
        try:
            remount(home, "rw")
            d.close()
        finally:
            subprocess.run(["umount", "-l", home], check=True)


def freeze(folder):
    """As the kernel does to a file system that has failed: also what is open for writing."""
    done = subprocess.run(["mount", "-o", "remount,ro", folder], capture_output=True, text=True)
    return done.returncode == 0


def test_a_folder_that_can_only_be_read_serves_readers_and_then_goes_on(mounted, tiny):
    updd = mounted
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(), tiny.act("b")))
    wait = updd.wait_open(job, "gate")
    updd.stop()  # what is open for writing keeps a file system from becoming read-only
    assert freeze(updd.home)
    done = subprocess.run(
        [str(BUILD / "daemon/updd"), "--state-dir", str(updd.state), "--socket",
         str(tiny.folder / "sock"), "--check-state"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "is whole" in done.stdout, done
    done = subprocess.run(
        [str(BUILD / "daemon/updd"), "--state-dir", str(updd.state), "--socket",
         str(tiny.folder / "sock"), "--step-program", str(updd.step_program)],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Read-only file system" in done.stderr, done
    remount(updd.home, "rw")
    updd.start()
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b"]
