# SPDX-License-Identifier: MIT
"""
Steps and checks as nobody wants them: processes that will not die, disks that are filled, a step that
kills, replaces or restarts the very program that runs it. Each has one outcome, and it is the one that
is told.
"""
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from daemon import BUILD, SLOW

# ---- processes that will not die ------------------------------------------------------------------

# A bomb that was defused by hand: N processes, each forked twice, in a session of its own, with an
# empty environment, deaf to all that can be ignored, holding the step's output open.
BOMB = """\
import os, signal, sys
for n in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
                signal.signal(s, signal.SIG_IGN)
            os.execve("/bin/sleep", [__file__, "600"], {})
        os._exit(0)
    os.wait()
"""

# A family that flees: each member lives a few milliseconds and leaves one child behind, so that a
# list of processes is out of date when it is made.
FLEEING = """\
import os, sys, time
os.setsid()
end = time.monotonic() + 60
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    time.sleep(0.002)
"""


def named(text):
    """Pids of live processes with that text on their command line."""
    found = []
    for p in pathlib.Path("/proc").iterdir():
        try:
            if p.name.isdigit() and text.encode() in (p / "cmdline").read_bytes() \
                    and (p / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                found.append(int(p.name))
        except OSError:
            continue
    return found


@pytest.fixture
def bomb(tiny):
    """The argv of the bomb, and what is left of it."""
    path = tiny.folder / "bomb.py"
    path.write_text(BOMB)
    try:
        yield lambda n: [sys.executable, "-S", "-E", str(path), str(n)]
    finally:
        for pid in named(str(path)):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("end", ["done", "timeout", "cancel"])
def test_two_hundred_that_fled_and_are_deaf_end_with_their_step(updd, tiny, bomb, end):
    argv = bomb(200)
    later = {"done": "", "timeout": "sleep 300", "cancel": "sleep 300"}[end]
    job = updd.begin(tiny.plan(
        tiny.act("first"),
        {"id": "bomb", "run": ["sh", "-c", f"{' '.join(argv)}; touch lit; {later}"],
         "undo": tiny.tell("undo-bomb"), "timeout": f"{int(4 * SLOW)}s" if end == "timeout" else "1m"}))
    if end != "done":
        updd.until(lambda: tiny.exists("lit"), 30, lambda: updd.tell(job))
        assert len(named(str(tiny.folder / "bomb.py"))) >= 200
    if end == "cancel":
        updd.post(job, "cancel")
    updd.wait_for(job, "succeeded" if end == "done" else "rolled_back", timeout=40)
    assert named(str(tiny.folder / "bomb.py")) == []
    assert tiny.exists("lit")
    if end == "timeout":
        assert "time limit" in updd.job(job)["failure"]["message"]
    if end != "done":
        assert tiny.done() == ["do-first", "undo-bomb", "undo-first"]
    updd.invariants(job)


def test_a_family_that_flees_is_caught(updd, tiny):
    fleeing = tiny.folder / "fleeing.py"
    fleeing.write_text(FLEEING)
    job = updd.begin(tiny.plan({
        "id": "flee", "run": ["sh", "-c", f"{sys.executable} -S -E {fleeing}; sleep 0.3"],
        "undo": "none"}))
    updd.wait_for(job, "succeeded", timeout=40)
    try:
        assert named(str(fleeing)) == []
    finally:
        for pid in named(str(fleeing)):
            os.kill(pid, signal.SIGKILL)
    updd.invariants(job)


def test_a_check_that_hangs_is_cut_off_with_all_its_processes_and_the_others_are_told(
        updd, tiny, bomb):
    began = time.monotonic()
    job = updd.begin(tiny.plan(
        tiny.act("never"),
        checks=[{"run": ["sh", "-c", f"{' '.join(bomb(5))}; sleep 300"], "name": "hangs",
                 "timeout": "1s"},
                {"run": ["sh", "-c", "trap '' TERM; sleep 300 & wait; wait"], "name": "is deaf",
                 "timeout": "1s"},
                {"run": ["false"], "name": "fails"}, {"run": ["true"], "name": "holds"}]))
    updd.wait_for(job, "failed", timeout=40)
    assert time.monotonic() - began < 25 * SLOW
    checks = {c["name"]: c for s in updd.job(job)["steps"] for c in s.get("checks") or []}
    assert {n: c["ok"] for n, c in checks.items()} == {
        "hangs": False, "is deaf": False, "fails": False, "holds": True}
    assert "in time" in checks["hangs"]["message"] and "in time" in checks["is deaf"]["message"]
    assert tiny.done() == [] and named(str(tiny.folder / "bomb.py")) == []
    updd.invariants(job)


def test_a_check_that_hangs_each_time_piles_up_no_processes(updd, tiny, bomb):
    """In a wait that looks again and again for as long as an hour."""
    job = updd.begin(tiny.plan({
        "id": "w", "wait": {"within": "1h", "every": "100ms", "until": [
            {"run": ["sh", "-c", f"{' '.join(bomb(3))}; echo x >>looks; sleep 300"],
             "timeout": "500ms"}]}}))
    updd.until(lambda: tiny.exists("looks") and len((tiny.folder / "looks").read_text()) >= 10, 60,
               lambda: updd.tell(job))
    assert len(named(str(tiny.folder / "bomb.py"))) <= 9
    updd.post(job, "cancel")
    updd.wait_for(job, "rolled_back", timeout=40)
    assert named(str(tiny.folder / "bomb.py")) == []


# ---- what a step's process sees --------------------------------------------------------------------

LOOK = """\
import json, os, resource, signal
status = dict(l.split(":\\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\\t" in l)
mask = os.umask(0)
json.dump({
    "fds": {n: os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{n}")},
    "umask": oct(mask), "cwd": os.getcwd(), "blocked": status["SigBlk"].strip(),
    "ignored": status["SigIgn"].strip(), "env": sorted(os.environ),
    "oom": open("/proc/self/oom_score_adj").read().strip(), "nice": os.nice(0),
    "leads": os.getpgid(0) == os.getpid(), "new_privs": status["NoNewPrivs"].strip(),
    "core": resource.getrlimit(resource.RLIMIT_CORE), "dumpable": status["CoreDumping"].strip(),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
}, open(os.environ["OUT"], "w"))
"""


def test_a_step_sees_what_is_promised_and_nothing_of_the_daemon(updd, tiny):
    """However the daemon was started: with signals ignored and blocked, descriptors left open, an
    umask, a folder, priorities and limits of its own."""
    updd.stop()
    wrapper = tiny.folder / "odd"
    wrapper.write_text(f"#!{sys.executable}\n" + """\
import os, resource, signal, sys
for s in (signal.SIGUSR1, signal.SIGPIPE, signal.SIGHUP, signal.SIGQUIT, signal.SIGRTMIN):
    signal.signal(s, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGALRM})
os.umask(0o077)
os.chdir("/tmp")
for n in range(20):
    os.set_inheritable(os.open("/etc/passwd", os.O_RDONLY), True)
os.environ.update({"SECRET_OF_THE_DAEMON": "x", "UPDD_SOCKET": "/x", "IFS": "x"})
os.execv(sys.argv[1], sys.argv[1:])
""")
    wrapper.chmod(0o755)
    updd.through = [wrapper]
    updd.start()
    (tiny.folder / "look.py").write_text(LOOK)
    steps = [{"id": "with", "cwd": str(tiny.folder), "run": [sys.executable, "-S", "-E",
              str(tiny.folder / "look.py")], "undo": "none", "env": {"OUT": str(tiny.folder / "a")}}]
    plan = tiny.plan(*steps, {**steps[0], "id": "without", "env": {"OUT": str(tiny.folder / "b")}})
    del plan["cwd"], plan["steps"][1]["cwd"]
    job = updd.begin(plan)
    updd.wait_for(job, "succeeded")
    own_oom = pathlib.Path("/proc/self/oom_score_adj").read_text().strip()
    for name, cwd in (("a", str(tiny.folder)), ("b", "/")):
        seen = json.loads((tiny.folder / name).read_text())
        assert seen["fds"].pop("0") == "/dev/null"
        assert all(seen["fds"].pop(n).startswith("pipe:") for n in ("1", "2")), seen["fds"]
        assert seen["fds"] == {}, seen["fds"]
        assert (seen["umask"], seen["cwd"]) == ("0o22", cwd)
        # Python itself ignores SIGPIPE (13) and SIGXFSZ (25); 32 and 33 are the C library's own.
        ignored = {n + 1 for n in range(64) if int(seen["ignored"], 16) >> n & 1}
        assert ignored <= {13, 25, 32, 33} and int(seen["blocked"], 16) == 0, seen
        assert seen["env"] == sorted(
            ["OUT", "PATH", "HOME", "USER", "LOGNAME", "LANG", "UPDD_ATTEMPT", "UPDD_JOB",
             "UPDD_STEP", "UPDD_PLAN", "UPDD_TARGET", "UPDD_DIRECTION", "UPDD_RECORD"])
        assert seen["leads"] and seen["oom"] == own_oom and seen["nice"] == os.nice(0)
        assert seen["new_privs"] == "0" and seen["core"][0] == 0
        assert seen["nofile"] == list(resource.getrlimit(resource.RLIMIT_NOFILE))


# ---- a step against updd ---------------------------------------------------------------------------


def test_a_step_that_kills_the_daemon_is_taken_as_it_ended(updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("a"), tiny.act("murder", f"kill -9 {updd.process.pid}; sleep 0.5; echo survived"),
        tiny.act("b")))
    updd.process.wait(20)
    updd.start()
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-murder", "do-b"] and "survived" in updd.log(job, "murder")
    updd.invariants(job)


@pytest.mark.parametrize("whom", ["supervisor", "worker", "all"])
def test_a_step_that_kills_its_own_updd_step_is_interrupted_and_undone(updd, tiny, whom):
    parent = "$(cut -d' ' -f4 /proc/$PPID/stat)"
    pids = {"worker": "$PPID", "supervisor": parent, "all": f"$PPID {parent}"}[whom]
    job = updd.begin(tiny.plan(tiny.act("a"), {
        **tiny.act("suicide", f"kill -9 {pids}; sleep 300")}))
    updd.wait_for(job, "rolled_back", timeout=40)
    assert tiny.done() == ["do-a", "do-suicide", "undo-suicide", "undo-a"]
    updd.invariants(job)


def copy_of_the_programs(folder):
    """updd and its step programs in a tree of their own, as they are installed."""
    (folder / "sbin").mkdir(parents=True)
    worker, = (p for p in BUILD.glob("daemon/step/updd-step-worker-*") if p.is_file())
    for program in (BUILD / "daemon/updd", BUILD / "daemon/step/updd-step", worker):
        shutil.copy2(program, folder / "sbin")
    return folder / "sbin"


def test_a_step_that_replaces_the_programs_under_it_goes_on_and_so_does_the_job(updd, tiny):
    """By rename, as dpkg does it. What runs keeps what it has; the next start takes what is new."""
    bin_dir = copy_of_the_programs(tiny.folder / "tree")
    updd.stop()
    updd.step_program = bin_dir / "updd-step"
    wrapper = tiny.folder / "as-installed"
    wrapper.write_text(f'#!/bin/sh\nshift\nexec {bin_dir}/updd "$@"\n')
    wrapper.chmod(0o755)
    updd.through = [wrapper]
    updd.start()
    swap = "; ".join(f"cp {p} {p}.new && mv {p}.new {p}" for p in sorted(bin_dir.iterdir()))
    database = tiny.folder / "x.db"
    subprocess.run(["sqlite3", database, "create table t (a)"], check=True)
    job = updd.begin(tiny.plan(
        tiny.act("swap", f"{swap}; sleep 0.3"), tiny.act("after"),
        {"id": "large", "check": [{"sql": {"db": "x", "tables": ["t"]}}]}, tiny.gate(),
        tiny.act("last"), databases={"x": {"url": f"sqlite:{database}"}}))
    wait = updd.wait_open(job, "gate")
    assert os.readlink(f"/proc/{updd.process.pid}/exe").endswith(" (deleted)")
    updd.restart()
    assert os.readlink(f"/proc/{updd.process.pid}/exe") == str(bin_dir / "updd")
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-swap", "do-after", "do-last"]
    updd.invariants(job)


def service_manager(updd, done):
    """What Restart=always is on a machine: whenever the daemon has ended it is started again."""
    while not done.is_set():
        if updd.process.poll() is not None:
            updd.start()
        time.sleep(0.02)


def test_a_step_that_restarts_the_service_survives_and_is_taken_by_the_next_daemon(updd, tiny):
    first = updd.process.pid
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act(
        "restart", f"kill {first}; while kill -0 {first} 2>/dev/null; do sleep 0.05; done; "
        f"until curl -sf --unix-socket {updd.socket} http://x/v1/health; do sleep 0.05; done; "
        "echo it is back"), tiny.act("b")))
    done = threading.Event()
    manager = threading.Thread(target=service_manager, args=(updd, done))
    updd.process.wait(20 * SLOW)
    manager.start()
    try:
        updd.until(lambda: updd.process.pid != first and updd.answers_calls(), 20, "never back")
        updd.wait_for(job, "succeeded")
    finally:
        done.set()
        manager.join()
    assert tiny.done() == ["do-a", "do-restart", "do-b"]
    assert "it is back" in updd.log(job, "restart")
    updd.invariants(job)


def test_a_daemon_that_a_step_starts_itself_ends_with_the_step_and_nothing_is_lost(updd, tiny):
    """It is one of the step's processes, and what a run leaves behind ends with it."""
    first = updd.process.pid
    argv = " ".join(pathlib.Path(f"/proc/{first}/cmdline").read_bytes().decode().split("\0"))
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act(
        "restart", f"kill {first}; while kill -0 {first} 2>/dev/null; do sleep 0.05; done; "
        f"setsid {argv} </dev/null >own.log 2>&1 & "
        f"until curl -sf --unix-socket {updd.socket} http://x/v1/health; do sleep 0.05; done"),
        tiny.act("b")))
    updd.process.wait(20 * SLOW)
    result = updd.state / f"jobs/{job}/restart/1/result.json"
    updd.until(result.exists, 30, "the step never ended")
    assert json.loads(result.read_text())["state"] == "done"
    updd.until(lambda: not named(str(updd.state)), 10, lambda: str(named(str(updd.state))))
    updd.start()
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-restart", "do-b"]
    updd.invariants(job)


# ---- disks that a step fills -----------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "this test must mount a file system, as root"
        pytest.skip("only root can mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


FILL = "echo do-fill >>told; dd if=/dev/zero of={0}/filler bs=64k 2>/dev/null; " \
       "cat /dev/zero >>{0}/filler"


def test_a_step_that_fills_the_disk_of_its_work_is_undone_and_so_is_what_came_before(
        updd, tiny, disk):
    """The old bytes were kept elsewhere; the step's own undo makes room for them."""
    old = os.urandom(1 << 20)
    (disk / "page").write_bytes(old)
    job = updd.begin(tiny.plan(
        {"id": "page", "write": {"to": f"{disk}/page", "text": "short now"}},
        {"id": "fill", "run": ["sh", "-c", FILL.format(disk)],
         "undo": {"run": ["rm", "-f", f"{disk}/filler"]}},
        tiny.act("never")))
    updd.wait_for(job, "rolled_back", timeout=40)
    assert "No space left" in updd.job(job)["failure"]["message"]
    assert (disk / "page").read_bytes() == old and not (disk / "filler").exists()
    assert tiny.done() == ["do-fill"]
    updd.invariants(job)
